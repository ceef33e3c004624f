package integration

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"tljh/integration-tests/want"
)

// launch is what a learning platform does: it sends a student to the hub with a signed form (LTI 1.1).
const launch = `
import sys, urllib.error, urllib.parse, urllib.request
from oauthlib.oauth1 import Client
secret, user = sys.argv[1:]
url = "http://127.0.0.1/hub/lti/launch"
fields = {"lti_message_type": "basic-lti-launch-request", "lti_version": "LTI-1p0", "resource_link_id": "1", "user_id": user, "lis_person_name_full": user,
          "lis_person_contact_email_primary": user + "@example.org", "custom_canvas_user_login_id": user}
_, headers, body = Client("course", secret, signature_type="BODY").sign(url, "POST", fields, {"Content-Type": "application/x-www-form-urlencoded"})
class Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None
try:
    answer = urllib.request.build_opener(Stay).open(urllib.request.Request(url, body.encode(), headers), timeout=30)
except urllib.error.HTTPError as error:
    answer = error
cookies = " ".join(answer.headers.get_all("Set-Cookie") or [])
print(answer.status, "in" if "jupyterhub-hub-login=" in cookies else "out")
`

// spoiler is a package whose setup.py tries what it can do while it is built, and that keeps the hub from starting.
const spoiler = `
mkdir -p /srv/spoiler-1 && cd /srv/spoiler-1
cat > setup.py <<'X'
import os, pathlib
from setuptools import setup
found = [f"uid={os.getuid() == 0}"]
for name in ("/etc/shadow", "/opt/tljh/config/config.yaml", "/opt/tljh/state/jupyterhub.sqlite", "/root/secret", "/home/jupyter-alice/secret"):
    try:
        pathlib.Path(name).read_text(errors="replace")
        found.append("read " + name)
    except OSError:
        pass
for folder in ("/opt/tljh", "/opt/tljh/hub", "/opt/tljh/user", "/etc", "/srv", "/opt/tljh/cache"):
    try:
        pathlib.Path(folder, "spoilt").touch()
        found.append("wrote to " + folder)
    except OSError:
        pass
try:
    pathlib.Path("/home/spoilt").touch()  # a /home of its own, if at all
except OSError:
    pass
pathlib.Path("spoiler.py").write_text(f"found = {found!r}\n")
setup(name="spoiler", version="1", py_modules=["spoiler"], data_files=[("lib/python3.14/site-packages", ["spoiler.pth"])])
X
echo "import os, sys; any('jupyterhub_config.py' in word for word in sys.orig_argv) and os._exit(7)" > spoiler.pth
printf 'Metadata-Version: 2.1\nName: spoiler\nVersion: 1\n' > PKG-INFO
echo "include spoiler.pth" > MANIFEST.in
cd /srv && tar -czf spoiler-1.tar.gz spoiler-1
`

// courseware is a plugin of the older TLJH with all its hooks.
const courseware = `
mkdir -p /srv/courseware-1 && cd /srv/courseware-1
cat > setup.py <<'X'
from setuptools import setup
setup(name="courseware", version="1", py_modules=["courseware"], entry_points={"tljh": ["courseware = courseware"]})
X
cat > courseware.py <<'X'
import os, pwd
from tljh.config import CONFIG_FILE
from tljh.hooks import hookimpl
from tljh.user import ensure_group, ensure_user_group

@hookimpl
def tljh_extra_user_conda_packages():
    return []

@hookimpl
def tljh_extra_user_pip_packages():
    return ["cowsay"]

@hookimpl
def tljh_extra_hub_pip_packages():
    return ["there"]

@hookimpl
def tljh_extra_apt_packages():
    return ["tree"]

@hookimpl
def tljh_custom_jupyterhub_config(c):
    c.Spawner.environment = {"COURSE": "herds"}

@hookimpl
def tljh_config_post_install(config):
    config.setdefault("limits", {})["cpu"] = 1.5

@hookimpl
def tljh_post_install():
    ensure_group("herders")
    with open("/etc/courseware", "w") as file:
        file.write(f"{os.getuid()} {CONFIG_FILE}")

@hookimpl
def tljh_new_user_create(username):
    ensure_user_group(username, "herders")
    with open(os.path.join(pwd.getpwnam(username).pw_dir, "welcome.txt"), "w") as file:
        file.write("welcome")
X
printf 'Metadata-Version: 2.1\nName: courseware\nVersion: 1\n' > PKG-INFO
cd /srv && tar -czf courseware-1.tar.gz courseware-1
`

