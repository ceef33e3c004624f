package integration

import (
	"testing"
)

// TestOnDebian13 does there what depends on the distribution's kernel interface, systemd and sudo; all else is tried on Debian 12.
func TestOnDebian13(t *testing.T) {
	t.Parallel()
	inTurn(t)
	for name, walk := range map[string]func(*hub, *testing.T){
		"a student tries everything": (*hub).studentTriesEverything,
		"one's own server":           (*hub).attackOnesOwnServer,
		"limits hold":                (*hub).limitsHold,
		"sudo is for admins":         (*hub).sudoIsForAdmins,
		"work goes on":               (*hub).workGoesOn,
		"the server is rebooted":     (*hub).serverIsRebooted,
		"systemd's judgement":        (*hub).exposures,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			walk(onDebian13.boot(t), t)
		})
	}
}
