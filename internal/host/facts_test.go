package host_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
	"tljh/internal/host/hosttest"
)

// put writes a file of a machine, with the folders that lead to it.
func put(t *testing.T, files host.Files, p, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(files.Path(p)), 0o755))
	require.NoError(t, os.WriteFile(files.Path(p), []byte(content), 0o644))
}

func TestFactsOfAMachine(t *testing.T) {
	files, runner := newFiles(t), &hosttest.Runner{}
	runner.On(hosttest.Answer{Stdout: "systemd 252 (252.30-1)\n+PAM\n"}, "systemctl", "--version")
	runner.On(hosttest.Answer{Stdout: "glibc 2.36\n"}, "getconf", "GNU_LIBC_VERSION")
	put(t, files, "/proc/meminfo", "MemTotal:        2014292 kB\nMemFree: 1 kB\n")
	require.NoError(t, os.MkdirAll(files.Path("/run/systemd/system"), 0o755))
	h := &host.Host{Files: files, Runner: runner}
	assert.Equal(t, host.Facts{
		UID: os.Geteuid(), Arch: runtime.GOARCH, Systemd: true, SystemdVersion: 252, GlibcMajor: 2, GlibcMinor: 36,
		MemoryBytes: 2014292 << 10, CPUs: runtime.NumCPU(),
	}, h.Facts(t.Context()))
}

func TestFactsThatCannotBeLearntAreZero(t *testing.T) {
	runner := &hosttest.Runner{}
	runner.On(hosttest.Answer{Stdout: "no such variable\n", Code: 2}, "getconf")
	h := &host.Host{Files: newFiles(t), Runner: runner}
	facts := h.Facts(t.Context())
	assert.False(t, facts.Systemd)
	assert.Zero(t, facts.SystemdVersion)
	assert.Zero(t, facts.GlibcMajor)
	assert.Zero(t, facts.MemoryBytes)
}

func TestDownloadsGetAPersonsSettingsAndNothingElse(t *testing.T) {
	files := newFiles(t)
	put(t, files, "/etc/ssl/certs/ca-certificates.crt", "x")
	h := &host.Host{Files: files}
	env := h.DownloadEnv([]string{
		"HTTPS_PROXY=http://proxy:1", "no_proxy=local", "PIP_INDEX_URL=https://mirror/simple", "UV_INDEX_CAMPUS_PASSWORD=pw", "npm_config_registry=https://npm",
		"PYTHONPATH=/evil", "VIRTUAL_ENV=/evil", "LD_PRELOAD=/evil", "PATH=/evil", "UV_PYTHON=/evil", "PIP_TARGET=/evil", "HOME=/home/admin",
	})
	joined := strings.Join(env, "\n")
	assert.NotContains(t, joined, "evil")
	for _, want := range []string{"HTTPS_PROXY=http://proxy:1", "no_proxy=local", "PIP_INDEX_URL=https://mirror/simple", "UV_INDEX_CAMPUS_PASSWORD=pw",
		"npm_config_registry=https://npm", "HOME=/home/admin", "PATH=" + host.Path,
		"SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt", "NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt"} {
		assert.Contains(t, env, want)
	}
	env = h.DownloadEnv([]string{"CURL_CA_BUNDLE=/campus.pem"})
	assert.Contains(t, env, "SSL_CERT_FILE=/campus.pem", "whoever names certificates for one tool means all")
}

func TestHints(t *testing.T) {
	require.NoError(t, host.Hint(nil, "hint"))
	inner := host.Hint(errors.New("no route"), "check the %s", "cable")
	outer := host.Hint(fmt.Errorf("cannot fetch: %w", inner), "try again")
	assert.Equal(t, "cannot fetch: no route", outer.Error())
	assert.Equal(t, "check the cable", host.HintOf(outer), "who is nearest to the cause knows best")
	assert.Empty(t, host.HintOf(errors.New("x")))
	for _, full := range []error{
		fmt.Errorf("cannot write: %w", &os.PathError{Op: "write", Path: "/opt/x", Err: syscall.ENOSPC}),
		&host.ExitError{Argv: []string{"uv"}, Code: 2, Tail: "error: failed to write: No space left on device (os error 28)"},
	} {
		assert.Contains(t, host.HintOf(host.Hint(full, "check the cable")), "disk is full")
	}
}

func TestPollEndsWithTheCause(t *testing.T) {
	calls := 0
	err := host.Poll(t.Context(), time.Microsecond, func(context.Context) (bool, error) { calls++; return calls == 3, nil })
	require.NoError(t, err)
	assert.Equal(t, 3, calls)

	cause := errors.New("time is up")
	ctx, cancel := context.WithTimeoutCause(t.Context(), 10*time.Millisecond, cause)
	defer cancel()
	require.ErrorIs(t, host.Poll(ctx, time.Millisecond, func(context.Context) (bool, error) { return false, nil }), cause)

	failure := errors.New("no")
	require.ErrorIs(t, host.Poll(t.Context(), time.Hour, func(context.Context) (bool, error) { return false, failure }), failure)
}
