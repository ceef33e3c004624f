package integration

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"tljh/integration-tests/client"
	"tljh/integration-tests/guest"
	"tljh/integration-tests/want"
)

// must runs a command that must end well.
func (h *hub) must(t *testing.T, script string) string {
	t.Helper()
	r := h.run(t, script)
	if r.Code != 0 {
		t.Fatalf("exit code %d of %s:\n%s", r.Code, script, r.Output())
	}
	return r.Output()
}

// set changes keys and puts them into effect.
func (h *hub) set(t *testing.T, changes ...string) {
	t.Helper()
	for n, change := range changes {
		if n == len(changes)-1 {
			change += " --reload"
		}
		h.must(t, "tljh-install config "+change)
	}
	h.awaitHub(t, 60*time.Second)
}

// again starts a user's server anew, with the config as it is now.
func (h *hub) again(t *testing.T, b *client.Browser) *client.Kernel {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	want.OK(t, b.StopServer(ctx, b.User))
	start(t, b)
	return kernel(t, b)
}

// TestEveryKey sets the keys one by one in a running hub, and looks at what they do, while a student's kernel runs all along.
func TestEveryKey(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := installed(t)
	teacher := h.admin(t)
	bob := h.student(t, teacher, "bob")
	work := kernel(t, bob)
	compute(t, work, "x = 42")
	carol, dan := h.student(t, teacher, "carol"), h.student(t, teacher, "dan")
	defer func() { want.Equal(t, "42", recall(t, bob, work), "bob's kernel after all of this") }()

	t.Run("limits", func(t *testing.T) {
		h.set(t, "set users.extra_user_groups '{course-a: [carol]}'", "set limits.memory 1G", "set limits.groups.course-a.memory 1536M", "set limits.users.dan.memory 2G",
			"set limits.users.dan.cpu 1.5")
		k := h.again(t, carol)
		want.Contains(t, compute(t, k, "import subprocess; print(subprocess.run(['id'], capture_output=True, text=True).stdout)"), "course-a")
		h.again(t, dan)
		want.Equal(t, "1610612736", h.property(t, "jupyter-carol.service", "MemoryMax"))
		want.Equal(t, "2147483648", h.property(t, "jupyter-dan.service", "MemoryMax"))
		want.Equal(t, "1.500000s", h.property(t, "jupyter-dan.service", "CPUQuotaPerSecUSec"))
		want.Contains(t, h.must(t, "tljh-install config explain carol"), "limits.groups.course-a.memory")
	})
	t.Run("variables and what users see first", func(t *testing.T) {
		h.set(t, "set user_environment.variables.COURSE 'physics 101'", "set user_environment.default_app notebook")
		k := h.again(t, carol)
		want.Equal(t, "physics 101", compute(t, k, "import os; print(os.environ['COURSE'])"))
		page, err := carol.Open(t.Context(), "/user/carol/")
		want.OK(t, err)
		want.Contains(t, page.URL.Path, "/tree")
	})
	t.Run("shared folders", func(t *testing.T) { h.sharedFolders(t, carol, dan) })
	t.Run("pages", func(t *testing.T) {
		h.MustSh(t, `printf '<svg xmlns="http://www.w3.org/2000/svg"/>' > /etc/logo.svg`)
		h.set(t, "set hub.name 'Physics <101>'", "set hub.announcement 'The exam begins at nine.'", "set hub.logo /etc/logo.svg")
		page, err := h.browser(t, "").Open(t.Context(), "/hub/login")
		want.OK(t, err)
		want.Contains(t, page.Body, "Physics &lt;101&gt;", "The exam begins at nine.")
		logo, err := h.browser(t, "").Open(t.Context(), "/hub/logo")
		want.OK(t, err)
		want.Contains(t, logo.Body, "<svg")
	})
	t.Run("who gets in", func(t *testing.T) {
		h.set(t, "add users.banned carol", "add users.admin dan")
		refusal(t, h.browser(t, "carol").Login(t.Context(), passwordOf("carol")), "a banned user's log-in")
		me, err := h.login(t, "dan", passwordOf("dan")).Me(t.Context())
		want.OK(t, err)
		want.True(t, me.Admin, "dan is no admin")
		h.set(t, "remove users.banned carol", "remove users.admin dan")
		me, err = h.login(t, "dan", passwordOf("dan")).Me(t.Context())
		want.OK(t, err)
		want.True(t, !me.Admin, "dan is an admin still")
		h.login(t, "carol", passwordOf("carol"))
	})
	t.Run("who is on the list, and an option of the authenticator", func(t *testing.T) {
		refusal(t, h.browser(t, "erin").Login(t.Context(), passwordOf("erin")), "a name that nobody has allowed")
		h.set(t, "set users.allowed '[bob, carol, dan, erin]'", "set auth.FirstUseAuthenticator.min_password_length 40")
		refusal(t, h.browser(t, "erin").Login(t.Context(), passwordOf("erin")), "a password that is too short by the option")
		h.set(t, "unset auth.FirstUseAuthenticator")
		h.login(t, "erin", passwordOf("erin"))
		h.set(t, "unset users.allowed")
	})
	t.Run("CPUs and folders of a group", func(t *testing.T) {
		h.set(t, "set limits.groups.course-a.cpu 0.75", "set shared_folders.course.write '[\"group:course-a\"]'")
		k := h.again(t, carol)
		want.Equal(t, "750ms", h.property(t, "jupyter-carol.service", "CPUQuotaPerSecUSec"))
		want.Equal(t, "written", compute(t, k, "open('shared/course/x', 'w').write('x'); print('written')"))
		want.Equal(t, "False", compute(t, h.again(t, dan), "import os; print(os.path.exists('shared/course') or os.access('/srv/tljh/course', os.R_OK))"))
		h.set(t, "unset limits.groups.course-a.cpu", "unset shared_folders.course")
	})
	t.Run("sudo", func(t *testing.T) { h.sudoOfAdmins(t, teacher) })
	t.Run("culling", func(t *testing.T) {
		h.set(t, "set services.cull.timeout 3600", "set services.cull.every 300", "set services.cull.max_age 7200", "set services.cull.concurrency 3", "set services.cull.users true")
		guest.Until(t, 60*time.Second, func(ctx context.Context) error {
			r, err := h.Sh(ctx, cullers)
			for _, option := range []string{"--timeout=3600", "--cull-every=300", "--max-age=7200", "--concurrency=3", "--cull-users"} {
				if err == nil && !strings.Contains(r.Stdout, option) {
					err = fmt.Errorf("the culler runs without %s: %s", option, r.Stdout)
				}
			}
			return err
		})
		h.set(t, "set services.cull.enabled false")
		want.Equal(t, "", h.MustSh(t, cullers), "the culler runs still")
	})
	t.Run("another authenticator, and the way in for an admin", func(t *testing.T) { h.otherAuthenticator(t) })
	t.Run("another port", func(t *testing.T) {
		hubProcess := h.property(t, "jupyterhub.service", "MainPID")
		h.must(t, "tljh-install config set http.port 8080 --reload")
		want.Equal(t, "200", h.MustSh(t, "curl -so /dev/null -w '%{http_code}' http://127.0.0.1:8080/hub/login"))
		want.Differ(t, 0, h.run(t, "curl -so /dev/null http://127.0.0.1/hub/login").Code)
		h.set(t, "unset http.port")
		want.Equal(t, hubProcess, h.property(t, "jupyterhub.service", "MainPID"), "the hub was restarted for the door's sake")
	})
	t.Run("another address", func(t *testing.T) {
		h.must(t, "tljh-install config set http.address 127.0.0.1 --reload")
		want.Equal(t, "200", h.MustSh(t, "curl -so /dev/null -w '%{http_code}' http://127.0.0.1/hub/login"))
		want.True(t, h.answers(t.Context()) != nil, "the hub answers on another address, too")
		h.set(t, "unset http.address")
	})
	t.Run("package sources", func(t *testing.T) {
		h.must(t, "tljh-install config set sources.index http://127.0.0.1:9/simple && tljh-install config set user_environment.packages '[cowsay]'")
		r := h.run(t, "tljh-install install")
		want.Equal(t, exitRefused, r.Code, r.Output())
		want.Contains(t, r.Output(), "package-sources", "127.0.0.1:9")
		h.must(t, "tljh-install config unset sources && tljh-install config unset user_environment.packages")
	})
	t.Run("HTTPS with a certificate of one's own", func(t *testing.T) { h.ownCertificate(t, bob) })
}

