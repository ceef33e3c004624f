package integration

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tljh/integration-tests/client"
	"tljh/integration-tests/guest"
	"tljh/integration-tests/want"
)

// block returns the one block of a language of a page of the documentation.
func block(t *testing.T, page, language string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(guest.RepositoryRoot(), "docs", page))
	want.OK(t, err)
	found := regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllStringSubmatch(string(data), -1)
	if len(found) == 0 {
		t.Fatalf("docs/%s has no block %s", page, language)
	}
	return found[0][1]
}

// TestBehindReverseProxies puts the web servers of the page in front, with the very files of the page, one after the other.
func TestBehindReverseProxies(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := installed(t)
	const name = "hub.example.org"
	h.must(t, "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN="+name+" -addext subjectAltName=DNS:"+name+
		" -keyout /etc/ssl/private/hub.key -out /etc/ssl/certs/hub.pem 2>&1; chmod 0711 /etc/ssl/private; chmod 0644 /etc/ssl/private/hub.key")
	roots := x509.NewCertPool()
	want.True(t, roots.AppendCertsFromPEM([]byte(h.must(t, "cat /etc/ssl/certs/hub.pem"))), "no certificate")
	h.must(t, "printf '#!/bin/sh\\nexit 101\\n' > /usr/sbin/policy-rc.d; chmod 0755 /usr/sbin/policy-rc.d; export DEBIAN_FRONTEND=noninteractive; "+
		"apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light apache2 caddy")
	for _, change := range []string{"set http.address 127.0.0.1", "set http.port 8000", "set http.public_url https://" + name, "set http.trusted_proxies [127.0.0.1] --reload"} {
		h.must(t, "tljh-install config "+change)
	}
	want.Contains(t, h.must(t, "tljh-install status"), "https://"+name+"/")
	for _, front := range []struct{ unit, file, language, before string }{
		{"nginx", "/etc/nginx/sites-enabled/hub", "nginx", "rm -f /etc/nginx/sites-enabled/default"},
		{"apache2", "/etc/apache2/sites-enabled/hub.conf", "apache", "rm -f /etc/apache2/sites-enabled/000-default.conf; sed -i 's/^Listen 80$/# &/' /etc/apache2/ports.conf; a2enmod -q ssl proxy proxy_http proxy_wstunnel headers"},
		{"caddy", "/etc/caddy/Caddyfile", "caddy", "true"},
	} {
		t.Run(front.unit, func(t *testing.T) {
			h.must(t, front.before)
			want.OK(t, h.Write(t.Context(), front.file, 0o644, strings.NewReader(block(t, "behind.md", front.language))))
			h.must(t, "systemctl start "+front.unit)
			defer h.must(t, "systemctl stop "+front.unit)
			h.throughFront(t, name, roots)
		})
	}
	t.Run("nginx over a unix socket", func(t *testing.T) {
		h.must(t, "sed -i 's,http://127.0.0.1:8000,http://unix:/run/hub/http.sock:,' /etc/nginx/sites-enabled/hub && echo 'd /run/hub 0750 root www-data' > /etc/tmpfiles.d/hub.conf && systemd-tmpfiles --create hub.conf")
		h.must(t, `tljh-install config set http.trusted_proxies '["unix:/run/hub/http.sock"]' --reload`)
		h.must(t, "systemctl start nginx")
		defer h.must(t, "systemctl stop nginx")
		h.throughFront(t, name, roots)
		h.must(t, "! runuser -u nobody -- curl -sf --unix-socket /run/hub/http.sock http://hub/hub/health && runuser -u www-data -- curl -sf --unix-socket /run/hub/http.sock http://hub/hub/health")
		h.must(t, "curl -s -H 'X-Forwarded-For: 6.6.6.6' http://127.0.0.1:8000/hub/login >/dev/null; ! journalctl -u jupyterhub --no-pager | grep -F 6.6.6.6")
		h.must(t, "tljh-install config set http.trusted_proxies [127.0.0.1] --reload && ! runuser -u www-data -- curl -sf --unix-socket /run/hub/http.sock http://hub/hub/health")
	})
}

// throughFront is what a visitor of the web server in front does: a login, a server and a notebook's websocket.
func (h *hub) throughFront(t *testing.T, name string, roots *x509.CertPool) {
	t.Helper()
	b, err := client.NewSecure(name, h.Address(), admin, roots)
	want.OK(t, err)
	page, err := b.Open(t.Context(), "/hub/login")
	want.OK(t, err)
	for _, cookie := range page.Header.Values("Set-Cookie") {
		want.Contains(t, strings.ToLower(cookie), "secure")
	}
	want.OK(t, b.Login(t.Context(), adminPassword))
	_ = b.StopServer(t.Context(), admin) // it may not run
	start(t, b)
	want.Equal(t, "42", compute(t, kernel(t, b), "print(6*7)"))
	want.Contains(t, h.must(t, "journalctl -u jupyterhub -n 300 --no-pager"), admin+"@"+h.Gateway())
}
