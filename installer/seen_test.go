package installer

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"aead.dev/minisign"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/installer/switchover"
	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/release"
)

func offered(t *testing.T, version string, signed time.Time) *release.Offer {
	t.Helper()
	v, err := release.Parse(version)
	require.NoError(t, err)
	return &release.Offer{Version: v, Signed: signed, From: "https://mirror.example.org/tljh"}
}

// An address that offers what is older than what was seen hides something: a mirror can't keep a hub from a release that it has seen once.
func TestAnOlderOfferIsRefused(t *testing.T) {
	files := host.Files{Root: t.TempDir()}
	day := func(n int) time.Time { return time.Date(2026, 11, n, 0, 0, 0, 0, time.UTC) }
	require.NoError(t, Consider(files, day(1), offered(t, "0.1.0", day(1)), false), "nothing is installed: nothing is remembered")
	require.NoError(t, os.MkdirAll(files.Path(layout.State), 0o700))
	tests := []struct {
		version string
		signed  time.Time
		named   bool
		words   string
	}{
		{"0.1.0", time.Time{}, false, ""}, // an old signature, of unknown age
		{"0.1.0", day(1), false, ""},
		{"0.1.0", time.Time{}, false, "newer releases are held back"},
		{"0.2.0", day(3), false, ""},
		{"0.1.0", day(1), false, "offers 0.1.0, signed on 2026-11-01; 0.2.0, signed on 2026-11-03, was seen before"},
		{"0.1.0", day(1), true, ""}, // somebody goes step by step
		{"0.2.0", day(2), false, "newer releases are held back"},
		{"0.2.0", day(3), false, ""},
		{"0.2.0", day(5), false, ""}, // signed anew
		{"0.2.0", day(3), false, "newer releases are held back"},
		{"0.1.9", day(9), false, "newer releases are held back"},
		{"0.3.0", time.Time{}, false, ""},
	}
	for _, test := range tests {
		err := Consider(files, day(10), offered(t, test.version, test.signed), test.named)
		if test.words == "" {
			assert.NoError(t, err, test)
			continue
		}
		require.ErrorContains(t, err, test.words, test)
		assert.Contains(t, host.HintOf(err), "--from")
		assert.IsType(t, &SkewRefused{}, err)
	}
	seen, err := LoadSeen(files)
	require.NoError(t, err)
	assert.Equal(t, "0.3.0", seen.Version)
}

func TestWordsOfAge(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		signed time.Time
		words  string
		old    bool
	}{
		{time.Time{}, "of unknown age: its signature has no time", false},
		{now.Add(-time.Hour), "signed today", false},
		{now.AddDate(0, 0, -20), "signed 20 days ago, on 2026-11-09", false},
		{now.AddDate(-1, 0, 0), "signed 365 days ago, on 2025-11-29", true},
		{now.AddDate(0, 0, 3), "signed on 2026-12-02, which is in the future: check this machine's clock", true},
	} {
		words, old := Age(now, test.signed)
		assert.Equal(t, test.words, words)
		assert.Equal(t, test.old, old, words)
	}
}

func TestStatusTellsHowOldTheNewestReleaseIs(t *testing.T) {
	files := host.Files{Root: t.TempDir()}
	_, ok := lookAtSeen(files, time.Now())
	assert.False(t, ok)
	require.NoError(t, os.MkdirAll(files.Path(layout.State), 0o700))
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	require.NoError(t, Consider(files, now, offered(t, "0.2.0", now.AddDate(-1, 0, 0)), false))
	part, ok := lookAtSeen(files, now)
	require.True(t, ok)
	assert.Contains(t, part.State, "0.2.0, signed 365 days ago, on 2025-11-29; last looked at ")
	assert.Equal(t, OldHint, part.Hint)
	assert.False(t, part.Problem)
}

