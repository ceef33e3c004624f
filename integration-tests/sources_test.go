package integration

import (
	"archive/zip"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tljh/integration-tests/want"
)

// site is a package index of a school, with a certificate of its own authority. It has one package, greeting, in two versions.
type site struct {
	url   string
	ca    string // by which to know it, as PEM
	asked atomic.Int64
}

func (h *hub) site(t *testing.T) *site {
	t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(h.Gateway(), "0"))
	want.OK(t, err)
	pair, ca := ownAuthority(t, h.Gateway())
	s := &site{url: "https://" + ln.Addr().String() + "/simple", ca: ca}
	files := http.NewServeMux()
	var links strings.Builder
	for _, version := range []string{"1.0", "2.0"} {
		name := "greeting-" + version + "-py3-none-any.whl"
		data := wheel(t, version)
		fmt.Fprintf(&links, "<a href=\"/files/%[1]s\">%[1]s</a>\n", name)
		files.HandleFunc("/files/"+name, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) })
	}
	files.HandleFunc("/simple/greeting/", func(w http.ResponseWriter, _ *http.Request) {
		s.asked.Add(1)
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, "<!DOCTYPE html><html><body>\n%s</body></html>\n", links.String())
	})
	server := &http.Server{Handler: files, ErrorLog: log.New(io.Discard, "", 0), TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}}, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = server.ServeTLS(ln, "", "") }() // it ends when it is closed
	t.Cleanup(func() { _ = server.Close() })
	return s
}

// ownAuthority makes an authority, and has it make the certificate of a server at an address.
func ownAuthority(t *testing.T, address string) (pair tls.Certificate, ca string) {
	t.Helper()
	template := func(serial int64) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 1, 0)}
	}
	key := func() *ecdsa.PrivateKey {
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		want.OK(t, err)
		return private
	}
	root, rootKey := template(1), key()
	root.Subject.CommonName, root.IsCA, root.BasicConstraintsValid, root.KeyUsage = "A school's authority", true, true, x509.KeyUsageCertSign
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, &rootKey.PublicKey, rootKey)
	want.OK(t, err)
	leaf, leafKey := template(2), key()
	leaf.IPAddresses, leaf.ExtKeyUsage = []net.IP{net.ParseIP(address)}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	der, err := x509.CreateCertificate(rand.Reader, leaf, root, &leafKey.PublicKey, rootKey)
	want.OK(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: leafKey}, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: rootDER}))
}

// wheel makes a package that needs nothing.
func wheel(t *testing.T, version string) []byte {
	t.Helper()
	info := "greeting-" + version + ".dist-info/"
	var data bytes.Buffer
	archive := zip.NewWriter(&data)
	for _, file := range []struct{ name, text string }{
		{"greeting.py", "version = '" + version + "'\n"},
		{info + "METADATA", "Metadata-Version: 2.1\nName: greeting\nVersion: " + version + "\n"},
		{info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{info + "RECORD", "greeting.py,,\n" + info + "METADATA,,\n" + info + "WHEEL,,\n" + info + "RECORD,,\n"},
	} {
		w, err := archive.Create(file.name)
		want.OK(t, err)
		_, err = w.Write([]byte(file.text))
		want.OK(t, err)
	}
	want.OK(t, archive.Close())
	return data.Bytes()
}

// TestSourcesOfASite has environments take packages from an index whose certificate nobody knows but the config.
func TestSourcesOfASite(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := installed(t)
	index := h.site(t)
	_, stranger := ownAuthority(t, h.Gateway())
	for path, text := range map[string]string{"/etc/site.pem": index.ca, "/etc/stranger.pem": stranger, "/etc/text.pem": "no certificate\n"} {
		want.OK(t, h.Write(t.Context(), path, 0o644, strings.NewReader(text)))
	}
	packages := func() string { return h.must(t, "tljh-install env export") }
	refused := func(what, requirement string, words ...string) {
		t.Helper()
		before := packages()
		r := h.run(t, "tljh-install env install '"+requirement+"'")
		want.Equal(t, exitFailed, r.Code, what+": "+r.Output())
		want.Contains(t, r.Output(), words...)
		want.SameLines(t, before, packages(), what+": the environment was changed")
	}

	want.Contains(t, h.must(t, "tljh-install config set sources.index "+index.url), "tljh-install install")
	h.must(t, "tljh-install config reload")
	refused("an authority that is not trusted", "greeting==1.0", "that this machine reaches its package sources")
	want.Equal(t, int64(0), index.asked.Load(), "the index was asked although its certificate is not trusted")

	for file, words := range map[string]string{"/etc/text.pem": "contains no certificate", "/etc/nowhere.pem": "/etc/nowhere.pem"} {
		before := h.MustSh(t, "cat /opt/tljh/config/config.yaml")
		r := h.run(t, "tljh-install config set sources.ca "+file)
		want.Equal(t, exitBadInput, r.Code, r.Output())
		want.Contains(t, r.Output(), "ca: "+file, words)
		want.Equal(t, before, h.MustSh(t, "cat /opt/tljh/config/config.yaml"))
	}

	process := func() string { return h.property(t, "jupyterhub.service", "MainPID") }
	h.must(t, "tljh-install config set sources.ca /etc/site.pem --reload")
	h.awaitHub(t, 30*time.Second)
	for _, unit := range []string{"jupyterhub.service", "tljh-edge.service"} { // a provider of logins may have such a certificate
		trusts := "tr '\\0' '\\n' </proc/$(systemctl show --value -p MainPID " + unit + ")/environ"
		want.Contains(t, h.MustSh(t, trusts), "SSL_CERT_FILE=/opt/tljh/tools/authorities.pem")
	}
	h.must(t, "tljh-install env install greeting==1.0")
	want.True(t, index.asked.Load() > 0, "the index was not asked")
	want.Contains(t, packages(), "greeting==1.0")
	want.Equal(t, "1.0", h.MustSh(t, "runuser -u nobody -- /opt/tljh/user/bin/python -c 'import greeting; print(greeting.version)'"))

	h.must(t, "tljh-install config set sources.ca /etc/stranger.pem --reload")
	refused("the certificate of another one", "greeting==2.0", "that this machine reaches its package sources")
	h.must(t, "tljh-install config set sources.ca /etc/site.pem && tljh-install config set sources.index "+strings.Replace(index.url, "/simple", "/nothing", 1)+" --reload")
	refused("an index that has nothing", "greeting==2.0", "greeting")
	before := process()
	h.must(t, "tljh-install config set sources.index "+index.url+" --reload && tljh-install env install greeting==2.0")
	want.Equal(t, before, process(), "the hub was restarted for the sake of package sources")
	want.Contains(t, packages(), "greeting==2.0")
	want.Contains(t, h.must(t, "tljh-install env check"), "is healthy")
}
