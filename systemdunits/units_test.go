package systemdunits

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/layout"
)

var update = flag.Bool("update", false, "write the golden files anew")

var usual = Params{HTTP: []Address{{Port: 80}}, MemoryBytes: 8 << 30, SystemdVersion: 257}

var unusual = Params{
	Proxies: Proxies{PublicURL: "https://kurs.example.org:4443", Trusted: []string{"192.0.2.10", "2001:db8::/32", "unix:/run/hub.sock"}},
	HTTP:    []Address{{IP: "192.0.2.7", Port: 8080}, {IP: "2001:db8::7", Port: 8080}},
	BaseURL: "/kurs%20$a/", ReserveBytes: 2 << 30, MemoryBytes: 64 << 30, HomeRoots: []string{"/home", "/srv/100%"}, WritablePaths: []string{"/srv/homework", "/data/100%"}, SystemdVersion: 245,
}

// own and acme are usual, with HTTPS.
var own, acme = usual, usual

// users is usual, with a port for single-user servers; domain has names for them.
var users, domain = usual, usual

func init() {
	own.HTTPS = &HTTPS{Listen: []Address{{Port: 443}}, Cert: "/etc/ssl/certs/hub.pem", Key: "/etc/ssl/private/hub.key"}
	users.Origins = Origins{Listen: []Address{{Port: 8443}}}
	domain.Origins = Origins{UserDomain: "users.example.org", HubDomain: "hub.example.org"}
	acme.HTTPS = &HTTPS{Listen: []Address{{Port: 443}}, Domains: []string{"hub.example.org", "jupyter.example.org"}, Email: "teacher@example.org"}
	unusual.HTTPS = &HTTPS{
		Listen: []Address{{IP: "192.0.2.7", Port: 8443}, {IP: "2001:db8::7", Port: 8443}}, Domains: []string{"kurs.example.org"}, Email: "o'hara+100%$x@example.org", Staging: true,
		Directory: "https://ca.example.org:9000/acme/acme/directory", CA: `/root/our "own" ca\1.pem`,
	}
}

func render(t *testing.T, p Params) map[string]string {
	t.Helper()
	units, err := Render(p)
	require.NoError(t, err)
	files := map[string]string{}
	for _, unit := range units {
		files[unit.Name] = string(unit.Content)
	}
	require.Len(t, files, len(units), "a name comes twice")
	return files
}

func TestRenderGolden(t *testing.T) {
	for dir, params := range map[string]Params{"usual": usual, "unusual": unusual, "own": own, "acme": acme, "users": users, "domain": domain} {
		for name, got := range render(t, params) {
			golden := filepath.Join("testdata", dir, name)
			if *update {
				require.NoError(t, os.MkdirAll(filepath.Dir(golden), 0o755))
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), got, "%s: run go test ./systemdunits -update, then look at the difference", golden)
		}
	}
}

func TestEveryTemplateIsRendered(t *testing.T) {
	entries, err := templates.ReadDir("templates")
	require.NoError(t, err)
	files := render(t, usual)
	for _, entry := range entries {
		require.Contains(t, files, entry.Name())
	}
}

