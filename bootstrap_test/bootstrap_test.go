package bootstrap

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	ossignal "os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host/hosttest"
)

func TestTheLine(t *testing.T) {
	eachDownloader(t, func(t *testing.T, shell, downloader string) {
		r := newRelease(t, nil)
		m := newMachine(t, shell, downloader).from(r)
		code, stdout, stderr := m.run("--admin", "alice:two words", `quotes "'`, "", "*", "$HOME", "back\\slash", "línea")
		require.Equal(t, 0, code, stderr)
		want := "stand-in for tljh-install, amd64\n<install>\n<--admin>\n<alice:two words>\n<quotes \"'>\n<>\n<*>\n<$HOME>\n<back\\slash>\n<línea>\nurl " + r.URL + "\n"
		assert.Equal(t, want, stdout, "only the installer writes to the standard output")
		assert.Equal(t, installed(standIn("amd64", ordinary)), m.tree())
		assert.NotContains(t, stderr, "\r", "no progress bar without a terminal")
	})
}

func TestASecondRunDownloadsNothing(t *testing.T) {
	eachShell(t, func(t *testing.T, shell string) {
		r := newRelease(t, nil)
		m := newMachine(t, shell, "curl").from(r)
		for range 2 {
			code, _, stderr := m.run()
			require.Equal(t, 0, code, stderr)
		}
		assert.Equal(t, 1, r.count("tljh-install-linux-amd64"))

		newer := standIn("amd64", ordinary+1000)
		r.put("tljh-install-linux-amd64", newer)
		code, _, stderr := m.run()
		require.Equal(t, 0, code, stderr)
		assert.Equal(t, 2, r.count("tljh-install-linux-amd64"), "another release is fetched")
		assert.Equal(t, installed(newer), m.tree())
	})
}

func TestModesAreMended(t *testing.T) {
	r := newRelease(t, nil)
	m := newMachine(t, "dash", "curl").from(r)
	code, _, stderr := m.run()
	require.Equal(t, 0, code, stderr)
	binary := filepath.Join(m.opt, "tljh/bin/tljh-install")
	require.NoError(t, os.Chmod(binary, 0o600))
	require.NoError(t, os.Chown(binary, 65534, 65534))
	code, _, stderr = m.run()
	require.Equal(t, 0, code, stderr)
	assert.Equal(t, installed(standIn("amd64", ordinary)), m.tree())
}

func TestTheExitCodeIsTheInstallers(t *testing.T) {
	eachShell(t, func(t *testing.T, shell string) {
		m := newMachine(t, shell, "curl").from(newRelease(t, nil))
		for _, want := range []int{0, 1, 3, 6, 130} {
			m.env = append(m.env, fmt.Sprint("STAND_IN_EXIT=", want))
			code, _, stderr := m.run()
			assert.Equal(t, want, code, stderr)
		}
	})
}

func TestUmaskDoesNotMatter(t *testing.T) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	m := newMachine(t, "dash", "curl").from(newRelease(t, nil))
	code, _, stderr := m.run()
	require.Equal(t, 0, code, stderr)
	assert.Equal(t, installed(standIn("amd64", ordinary)), m.tree())
}

func TestWrongChecksum(t *testing.T) {
	eachShell(t, func(t *testing.T, shell string) {
		other := []byte("#!/bin/sh\necho run all the same\n")
		r := newRelease(t, func(w http.ResponseWriter, r *http.Request, _ int) bool {
			if isBinary(r) {
				_, _ = w.Write(other)
			}
			return isBinary(r)
		})
		m := newMachine(t, shell, "curl").from(r)
		code, stdout, stderr := m.run()
		assert.Equal(t, 1, code)
		assert.Empty(t, stdout, "what came is not run")
		assert.Contains(t, stderr, fmt.Sprintf("expected  sha256 %x", sha256.Sum256(standIn("amd64", ordinary))))
		assert.Contains(t, stderr, fmt.Sprintf("found     sha256 %x", sha256.Sum256(other)))
		assert.Contains(t, stderr, "login page")
		assert.Empty(t, m.tree())

		// A binary that is there already stays.
		require.NoError(t, os.MkdirAll(filepath.Join(m.opt, "tljh/bin"), 0o755))
		before := standIn("amd64", 100)
		require.NoError(t, os.WriteFile(filepath.Join(m.opt, "tljh/bin/tljh-install"), before, 0o755))
		code, _, _ = m.run()
		assert.Equal(t, 1, code)
		assert.Equal(t, installed(before), m.tree())
	})
}