// pluginOfTheOlder installs a plugin of the older TLJH, and breaks it.
func (h *hub) pluginOfTheOlder(t *testing.T) {
	h.MustSh(t, courseware)
	h.must(t, "tljh-install install --plugin 'courseware @ file:///srv/courseware-1.tar.gz'")
	want.Contains(t, h.must(t, "tljh-install config get hub.packages"), "courseware @ file:///srv/courseware-1.tar.gz")
	h.MustSh(t, "tree --version; /opt/tljh/hub/bin/python -c 'import there'; /opt/tljh/user/bin/python -c 'import cowsay'")
	want.Contains(t, h.must(t, "tljh-install config get limits.cpu"), "1.5")
	want.Contains(t, h.must(t, "tljh-install config history"), "tljh_config_post_install")
	want.Contains(t, h.must(t, "tljh-install env history"), "cowsay")
	want.Equal(t, "0 /opt/tljh/config/config.yaml", h.MustSh(t, "cat /etc/courseware"))
	bob := h.student(t, h.admin(t), "bob")
	want.Equal(t, "herds", compute(t, kernel(t, bob), "import os; print(os.environ['COURSE'])"))
	want.Equal(t, "jupyter-bob", h.MustSh(t, "stat -c %U /home/jupyter-bob/welcome.txt"))
	want.Contains(t, h.MustSh(t, "id -nG jupyter-bob"), "herders")
	want.Contains(t, h.must(t, "tljh-install status"), "plugin courseware")
	h.must(t, "rm /etc/courseware; tljh-install install && test ! -e /etc/courseware")

	h.MustSh(t, "sed -i 's/c.Spawner.environment = .*/raise ValueError(\"no course today\")/' /opt/tljh/hub/lib/python3.14/site-packages/courseware.py && systemctl restart jupyterhub")
	h.awaitHub(t, time.Minute)
	h.admin(t)
	r := h.run(t, "tljh-install status")
	want.Equal(t, exitFailed, r.Code, r.Output())
	want.Contains(t, r.Output(), "plugin courseware: left out as a whole: ", "ValueError: no course today")
	h.must(t, "tljh-install config unset hub.packages && tljh-install config unset limits.cpu && tljh-install install")
}

