// Package attacks holds what people without rights try against a hub: a student with an account, and a stranger without one. It was written by somebody who did
// not write the hub. The tries are data; TestTriesOfAttackers makes them at a real hub.
package attacks

import _ "embed"

// Student is what a student's program tries on the machine itself. It reads facts about the victims and prints a result for each try.
//
//go:embed student.py
var Student string

// Lurk is a program that a student left behind, which watches what appears while another's server starts.
//
//go:embed lurk.py
var Lurk string

// Spy is a server that shows what it was sent, and sets cookies for all of the hub. No student's server does that by default: it stands for one that does.
//
//go:embed spy.py
var Spy string

// Take takes a port at an address, holds it, and says in a file what came of it.
//
//go:embed take.py
var Take string

// Large begins many requests with large bodies, and ends none.
//
//go:embed large.py
var Large string

// OthersFiles are addresses by which a student may hope to get at the file "diary" of carol, with bob's own cookies.
var OthersFiles = []string{
	"/user/carol/files/diary",
	"/user/bob/../carol/files/diary",
	"/user/bob/%2e%2e/carol/files/diary",
	"/user/bob/..%2fcarol/files/diary",
	"/user/bob%2f..%2fcarol/files/diary",
	"/user/bob/..;/carol/files/diary",
	"//user/carol/files/diary",
	"http://localhost/user/carol/files/diary",
	"/user/carol%00/files/diary",
	"/user/bob/nbconvert/html/..%2fjupyter-carol%2fdiary",
	"/user/bob/files/%2e%2e/jupyter-carol/diary",
	"/user/bob/files/..%2fjupyter-carol%2fdiary",
}

// Misread are addresses of a student's server that a program in front of it may take for the hub's, and so send it the hub's cookies.
var Misread = []string{
	"/user/bob/spy/x",
	"/user/bob/spy/..%2f..%2f..%2fhub/home",
	"/user/bob/spy/..%5c..%5c..%5chub/home",
	"//evil.test/user/bob/spy/x",
	"/%75ser/bob/spy/x",
	"/user%2fbob/spy/x",
	"/hub/../user/bob/spy/x",
	"/hub/%2e%2e/user/bob/spy/x",
}

// Mark is what must not come back as part of a page.
const Mark = "<tljh-mark>"

// Reflecting are addresses that might be shown on a page as they are. MARK is replaced by the mark, encoded.
var Reflecting = []string{
	"/MARK",
	"/hub/MARK",
	"/hub/login?next=%2Fhub%2F%22%3EMARK",
	"/hub/login?username=%22%3EMARK",
	"/hub/confirm?next=%2Fhub%2F%22%3EMARK",
	"/hub/spawn/MARK?MARK",
	"/hub/user-redirect/MARK?x=%22%3EMARK",
	"/hub/api/oauth2/authorize?client_id=MARK&response_type=code&redirect_uri=%2FMARK",
	"/hub/api/users/MARK",
	"/hub/oauth_callback?error=MARK&error_description=MARK",
	"/hub/accept-share?code=MARK",
	"/hub/static/MARK",
	"/user/MARK/lab",
	"/services/MARK/",
	"/user/bob/MARK",
	"/user/bob/files/MARK",
	"/user/bob/lab/tree/MARK?reset=%22%3EMARK",
	"/user/bob/nbconvert/html/MARK",
}

// Elsewhere are targets that a login must not lead to.
var Elsewhere = []string{
	"//evil.test/", "https://evil.test/", `/\evil.test/`, `\/evil.test`, "///evil.test/", "/%09/evil.test/", "/\t/evil.test/", "/hub/..//evil.test/",
	"javascript:alert(1)", "http://HOST@evil.test/", "http://HOST.evil.test/", "/user/bob/../..//evil.test/", "http:evil.test", "HTTP:///evil.test/",
}

// Leading are addresses that may answer with a redirect to where the address says.
var Leading = []string{
	"//evil.test/%2e%2e", "/hub//evil.test/%2e%2e", "/hub/user-redirect//evil.test/", "/user-redirect//evil.test/", "/hub/logout?next=//evil.test/",
	"/hub/spawn?next=//evil.test/", "/hub/confirm?next=//evil.test/", "/user/bob/login?next=//evil.test/", "/user/bob/logout?next=//evil.test/",
	"/user/bob//evil.test/", "/user/bob/?token=x&next=//evil.test/", "/user/bob/git-pull?repo=//evil.test/&urlpath=//evil.test/",
}

// Impostors are headers by which a stranger claims to be somebody.
var Impostors = []string{
	"Remote-User: alice", "X-Remote-User: alice", "X-Forwarded-User: alice", "X-Auth-Request-User: alice", "REMOTE_USER: alice", "X-JupyterHub-User: alice",
	"Authorization: Basic YWxpY2U6YWxpY2U=", "Authorization: token ", "Authorization: token null", "Authorization: Bearer undefined",
	"Cookie: jupyterhub-hub-login=alice", `Cookie: jupyterhub-hub-login="2|1:0|10:1700000000|20:jupyterhub-hub-login|8:YWxpY2U=|"`,
}

// Hidden is a request within the body of another, at a path that nobody asks for otherwise. SIZE is the length of the body, PATH the path, CHUNK and LONG
// are lengths of chunks.
type Hidden struct{ Name, Head, Body string }

const inner = "GET PATH HTTP/1.1\r\nHost: hub\r\n\r\n"