func TestCaptivePortal(t *testing.T) {
	eachShell(t, func(t *testing.T, shell string) {
		r := newRelease(t, func(w http.ResponseWriter, _ *http.Request, _ int) bool {
			_, _ = w.Write([]byte("<html><body>Welcome to our network! Accept the terms.</body></html>"))
			return true
		})
		m := newMachine(t, shell, "curl").from(r)
		code, _, stderr := m.run()
		assert.Equal(t, 1, code)
		assert.Contains(t, stderr, "contains no checksum of tljh-install-linux-amd64")
		assert.Contains(t, stderr, "login page")
		assert.Empty(t, m.tree())
	})
}

func TestEmptyAnswer(t *testing.T) {
	r := newRelease(t, func(w http.ResponseWriter, r *http.Request, _ int) bool {
		if isBinary(r) {
			w.WriteHeader(http.StatusOK)
		}
		return isBinary(r)
	})
	m := newMachine(t, "dash", "curl").from(r)
	code, _, stderr := m.run()
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "(0 bytes received)")
	assert.Empty(t, m.tree())
}

// A download that is cut goes on where it ended.
func TestCutDownload(t *testing.T) {
	eachDownloader(t, func(t *testing.T, shell, downloader string) {
		r := newRelease(t, func(w http.ResponseWriter, r *http.Request, attempt int) bool {
			if !isBinary(r) || attempt > 1 {
				return false
			}
			half(w)
			panic(http.ErrAbortHandler)
		})
		m := newMachine(t, shell, downloader).from(r)
		code, stdout, stderr := m.run()
		require.Equal(t, 0, code, stderr)
		assert.Contains(t, stdout, "stand-in")
		assert.Contains(t, stderr, "trying again (2 of 4)")
		assert.Equal(t, installed(standIn("amd64", ordinary)), m.tree())
		assert.Equal(t, []string{fmt.Sprintf("bytes=%d-", len(standIn("amd64", ordinary))/2)}, r.ranges)
	})
}

// A server that cannot go on in the middle sends the whole once more.
func TestCutDownloadWithoutRanges(t *testing.T) {
	eachDownloader(t, func(t *testing.T, shell, downloader string) {
		r := newRelease(t, func(w http.ResponseWriter, r *http.Request, attempt int) bool {
			if !isBinary(r) {
				return false
			}
			if attempt > 1 {
				_, _ = w.Write(standIn("amd64", ordinary))
				return true
			}
			half(w)
			panic(http.ErrAbortHandler)
		})
		m := newMachine(t, shell, downloader).from(r)
		code, _, stderr := m.run()
		require.Equal(t, 0, code, stderr)
		assert.Equal(t, installed(standIn("amd64", ordinary)), m.tree())
	})
}

func TestAlwaysCut(t *testing.T) {
	eachShell(t, func(t *testing.T, shell string) {
		r := newRelease(t, func(w http.ResponseWriter, r *http.Request, _ int) bool {
			if isBinary(r) {
				panic(http.ErrAbortHandler)
			}
			return false
		})
		m := newMachine(t, shell, "curl").from(r)
		code, stdout, stderr := m.run()
		assert.Equal(t, 1, code)
		assert.Empty(t, stdout)
		assert.Equal(t, 4, r.count("tljh-install-linux-amd64"))
		assert.Contains(t, stderr, "cannot download "+r.URL)
		assert.Empty(t, m.tree())
	})
}

func TestNotFoundIsNotTriedAgain(t *testing.T) {
	eachDownloader(t, func(t *testing.T, shell, downloader string) {
		r := newRelease(t, func(w http.ResponseWriter, r *http.Request, _ int) bool {
			http.NotFound(w, r)
			return true
		})
		m := newMachine(t, shell, downloader).from(r)
		code, _, stderr := m.run()
		assert.Equal(t, 1, code)
		assert.Equal(t, 1, r.count("SHA256SUMS"))
		assert.Contains(t, stderr, "there is no "+r.URL+"/SHA256SUMS (the server says 404)")
		assert.Empty(t, m.tree())
	})
}