func TestRenderRefuses(t *testing.T) {
	cases := map[string]struct {
		change func(*Params)
		says   string
	}{
		"no address":       {func(p *Params) { p.HTTP = nil }, "no address"},
		"port 0":           {func(p *Params) { p.HTTP = []Address{{Port: 0}} }, "no port"},
		"port 65536":       {func(p *Params) { p.HTTP = []Address{{Port: 65536}} }, "no port"},
		"a name":           {func(p *Params) { p.HTTP = []Address{{IP: "hub.example.org", Port: 80}} }, "no IP address"},
		"a zone":           {func(p *Params) { p.HTTP = []Address{{IP: "fe80::1%eth0", Port: 80}} }, "no IP address"},
		"base URL open":    {func(p *Params) { p.BaseURL = "/hub" }, "base URL"},
		"base URL spaced":  {func(p *Params) { p.BaseURL = "/a --insecure /" }, "base URL"},
		"base URL lines":   {func(p *Params) { p.BaseURL = "/\nExecStartPre=+/bin/sh/" }, "base URL"},
		"relative home":    {func(p *Params) { p.HomeRoots = []string{"home"} }, "folder for homes"},
		"root as home":     {func(p *Params) { p.HomeRoots = []string{"/"} }, "folder for homes"},
		"home with blanks": {func(p *Params) { p.HomeRoots = []string{"/srv/a /etc"} }, "folder for homes"},
		"old systemd":      {func(p *Params) { p.SystemdVersion = 244 }, "systemd 245"},
		"one port":         {func(p *Params) { p.HTTPS = &HTTPS{Listen: p.HTTP, Cert: "/c", Key: "/k"} }, "both have the port 80"},
		"two HTTPS ports":  {func(p *Params) { p.HTTPS = &HTTPS{Listen: []Address{{Port: 1}, {Port: 2}}, Cert: "/c", Key: "/k"} }, "one port"},
		"no HTTPS address": {func(p *Params) { p.HTTPS = &HTTPS{Cert: "/c", Key: "/k"} }, "HTTPS: there is no address"},
		"no certificate":   {func(p *Params) { p.HTTPS = &HTTPS{Listen: []Address{{Port: 1}}} }, "either a certificate"},
		"no key":           {func(p *Params) { p.HTTPS = &HTTPS{Listen: []Address{{Port: 1}}, Cert: "/c"} }, "with its key"},
		"two certificates": {func(p *Params) {
			p.HTTPS = &HTTPS{Listen: []Address{{Port: 1}}, Cert: "/c", Key: "/k", Domains: []string{"a.example"}}
		}, "either a certificate"},
		"relative key":    {func(p *Params) { p.HTTPS = &HTTPS{Listen: []Address{{Port: 1}}, Cert: "/c", Key: "k"} }, "not absolute"},
		"lines in a path": {func(p *Params) { p.HTTPS = &HTTPS{Listen: []Address{{Port: 1}}, Cert: "/c\nExecStart=", Key: "/k"} }, "cannot have"},
		"lines in a name": {func(p *Params) { p.HTTPS = &HTTPS{Listen: []Address{{Port: 1}}, Domains: []string{"a\nb"}} }, "cannot have"},
		"unknown systemd": {func(p *Params) { p.SystemdVersion = 0 }, "systemd 245"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			params := usual
			c.change(&params)
			_, err := Render(params)
			require.ErrorContains(t, err, c.says)
		})
	}
}

var memoryMax = regexp.MustCompile(`(?m)^MemoryMax=(\d+)M$`)

func TestUsersLeaveMemory(t *testing.T) {
	for _, megabytes := range []uint64{512, 1000, 1024, 1900, 2048, 4096, 7900, 16384, 262144} {
		params := usual
		params.MemoryBytes = megabytes * mib
		match := memoryMax.FindStringSubmatch(render(t, params)[layout.UsersSlice])
		require.NotNil(t, match, "%d MiB", megabytes)
		users, err := strconv.ParseUint(match[1], 10, 64)
		require.NoError(t, err)
		reserve := megabytes - users
		require.GreaterOrEqual(t, reserve, min(768, megabytes/2), "%d MiB leave %d to the hub", megabytes, reserve)
		require.GreaterOrEqual(t, users, megabytes/2, "%d MiB leave %d to users", megabytes, users)
		require.LessOrEqual(t, reserve, uint64(4097))
	}
	params := usual
	params.ReserveBytes = 3 << 30
	require.Contains(t, render(t, params)[layout.UsersSlice], "MemoryMax=5120M\n")
	params.ReserveBytes = 100 << 30
	require.Contains(t, render(t, params)[layout.UsersSlice], "MemoryMax=2048M\n", "a reserve beyond the machine")
	params.MemoryBytes = 0
	require.Contains(t, render(t, params)[layout.UsersSlice], "MemoryMax=75%\n")
}

func TestMemoryOfEdgeAndProxy(t *testing.T) {
	for megabytes, want := range map[uint64]uint64{1024: 256, 4096: 256, 6400: 400, 8192: 512, 262144: 512} {
		params := usual
		params.MemoryBytes = megabytes * mib
		files := render(t, params)
		require.Equal(t, []string{fmt.Sprintf("%dM", want)}, lines(files[layout.EdgeUnit], "MemoryMax"), "%d MiB", megabytes)
		require.Equal(t, []string{fmt.Sprintf("%dM", 2*want)}, lines(files[layout.ProxyUnit], "MemoryMax"), "%d MiB", megabytes)
		require.Contains(t, lines(files[layout.EdgeUnit], "Environment"), fmt.Sprintf("GOMEMLIMIT=%dMiB", want/4*3), "what it keeps to by itself is below")
		require.Equal(t, []string{"0"}, lines(files[layout.EdgeUnit], "OOMScoreAdjust"), "it is not protected")
	}
}