// TestHubPackages adds an authenticator that the hub does not come with, as a teacher does who links a hub to a learning platform.
func TestHubPackages(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := installed(t)
	hubOf := func() string {
		return h.MustSh(t, "readlink /opt/tljh/hub; systemctl show -P MainPID jupyterhub.service")
	}
	came := func(secret string) string {
		h.MustSh(t, "cat > /root/launch.py <<'X'"+launch+"X\n")
		return strings.TrimSpace(h.MustSh(t, "/opt/tljh/hub/bin/python /root/launch.py "+secret+" nora"))
	}
	first := h.MustSh(t, "readlink /opt/tljh/hub")
	const class = "ltiauthenticator.lti11.auth.LTI11Authenticator"

	r := h.run(t, "tljh-install config set auth.type "+class)
	want.Equal(t, exitBadInput, r.Code, r.Output())
	want.Contains(t, r.Output(), "No module named 'ltiauthenticator'", "sudo tljh-install config add hub.packages NAME")

	was := hubOf()
	h.must(t, "tljh-install config add hub.packages jupyterhub-ltiauthenticator")
	h.must(t, "tljh-install config set auth.LTI11Authenticator '{consumers: {course: s3cret-of-lti}, username_key: user_id, allow_all: true}'")
	want.Contains(t, h.must(t, "tljh-install config set auth.type "+class), "until hub.packages is installed", "sudo tljh-install install")
	r = h.run(t, "tljh-install config reload")
	want.Equal(t, exitBadInput, r.Code, r.Output())
	want.Contains(t, r.Output(), "until hub.packages is installed", "sudo tljh-install install")
	want.Equal(t, was, hubOf(), "the hub was touched")

	h.must(t, "tljh-install install")
	page, err := h.browser(t, "nora").Open(t.Context(), "/hub/login")
	want.OK(t, err)
	want.True(t, page.Status != http.StatusNotFound && strings.Contains(page.URL.Path, "/hub/lti/launch"), "the login page leads to "+page.URL.Path)
	want.Equal(t, "302 in", came("s3cret-of-lti"))
	want.Lacks(t, came("wrong-secret"), "in")
	want.Contains(t, h.must(t, "tljh-install install"), "Nothing to do")
	want.Equal(t, "", h.MustSh(t, "find /opt/tljh/hub/ -xdev ! -uid 0 -o -perm /022 ! -type l | head -3"), "what is not root's alone in what root runs")

	was = hubOf()
	for _, c := range []struct{ packages, words string }{
		{"'[jupyterhub-ltiauthenticator, jupyterhub==4.0.2]'", "jupyterhub==4.0.2"},
		{"'[jupyterhub-ltiauthenticator, tljh-no-such-package-of-anybody]'", "tljh-no-such-package-of-anybody"},
		{"'[]'", "cannot use auth.type " + class},
	} {
		h.must(t, "tljh-install config set hub.packages "+c.packages)
		r = h.run(t, "tljh-install install")
		want.True(t, r.Code != 0, "installed: "+c.packages)
		want.Contains(t, r.Output(), c.words, "hub.packages")
		want.Equal(t, was, hubOf(), "the hub was touched")
		want.Equal(t, "302 in", came("s3cret-of-lti"))
		want.Contains(t, h.must(t, "tljh-install status"), "in effect but for hub.packages")
	}

	h.must(t, "tljh-install config set hub.packages '[jupyterhub-ltiauthenticator]' && tljh-install install")
	want.Equal(t, was, hubOf(), "nothing had to be done")
	h.MustSh(t, spoiler)
	h.must(t, "tljh-install config add hub.packages 'spoiler @ file:///srv/spoiler-1.tar.gz'")
	r = h.run(t, "echo mine > /root/secret; tljh-install install")
	want.True(t, r.Code != 0, "a hub that does not start is said to work")
	want.Contains(t, r.Output(), "The hub runs in the environment before")
	want.Equal(t, "302 in", came("s3cret-of-lti"))
	want.Equal(t, strings.Fields(was)[0], strings.TrimSpace(h.MustSh(t, "readlink /opt/tljh/hub")))
	want.Equal(t, "['uid=False']", strings.TrimSpace(h.MustSh(t, "cd $(dirname /opt/tljh/generations/*/lib/python3.14/site-packages/spoiler.py) && "+
		"/opt/tljh/python/*/bin/python3 -c 'import spoiler; print(spoiler.found)'")), "what a package could do while it was built")

	h.must(t, "test ! -e /home/spoilt")
	h.must(t, "tljh-install config unset hub.packages && tljh-install config unset auth.LTI11Authenticator && tljh-install config unset auth.type && tljh-install install")
	want.Equal(t, strings.TrimSpace(first), strings.TrimSpace(h.MustSh(t, "readlink /opt/tljh/hub")), "the environment without packages is there still")
	h.pluginOfTheOlder(t)
	h.admin(t)
	want.Contains(t, h.must(t, "tljh-install status"), "valid, in effect")
}