func TestAnErrorInTheServerIsTriedAgain(t *testing.T) {
	eachDownloader(t, func(t *testing.T, shell, downloader string) {
		r := newRelease(t, func(w http.ResponseWriter, _ *http.Request, attempt int) bool {
			if attempt == 1 {
				http.Error(w, "later", http.StatusServiceUnavailable)
			}
			return attempt == 1
		})
		m := newMachine(t, shell, downloader).from(r)
		code, _, stderr := m.run()
		require.Equal(t, 0, code, stderr)
		assert.Equal(t, installed(standIn("amd64", ordinary)), m.tree())
	})
}

func TestStalledServer(t *testing.T) {
	eachDownloader(t, func(t *testing.T, shell, downloader string) {
		r := newRelease(t, func(w http.ResponseWriter, r *http.Request, attempt int) bool {
			if !isBinary(r) || attempt > 1 {
				return false
			}
			half(w)
			<-r.Context().Done() // until the script gives up
			return true
		})
		m := newMachine(t, shell, downloader).from(r)
		m.env = append(m.env, "TLJH_DOWNLOAD_STALL=2")
		code, _, stderr := m.run()
		require.Equal(t, 0, code, stderr)
		assert.Contains(t, stderr, "no data for 2 seconds; trying again (2 of 4)")
		assert.NotContains(t, stderr, "Terminated", "the shell does not speak of what the script ended")
		assert.Equal(t, installed(standIn("amd64", ordinary)), m.tree())
	})
}

func TestNobodyListens(t *testing.T) {
	eachDownloader(t, func(t *testing.T, shell, downloader string) {
		url := "http://" + hosttest.ClosedAddress(t)
		m := newMachine(t, shell, downloader)
		m.env = append(m.env, "TLJH_RELEASE_URL="+url)
		code, _, stderr := m.run()
		assert.Equal(t, 1, code)
		assert.Contains(t, stderr, "cannot download "+url+"/SHA256SUMS: ")
		assert.Contains(t, stderr, "https_proxy")
		assert.Empty(t, m.tree())
	})
}

func TestAddressOfTheRelease(t *testing.T) {
	eachShell(t, func(t *testing.T, shell string) {
		r := newRelease(t, nil)
		stamped := func(url string) []byte {
			script, err := os.ReadFile("../bootstrap.sh")
			require.NoError(t, err)
			require.Equal(t, 1, bytes.Count(script, []byte("STAMPED_URL='@RELEASE_URL@'")))
			return bytes.Replace(script, []byte("@RELEASE_URL@"), []byte(url), 1)
		}
		tests := []struct {
			name, stamped, env string
			code               int
			words              string
		}{
			{"neither", "@RELEASE_URL@", "", 2, "TLJH_RELEASE_URL="},
			{"stamped", r.URL, "", 0, ""},
			{"environment", "@RELEASE_URL@", r.URL, 0, ""},
			{"final slashes", "@RELEASE_URL@", r.URL + "//", 0, ""},
			{"environment before stamp", "http://127.0.0.1:1", r.URL, 0, ""},
			{"no web address", "@RELEASE_URL@", "ftp://127.0.0.1/", 2, "not a web address: ftp://127.0.0.1/"},
			{"an option in its place", "@RELEASE_URL@", "--output=/etc/passwd", 2, "not a web address"},
		}
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				m := newMachine(t, shell, "curl")
				m.script = stamped(test.stamped)
				if test.env != "" {
					m.env = append(m.env, "TLJH_RELEASE_URL="+test.env)
				}
				code, stdout, stderr := m.run()
				require.Equal(t, test.code, code, stderr)
				if code == 0 {
					assert.Contains(t, stdout, "url "+r.URL+"\n", "the installer learns the address")
				} else {
					assert.Contains(t, stderr, test.words)
					assert.Empty(t, m.tree())
				}
			})
		}
	})
}