// newer holds since which systemd a directive is known, for those that MinimumSystemd doesn't know yet (systemd's NEWS).
var newer = map[string]int{
	"ProtectProc": 247, "ProcSubset": 247, "ManagedOOMSwap": 247, "ManagedOOMMemoryPressure": 247, "PrivateIPC": 248, "NoExecPaths": 248,
	"ExecPaths": 248, "SocketBindDeny": 249, "SocketBindAllow": 249, "RestrictFileSystems": 250, "RestrictNetworkInterfaces": 250,
	"StartupMemoryLow": 252, "OpenFile": 253, "MemoryZSwapMax": 253, "RestartSteps": 254, "RestartMaxDelaySec": 254, "PollLimitBurst": 255,
	"PollLimitIntervalSec": 255, "PrivatePIDs": 257, "PrivateBPF": 258,
}

var directive = regexp.MustCompile(`(?m)^([A-Z][A-Za-z]+)=`)

func TestOldSystemdUnderstandsEveryLine(t *testing.T) {
	for version := MinimumSystemd; version <= 260; version++ {
		params := usual
		params.SystemdVersion = version
		for name, file := range render(t, params) {
			for _, match := range directive.FindAllStringSubmatch(file, -1) {
				require.LessOrEqual(t, newer[match[1]], version, "%s: %s", name, match[1])
			}
		}
	}
}

// lines returns the values of a directive, in order.
func lines(file, name string) []string {
	values := []string{}
	for line := range strings.Lines(file) {
		if value, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), name+"="); ok {
			values = append(values, value)
		}
	}
	return values
}

func TestServicesComeBackForever(t *testing.T) {
	files := render(t, usual)
	for _, name := range []string{layout.HubUnit, layout.ProxyUnit, layout.EdgeUnit} {
		require.Equal(t, []string{"always"}, lines(files[name], "Restart"), name)
		require.Equal(t, []string{"0"}, lines(files[name], "StartLimitIntervalSec"), name)
	}
	require.Equal(t, []string{"0"}, lines(files[layout.EdgeSocket], "TriggerLimitIntervalSec"))
	require.Equal(t, []string{"on-abnormal"}, lines(files[layout.WatchUnit], "Restart"), "one that was killed")
	require.Equal(t, []string{"0"}, lines(files[layout.WatchUnit], "StartLimitIntervalSec"))
}

// The units must be of one mind with systemd itself. What they start isn't here, so /bin/true stands for it.
// At boot, /run is empty: a unit that is to write to a folder there makes it, or begins without.
func TestFoldersInRunAreMade(t *testing.T) {
	for _, params := range []Params{usual, unusual, own, acme, users, domain} {
		for name, text := range render(t, params) {
			for _, line := range strings.Split(text, "\n") {
				paths, found := strings.CutPrefix(line, "ReadWritePaths=")
				for _, each := range strings.Fields(paths) {
					if found && each != "/run" {
						assert.False(t, strings.HasPrefix(each, "/run/"), "%s: %s", name, line)
					}
				}
			}
		}
	}
}

func TestSystemdVerifies(t *testing.T) {
	program, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not on this machine: install the package systemd")
	}
	here := versionOf(t, program)
	for i, params := range []Params{usual, unusual, own, acme} {
		params.SystemdVersion = min(params.SystemdVersion, here)
		out, err := verify(t, program, render(t, params))
		require.NoError(t, err, "case %d: %s", i, out)
		require.Empty(t, out, "case %d", i)
	}
	broken := render(t, usual)
	broken[layout.EdgeSocket] += "[Socket]\nListenStraem=81\n"
	out, _ := verify(t, program, broken)
	require.Contains(t, out, "ListenStraem", "systemd-analyze takes anything: this test proves nothing")
}

func versionOf(t *testing.T, program string) int {
	t.Helper()
	out, err := exec.Command(program, "--version").Output()
	require.NoError(t, err)
	var version int
	_, err = fmt.Sscanf(string(out), "systemd %d", &version)
	require.NoError(t, err)
	return version
}

var execStart = regexp.MustCompile(`(?m)^(Exec[A-Z]\w+=[-+]*)/opt\S+`)