// cullers prints the command lines of what stops idle servers.
const cullers = `for p in /proc/[0-9]*; do tr '\0' ' ' < $p/cmdline 2>/dev/null; echo; done | grep '^/opt[^ ]* -m tljh.culler --inside' || true`

// recall asks a kernel for x over a connection of its own: one that went through the door ends when the door restarts.
func recall(t *testing.T, b *client.Browser, k *client.Kernel) string {
	t.Helper()
	return compute(t, reconnect(t, b, k), "print(x)")
}

// reconnect connects to a kernel that runs.
func reconnect(t *testing.T, b *client.Browser, k *client.Kernel) *client.Kernel {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	again, err := b.Connect(ctx, k.ID)
	want.OK(t, err)
	t.Cleanup(func() { _ = again.Close() })
	return again
}

func (h *hub) sharedFolders(t *testing.T, carol, dan *client.Browser) {
	h.set(t, "set shared_folders.data.read '[all]'", "set shared_folders.data.write '[admins, dan]'", "set shared_folders.exams.write '[admins]'")
	writer := h.again(t, dan)
	compute(t, writer, "open('shared/data/table.csv', 'w').write('1,2,3')")
	reader := h.again(t, carol)
	want.Equal(t, "1,2,3", compute(t, reader, "print(open('shared/data/table.csv').read())"))
	const try = "try:\n  open('shared/data/table.csv', 'w')\n  print('written')\nexcept PermissionError:\n  print('refused')"
	want.Equal(t, "refused", compute(t, reader, try))
	want.Equal(t, "['data']", compute(t, reader, "import os; print(os.listdir('shared'))"))
	want.Equal(t, "written", compute(t, writer, try))

	h.set(t, "unset shared_folders.data")
	reader = h.again(t, carol)
	want.Equal(t, "False", compute(t, reader, "import os; print(os.path.lexists('shared/data') or os.access('/srv/tljh/data', os.R_OK))"))
	h.MustSh(t, "test -e /srv/tljh/data/table.csv")
}

func (h *hub) sudoOfAdmins(t *testing.T, teacher *client.Browser) {
	start(t, teacher)
	k := kernel(t, teacher)
	sudo := func(command string) string {
		return compute(t, k, "import subprocess; r = subprocess.run("+fmt.Sprintf("%q", "sudo -n "+command)+", shell=True, capture_output=True, text=True); print(r.returncode, r.stdout)")
	}
	want.Contains(t, sudo("id -un"), "0 root")
	h.set(t, "set users.admin_sudo environment")
	want.Contains(t, sudo("id -un"), "1")
	want.Contains(t, sudo("-E pip --version"), "0 pip")
	want.Contains(t, sudo("-E pip install --quiet --no-index pip"), "0")
	want.Contains(t, sudo("/opt/tljh/user/bin/python -c 1"), "1")
	h.set(t, "set users.admin_sudo none")
	want.Contains(t, sudo("-E pip --version"), "1")
	want.Equal(t, "absent", h.MustSh(t, "[ -e /etc/sudoers.d/tljh ] && echo there || echo absent"))
	h.set(t, "unset users.admin_sudo")
	want.Contains(t, sudo("id -un"), "0 root")
}