func TestMachinesThatCannotBeUsed(t *testing.T) {
	tests := map[string]struct {
		change func(m *machine)
		words  string
	}{
		"not root":     {func(m *machine) { m.asNobody = true }, "sudo in front of bash"},
		"no systemd":   {func(m *machine) { m.systemd = false }, "systemd is not running"},
		"riscv64":      {func(m *machine) { m.fake("uname", `[ "$1" = -m ] && echo riscv64 || echo Linux`) }, "no release for this processor (riscv64)"},
		"i686":         {func(m *machine) { m.fake("uname", `[ "$1" = -m ] && echo i686 || echo Linux`) }, "no release for this processor (i686)"},
		"not Linux":    {func(m *machine) { m.fake("uname", `[ "$1" = -m ] && echo arm64 || echo Darwin`) }, "this is Darwin"},
		"no downloads": {func(m *machine) { _ = os.Remove(filepath.Join(m.bin, "curl")) }, "neither curl nor wget"},
		"no sha256sum": {func(m *machine) { _ = os.Remove(filepath.Join(m.bin, "sha256sum")) }, "sha256sum is missing"},
	}
	eachShell(t, func(t *testing.T, shell string) {
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				r := newRelease(t, nil)
				m := newMachine(t, shell, "curl").from(r)
				if shell == "busybox" && strings.HasPrefix(name, "no ") && name != "no systemd" {
					t.Skip("busybox's shell finds its own programs without PATH")
				}
				test.change(m)
				code, stdout, stderr := m.run("--admin", "alice")
				assert.Equal(t, 4, code, stderr)
				assert.Empty(t, stdout)
				assert.Contains(t, stderr, test.words)
				assert.Empty(t, m.tree())
				assert.Zero(t, r.count("SHA256SUMS"))
			})
		}
	})
}

func TestArm64(t *testing.T) {
	for _, name := range []string{"aarch64", "arm64"} {
		m := newMachine(t, "dash", "curl").from(newRelease(t, nil))
		m.fake("uname", `[ "$1" = -m ] && echo `+name+` || echo Linux`)
		code, stdout, stderr := m.run()
		require.Equal(t, 0, code, stderr)
		assert.Contains(t, stdout, "stand-in for tljh-install, arm64")
	}
}

func put(t *testing.T, path string) {
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte("somebody's"), 0o644))
}

func TestForeignFolder(t *testing.T) {
	tests := map[string]struct {
		make  func(t *testing.T, root string)
		words string
	}{
		"a file":        {put, "not a folder"},
		"a broken link": {func(t *testing.T, root string) { require.NoError(t, os.Symlink("/nowhere", root)) }, "symbolic link"},
		"a link": {func(t *testing.T, root string) {
			require.NoError(t, os.Mkdir(root+"-elsewhere", 0o755))
			require.NoError(t, os.Symlink("tljh-elsewhere", root))
		}, "symbolic link"},
		"somebody's":     {func(t *testing.T, root string) { put(t, root+"/notes.txt") }, "another program made it"},
		"a hidden file":  {func(t *testing.T, root string) { put(t, root+"/.notes") }, "another program made it"},
		"their programs": {func(t *testing.T, root string) { put(t, root+"/bin/theirs") }, "another program made it"},
		"another account's": {func(t *testing.T, root string) {
			require.NoError(t, os.Mkdir(root, 0o755))
			require.NoError(t, os.Chown(root, 65534, 65534))
		}, "belongs to another account (number 65534)"},
	}
	eachShell(t, func(t *testing.T, shell string) {
		for name, test := range tests {
			t.Run(name, func(t *testing.T) {
				r := newRelease(t, nil)
				m := newMachine(t, shell, "curl").from(r)
				test.make(t, filepath.Join(m.opt, "tljh"))
				before := m.tree()
				code, stdout, stderr := m.run()
				assert.Equal(t, 4, code)
				assert.Empty(t, stdout)
				assert.Contains(t, stderr, test.words)
				assert.Equal(t, before, m.tree(), "nothing was touched")
				assert.Zero(t, r.count("SHA256SUMS"))
			})
		}
	})
}

func TestOwnFolder(t *testing.T) {
	mkdir := func(name string) func(t *testing.T, root string) {
		return func(t *testing.T, root string) { require.NoError(t, os.MkdirAll(filepath.Join(root, name), 0o755)) }
	}
	tests := map[string]func(t *testing.T, root string){
		"empty":                      mkdir(""),
		"an empty bin":               mkdir("bin"),
		"state":                      mkdir("state"),
		"a disk of its own":          mkdir("lost+found"),
		"a download killed half-way": func(t *testing.T, root string) { put(t, root+"/bin/.tljh-install.4194305") },
		"an older TLJH, which the installer judges": func(t *testing.T, root string) {
			put(t, root+"/hub/bin/python")
			put(t, root+"/state/rest.db")
		},
		"hub is a link": func(t *testing.T, root string) {
			mkdir("state")(t, root)
			mkdir("generations/hub-1")(t, root)
			require.NoError(t, os.Symlink("generations/hub-1", root+"/hub"))
		},
	}
	eachShell(t, func(t *testing.T, shell string) {
		for name, make := range tests {
			t.Run(name, func(t *testing.T) {
				m := newMachine(t, shell, "curl").from(newRelease(t, nil))
				make(t, filepath.Join(m.opt, "tljh"))
				code, stdout, stderr := m.run()
				require.Equal(t, 0, code, stderr)
				assert.Contains(t, stdout, "stand-in")
				leftovers, err := filepath.Glob(filepath.Join(m.opt, "tljh/bin/.*"))
				require.NoError(t, err)
				assert.Empty(t, leftovers)
			})
		}
	})
}

