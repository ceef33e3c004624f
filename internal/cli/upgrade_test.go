package cli

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"tljh/environment"
	"tljh/installer"
)

func TestWordsOfVersions(t *testing.T) {
	since := time.Date(2026, 11, 25, 10, 0, 0, 0, time.Local)
	v := &installer.Versions{
		Live:   &installer.Release{Version: "0.8.1", JupyterHub: "6.1.1", Proxy: "5.3.0", Python: "3.14.6", Since: since, From: "https://hub.example.org/tljh"},
		Before: &installer.Release{Version: "0.7.2", JupyterHub: "5.5.4", Proxy: "5.3.0", Python: "3.14.6", Since: since},
		Generations: []installer.Standing{
			{Generation: environment.Generation{Kind: environment.Hub, Number: 2, Version: "0.8.1", Created: since}, Live: true},
		},
		Available: "0.9.0", At: "https://hub.example.org/tljh",
	}
	assert.Equal(t, `installed  0.8.1  (JupyterHub 6.1.1, proxy 5.3.0, Python 3.14.6) since 2026-11-25 10:00:00, from https://hub.example.org/tljh
previous   0.7.2  (JupyterHub 5.5.4, proxy 5.3.0, Python 3.14.6) since 2026-11-25 10:00:00
           hub-2  built by 0.8.1 on 2026-11-25 10:00:00  in use
available  0.9.0  at https://hub.example.org/tljh

To roll back to 0.7.2: sudo tljh-install rollback
`, releasesText(v))
}

// What an old program says to a new one stays the same for ever.
func TestWhatTheNewProgramIsTold(t *testing.T) {
	var o upgradeOptions
	assert.Equal(t, []string{"upgrade", "--staged"}, o.passOn())
	o.yes, o.ignore = true, []string{"health"}
	assert.Equal(t, []string{"upgrade", "--staged", "--yes", "--ignore-preflight=health"}, o.passOn())
}