// Smuggled are requests whose end is a matter of opinion: where two programs in a row disagree, the second takes the hidden one for a request of its own.
var Smuggled = []Hidden{
	{"a body of a GET request", "GET /hub/health HTTP/1.1\r\nContent-Length: SIZE", inner},
	{"both a length and chunks", "POST /hub/login HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked", "CHUNK\r\n" + inner + "\r\n0\r\n\r\n"},
	{"an unknown coding", "POST /hub/login HTTP/1.1\r\nContent-Length: SIZE\r\nTransfer-Encoding: xchunked", "0\r\n\r\n" + inner},
	{"a space before the colon", "POST /hub/login HTTP/1.1\r\nContent-Length: SIZE\r\nTransfer-Encoding : chunked", "0\r\n\r\n" + inner},
	{"a vertical tab in the value", "POST /hub/login HTTP/1.1\r\nContent-Length: SIZE\r\nTransfer-Encoding:\x0bchunked", "0\r\n\r\n" + inner},
	{"a value on a line of its own", "POST /hub/login HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding:\r\n chunked", "CHUNK\r\n" + inner + "\r\n0\r\n\r\n"},
	{"two lengths", "POST /hub/login HTTP/1.1\r\nContent-Length: SIZE\r\nContent-Length: 0", inner},
	{"a length with a sign", "POST /hub/login HTTP/1.1\r\nContent-Length: +0\r\nX: x", inner},
	{"a lone line feed in a chunk's extension", "POST /hub/login HTTP/1.1\r\nTransfer-Encoding: chunked", "2;\nxx\r\nLONG\r\n0\r\n\r\n" + inner + "\r\n\r\n0\r\n\r\n"},
	{"two codings", "POST /hub/login HTTP/1.1\r\nContent-Length: SIZE\r\nTransfer-Encoding: chunked, identity", "0\r\n\r\n" + inner},
}

// Indigestible are addresses that might end the proxy.
var Indigestible = []string{"/%ff", "//", "///", "//:99999999/", "/%E0%A4", "/user/%ff/x", "//[/", "/%00"}

// Source is a description of an environment that somebody gives to root. Make is a script that makes it in an empty folder, as root; Apply is what root types
// behind "tljh-install env apply".
type Source struct{ Name, Make, Apply string }

// dud keeps a source from being built: what is not supported is named once it has been unpacked.
const dud = "echo FROM scratch >Dockerfile; "

// python makes an archive with members of any name and kind.
const python = dud + "/opt/tljh/hub/bin/python - <<'X'\nimport io, tarfile, zipfile\n" + `
def tar(*members):
    with tarfile.open("x.tar.gz", "w:gz") as out:
        out.add("Dockerfile", "course/Dockerfile")
        for name, kind, target, mode in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.mode, info.size = kind, target, mode, 5 if kind == tarfile.REGTYPE else 0
            out.addfile(info, io.BytesIO(b"pwned"))
F, S, H = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE
`

// Sources are hostile ones. None may leave a file /root/pwned…, or show what only root may read.
var Sources = []Source{
	{"a member of a zip archive above its folder", python + "with zipfile.ZipFile('x.zip', 'w') as z:\n z.write('Dockerfile', 'course/Dockerfile')\n z.writestr('course/../../../../../../../../root/pwned-zip', 'x')\nX", "./x.zip"},
	{"a member of an archive with an absolute name", python + "tar(('/root/pwned-absolute', F, '', 0o644))\nX", "./x.tar.gz"},
	{"a member of an archive above its folder", python + "tar(('course/../../../../../../root/pwned-above', F, '', 0o644))\nX", "./x.tar.gz"},
	{"a file behind a link of an archive", python + "tar(('course/out', S, '/root', 0o777), ('course/out/pwned-behind', F, '', 0o644))\nX", "./x.tar.gz"},
	{"a second name for a file of root's", python + "tar(('course/postBuild', H, '/etc/shadow', 0o777))\nX", "./x.tar.gz"},
	{"a folder that leads to the secrets", "mkdir -p /root/private; echo a-secret-of-root >/root/private/requirements.txt; mkdir course; ln -s /root/private course/binder; chown -hR jupyter-bob .", "./course"},
	{"a git address that is a command", ":", "'ext::sh -c touch% /root/pwned-ext'"},
	{"a git address that is an option", ":", "-- '--upload-pack=touch /root/pwned-option'"},
	{"a branch that is an option", "git init -q --bare x.git", "\"file://$PWD/x.git#--upload-pack=touch /root/pwned-branch\""},
	{"a folder whose git settings are commands", "echo -r /root/canary >requirements.txt; mkdir -p .git/objects .git/refs; echo ref: refs/heads/main >.git/HEAD; printf '[core]\\nrepositoryformatversion = 0\\nfsmonitor = touch /root/pwned-fsmonitor\\nsshCommand = touch /root/pwned-ssh\\n' >.git/config", "."},
	{"options of apt among its packages", "printf 'hello\\n-oAPT::Update::Pre-Invoke::=touch /root/pwned-apt\\n-oDpkg::Pre-Invoke::=touch /root/pwned-dpkg\\n' >apt.txt", "."},
	{"a package of apt that is a file", "printf './evil.deb\\n/root/evil.deb\\n' >apt.txt", "."},
	{"objects in environment.yml", "printf 'dependencies: !!python/object/apply:os.system [\"touch /root/pwned-yaml\"]\\n' >environment.yml", "."},
	{"a name of a kernel that is a path", "echo six >requirements.txt", ". --kernel ../../../../root/pwned-kernel"},
	{"a group that is an option", "echo six >requirements.txt", ". --kernel x --group '--root=/root'"},
	{"a list of packages that is a file of root's", "echo '-r /root/canary' >requirements.txt", "."},
}