// Whatever part of the script arrives, it does nothing: only the whole runs.
func TestTruncatedScript(t *testing.T) {
	eachShell(t, func(t *testing.T, shell string) {
		r := newRelease(t, nil)
		m := newMachine(t, shell, "curl").from(r)
		whole := bytes.TrimRight(m.script, "\n")
		var ends []int
		for i, c := range whole {
			if c == '\n' || i > len(whole)-200 {
				ends = append(ends, i)
			}
		}
		for _, end := range ends {
			m.script = whole[:end]
			_, stdout, stderr := m.run("--admin", "alice")
			require.Empty(t, stdout)
			require.NotContains(t, stderr, "Littlest", "cut after byte %d of %d", end, len(whole))
		}
		require.Empty(t, m.tree())
		require.Zero(t, r.count("SHA256SUMS"))

		m.script = whole
		code, _, stderr := m.run("--admin", "alice")
		require.Equal(t, 0, code, stderr)
	})
}

func TestInterrupted(t *testing.T) {
	eachDownloader(t, func(t *testing.T, shell, downloader string) {
		for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
			t.Run(signal.String(), func(t *testing.T) {
				if ossignal.Ignored(signal) {
					t.Skip("whoever started this test ignores the signal, as nohup does, and so does all that it starts")
				}
				t.Parallel()
				came, gone := make(chan struct{}), make(chan struct{})
				r := newRelease(t, func(w http.ResponseWriter, r *http.Request, _ int) bool {
					if !isBinary(r) {
						return false
					}
					half(w)
					close(came)
					<-r.Context().Done()
					close(gone)
					return true
				})
				m := newMachine(t, shell, downloader).from(r)
				cmd := m.command()
				var stderr bytes.Buffer
				cmd.Stderr = &stderr
				require.NoError(t, cmd.Start())
				within(t, came, "the download begins")
				require.NoError(t, cmd.Process.Signal(signal))
				within(t, gone, "the downloader is stopped")
				_ = cmd.Wait()
				assert.Equal(t, 130, cmd.ProcessState.ExitCode(), stderr.String())
				assert.Contains(t, stderr.String(), "Interrupted")
				assert.Empty(t, m.tree())
			})
		}
	})
}

func within(t *testing.T, done <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		t.Fatalf("within 30 s it did not happen that %s", what)
	}
}

// A run that is killed outright leaves a half that the next run removes.
func TestKilled(t *testing.T) {
	eachShell(t, func(t *testing.T, shell string) {
		came := make(chan struct{})
		r := newRelease(t, func(w http.ResponseWriter, r *http.Request, attempt int) bool {
			if !isBinary(r) || attempt > 1 {
				return false
			}
			half(w)
			close(came)
			<-r.Context().Done()
			return true
		})
		m := newMachine(t, shell, "curl").from(r)
		cmd := m.command()
		cmd.SysProcAttr.Setpgid = true
		require.NoError(t, cmd.Start())
		within(t, came, "the download begins")
		require.NoError(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL))
		_ = cmd.Wait()
		require.NotEmpty(t, m.tree(), "the half that was killed")
		require.NoError(t, os.RemoveAll(m.tmp))
		require.NoError(t, os.Mkdir(m.tmp, 0o755))

		code, _, stderr := m.run()
		require.Equal(t, 0, code, stderr)
		assert.Equal(t, installed(standIn("amd64", ordinary)), m.tree())
	})
}

func TestTwoAtOnce(t *testing.T) {
	eachShell(t, func(t *testing.T, shell string) {
		m := newMachine(t, shell, "curl").from(newRelease(t, nil))
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				code, stdout, stderr := m.run()
				assert.Equal(t, 0, code, stderr)
				assert.Contains(t, stdout, "stand-in")
			})
		}
		both.Wait()
		assert.Equal(t, installed(standIn("amd64", ordinary)), m.tree())
	})
}

