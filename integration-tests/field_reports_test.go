package integration

import (
	"net/http"
	"testing"

	"tljh/integration-tests/client"
	"tljh/integration-tests/want"
)

// reportsOfOthers has what public reports are about (field/reports.md) and what the tests of hub/ cannot show.
func (h *hub) reportsOfOthers(t *testing.T, teacher, carol *client.Browser) {
	t.Run("an error that nobody expected has words", func(t *testing.T) {
		_, err := carol.ServerAPI(t.Context(), "carol", http.MethodPost, "contents/nosuch.ipynb/checkpoints", nil, nil)
		want.Contains(t, refusal(t, err, "a checkpoint of nothing").Message, "nosuch.ipynb")
	})
	t.Run("named servers that are not allowed", func(t *testing.T) {
		_, err := teacher.API(t.Context(), http.MethodPost, "users/alice/servers/gpu", nil, nil)
		want.Contains(t, refusal(t, err, "a named server").Message, "Named servers are not enabled. An admin of this hub can allow them")
	})
	t.Run("a name with @ that a program escapes, and what stays when it is deleted", func(t *testing.T) {
		const name = "dana@example.org"
		dana := h.student(t, teacher, name)
		for _, path := range []string{"/user/dana@example.org/api/status", "/user/dana%40example.org/api/status"} {
			page, err := dana.Open(t.Context(), path)
			want.OK(t, err)
			want.Equal(t, http.StatusOK, page.Status, path)
			want.Contains(t, page.Body, `"kernels"`)
		}
		_, err := teacher.API(t.Context(), http.MethodDelete, "users/"+name, nil, nil)
		want.OK(t, err)
		want.Contains(t, h.MustSh(t, "journalctl -u jupyterhub --since -2min"), "tljh-install password --one-time "+name)
	})
}

// reportsOfConfigs changes what running servers cannot follow.
func (h *hub) reportsOfConfigs(t *testing.T, carol *client.Browser) {
	t.Run("servers of another base_url are ended", func(t *testing.T) {
		start(t, carol)
		h.must(t, "tljh-install config set shared_folders.course.write '[all]' && tljh-install config set base_url /jupyter/")
		want.Contains(t, h.must(t, "tljh-install config reload"), "Single-user servers were stopped")
		want.Equal(t, "inactive", h.property(t, "jupyter-carol", "ActiveState"))
		h.must(t, "tljh-install config set base_url / --reload")
	})
	t.Run("what is moved into a shared folder is shared", func(t *testing.T) {
		h.MustSh(t, "rm -rf /home/jupyter-carol/many") // of the tests before
		start(t, carol)
		compute(t, kernel(t, carol), "import os; open('notes.txt', 'w').write('x'); os.chmod('notes.txt', 0o600)")
		_, err := carol.ServerAPI(t.Context(), "carol", http.MethodPatch, "contents/notes.txt", map[string]string{"path": "shared/course/notes.txt"}, nil)
		want.OK(t, err)
		h.must(t, "runuser -u $(getent passwd | grep -m1 ^jupyter-dana | cut -d: -f1) -- sh -c 'echo more >> /srv/tljh/course/notes.txt'")
	})
}
