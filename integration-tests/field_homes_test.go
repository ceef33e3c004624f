package integration

import (
	"testing"
	"time"

	"tljh/integration-tests/client"
	"tljh/integration-tests/want"
)

// TestHomesThatRootArranged is about accounts and homes that are not as the hub would have made them.
func TestHomesThatRootArranged(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := installed(t)
	teacher := h.admin(t)
	works := func(t *testing.T, b *client.Browser) {
		t.Helper()
		start(t, b)
		want.Equal(t, "42", compute(t, kernel(t, b), "open('diary', 'w').write('x'); print(6 * 7)"))
		want.OK(t, b.StopServer(t.Context(), b.User))
	}

	t.Run("a home that is root's link to another disk", func(t *testing.T) {
		bob := h.student(t, teacher, "bob")
		want.OK(t, bob.StopServer(t.Context(), "bob"))
		h.must(t, "mkdir -p /disk && mv /home/jupyter-bob /disk/bob && ln -s /disk/bob /home/jupyter-bob")
		works(t, bob)
		h.must(t, "test -s /disk/bob/diary && mv /disk/bob /disk/away")
		want.Contains(t, spawnFailure(t, bob), "leads to /disk/bob, which cannot be reached")
		h.must(t, "mv /disk/away /disk/bob")
		works(t, bob)
	})
	t.Run("a disk of the homes that is not mounted", func(t *testing.T) {
		enrol(t, teacher, "carol")
		carol := h.login(t, "carol", passwordOf("carol"))
		h.must(t, "cp /etc/fstab /root/fstab; echo '/dev/vdz /home ext4 noauto 0 0' >> /etc/fstab")
		want.Contains(t, spawnFailure(t, carol), "not mounted at /home")
		h.must(t, "! id jupyter-carol && ! test -e /home/jupyter-carol && cp /root/fstab /etc/fstab")
		works(t, carol)
	})
	t.Run("homes on another disk, by a link of root's", func(t *testing.T) {
		h.must(t, "mkdir /data && mv /home /data/home && ln -s data/home /home && tljh-install install")
		want.Contains(t, h.MustSh(t, "systemctl show -P RequiresMountsFor jupyterhub.service"), "/data/home")
		dora := h.student(t, teacher, "dora")
		want.OK(t, dora.StopServer(t.Context(), "dora"))
		h.must(t, "test -d /data/home/jupyter-dora")
		enrol(t, teacher, "drew")
		drew := h.login(t, "drew", passwordOf("drew"))
		h.must(t, "cp /etc/fstab /root/fstab; echo '/dev/vdz /data ext4 noauto 0 0' >> /etc/fstab")
		want.Contains(t, spawnFailure(t, drew), "not mounted at /data")
		h.must(t, "! id jupyter-drew && cp /root/fstab /etc/fstab")
		works(t, drew)
	})
	t.Run("a file system of its own for a home", func(t *testing.T) {
		enrol(t, teacher, "dina")
		h.must(t, "mkdir /home/jupyter-dina && mount -t tmpfs -o mode=0755 tmpfs /home/jupyter-dina && mkdir -m 0700 /home/jupyter-dina/lost+found")
		h.MustSh(t, "echo "+passwordOf("dina")+" | tljh-install password dina") // the name's place is taken: who comes first is not whose it is
		works(t, h.login(t, "dina", passwordOf("dina")))
		want.Equal(t, "700 jupyter-dina", h.MustSh(t, "stat -c '%a %U' /home/jupyter-dina"))
		want.Equal(t, "root", h.MustSh(t, "stat -c %U /home/jupyter-dina/lost+found"))
		h.must(t, "test -s /home/jupyter-dina/diary && test -e /home/jupyter-dina/.bashrc")
	})
	t.Run("a hook that writes into the home of a new user", func(t *testing.T) {
		h.must(t, `printf 'import os\ndef hook(spawner):\n    os.makedirs(f"/home/jupyter-{spawner.user.name}/course", exist_ok=True)\n    open(f"/home/jupyter-{spawner.user.name}/course/welcome", "w").close()\nc.Spawner.pre_spawn_hook = hook\n' > `+configD+`/hook.py && systemctl restart jupyterhub`)
		h.awaitHub(t, 60*time.Second)
		enrol(t, teacher, "dan")
		works(t, h.login(t, "dan", passwordOf("dan")))
		want.Equal(t, "jupyter-dan jupyter-dan", h.MustSh(t, "stat -c %U /home/jupyter-dan/course /home/jupyter-dan/course/welcome | xargs"))
		h.must(t, "rm "+configD+"/hook.py && systemctl restart jupyterhub")
		h.awaitHub(t, 60*time.Second)
	})
	t.Run("accounts of a directory, without homes", func(t *testing.T) {
		h.set(t, "set users.account_prefix ''", "set users.home_mode 0755")
		h.must(t, "useradd -M --badname --home-dir /home/example.org/dana -s /bin/bash dana@example.org && useradd -M -s /bin/bash eve")
		for name, folder := range map[string]string{"dana@example.org": "/home/example.org/dana", "eve": "/home/eve"} {
			enrol(t, teacher, name)
			h.MustSh(t, "echo "+passwordOf(name)+" | tljh-install password "+name)
			works(t, h.login(t, name, passwordOf(name)))
			want.Equal(t, "755 "+name, h.MustSh(t, "stat -c '%a %U' "+folder))
			h.must(t, "cmp /etc/skel/.bashrc "+folder+"/.bashrc && test -s "+folder+"/diary")
		}
	})
}