func TestFullDisk(t *testing.T) {
	eachDownloader(t, func(t *testing.T, shell, downloader string) {
		r := newRelease(t, nil)
		r.put("tljh-install-linux-amd64", standIn("amd64", 8_000_000))
		m := newMachine(t, shell, downloader).from(r)
		m.optMount = "size=2m"
		code, stdout, stderr := m.run()
		assert.Equal(t, 1, code)
		assert.Empty(t, stdout)
		assert.Contains(t, stderr, "the disk with /opt/tljh/bin is full")
		assert.Equal(t, 1, r.count("tljh-install-linux-amd64"), "there is no sense in trying again")
	})
}

func TestDiskThatRunsNoPrograms(t *testing.T) {
	eachShell(t, func(t *testing.T, shell string) {
		m := newMachine(t, shell, "curl").from(newRelease(t, nil))
		m.optMount = "noexec"
		code, stdout, stderr := m.run()
		assert.Equal(t, 1, code)
		assert.Empty(t, stdout)
		assert.Contains(t, stderr, "noexec")
	})
}

func TestReadOnlyDisk(t *testing.T) {
	m := newMachine(t, "dash", "curl").from(newRelease(t, nil))
	m.optMount = "ro"
	code, _, stderr := m.run()
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "mounted read-only")
}

// The proxy answers in the place of a name that only it knows.
func TestProxy(t *testing.T) {
	eachDownloader(t, func(t *testing.T, shell, downloader string) {
		for _, variable := range []string{"http_proxy", "HTTP_PROXY"} {
			proxy := newRelease(t, func(w http.ResponseWriter, r *http.Request, _ int) bool {
				if r.URL.Host != "release.invalid" {
					http.Error(w, "not through me", http.StatusBadGateway)
					return true
				}
				return false
			})
			m := newMachine(t, shell, downloader)
			m.env = append(m.env, "TLJH_RELEASE_URL=http://release.invalid/tljh", variable+"="+proxy.URL)
			code, _, stderr := m.run()
			require.Equal(t, 0, code, stderr)
			assert.Equal(t, installed(standIn("amd64", ordinary)), m.tree())
		}
	})
}

func TestNoProxy(t *testing.T) {
	eachShell(t, func(t *testing.T, shell string) {
		for _, downloader := range []string{"curl", "wget"} {
			m := newMachine(t, shell, downloader).from(newRelease(t, nil))
			m.env = append(m.env, "HTTP_PROXY=http://127.0.0.1:1", "NO_PROXY=127.0.0.1")
			code, _, stderr := m.run()
			require.Equal(t, 0, code, stderr)
		}
	})
}

func TestCertificates(t *testing.T) {
	eachShell(t, func(t *testing.T, shell string) {
		for _, downloader := range []string{"curl", "wget"} {
			r := unstarted(nil)
			r.Server = httptest.NewUnstartedServer(r)
			r.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that are to fail
			r.StartTLS()
			t.Cleanup(r.close)
			bundle := filepath.Join(t.TempDir(), "ca.pem")
			block := &pem.Block{Type: "CERTIFICATE", Bytes: r.Certificate().Raw}
			require.NoError(t, os.WriteFile(bundle, pem.EncodeToMemory(block), 0o644))
			for _, variable := range []string{"CURL_CA_BUNDLE", "SSL_CERT_FILE"} {
				m := newMachine(t, shell, downloader).from(r)
				m.env = append(m.env, variable+"="+bundle)
				code, _, stderr := m.run()
				require.Equal(t, 0, code, stderr)
			}
			m := newMachine(t, shell, downloader).from(r)
			code, stdout, stderr := m.run()
			assert.Equal(t, 1, code, "a certificate that nobody vouches for is not taken")
			assert.Empty(t, stdout)
			assert.Contains(t, stderr, "CURL_CA_BUNDLE=")
			assert.NotContains(t, stderr, "trying again")
			assert.Empty(t, m.tree())

			m.env = append(m.env, "SSL_CERT_FILE=/nowhere.pem")
			code, _, stderr = m.run()
			assert.Equal(t, 2, code)
			assert.Contains(t, stderr, "/nowhere.pem")
		}
	})
}