func (h *hub) otherAuthenticator(t *testing.T) {
	r := h.run(t, "tljh-install config set auth.type nosuch.Authenticator")
	want.Equal(t, exitBadInput, r.Code, r.Output())
	want.Contains(t, r.Output(), "No module named 'nosuch'")
	r = h.run(t, "tljh-install config set auth.NativeAuthenticator.open_singup true && tljh-install config set auth.type native")
	want.Equal(t, exitBadInput, r.Code, r.Output())
	want.Contains(t, r.Output(), "did you mean open_signup?")
	h.must(t, "tljh-install config unset auth.NativeAuthenticator.open_singup")
	r = h.run(t, "echo wrong-password | tljh-install config test-auth alice")
	want.Equal(t, exitFailed, r.Code, r.Output())
	want.Contains(t, h.must(t, "echo "+adminPassword+" | tljh-install config test-auth alice"), "as an admin")

	h.set(t, "set auth.type native")
	refusal(t, h.browser(t, admin).Login(t.Context(), adminPassword), "a password of the authenticator before")
	want.Equal(t, "404", h.MustSh(t, "curl -so /dev/null -w '%{http_code}' http://127.0.0.1/hub/break-glass"))
	words := strings.Fields(h.must(t, "tljh-install config break-glass alice"))
	password := words[len(words)-4]
	want.Equal(t, "600", h.MustSh(t, "stat -c %a /opt/tljh/state/break-glass.json"))
	b := h.browser(t, admin)
	want.OK(t, b.LoginAt(t.Context(), "/hub/break-glass", password))
	me, err := b.Me(t.Context())
	want.OK(t, err)
	want.True(t, me.Admin, "the way in leads to no admin")
	refusal(t, h.browser(t, admin).LoginAt(t.Context(), "/hub/break-glass", "a-guess"), "a guess")
	want.Lacks(t, h.MustSh(t, "cat /opt/tljh/state/break-glass.json"), password)
	want.Contains(t, h.MustSh(t, "cat /opt/tljh/state/break-glass.json"), `"hash":"$2a$`)
	want.Contains(t, h.MustSh(t, "journalctl -u jupyterhub -b -o cat | grep break-glass"), "break-glass: alice logged in from "+h.Gateway(), "break-glass: a log-in as 'alice' from "+h.Gateway()+" was refused")
	left, err := strconv.Atoi(h.MustSh(t, `echo $(($(sed 's/.*"until":\([0-9]*\).*/\1/' /opt/tljh/state/break-glass.json) - $(date +%s)))`))
	want.OK(t, err)
	want.True(t, left > 0 && left <= 600, fmt.Sprintf("the way in stays open for %d s", left))
	h.must(t, "tljh-install config break-glass --off")
	want.Equal(t, "404", h.MustSh(t, "curl -so /dev/null -w '%{http_code}' http://127.0.0.1/hub/break-glass"))
	want.Lacks(t, h.MustSh(t, "journalctl -u jupyterhub; cat /opt/tljh/installer.log"), password)
	h.set(t, "unset auth")
	h.admin(t)
}