func verify(t *testing.T, program string, files map[string]string) (string, error) {
	t.Helper()
	dir := t.TempDir()
	args := []string{"verify", "--man=no"}
	for name, content := range files {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, execStart.ReplaceAll([]byte(content), []byte("${1}/bin/true")), 0o644))
		args = append(args, file)
	}
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// What is a path or a name must stay one word of a command, whatever it holds.
func FuzzHTTPS(f *testing.F) {
	f.Add("/etc/ssl/hub.pem", "hub.example.org", "a@b.example")
	f.Add(`/a "b" c\\d/$x%n`, "-x; ", `'$(x)'`)
	f.Add("/;", ";", ";")
	f.Add("/a\nExecStartPre=/bin/sh", "", "\x00")
	f.Fuzz(func(t *testing.T, file, domain, email string) {
		for _, https := range []*HTTPS{
			{Listen: []Address{{Port: 443}}, Cert: file, Key: file},
			{Listen: []Address{{Port: 443}}, Domains: []string{domain}, Email: email, CA: file},
		} {
			params := usual
			params.HTTPS = https
			units, err := Render(params)
			if err != nil {
				continue
			}
			for _, unit := range units {
				if unit.Name != layout.EdgeUnit {
					continue
				}
				require.NotContains(t, string(unit.Content), " ; ")
				pre := words(t, lines(string(unit.Content), "ExecStartPre"))
				start := words(t, lines(string(unit.Content), "ExecStart"))
				switch {
				case https.Cert != "":
					require.Equal(t, []string{"--cert", file, "--key", file}, pre[3:])
				default:
					require.Equal(t, domain, start[len(start)-1])
					if file != "" {
						require.Equal(t, []string{"--ca", file}, pre[3:])
					}
					if email != "" {
						require.Contains(t, start, email)
					}
				}
			}
		}
	})
}

// words splits the one command line as systemd does: at blanks outside of quotes, with its escapes undone.
func words(t *testing.T, commands []string) []string {
	t.Helper()
	if len(commands) == 0 {
		return nil
	}
	require.Len(t, commands, 1)
	var found []string
	word, inWord, quote, escaped := "", false, rune(0), false
	for _, r := range commands[0] {
		switch {
		case escaped:
			require.Contains(t, `\"`, string(r))
			word, escaped = word+string(r), false
		case r == '\\':
			escaped, inWord = true, true
		case quote == 0 && r == '"':
			quote, inWord = r, true
		case r == quote:
			quote = 0
		case quote == 0 && r == ' ':
			if inWord {
				found = append(found, word)
			}
			word, inWord = "", false
		default:
			word, inWord = word+string(r), true
		}
	}
	require.Zero(t, quote)
	if inWord {
		found = append(found, word)
	}
	for i, word := range found {
		found[i] = strings.NewReplacer("$$", "$", "%%", "%").Replace(word)
	}
	return found
}

func FuzzRender(f *testing.F) {
	f.Add("192.0.2.7", 80, "/", "/home", uint64(1<<30))
	f.Add("", 80, "/a%b$c/", "/srv/ho$me%", uint64(0))
	f.Add("::1", 8080, "/\n[Service]/", "/h\\", uint64(1))
	count := func(files []Unit) (n int) {
		for _, file := range files {
			n += strings.Count(string(file.Content), "\n")
		}
		return n
	}
	plainUnits, err := Render(usual)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, ip string, port int, baseURL, home string, memory uint64) {
		units, err := Render(Params{
			HTTP: []Address{{IP: ip, Port: port}}, BaseURL: baseURL, HomeRoots: []string{home}, MemoryBytes: memory, SystemdVersion: 257,
		})
		if err != nil {
			return
		}
		if got, want := count(units), count(plainUnits); got != want {
			t.Fatalf("input brought lines of its own: %d instead of %d", got, want)
		}
	})
}

func TestServerMemory(t *testing.T) {
	const gib = 1024 * mib
	for memory, want := range map[uint64]uint64{
		0: 0, gib / 2: gib / 4, gib: gib / 2, 2 * gib: gib, 4 * gib: gib, 8 * gib: 1792 * mib, 64 * gib: 15 * gib,
	} {
		if got := ServerMemory(memory); got != want {
			t.Errorf("%d MiB of %d, not %d", got/mib, memory/mib, want/mib)
		}
	}
}

func TestTheManualNamesTheOldestSystemd(t *testing.T) {
	for page, words := range map[string]string{"install.md": "systemd %d and ", "troubleshooting.md": "\nVersion %d or later must be running"} {
		text, err := os.ReadFile(filepath.Join("../docs", page))
		require.NoError(t, err)
		assert.Contains(t, string(text), fmt.Sprintf(words, MinimumSystemd), page)
	}
}