// The small wget of busybox checks no certificates: whoever uses it is told, and nobody else is.
func TestTheSmallWgetIsNamed(t *testing.T) {
	for downloader, told := range map[string]bool{"busybox-wget": true, "curl": false} {
		r := unstarted(nil)
		r.Server = httptest.NewUnstartedServer(r)
		r.Config.ErrorLog = log.New(io.Discard, "", 0)
		r.StartTLS()
		t.Cleanup(r.close)
		_, stdout, stderr := newMachine(t, "dash", downloader).from(r).run()
		assert.Equal(t, told, strings.Contains(stdout+stderr, "this small wget cannot check certificates"), "%s: %s%s", downloader, stdout, stderr)
	}
}

// What is installed decides what may take its place: nothing is replaced that the installed program has not verified, and nothing at all by a program that
// would not go on with what is here.
func TestWhatTakesTheInstalledProgramsPlace(t *testing.T) {
	const file = "tljh-install-linux-amd64"
	tests := []struct {
		name    string
		signed  bool
		env     []string
		args    []string
		broken  string // what the installed program is, where it is no stand-in
		code    int
		words   []string
		fetched int // further downloads of the program
	}{
		{name: "signed", signed: true, words: []string{"verified: SHA256SUMS SHA256SUMS.minisig by amd64"}, fetched: 1},
		{name: "not signed", env: []string{"STAND_IN_VERIFIES=3"}, code: 3, words: []string{"verified: SHA256SUMS by amd64", "Nothing was changed"}},
		{name: "another release", signed: true, env: []string{"STAND_IN_VERIFIES=4"}, code: 4, words: []string{"Nothing was changed"}},
		{name: "the new program would not go on", signed: true, env: []string{"STAND_IN_JUDGES_ITSELF=4"}, code: 4, words: []string{"unsigned: no", "Nothing was changed"}, fetched: 1},
		{name: "the installed program is of an older release", signed: true, env: []string{"STAND_IN_VERIFIES=2"}, code: 4,
			words: []string{"cannot check the signature", "sudo tljh-install upgrade --from http", "--unsigned"}},
		{name: "the installed program is damaged", signed: true, broken: "\x7fELF nothing", code: 4, words: []string{"does not work (exit code", "--unsigned"}},
		{name: "a build of one's own", args: []string{"--unsigned"}, env: []string{"STAND_IN_VERIFIES=3"}, fetched: 1},
		{name: "a build of one's own that would not go on", args: []string{"--unsigned"}, env: []string{"STAND_IN_JUDGES_ITSELF=4"}, code: 4, words: []string{"unsigned: yes", "Nothing was changed"}, fetched: 1},
		{name: "in the place of a damaged program", args: []string{"--unsigned"}, broken: "\x7fELF nothing", fetched: 1},
	}
	eachShell(t, func(t *testing.T, shell string) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				r := newRelease(t, nil)
				m := newMachine(t, shell, "curl").from(r)
				code, _, stderr := m.run()
				require.Equal(t, 0, code, stderr)
				binary := filepath.Join(m.opt, "tljh/bin/tljh-install")
				if test.broken != "" {
					require.NoError(t, os.WriteFile(binary, []byte(test.broken), 0o755))
				}
				before := m.tree()
				newer := standIn("amd64", ordinary+1000)
				r.put(file, newer)
				if test.signed {
					r.sign()
				}
				m.env = append(m.env, test.env...)
				code, stdout, stderr := m.run(append([]string{"--admin", "alice"}, test.args...)...)
				require.Equal(t, test.code, code, stderr)
				for _, words := range test.words {
					assert.Contains(t, stderr, words)
				}
				assert.Equal(t, 1+test.fetched, r.count(file))
				if code == 0 {
					assert.Equal(t, installed(newer), m.tree())
					assert.Contains(t, stdout, "<--admin>\n<alice>\nurl", "--unsigned is for the script alone")
					return
				}
				assert.Empty(t, stdout, "nothing is run")
				assert.Equal(t, before, m.tree(), "nothing was changed")
			})
		}
	})
}

