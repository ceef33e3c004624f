package host

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"path"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Facts is what the plan and the checks need to know of a machine.
type Facts struct {
	UID            int
	Arch           string // amd64, arm64 … as Go names it
	Systemd        bool   // systemd is running
	SystemdVersion int    // 0 when unknown
	GlibcMajor     int    // 0 when the machine has no glibc
	GlibcMinor     int
	MemoryBytes    uint64 // all of the machine's memory
	Sudo           string // what sudo says of its version; "" when it says nothing
	CPUs           int
	Homes          string // where /home leads where it is a link; it need not be there yet
}

// Facts asks the machine. What cannot be learnt stays zero: the checks say so.
func (h *Host) Facts(ctx context.Context) Facts {
	facts := Facts{UID: os.Geteuid(), Arch: runtime.GOARCH, Systemd: h.Files.IsRunning(), CPUs: runtime.NumCPU()}
	facts.SystemdVersion = h.systemdVersion(ctx)
	facts.GlibcMajor, facts.GlibcMinor = h.glibc(ctx)
	facts.Sudo = h.ask(ctx, "sudo", "--version")
	facts.MemoryBytes = h.Memory()
	facts.Homes = h.Files.linkTarget("/home")
	return facts
}

// linkTarget follows a link that root made, and links that this one leads to; "" where a path is none.
func (f Files) linkTarget(p string) string {
	found := ""
	for range 8 { // a circle of links leads nowhere
		target, err := f.Readlink(p)
		if err != nil {
			return found
		}
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(p), target)
		}
		p = path.Clean(target)
		found = p
	}
	return ""
}

// Memory returns all of the machine's memory, 0 when that cannot be learnt.
func (h *Host) Memory() uint64 {
	data, err := h.Files.Read("/proc/meminfo")
	if err != nil {
		return 0
	}
	return memTotal(data)
}

func (h *Host) ask(ctx context.Context, argv ...string) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	result, err := h.Runner.Run(ctx, Command{Argv: argv})
	if err != nil {
		return ""
	}
	return string(result.Stdout)
}

var firstNumber = regexp.MustCompile(`[0-9]+`)

func (h *Host) systemdVersion(ctx context.Context) int {
	version, _ := strconv.Atoi(firstNumber.FindString(h.ask(ctx, "systemctl", "--version")))
	return version
}

// glibc asks getconf, which belongs to glibc itself; musl's has no such name.
func (h *Host) glibc(ctx context.Context) (major, minor int) {
	_, _ = fmt.Sscanf(h.ask(ctx, "getconf", "GNU_LIBC_VERSION"), "glibc %d.%d", &major, &minor)
	return major, minor
}

func memTotal(meminfo []byte) uint64 {
	lines := bufio.NewScanner(bytes.NewReader(meminfo))
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), "MemTotal:")
		if !ok {
			continue
		}
		var kib uint64
		_, _ = fmt.Sscanf(strings.TrimSpace(rest), "%d kB", &kib)
		return kib << 10
	}
	return 0
}

// caBundles are where distributions keep the certificates that the machine trusts.
var caBundles = []string{
	"/etc/ssl/certs/ca-certificates.crt", // Debian, Ubuntu, Arch
	"/etc/pki/tls/certs/ca-bundle.crt",   // Fedora, RHEL
	"/etc/ssl/ca-bundle.pem",             // SUSE
	"/etc/ssl/cert.pem",                  // Alpine
}

// passedOn matches the variables that carry a person's own settings for package sources, proxies and certificates.
var passedOn = regexp.MustCompile(`^((?i)(https?|all|no|ftp)_proxy|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE|NODE_EXTRA_CA_CERTS|` +
	`PIP_(INDEX_URL|EXTRA_INDEX_URL|TRUSTED_HOST|CERT|CLIENT_CERT|PROXY|FIND_LINKS|NO_INDEX|DEFAULT_TIMEOUT|TIMEOUT|RETRIES|CONFIG_FILE)|` +
	`UV_(INDEX|INDEX_URL|DEFAULT_INDEX|EXTRA_INDEX_URL|FIND_LINKS|NO_INDEX|INSECURE_HOST|HTTP_TIMEOUT|CONFIG_FILE|KEYRING_PROVIDER|NATIVE_TLS|INDEX_[A-Z0-9_]+_(USERNAME|PASSWORD))|` +
	`(?i)npm_config_(registry|cafile|ca|proxy|https_proxy|noproxy|userconfig|globalconfig|strict_ssl|fetch_[a-z_]+)|` +
	`CONDARC|CONDA_(CHANNELS|CHANNEL_ALIAS|SSL_VERIFY)|TMPDIR)$`)

// DownloadEnv returns the environment for pip, uv and npm: the person's own settings for sources, proxies and certificates,
// with the machine's trusted certificates where no others were named, and nothing that could lead a build astray (PYTHONPATH, VIRTUAL_ENV …).
func (h *Host) DownloadEnv(environ []string) []string {
	env := []string{"PATH=" + Path, "LANG=C.UTF-8", "HOME=/root"}
	has := map[string]bool{}
	for _, pair := range environ {
		key, value, _ := strings.Cut(pair, "=")
		if key == "HOME" && value != "" {
			env = append(env, pair) // pip, uv and npm keep their settings files there
			continue
		}
		if passedOn.MatchString(key) {
			env = append(env, pair)
			has[key] = true
		}
	}
	bundle := h.trustedCertificates(environ)
	for _, key := range []string{"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS"} {
		if !has[key] && bundle != "" {
			env = append(env, key+"="+bundle)
		}
	}
	return append(env, "UV_SYSTEM_CERTS=1", "UV_NATIVE_TLS=1")
}

func (h *Host) trustedCertificates(environ []string) string {
	for _, key := range []string{"SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"} {
		for _, pair := range environ {
			if value, ok := strings.CutPrefix(pair, key+"="); ok && value != "" {
				return value
			}
		}
	}
	for _, path := range caBundles {
		if h.Files.Exists(path) {
			return path
		}
	}
	return ""
}