// certificate makes a certificate and key for a name.
func certificate(t *testing.T, name string, until time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	want.OK(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(7), DNSNames: []string{name}, NotBefore: until.AddDate(-1, 0, 0), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	want.OK(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	want.OK(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

func (h *hub) ownCertificate(t *testing.T, bob *client.Browser) {
	cert, key := certificate(t, "hub.example.org", time.Now().AddDate(0, 6, 0))
	_, otherKey := certificate(t, "hub.example.org", time.Now().AddDate(0, 6, 0))
	for path, text := range map[string]string{"/etc/hub.pem": cert, "/etc/hub.key": key, "/etc/other.key": otherKey} {
		want.OK(t, h.Write(t.Context(), path, 0o600, strings.NewReader(text)))
	}
	wrong := h.run(t, "tljh-install config set https '{enabled: true}'; tljh-install config set https.tls.key /etc/other.key; tljh-install config set https.tls.cert /etc/hub.pem; tljh-install config set https.enabled true --reload")
	want.Equal(t, exitBadInput, wrong.Code, wrong.Output())
	want.Contains(t, wrong.Output(), "does not belong to the certificate")
	h.must(t, "tljh-install config set https.tls.key /etc/hub.key && tljh-install config set https.enabled true --reload")

	transport := &http.Transport{DialContext: h.DialContext, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "hub.example.org"}}
	defer transport.CloseIdleConnections()
	visitor := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Timeout: 10 * time.Second}
	secure, err := visitor.Get("https://" + h.Address() + "/hub/login")
	want.OK(t, err)
	_ = secure.Body.Close()
	want.Equal(t, http.StatusOK, secure.StatusCode)
	plain, err := visitor.Get("http://" + h.Address() + "/hub/login")
	want.OK(t, err)
	_ = plain.Body.Close()
	want.Equal(t, http.StatusFound, plain.StatusCode)
	want.Contains(t, plain.Header.Get("Location"), "https://")
	want.Contains(t, h.must(t, "tljh-install status"), "https://hub.example.org/")
	const ask = "curl -kso /dev/null -w '%{http_code}' --connect-timeout 5 "
	h.must(t, "tljh-install config set https.port 8443 && tljh-install config set https.address 127.0.0.1 --reload")
	want.Equal(t, "200", h.MustSh(t, ask+"https://127.0.0.1:8443/hub/login"))
	want.Differ(t, 0, h.run(t, ask+"https://127.0.0.1/hub/login").Code)
	want.Differ(t, 0, h.run(t, ask+"https://"+h.Address()+":8443/hub/login").Code)
	// A certificate that is lost keeps nobody from changing what has nothing to do with it.
	h.must(t, "mv /etc/hub.pem /etc/lost.pem && tljh-install config set hub.name Physics && mv /etc/lost.pem /etc/hub.pem")
	h.set(t, "unset https")
	guest.Until(t, 60*time.Second, reaches(bob))
}

// TestBadConfigs does to the config what must not take the hub down.
func TestBadConfigs(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := installed(t)
	teacher := h.admin(t)
	bob := h.student(t, teacher, "bob")
	work := kernel(t, bob)
	compute(t, work, "x = 42")
	good := h.MustSh(t, "cat /opt/tljh/config/config.yaml")

	t.Run("the port is taken", func(t *testing.T) {
		h.MustSh(t, "systemd-run --quiet --unit=taker /opt/tljh/user/bin/python -m http.server 8081; for i in $(seq 100); do ss -ltn | grep -q :8081 && break; sleep 0.1; done")
		r := h.run(t, "tljh-install config set http.port 8081 --reload")
		want.Equal(t, exitBadInput, r.Code, r.Output())
		want.Contains(t, r.Output(), "port 8081 of http.port is taken by python", "choose another: sudo tljh-install config set http.port ")
		h.unharmed(t, good, bob, work)
	})
	t.Run("the hub does not start with it", func(t *testing.T) {
		h.MustSh(t, `echo 'if "/broken/" in open("/opt/tljh/config/config.yaml").read(): import os; os.write(2, b"CRITICAL no such place" + bytes([10])); os._exit(1)' > /opt/tljh/config/jupyterhub_config.d/picky.py`)
		r := h.run(t, "tljh-install config set base_url /broken/ --reload")
		want.Equal(t, exitFailed, r.Code, r.Output())
		want.Contains(t, r.Output(), "no such place", "The hub runs with version", "config.yaml.rejected")
		h.unharmed(t, good, bob, work)
		want.Contains(t, h.MustSh(t, "cat /opt/tljh/config/config.yaml.rejected; stat -c %a /opt/tljh/config/config.yaml.rejected"), "/broken/", "600")
		h.MustSh(t, "rm /opt/tljh/config/jupyterhub_config.d/picky.py")
	})
	t.Run("edited by hand and invalid", func(t *testing.T) {
		h.MustSh(t, "echo 'limits: {memory: lots}' >> /opt/tljh/config/config.yaml && systemctl restart jupyterhub")
		h.awaitHub(t, 60*time.Second)
		r := h.run(t, "tljh-install status")
		want.Equal(t, exitFailed, r.Code, r.Output())
		want.Contains(t, r.Output(), "PROBLEM", "limits.memory must be a size")
		want.Contains(t, h.MustSh(t, "journalctl -u jupyterhub"), "CONFIG NOT USED")
		page, err := h.admin(t).Open(t.Context(), "/hub/home")
		want.OK(t, err)
		want.Contains(t, page.Body, "does not run with its newest settings", "limits.memory")
		page, err = bob.Open(t.Context(), "/hub/home")
		want.OK(t, err)
		want.Lacks(t, page.Body, "newest settings")
		for _, verb := range []string{"validate", "reload"} {
			r = h.run(t, "tljh-install config "+verb)
			want.Equal(t, exitBadInput, r.Code, r.Output())
			want.Contains(t, r.Output(), "limits.memory must be a size")
		}
		h.must(t, "tljh-install config revert")
		h.unharmed(t, good, bob, work)
		want.Equal(t, 0, h.run(t, "tljh-install status").Code)
	})
	t.Run("edited by hand, and valid for a program that looks less closely", func(t *testing.T) {
		h.must(t, "tljh-install config add users.banned mallory --reload")
		before := h.MustSh(t, "cat /opt/tljh/config/config.yaml")
		for _, text := range []string{`users: {admin: [bob]}`, `bannd: [mallory]`, `auth: {type: dummy, DummyAuthenticator: {password: 12345}}`, `auth: {FirstUseAuthenticator: {create_user: true}}`} {
			h.MustSh(t, "echo '"+text+"' >> /opt/tljh/config/config.yaml && systemctl restart jupyterhub")
			h.awaitHub(t, 60*time.Second)
			want.Contains(t, h.MustSh(t, "cat /opt/tljh/state/config.applied.yaml"), "mallory")
			want.Lacks(t, h.MustSh(t, "cat /opt/tljh/state/config.applied.yaml"), text)
			r := h.run(t, "tljh-install status")
			want.Equal(t, exitFailed, r.Code, r.Output())
			want.Contains(t, r.Output(), "PROBLEM")
			r = h.run(t, "tljh-install config validate")
			want.Equal(t, exitBadInput, r.Code, r.Output())
			refusal(t, h.browser(t, "stranger").Login(t.Context(), "any-password"), "a stranger, with "+text)
			refusal(t, h.browser(t, admin).Login(t.Context(), "any-password"), "an admin's name with any password, with "+text)
			me, err := h.login(t, "bob", passwordOf("bob")).Me(t.Context())
			want.OK(t, err)
			want.True(t, !me.Admin, "bob is an admin with "+text)
			page, err := h.browser(t, "").Open(t.Context(), "/hub/login")
			want.OK(t, err)
			want.Contains(t, page.Body, "Admins of this hub: please log in")
			want.Lacks(t, page.Body, "not valid")
			h.must(t, "tljh-install config revert")
			h.unharmed(t, before, bob, work)
		}
		h.must(t, "tljh-install config remove users.banned mallory --reload && tljh-install config unset users.banned --reload")
		h.unharmed(t, good, bob, work)
	})
	t.Run("in an editor", func(t *testing.T) {
		h.must(t, "SUDO_EDITOR='sed -i \"$ a limits: {cpu: 1.5}\"' tljh-install config edit")
		want.Contains(t, h.must(t, "tljh-install status"), "valid, in effect")
		want.Contains(t, h.MustSh(t, "cat /opt/tljh/state/config.applied.yaml"), "cpu: 1.5")
		want.Contains(t, h.must(t, "tljh-install config history && tljh-install config history --json"), "config edit", `"how":"config edit"`)
		want.Contains(t, h.must(t, "tljh-install config history $(tljh-install config history --json | tr , '\n' | grep -o '\"number\":[0-9]*' | tail -1 | cut -d: -f2)"), "+limits: {cpu: 1.5}")
		h.must(t, "tljh-install config revert")
		h.unharmed(t, good, bob, work)

		h.MustSh(t, `echo 'if "/refused/" in open("/opt/tljh/config/config.yaml").read(): import os; os.write(2, b"CRITICAL no such place" + bytes([10])); os._exit(1)' > /opt/tljh/config/jupyterhub_config.d/picky.py`)
		r := h.run(t, "SUDO_EDITOR='sed -i \"$ a base_url: /refused/\"' tljh-install config edit")
		want.Equal(t, exitFailed, r.Code, r.Output())
		want.Contains(t, r.Output(), "+base_url: /refused/", "no such place", "The hub runs with version")
		h.unharmed(t, good, bob, work)
	})
	t.Run("the hub hangs with it", func(t *testing.T) {
		h.MustSh(t, `echo 'if "/hangs/" in open("/opt/tljh/config/config.yaml").read(): import time; time.sleep(600)' > /opt/tljh/config/jupyterhub_config.d/slow.py`)
		r := h.run(t, "tljh-install config set base_url /hangs/ --reload")
		want.Equal(t, exitFailed, r.Code, r.Output())
		want.Contains(t, r.Output(), "did not come up within", "The hub runs with version")
		want.True(t, r.Took < 150*time.Second, "it was waited for too long")
		h.unharmed(t, good, bob, work)
		h.MustSh(t, "rm /opt/tljh/config/jupyterhub_config.d/*.py")
	})
	t.Run("killed as soon as it is saved", func(t *testing.T) {
		h.MustSh(t, "tljh-install config set limits.cpu 7 --reload & while ! grep -q 'cpu: 7' /opt/tljh/config/config.yaml; do :; done; kill -9 $!; wait || true")
		want.Contains(t, h.run(t, "tljh-install status").Output(), "valid")
		h.must(t, "tljh-install config reload")
		want.Contains(t, h.must(t, "tljh-install status"), "valid, in effect")
		h.must(t, "tljh-install config unset limits.cpu --reload")
		h.unharmed(t, good, bob, work)
	})
	t.Run("killed while it is taken back", func(t *testing.T) {
		h.MustSh(t, `rm -f /opt/tljh/config/config.yaml.rejected; echo 'if "/refused/" in open("/opt/tljh/config/config.yaml").read(): import os; os.write(2, b"CRITICAL no such place" + bytes([10])); os._exit(1)' > /opt/tljh/config/jupyterhub_config.d/picky.py`)
		h.MustSh(t, "tljh-install config set base_url /refused/ --reload & while [ ! -e /opt/tljh/config/config.yaml.rejected ]; do :; done; kill -9 $!; wait || true")
		r := h.run(t, "tljh-install config reload")
		if r.Code != 0 { // the file had not been put back yet: this time it is
			want.Equal(t, exitFailed, r.Code, r.Output())
		}
		h.unharmed(t, good, bob, work)
		h.MustSh(t, "rm /opt/tljh/config/jupyterhub_config.d/picky.py")
		h.must(t, "tljh-install config reload")
	})
	t.Run("killed between saving and restarting", func(t *testing.T) {
		killed := false
		for cpus := 2; !killed && cpus < 8; cpus++ {
			h.must(t, fmt.Sprintf("tljh-install config set limits.cpu %d", cpus))
			killed = h.killWhileHubRestarts(t, "tljh-install", "config", "reload")
		}
		want.True(t, killed, "the reload was always faster")
		h.awaitHub(t, 60*time.Second)
		want.Equal(t, "42", recall(t, bob, work))
		h.must(t, "tljh-install config reload")
		want.Contains(t, h.must(t, "tljh-install status"), "valid, in effect")
		// Who came first is all the same: the hub, which took it by itself, or the second reload.
		newest := strings.Split(h.must(t, "tljh-install config history"), "\n")[1]
		want.True(t, strings.Contains(newest, "its own start") || strings.Contains(newest, "config reload"), "the history ends with "+newest)
	})
	t.Run("two editors at once", func(t *testing.T) {
		first := h.slowEditor(t, "")
		waiting, err := h.Start(t.Context(), "tljh-install", "config", "set", "limits.cpu", "3")
		want.OK(t, err)
		want.Equal(t, "700", h.MustSh(t, "stat -c %a /run/tljh/tljh-config-*"))
		h.MustSh(t, "echo > /root/go")
		r, err := first.Wait()
		want.OK(t, err)
		want.Equal(t, 0, r.Code, r.Output())
		r, err = waiting.Wait()
		want.OK(t, err)
		want.Equal(t, 0, r.Code, r.Output())
		want.Contains(t, h.MustSh(t, "cat /opt/tljh/config/config.yaml"), "cpu: 3")
		h.must(t, "tljh-install config unset limits.cpu --reload")
		want.Equal(t, "", h.MustSh(t, "ls -d /run/tljh/tljh-config-* 2>/dev/null || true"), "copies of the config were left")
	})
	t.Run("the older command line", func(t *testing.T) {
		h.must(t, "tljh-config set limits.memory 2G && tljh-config add-item users.allowed eve && tljh-config remove-item users.allowed eve && tljh-config unset limits.memory")
		want.Equal(t, exitUsage, h.run(t, "tljh-config reload everything").Code)
		h.must(t, "tljh-config reload proxy")
		want.Contains(t, h.must(t, "tljh-config show"), "users:")
		h.must(t, "tljh-config --config-path /root/other.yaml set limits.memory 1G")
		want.Equal(t, "limits:\n  memory: 1G", h.MustSh(t, "cat /root/other.yaml"))
	})
	want.Equal(t, "42", recall(t, bob, work), "bob's kernel after all of this")
}

// killWhileHubRestarts kills a command without mercy as soon as the hub is down. It is false when the command was faster.
func (h *hub) killWhileHubRestarts(t *testing.T, argv ...string) bool {
	t.Helper()
	command, err := h.Start(t.Context(), argv...)
	want.OK(t, err)
	for {
		r, err := h.Exec(t.Context(), "systemctl", "is-active", "jupyterhub")
		want.OK(t, err)
		if strings.TrimSpace(r.Stdout) != "active" {
			break
		}
		select {
		case <-command.Done():
			return false
		default:
		}
	}
	h.MustSh(t, "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -q '^"+strings.Join(argv, " ")+"' && kill -9 ${p#/proc/}; done; true")
	r, err := command.Wait()
	want.OK(t, err)
	return r.Code != 0
}

// unharmed wants the config as it was, and a hub that works with it.
func (h *hub) unharmed(t *testing.T, config string, b *client.Browser, work *client.Kernel) {
	t.Helper()
	h.awaitHub(t, 60*time.Second)
	want.Equal(t, config, h.MustSh(t, "cat /opt/tljh/config/config.yaml"))
	want.Equal(t, "0", h.MustSh(t, "stat -c %u /opt/tljh/config/config.yaml"))
	want.Equal(t, "600", h.MustSh(t, "stat -c %a /opt/tljh/config/config.yaml"))
	guest.Until(t, 60*time.Second, reaches(b))
	want.Equal(t, "42", recall(t, b, work))
}

// TestAdminsChangeTheEnvironment lets two admins install packages from their notebooks, by turns, and a student try.
func TestAdminsChangeTheEnvironment(t *testing.T) {
	t.Parallel()
	h := installed(t)
	teacher := h.admin(t)
	enrol(t, teacher, "zoe", "bob")
	h.set(t, "add users.admin zoe")
	h.must(t, "echo "+passwordOf("zoe")+" | tljh-install password zoe")
	alice, zoe := h.login(t, admin, adminPassword), h.login(t, "zoe", passwordOf("zoe"))
	bob := h.login(t, "bob", passwordOf("bob"))
	for _, b := range []*client.Browser{alice, zoe, bob} {
		start(t, b)
	}
	hers, theirs, his := kernel(t, alice), kernel(t, zoe), kernel(t, bob)
	pip := func(k *client.Kernel, arguments string) string {
		return compute(t, k, "import subprocess, sys; r = subprocess.run("+fmt.Sprintf("%q", "pip --disable-pip-version-check "+arguments)+
			", shell=True, capture_output=True, text=True); print(r.returncode, r.stdout[-400:], r.stderr[-400:])")
	}
	h.packageSources(t, hers, theirs, his)
	want.Equal(t, "0", pip(hers, "install -q cowsay==6.0"))
	want.Equal(t, "6.0", compute(t, his, "from importlib.metadata import version; print(version('cowsay'))"))
	want.Equal(t, "0", pip(theirs, "install -q cowsay==6.1"))
	want.Equal(t, "6.1", compute(t, his, "print(version('cowsay'))"))
	want.Equal(t, "0", pip(hers, "uninstall -q -y cowsay"))
	want.Contains(t, pip(his, "install cowsay==6.0"), "0 Defaulting to user installation")
	want.Contains(t, pip(his, "uninstall -y cowsay"), "0 Found existing installation")
	want.Contains(t, pip(his, "install -q --upgrade --target /opt/tljh/user/site-packages cowsay==6.0"), "Permission denied")
	want.Equal(t, "/opt/tljh/user/bin/pip", compute(t, hers, "print(subprocess.run(['bash', '-lc', 'which pip'], capture_output=True, text=True).stdout)"))
	h.must(t, "tljh-install config set user_environment.packages '[cowsay==6.0]' && tljh-install install")
	his = reconnect(t, bob, his) // a connection that nobody read from for a minute is ended by the server
	want.Equal(t, "6.0", compute(t, his, "print(version('cowsay'))"))
	want.Contains(t, h.must(t, "tljh-install install"), "Nothing to do")
	want.Equal(t, "", h.MustSh(t, "find /opt/tljh/hub/ /opt/tljh/python /opt/tljh/tools -xdev ! -uid 0 | head -3"), "what is not root's in what root runs")
}

// TestSiteAccounts has a site whose users have accounts already.
func TestSiteAccounts(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := installed(t)
	h.MustSh(t, "mkdir -p /srv/people && useradd --create-home --home-dir /srv/people/eve eve")
	h.set(t, "set users.account_prefix ''", "set users.home_root /srv/homes/of/students", "set users.extra_user_groups '{course: [eve, frank]}'")
	teacher := h.admin(t)
	enrol(t, teacher, "eve", "frank", "daemon")
	refusal(t, h.browser(t, "eve").Login(t.Context(), "chosen-by-a-stranger"), "claiming an account that is somebody's")
	for _, name := range []string{"eve", "daemon"} {
		h.must(t, "echo "+passwordOf(name)+" | tljh-install password "+name)
	}
	for name, home := range map[string]string{"eve": "/srv/people/eve", "frank": "/srv/homes/of/students/frank"} {
		b := h.login(t, name, passwordOf(name))
		start(t, b)
		k := kernel(t, b)
		want.Equal(t, name+" "+home, compute(t, k, "import os, pwd; print(pwd.getpwuid(os.getuid()).pw_name, os.getcwd())"))
		want.Contains(t, h.MustSh(t, "id "+name), "course", "jupyterhub-users")
		want.Equal(t, "700", h.MustSh(t, "stat -c %a /srv/homes/of/students/frank 2>/dev/null || echo 700"))
	}
	want.Contains(t, spawnFailure(t, h.login(t, "daemon", passwordOf("daemon"))), "one of the system's own")
	h.must(t, "tljh-install config set base_url /jupyter/ --reload")
	want.Equal(t, "200", h.MustSh(t, "curl -so /dev/null -w '%{http_code}' http://127.0.0.1/jupyter/hub/login"))
	want.Contains(t, h.must(t, "tljh-install status"), "/jupyter/")
}

// slowEditor opens the config in an editor that goes on when somebody writes into /root/go. Another editor is told who holds it.
func (h *hub) slowEditor(t *testing.T, then string) *guest.Process {
	t.Helper()
	h.MustSh(t, "mkfifo /root/go && printf '#!/bin/sh\\ntouch /root/editing; cat /root/go"+then+"\\n' > /root/slow && chmod +x /root/slow")
	first, err := h.Start(t.Context(), "env", "EDITOR=/root/slow", "tljh-install", "config", "edit")
	want.OK(t, err)
	h.awaitPath(t, first, "/root/editing", 60*time.Second)
	second := h.run(t, "EDITOR=true tljh-install config edit")
	want.Equal(t, exitBusy, second.Code, second.Output())
	want.Contains(t, second.Output(), "somebody is editing the config", "root, process ")
	return first
}

// packageSources gives kernels the settings for package sources that the guest's root has.
func (h *hub) packageSources(t *testing.T, kernels ...*client.Kernel) {
	t.Helper()
	var set []string
	for _, line := range strings.Split(h.MustSh(t, "env"), "\n") {
		key, value, _ := strings.Cut(line, "=")
		if strings.HasPrefix(key, "PIP_") || strings.HasSuffix(strings.ToLower(key), "_proxy") || strings.HasPrefix(key, "SSL_CERT") || key == "REQUESTS_CA_BUNDLE" {
			set = append(set, fmt.Sprintf("%q: %q", key, value))
		}
	}
	settings, err := json.Marshal(map[string]string{"SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt", "PIP_CERT": "/etc/ssl/certs/ca-certificates.crt"})
	want.OK(t, err)
	for _, k := range kernels {
		compute(t, k, "import os; os.environ.update("+string(settings)+"); os.environ.update({"+strings.Join(set, ", ")+"})")
	}
}

// TestTheEnvironmentIsNeverLost breaks the shared environment as admins do, and brings it back.
func TestTheEnvironmentIsNeverLost(t *testing.T) {
	t.Parallel()
	h := installed(t)
	teacher := h.admin(t)
	start(t, teacher)
	var k *client.Kernel
	bob := h.student(t, teacher, "bob")
	pip := func(arguments string) {
		want.Equal(t, "0", compute(t, k, "import subprocess; r = subprocess.run("+fmt.Sprintf("%q", "pip --disable-pip-version-check "+arguments)+
			", shell=True, capture_output=True, text=True); print(r.returncode, r.stderr[-400:])"))
	}
	history := func(words ...string) func(context.Context) error {
		return func(ctx context.Context) error {
			r, err := h.Exec(ctx, "tljh-install", "env", "history")
			for _, part := range words {
				if err == nil && !strings.Contains(r.Stdout, part) {
					err = fmt.Errorf("the history has no %q:\n%s", part, r.Output())
				}
			}
			return err
		}
	}
	const site = "/opt/tljh/user/lib/python3.14/site-packages"
	want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")

	t.Run("who may not change it installs at home", func(t *testing.T) {
		theirs := kernel(t, bob)
		h.packageSources(t, theirs)
		got := compute(t, theirs, "import subprocess; r = subprocess.run('pip --disable-pip-version-check install --no-deps cowsay==6.0', shell=True, capture_output=True, text=True); print(r.returncode, r.stdout[:200], r.stderr[-400:])")
		want.Contains(t, got, "0 Defaulting to user installation")
		again := kernel(t, bob)
		want.Contains(t, compute(t, again, "import cowsay; print(cowsay.__file__)"), "/home/jupyter-bob/.local/")
		want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")
		h.MustSh(t, "rm -r /home/jupyter-bob/.local/lib")
	})
	t.Run("each change leaves a snapshot", func(t *testing.T) {
		k = kernel(t, teacher)
		h.packageSources(t, k)
		pip("install -q cowsay==6.0")
		guest.Until(t, 90*time.Second, history("+cowsay 6.0", "jupyter-alice"))
		pip("install -q cowsay==6.1")
		guest.Until(t, 90*time.Second, history("cowsay 6.0 → 6.1"))
		h.MustSh(t, "for i in $(seq 60); do touch "+site+"/x; rm "+site+"/x; sleep 0.05; done")
		want.Equal(t, "active", h.property(t, "tljh-environment.path", "ActiveState"), "the watch after many changes")
		want.Contains(t, h.must(t, "tljh-install env list"), "cowsay")
		want.Contains(t, h.must(t, "tljh-install env export"), "cowsay==6.1")
	})
	t.Run("back", func(t *testing.T) {
		r := h.run(t, "tljh-install env rollback --yes")
		want.Equal(t, 0, r.Code, r.Output())
		t.Logf("going back took %.2f s", r.Took.Seconds())
		want.Contains(t, h.must(t, "tljh-install env export"), "cowsay==6.0")
		want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")
		fresh := h.again(t, bob)
		want.Equal(t, "6.0", compute(t, fresh, "from importlib.metadata import version; print(version('cowsay'))"))
		want.Contains(t, compute(t, fresh, "import sys; print(sys.prefix)"), "user-2")
		k = h.again(t, teacher)
		h.packageSources(t, k)
		want.Equal(t, "/opt/tljh/generations/user-2/bin/python", compute(t, k, "print(open('/opt/tljh/user/bin/pip').readline()[2:].strip())"))
		pip("install -q cowsay==6.1")
		guest.Until(t, 90*time.Second, history("cowsay 6.0 → 6.1"))
		want.Contains(t, h.must(t, "tljh-install env export"), "cowsay==6.1")
	})
	t.Run("files are lost", func(t *testing.T) {
		h.MustSh(t, "rm -rf "+site+"/tornado/web.py "+site+"/cowsay && echo >> "+site+"/jupyter_server/serverapp.py")
		r := h.run(t, "tljh-install env check")
		want.Equal(t, exitFailed, r.Code, r.Output())
		want.Contains(t, r.Output(), "tornado: tornado/web.py is missing", "cowsay: ", "jupyter-server: jupyter_server/serverapp.py was changed")
		r = h.run(t, "tljh-install env repair")
		want.Equal(t, 0, r.Code, r.Output())
		want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")
		h.again(t, bob)
	})
	t.Run("another JupyterHub", func(t *testing.T) {
		k = kernel(t, teacher)
		pip("uninstall -q -y jupyterhub")
		want.Contains(t, h.run(t, "tljh-install env check").Output(), "JupyterHub is missing")
		h.must(t, "tljh-install env repair")
		h.again(t, bob)
	})
	t.Run("without a network, from a snapshot", func(t *testing.T) {
		h.MustSh(t, "rm -rf "+site+"/jupyter_server "+site+"/ipykernel")
		r := h.run(t, "PIP_INDEX_URL=http://127.0.0.1:9/simple UV_DEFAULT_INDEX=http://127.0.0.1:9/simple tljh-install env repair")
		want.Equal(t, 0, r.Code, r.Output())
		want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")
		h.again(t, bob)
	})
	t.Run("all of it is gone", func(t *testing.T) {
		h.MustSh(t, "rm -rf /opt/tljh/user/* /opt/tljh/user/.[a-z]*")
		h.must(t, "tljh-install env rollback --yes")
		h.again(t, bob)
	})
	t.Run("the watch fails", func(t *testing.T) {
		// As when the kernel has no inotify instance left, which all guests of a machine share.
		h.MustSh(t, "d=/etc/systemd/system/tljh-environment && mkdir -p $d.path.d $d.timer.d && printf '[Path]\nPathChanged=\n' >$d.path.d/broken.conf && "+
			"printf '[Timer]\nOnActiveSec=1\nOnUnitInactiveSec=3\nAccuracySec=1\n' >$d.timer.d/often.conf && systemctl daemon-reload && systemctl stop tljh-environment.path && systemctl restart tljh-environment.timer")
		r := h.run(t, "tljh-install status")
		want.Equal(t, exitFailed, r.Code)
		want.Contains(t, r.Output(), "tljh-environment.path", "fs.inotify.max_user_instances")
		want.Contains(t, h.must(t, "tljh-install install"), "the watch on the user environment does not start", "fs.inotify.max_user_instances")
		k = h.again(t, teacher)
		h.packageSources(t, k)
		pip("install -q pyfiglet==1.0.2")
		guest.Until(t, 90*time.Second, history("+pyfiglet 1.0.2"))
		h.MustSh(t, "rm -r /etc/systemd/system/tljh-environment.path.d && systemctl daemon-reload")
		guest.Until(t, 60*time.Second, func(ctx context.Context) error {
			r, err := h.Sh(ctx, "systemctl is-active tljh-environment.path")
			if err == nil && r.Code != 0 {
				err = fmt.Errorf("the watch is not tried again: %s", r.Output())
			}
			return err
		})
		h.MustSh(t, "rm -r /etc/systemd/system/tljh-environment.timer.d && systemctl daemon-reload")
	})
	want.Contains(t, h.must(t, "tljh-install env install six"), "Installed for all users")
	want.Equal(t, 0, h.run(t, "tljh-install status").Code)
}