// The script is read from standard input itself: no password can come from there.
func TestAPasswordFromStandardInput(t *testing.T) {
	eachShell(t, func(t *testing.T, shell string) {
		for _, args := range [][]string{{"--admin-password-file", "-"}, {"--admin-password-file=-"}} {
			m := newMachine(t, shell, "curl").from(newRelease(t, nil))
			code, stdout, stderr := m.run(args...)
			assert.Equal(t, 2, code)
			assert.Empty(t, stdout)
			assert.Contains(t, stderr, "which this script itself is read from")
			assert.Empty(t, m.tree())
		}
		m := newMachine(t, shell, "curl").from(newRelease(t, nil))
		code, stdout, stderr := m.run("--admin", "alice", "--admin-password-file", "/root/password")
		require.Equal(t, 0, code, stderr)
		assert.Contains(t, stdout, "<--admin-password-file>\n</root/password>\n")
	})
}

func TestHelp(t *testing.T) {
	eachShell(t, func(t *testing.T, shell string) {
		for _, option := range []string{"--help", "-h"} {
			m := newMachine(t, shell, "")
			m.asNobody, m.systemd = true, false
			code, stdout, _ := m.run(option)
			assert.Equal(t, 0, code)
			assert.Contains(t, stdout, "Usage: bootstrap.sh")
			assert.Empty(t, m.tree())
		}
	})
}

func TestWrongStallTime(t *testing.T) {
	for _, value := range []string{"soon", "0", "-1", "1.5"} {
		m := newMachine(t, "dash", "curl").from(newRelease(t, nil))
		m.env = append(m.env, "TLJH_DOWNLOAD_STALL="+value)
		code, _, stderr := m.run()
		assert.Equal(t, 2, code)
		assert.Contains(t, stderr, "TLJH_DOWNLOAD_STALL")
	}
}

func pack(t *testing.T, data []byte) []byte {
	t.Helper()
	var packed bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return packed.Bytes()
}

func TestACompressedInstaller(t *testing.T) {
	const plain, packed = "tljh-install-linux-amd64", "tljh-install-linux-amd64.gz"
	eachDownloader(t, func(t *testing.T, shell, downloader string) {
		r := newRelease(t, nil)
		r.put(packed, pack(t, standIn("amd64", ordinary)))
		m := newMachine(t, shell, downloader).from(r)
		for range 2 {
			code, stdout, stderr := m.run("--admin", "alice")
			require.Equal(t, 0, code, stderr)
			assert.Contains(t, stdout, "<install>")
			assert.Equal(t, installed(standIn("amd64", ordinary)), m.tree())
		}
		assert.Equal(t, []int{0, 1}, []int{r.count(plain), r.count(packed)})
	})
	t.Run("no gzip", func(t *testing.T) {
		r := newRelease(t, nil)
		r.put(packed, pack(t, standIn("amd64", ordinary)))
		m := newMachine(t, "dash", "curl").from(r)
		require.NoError(t, os.Remove(filepath.Join(m.bin, "gzip")))
		code, _, stderr := m.run()
		require.Equal(t, 0, code, stderr)
		assert.Equal(t, []int{1, 0}, []int{r.count(plain), r.count(packed)})
	})
	t.Run("another program in it", func(t *testing.T) {
		r := newRelease(t, nil)
		r.put(packed, pack(t, standIn("arm64", ordinary)))
		m := newMachine(t, "dash", "curl").from(r)
		code, stdout, stderr := m.run()
		assert.Equal(t, 1, code)
		assert.Contains(t, stderr, "not the file that the release names")
		assert.Empty(t, stdout)
		assert.Empty(t, m.tree())
	})
	t.Run("no gzip file", func(t *testing.T) {
		r := newRelease(t, nil)
		r.put(packed, []byte("this is none"))
		m := newMachine(t, "dash", "curl").from(r)
		code, _, stderr := m.run()
		assert.Equal(t, 1, code)
		assert.Contains(t, stderr, "cannot unpack")
		assert.Empty(t, m.tree())
	})
	t.Run("cut, then whole", func(t *testing.T) {
		data := pack(t, standIn("amd64", ordinary))
		r := newRelease(t, func(w http.ResponseWriter, r *http.Request, attempt int) bool {
			if !isBinary(r) || attempt > 1 {
				return false
			}
			w.Header().Set("Content-Length", fmt.Sprint(len(data)))
			_, _ = w.Write(data[:len(data)/2])
			return true
		})
		r.put(packed, data)
		m := newMachine(t, "dash", "curl").from(r)
		code, _, stderr := m.run()
		require.Equal(t, 0, code, stderr)
		assert.Contains(t, stderr, "trying again")
		assert.Equal(t, installed(standIn("amd64", ordinary)), m.tree())
	})
}
