package integration

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"tljh/integration-tests/guest"
	"tljh/integration-tests/want"
)

// TestIdleServersAndUsersAreCulled lets the culler really do it, users among its prey, and sees that nobody can take the place of those who are gone.
func TestIdleServersAndUsersAreCulled(t *testing.T) {
	t.Parallel()
	h := installed(t)
	h.set(t, "add users.admin nora", "add users.allowed grace", "set services.cull.users true", "set services.cull.every 3", "set services.cull.timeout 20")
	b := h.login(t, "grace", passwordOf("grace"))
	start(t, b)
	compute(t, kernel(t, b), "open('diary', 'w').write('mine')")
	const users = "curl -fsS -H \"Authorization: token $(cat /opt/tljh/state/installer.token)\" http://127.0.0.1:971/hub/api/users"
	// nora never logged in, and grace has gone away with the server running.
	guest.Until(t, 3*time.Minute, func(ctx context.Context) error {
		r, err := h.Sh(ctx, users+"; systemctl is-active jupyter-grace.service")
		if err == nil && (!strings.HasPrefix(r.Stdout, "[") || strings.Contains(r.Stdout, `"nora"`) || strings.Contains(r.Stdout, `"grace"`) || strings.HasSuffix(r.Stdout, "\nactive\n")) {
			err = fmt.Errorf("they are there still: %s", r.Output())
		}
		return err
	})
	want.Equal(t, "mine", h.MustSh(t, "cat /home/jupyter-grace/diary"))
	h.set(t, "set services.cull.enabled false")

	refusal(t, h.browser(t, "nora").Login(t.Context(), "claimed-by-anyone"), "claiming an admin's name")
	refusal(t, h.browser(t, "grace").Login(t.Context(), "claimed-by-the-next"), "claiming a student's name")
	b = h.login(t, "grace", passwordOf("grace"))
	start(t, b)
	want.Equal(t, "mine", compute(t, kernel(t, b), "print(open('diary').read())"))
	h.MustSh(t, "echo given-by-root-1 | tljh-install password nora")
	refusal(t, h.browser(t, "nora").Login(t.Context(), "claimed-by-anyone"), "claiming an admin's name")
	_, err := h.login(t, "nora", "given-by-root-1").API(t.Context(), http.MethodGet, "users", nil, nil)
	want.OK(t, err, "what only an admin may do")
}
