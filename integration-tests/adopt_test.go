package integration

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tljh/integration-tests/client"
	"tljh/integration-tests/guest"
	"tljh/integration-tests/want"
)

// What the people of the older hub have.
const (
	bobsNotebook = "years of work"
	olderFolder  = "/root/older"
)

// oldHub is an older TLJH, as the installer written in Python leaves it: built once, with what stands for Traefik, which cannot be had here.
var oldHub struct {
	once sync.Once
	snap *guest.Snapshot
}

// older boots a guest with an older TLJH in which bob and alice have worked. Its conda mirror is within reach.
func older(t *testing.T) (*hub, string) {
	t.Helper()
	guest.Require(t)
	oldHub.once.Do(func() { oldHub.snap = buildOlder(t) })
	if oldHub.snap == nil {
		t.Fatal("the older TLJH could not be built")
	}
	h := bare(t, guest.Options{From: oldHub.snap})
	_, sources := h.channel(t)
	// A folder of a layer below can't be renamed, which is what an overlay is like and no machine of anybody's.
	h.MustSh(t, "systemctl stop jupyterhub traefik && cp -a /opt/tljh /opt/new && rm -rf /opt/tljh && mv /opt/new /opt/tljh && systemctl start traefik jupyterhub")
	h.awaitHub(t, time.Minute)
	return h, sources
}

func buildOlder(t *testing.T) *guest.Snapshot {
	t.Helper()
	begin := time.Now()
	h := bare(t, guest.Options{Name: "older"})
	server, _ := h.channel(t)
	m, err := theMirror()
	want.OK(t, err)
	h.copyFolder(t, filepath.Join(guest.RepositoryRoot(), "integration-tests", "testdata", "older"), olderFolder)
	r := h.run(t, "sh "+olderFolder+"/build.sh "+server.URL()+" "+m.Miniforge.Path)
	want.Equal(t, 0, r.Code, r.Output())
	h.awaitHub(t, time.Minute)
	h.workInOlder(t)
	t.Logf("an older TLJH was built in %.0f s", time.Since(begin).Seconds())
	snap, err := h.Snapshot(t.Context())
	want.OK(t, err)
	return snap
}

// copyFolder puts a folder of this machine into the guest.
func (h *hub) copyFolder(t *testing.T, from, to string) {
	t.Helper()
	tar, err := exec.CommandContext(t.Context(), "tar", "-C", from, "-cf", "-", ".").Output()
	want.OK(t, err)
	want.OK(t, h.Write(t.Context(), to+".tar", 0o600, strings.NewReader(string(tar))))
	h.MustSh(t, "mkdir -p "+to+" && tar -C "+to+" -xf "+to+".tar")
}

// workInOlder lets people do what is to be there afterwards.
func (h *hub) workInOlder(t *testing.T) {
	t.Helper()
	alice := h.login(t, admin, adminPassword)
	start(t, alice)
	_, err := alice.API(t.Context(), http.MethodPost, "groups/physics", nil, nil)
	want.OK(t, err)
	enrol(t, alice, "bob", "carol")
	bob := h.login(t, "bob", passwordOf("bob"))
	start(t, bob)
	compute(t, kernel(t, bob), "open('thesis.ipynb', 'w').write('"+bobsNotebook+"')")
	h.login(t, "carol", passwordOf("carol"))
	want.Contains(t, h.MustSh(t, "ls /opt/tljh/state"), "passwords.dbm", "jupyterhub.sqlite", "jupyterhub_cookie_secret")
}

var _ = context.Background
var _ = os.Getenv
var _ *client.Browser

func TestAdoptFixture(t *testing.T) {
	h, _ := older(t)
	b := h.login(t, "bob", passwordOf("bob"))
	start(t, b)
	t.Log(h.MustSh(t, "ls -la /opt/tljh/state /opt/tljh /opt/tljh/user /opt/tljh/user/bin | head -80; file /opt/tljh/state/passwords.dbm; cat /run/systemd/transient/jupyter-bob.service; du -sm /opt/tljh/*"))
}