// What would replace the installed program is signed, goes on with what is installed, and hides nothing.
func TestWhatMayReplaceTheProgram(t *testing.T) {
	setVersion(t, "0.1.0")
	public, key, err := minisign.GenerateKey(rand.Reader)
	require.NoError(t, err)
	_, foreign, err := minisign.GenerateKey(rand.Reader)
	require.NoError(t, err)
	stock := func(t *testing.T, key *minisign.PrivateKey, version string) Replacement {
		dir := t.TempDir()
		sums := release.Stamp([]byte("0  tljh-install-linux-amd64\n"), time.Now())
		require.NoError(t, os.WriteFile(filepath.Join(dir, release.Sums), sums, 0o600))
		if key != nil {
			signature, err := release.Sign(*key, version, sums)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, release.Signature), signature, 0o600))
		}
		return Replacement{Dir: dir, From: "https://hub.example.org/tljh"}
	}
	machine := func(t *testing.T, do func(files host.Files)) host.Files {
		files := newMachine(t)
		require.NoError(t, os.MkdirAll(files.Path(layout.State), 0o700))
		do(files)
		return files
	}
	empty := func(host.Files) {}
	hub := func(files host.Files) { require.NoError(t, noteInstalled(files, time.Now())) }
	tests := []struct {
		name    string
		machine func(files host.Files)
		key     *minisign.PrivateKey
		version string
		words   string
		hint    string
	}{
		{"nothing installed yet", empty, &key, "0.3.0", "", ""},
		{"the same release", hub, &key, "0.1.0", "", ""},
		{"not signed", hub, nil, "0.1.0", "the release at https://hub.example.org/tljh is not signed", "--unsigned"},
		{"not signed, and no hub", empty, nil, "0.1.0", "is not signed", "--unsigned"},
		{"another key", hub, &foreign, "0.1.0", "is not one of the key that this program trusts", ""},
		{"newer", hub, &key, "0.2.0", "0.1.0 is installed on this machine, and this is 0.2.0", "sudo tljh-install upgrade --from https://hub.example.org/tljh does"},
		{"much newer", hub, &key, "0.3.0", "too far", "sudo tljh-install upgrade --to 0.2 --from https://hub.example.org/tljh"},
		{"older", hub, &key, "0.0.9", "install does not go back", "sudo tljh-install install"},
		{"an upgrade pending", func(files host.Files) {
			hub(files)
			require.NoError(t, (&Change{Old: Release{Version: "0.0.9"}, New: "0.1.0"}).enter(files, switchover.Switching))
		}, &key, "0.1.0", "was interrupted", "tljh-install upgrade"},
		{"an adoption pending", func(files host.Files) { require.NoError(t, (&Adoption{}).enter(files, switchover.Switching)) }, &key, "0.2.0", "was interrupted", "tljh-install install"},
		{"an adoption pending, by the same", func(files host.Files) { require.NoError(t, (&Adoption{}).enter(files, switchover.Switching)) }, &key, "0.1.0", "", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := stock(t, test.key, test.version).Verify(machine(t, test.machine), public, time.Now())
			if test.words == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.words)
			assert.Contains(t, host.HintOf(err), test.hint)
		})
	}
}

// upgrade takes signed releases only, so that its address is no way out for a build that nobody has signed.
func TestTheWayToABuildThatNobodySigned(t *testing.T) {
	setVersion(t, "0.1.0")
	files := newMachine(t)
	require.NoError(t, os.MkdirAll(files.Path(layout.State), 0o700))
	require.NoError(t, noteInstalled(files, time.Now()))
	const from = "https://hub.example.org/tljh"
	file := "tljh-install-linux-" + runtime.GOARCH
	err := MayReplace(files, "0.2.0", from, true)
	require.ErrorContains(t, err, "0.1.0 is installed on this machine, and this is 0.2.0")
	assert.Equal(t, "curl -fLO "+from+"/"+file+" && chmod +x "+file+" && sudo ./"+file+" upgrade", host.HintOf(err))
	assert.NotContains(t, host.HintOf(MayReplace(files, "0.3.0", from, true)), from)
	require.NoError(t, MayReplace(files, "0.1.0", from, true))
}
