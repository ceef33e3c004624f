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
	inTurn(t)
	h := installed(t)
	h.set(t, "add users.admin nora", "add users.allowed grace", "set services.cull.users true", "set services.cull.every 3", "set services.cull.timeout 20")
	b := h.login(t, "grace", passwordOf("grace"))
	start(t, b)
	compute(t, kernel(t, b), "open('diary', 'w').write('mine')")
	// A cell that says nothing and whose page is closed goes on for far longer than the timeout.
	night := kernel(t, b)
	ctx, leave := context.WithTimeout(t.Context(), 2*time.Second)
	_, err := night.Run(ctx, "import time; time.sleep(70); open('night', 'w').write('computed')")
	leave()
	want.True(t, err != nil, "the cell was to be at work still")
	_ = night.Close()
	const users = "curl -fsS -H \"Authorization: token $(cat /opt/tljh/state/installer.token)\" http://127.0.0.1:971/hub/api/users"
	// nora never logged in, and grace has gone away with the server running.
	guest.Until(t, 4*time.Minute, func(ctx context.Context) error {
		r, err := h.Sh(ctx, users+"; systemctl is-active jupyter-grace.service")
		if err == nil && (!strings.HasPrefix(r.Stdout, "[") || strings.Contains(r.Stdout, `"nora"`) || strings.Contains(r.Stdout, `"grace"`) || strings.HasSuffix(r.Stdout, "\nactive\n")) {
			err = fmt.Errorf("they are there still: %s", r.Output())
		}
		return err
	})
	want.Equal(t, "minecomputed", h.MustSh(t, "cd /home/jupyter-grace && cat diary night"))
	h.set(t, "set services.cull.enabled false")

	refusal(t, h.browser(t, "nora").Login(t.Context(), "claimed-by-anyone"), "claiming an admin's name")
	refusal(t, h.browser(t, "grace").Login(t.Context(), "claimed-by-the-next"), "claiming a student's name")
	b = h.login(t, "grace", passwordOf("grace"))
	start(t, b)
	want.Equal(t, "mine", compute(t, kernel(t, b), "print(open('diary').read())"))
	h.MustSh(t, "echo given-by-root-1 | tljh-install password nora")
	refusal(t, h.browser(t, "nora").Login(t.Context(), "claimed-by-anyone"), "claiming an admin's name")
	_, err = h.login(t, "nora", "given-by-root-1").API(t.Context(), http.MethodGet, "users", nil, nil)
	want.OK(t, err, "what only an admin may do")
}
