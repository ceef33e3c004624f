package check

import (
	"context"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/internal/host"
)

func indexAt(address string) func() (string, error) {
	return func() (string, error) { return address, nil }
}

func TestSourcesAreThoseThatTheToolsAreSetUpWith(t *testing.T) {
	files := host.Files{Root: t.TempDir()}
	require.NoError(t, os.MkdirAll(files.Path("/home/admin"), 0o755))
	require.NoError(t, os.WriteFile(files.Path("/home/admin/.npmrc"), []byte("# mine\nregistry = https://npm.test/\n"), 0o644))
	s := Sources{Files: files, Index: indexAt("https://index.test/simple"), Environ: []string{
		"HOME=/home/admin", "UV_INDEX_URL=https://index.test/simple/", "UV_INDEX=campus=https://campus.test/simple https://two.test/?a=b",
		"PIP_EXTRA_INDEX_URL=https://extra.test/simple",
	}}
	found, err := s.Find()
	require.NoError(t, err)
	assert.Equal(t, []Source{
		{"https://index.test/simple", "the Python package index"}, {"https://extra.test/simple", "PIP_EXTRA_INDEX_URL"},
		{"https://campus.test/simple", "UV_INDEX"}, {"https://two.test/?a=b", "UV_INDEX"}, {"https://npm.test/", npmSet},
	}, found)

	s.Environ = append(s.Environ, "npm_config_registry=https://other.test/", "PIP_NO_INDEX=1")
	found, err = s.Find()
	require.NoError(t, err)
	assert.Empty(t, found, "folders are none to reach")

	s = Sources{Files: files, Index: func() (string, error) { return "", errors.New("cannot unpack pip") }}
	assert.Equal(t, []SourceResult{{Untried: "cannot unpack pip"}}, s.Reach(t.Context()))
}

// serve answers as an index does and remembers what it was asked.
func serve(t *testing.T, status int) (*httptest.Server, *[]string) {
	t.Helper()
	asked := &[]string{}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.Method+" "+r.URL.Path)
		w.Header().Set("Date", noon.Format(http.TimeFormat))
		w.WriteHeader(status)
	}))
	server.Config.ErrorLog = nil
	t.Cleanup(server.Close)
	return server, asked
}

// reach tries an index with the server's certificate trusted, and returns the machine that did.
func reach(t *testing.T, address string, environ ...string) *machine {
	t.Helper()
	m := newMachine(t)
	m.Reach, m.Index, m.Environ = nil, indexAt(address), environ
	return m
}

func trust(t *testing.T, server *httptest.Server, m *machine) {
	t.Helper()
	bundle := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	m.put("/campus.pem", string(bundle))
	m.Environ = append(m.Environ, "SSL_CERT_FILE=/campus.pem")
}

func TestIndexThatAnswers(t *testing.T) {
	server, asked := serve(t, http.StatusOK)
	m := reach(t, server.URL+"/simple")
	trust(t, server, m)
	m.finds("package-sources", OK, "the Python package index (127.0.0.1) answers")
	assert.Equal(t, []string{"HEAD /simple/uv/"}, *asked, "once, for all checks")
	m.finds("dns", OK)
	m.finds("clock", OK, "by the clock of 127.0.0.1")
}

func TestIndexThatAnswersOtherwise(t *testing.T) {
	for status, want := range map[int]struct {
		severity Severity
		words    string
	}{
		http.StatusNotFound:           {Warning, "does not know the package"},
		http.StatusUnauthorized:       {Warning, "lets only some in (401)"},
		http.StatusServiceUnavailable: {Failed, "has trouble (it answers 503)"},
		http.StatusProxyAuthRequired:  {Failed, "wants a password"},
	} {
		server, _ := serve(t, status)
		m := reach(t, strings.Replace(server.URL, "https://", "https://me:s3cret@", 1))
		trust(t, server, m)
		finding := m.finds("package-sources", want.severity, want.words)
		assert.NotContains(t, finding.Message+finding.Hint, "s3cret")
	}
}

