package cli

import (
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tljh/edge"
	"tljh/internal/host"
)

func TestEdgeCertificate(t *testing.T) {
	folder := t.TempDir()
	bad := edge.Sources{Cert: "/nowhere/c", Key: "/nowhere/k"}
	require.NoError(t, runEdgeCertificate(filepath.Join(folder, "closed"), bad, ""), "there is no door to hand anything to")
	err := runEdgeCertificate(folder, bad, strconv.Itoa(os.Getpid()))
	require.ErrorContains(t, err, "cannot read the certificate")
	require.Contains(t, host.HintOf(err), "systemctl reload tljh-edge.service")

	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGUSR1)
	defer signal.Stop(told)
	require.NoError(t, runEdgeCertificate(folder, edge.Sources{}, strconv.Itoa(os.Getpid())))
	select {
	case <-told:
	case <-time.After(20 * time.Second):
		t.Fatal("the door was not told")
	}
	for _, pid := range []string{"x", "-1", "0", "1"} {
		require.ErrorContains(t, runEdgeCertificate(folder, edge.Sources{}, pid), "is not a process ID")
	}
}

func TestEdgeRefusesTwoKindsOfCertificates(t *testing.T) {
	cmd := newEdgeCommand()
	cmd.SetArgs([]string{"--pair", "/p", "--acme-domain", "a.example", "--acme-state", "/s"})
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	require.ErrorContains(t, cmd.Execute(), "none of the others can be")
}
