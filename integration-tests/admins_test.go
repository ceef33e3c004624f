package integration

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"tljh/integration-tests/client"
	"tljh/integration-tests/guest"
	"tljh/integration-tests/want"
)

// newAdmin lets the teacher make another admin on the admin page, and root set the password.
func (h *hub) newAdmin(t *testing.T, teacher *client.Browser, name string) {
	t.Helper()
	_, err := teacher.API(t.Context(), http.MethodPost, "users", map[string]any{"usernames": []string{name}, "admin": true}, nil)
	want.OK(t, err)
	h.MustSh(t, "echo "+passwordOf(name)+" | tljh-install password "+name)
}

const idAsRoot = "import subprocess as s; r = s.run(['sudo', '-n', 'id', '-u'], capture_output=True, text=True); print(r.returncode, r.stdout.strip())"

// TestWhoIsNoAdminAnyMore takes the role away from admins who are at work, in every way there is. Sudo goes by the groups that a process has: what was
// started before must not keep them.
func TestWhoIsNoAdminAnyMore(t *testing.T) {
	t.Parallel()
	inTurn(t)
	h := installed(t)
	teacher := h.admin(t)
	start(t, teacher)
	bob := h.student(t, teacher, "bob")
	others := kernel(t, bob)
	compute(t, others, "x = 42")
	h.set(t, "add users.admin dan")
	h.MustSh(t, "echo "+passwordOf("dan")+" | tljh-install password dan")
	h.newAdmin(t, teacher, "eve")
	h.newAdmin(t, teacher, "fay")
	for _, former := range []struct {
		how, name string
		end       func(t *testing.T)
	}{
		{"taken off users.admin", "dan", func(t *testing.T) { h.set(t, "remove users.admin dan") }},
		{"made a user like others on the admin page", "eve", func(t *testing.T) {
			_, err := teacher.API(t.Context(), http.MethodPatch, "users/eve", map[string]any{"admin": false}, nil)
			want.OK(t, err)
		}},
		{"removed on the admin page", "fay", func(t *testing.T) {
			want.OK(t, teacher.StopServer(t.Context(), "fay"))
			_, err := teacher.API(t.Context(), http.MethodDelete, "users/fay", nil, nil)
			want.OK(t, err)
		}},
	} {
		t.Run(former.how, func(t *testing.T) {
			account := "jupyter-" + former.name
			b := h.login(t, former.name, passwordOf(former.name))
			start(t, b)
			want.Equal(t, "0 0", compute(t, kernel(t, b), idAsRoot))
			// What was started by other ways than the hub: a job, or a shell over ssh.
			h.MustSh(t, "systemd-run --quiet --collect --uid="+account+" --unit=job-of-"+former.name+" sleep 100000")
			former.end(t)
			guest.Until(t, 30*time.Second, func(ctx context.Context) error {
				r, err := h.Sh(ctx, "id -Gn "+account+"; systemctl is-active "+account+".service job-of-"+former.name+".service")
				if said := r.Stdout; err == nil && (strings.Contains(said, "jupyterhub-admins") || strings.Contains("\n"+said, "\nactive")) {
					err = errors.New(said)
				}
				return err
			})
			want.Contains(t, h.MustSh(t, "id -Gn "+account), "jupyterhub-users")
			if former.name == "fay" {
				enrol(t, teacher, "fay")
			}
			b = h.login(t, former.name, passwordOf(former.name))
			start(t, b)
			want.Equal(t, "1", compute(t, kernel(t, b), idAsRoot))
		})
	}
	want.Equal(t, "42", recall(t, bob, others), "a student's kernel after all of this")
	want.Equal(t, "0 0", compute(t, kernel(t, teacher), idAsRoot))
}