func TestIndexWithAForeignCertificate(t *testing.T) {
	server, asked := serve(t, http.StatusOK)
	m := reach(t, server.URL)
	m.finds("package-sources", Failed, "does not trust", "SSL_CERT_FILE")
	assert.Empty(t, *asked)
	m = reach(t, server.URL, "PIP_TRUSTED_HOST=127.0.0.1")
	m.finds("package-sources", OK)
}

func TestIndexThatIsAway(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, free.Close())
	m := reach(t, "http://me:s3cret@"+free.Addr().String())
	finding := m.finds("package-sources", Failed, "connection refused", "https_proxy")
	assert.NotContains(t, finding.Message+finding.Hint, "s3cret")
	assert.NotContains(t, finding.Message, "://")
	m.finds("clock", OK)
}

func TestIndexWhoseNameDoesNotResolve(t *testing.T) {
	m := reach(t, "https://index.invalid/simple")
	m.finds("dns", Failed, "index.invalid", "/etc/resolv.conf")
	m.finds("package-sources", Skipped, "see dns") // one cause, one failure
}

func TestReasonsInWords(t *testing.T) {
	for want, err := range map[string]error{
		"no such name":                    &net.DNSError{Err: "no such host", IsNotFound: true},
		"the name server does not answer": &net.DNSError{Err: "i/o timeout", IsTimeout: true},
		"server misbehaving":              &net.DNSError{Err: "server misbehaving"},
		"something else":                  errors.New("something else"),
		"the name server can't be reached: network is unreachable": &net.DNSError{Err: "dial udp 10.0.0.1:53: connect: network is unreachable"},
	} {
		assert.Equal(t, want, dnsReason(err))
	}
}

func TestOddAddress(t *testing.T) {
	for _, address := range []string{"ftp://x/", "not an address", "https://", "file:///mirror", "https://\x00"} {
		m := reach(t, address)
		m.finds("package-sources", Warning, "is no web address")
	}
}

func TestIndexThroughAProxy(t *testing.T) {
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = append(asked, r.URL.String()) }))
	defer proxy.Close()
	// Only the proxy's name is to be resolved here: the index's may be known to the proxy alone.
	m := reach(t, "http://index.invalid/simple", "http_proxy="+proxy.URL)
	m.finds("dns", OK)
	m.finds("package-sources", OK)
	assert.Equal(t, []string{"http://index.invalid/simple/uv/"}, asked)
}

func TestNothingIsFetchedByAWholeInstallation(t *testing.T) {
	m := newMachine(t)
	m.Online = false
	m.Reach = func(context.Context) []SourceResult { t.Error("tried a source"); return nil }
	m.finds("dns", Skipped)
	m.finds("package-sources", Skipped)
}

func TestWorstSourceCounts(t *testing.T) {
	good := SourceResult{Source: Source{"https://a.test", "A"}, Status: 200}
	odd := SourceResult{Source: Source{"https://b.test", "B"}, Status: 404}
	bad := SourceResult{Source: Source{"https://c.test", "C"}, Err: errors.New("no route")}
	m := newMachine(t)
	m.Reach = func(context.Context) []SourceResult { return []SourceResult{good, bad, odd} }
	m.finds("package-sources", Failed, "C (c.test) can't be reached: no route")
	m = newMachine(t)
	m.Reach = func(context.Context) []SourceResult { return []SourceResult{good, good} }
	m.finds("package-sources", OK, "A (a.test) answers after 0.0 s, A (a.test)")
}

func TestSlowIndex(t *testing.T) {
	block := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-block:
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	defer close(block)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	results := Sources{Files: host.Files{Root: t.TempDir()}, Index: indexAt(server.URL)}.Reach(ctx)
	require.Len(t, results, 1)
	require.ErrorIs(t, results[0].Err, context.DeadlineExceeded)
	assert.Contains(t, judge(results[0]).Message, "does not answer")
}

// No address of anybody's package index may stand in what we wrote: the tools know them.
func TestNoRegistryIsNamed(t *testing.T) {
	sources, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, file := range sources {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for word := range strings.FieldsSeq(string(text)) {
			for _, ending := range []string{".org", ".io", ".com"} {
				assert.False(t, strings.Contains(word, "://") && strings.Contains(word, ending), "%s: %s", file, word)
			}
		}
	}
}
