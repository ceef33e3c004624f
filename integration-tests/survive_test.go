package integration

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"tljh/integration-tests/client"
	"tljh/integration-tests/guest"
	"tljh/integration-tests/want"
)

// routesBack is the promise: after any start of the proxy its routes are back within this time.
const routesBack = 5 * time.Second

// TestWorkGoesOn breaks what can break below a student who is at work.
func TestWorkGoesOn(t *testing.T) {
	t.Parallel()
	installed(t).workGoesOn(t)
}

func (h *hub) workGoesOn(t *testing.T) {
	b := h.student(t, h.admin(t), "bob")
	k := kernel(t, b)
	compute(t, k, "x = 42")

	t.Run("the hub is restarted", func(t *testing.T) {
		h.MustSh(t, "systemctl restart --no-block jupyterhub")
		want.Equal(t, "42", compute(t, k, "print(x)")) // by the connection that was open
		h.MustSh(t, "systemctl restart jupyterhub")
		h.stillAtWork(t, b, k.ID)
	})
	t.Run("the hub is killed", func(t *testing.T) {
		pid := h.property(t, "jupyterhub.service", "MainPID")
		h.MustSh(t, "kill -9 "+pid)
		want.Equal(t, "42", compute(t, k, "print(x)"))
		guest.Until(t, 20*time.Second, h.otherProcess("jupyterhub.service", pid))
		h.stillAtWork(t, b, k.ID)
	})
	for _, how := range []struct{ name, script string }{
		{"the proxy is restarted", "systemctl restart configurable-http-proxy"},
		{"the proxy is killed", "kill -9 $(systemctl show --value -p MainPID configurable-http-proxy)"},
	} {
		t.Run(how.name, func(t *testing.T) {
			pid := h.property(t, "configurable-http-proxy.service", "MainPID")
			h.MustSh(t, how.script)
			begin := time.Now()
			guest.Until(t, 20*time.Second, h.otherProcess("configurable-http-proxy.service", pid))
			guest.Until(t, routesBack, reaches(b))
			t.Logf("the student's server was back %.2f s after", time.Since(begin).Seconds())
			h.stillAtWork(t, b, k.ID)
		})
	}
	t.Run("the door is killed", func(t *testing.T) {
		h.MustSh(t, "kill -9 $(systemctl show --value -p MainPID tljh-edge.service)")
		guest.Until(t, routesBack, reaches(b))
		h.stillAtWork(t, b, k.ID)
	})
}

// otherProcess says when a unit's main process is another than before.
func (h *hub) otherProcess(unit, before string) func(context.Context) error {
	return func(ctx context.Context) error {
		r, err := h.Exec(ctx, "systemctl", "show", "--value", "-p", "MainPID", unit)
		if err != nil {
			return err
		}
		if now := r.Stdout; now == before+"\n" || now == "0\n" {
			return fmt.Errorf("%s was not started again", unit)
		}
		return nil
	}
}

// reaches says whether the student's own server answers through the edge.
func reaches(b *client.Browser) func(context.Context) error {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		_, err := b.ServerAPI(ctx, b.User, http.MethodGet, "status", nil, nil)
		return err
	}
}

// stillAtWork wants the login page, the student's session, and the kernel with its variables.
func (h *hub) stillAtWork(t *testing.T, b *client.Browser, kernelID string) {
	t.Helper()
	h.awaitHub(t, 20*time.Second)
	guest.Until(t, 20*time.Second, reaches(b))
	guest.Until(t, 20*time.Second, func(ctx context.Context) error {
		me, err := b.Me(ctx)
		if err == nil && !me.Running() {
			err = fmt.Errorf("the hub does not know of the server that runs: %+v", me)
		}
		return err
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	again, err := b.Connect(ctx, kernelID)
	want.OK(t, err)
	defer again.Close()
	want.Equal(t, "42", compute(t, again, "print(x)"))
	h.login(t, "bob", passwordOf("bob"))
}

func TestTheServerIsRebooted(t *testing.T) {
	t.Parallel()
	installed(t).serverIsRebooted(t)
}

func (h *hub) serverIsRebooted(t *testing.T) {
	teacher := h.admin(t)
	b := h.student(t, teacher, "bob")
	compute(t, kernel(t, b), "open('notes', 'w').write('kept')")
	want.OK(t, h.Reboot(t.Context()))
	h.awaitHub(t, 60*time.Second)
	want.Lacks(t, h.must(t, "tljh-install status"), "PROBLEM") // before anybody has started a server
	h.looksInstalled(t)
	b = h.login(t, "bob", passwordOf("bob"))
	start(t, b)
	want.Equal(t, "kept", compute(t, kernel(t, b), "print(open('notes').read())"))
	r := h.paste(t, "--admin "+admin)
	want.Contains(t, r.Output(), "othing")
}

func TestTheServerDiesAtWork(t *testing.T) {
	t.Parallel()
	h := installed(t)
	b := h.student(t, h.admin(t), "bob")
	compute(t, kernel(t, b), "open('notes', 'w').write('kept')")
	want.OK(t, h.Kill(t.Context()))
	want.OK(t, h.Boot(t.Context()))
	h.awaitHub(t, 60*time.Second)
	b = h.login(t, "bob", passwordOf("bob"))
	start(t, b)
	want.Equal(t, "kept", compute(t, kernel(t, b), "print(open('notes').read())"))
}
