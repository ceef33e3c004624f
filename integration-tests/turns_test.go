package integration

import (
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// Tests of rare faults, each of which takes minutes. A run takes every third of them, in turns by the week: see inTurn.
var rare = []string{
	"TestAdoptKilled",
	"TestAdoptThatFails",
	"TestAdoptWhileTheDiskFills",
	"TestCondaIsRepaired",
	"TestCondaKilled",
	"TestFaultsOfAnInstallation",
	"TestFaultsOfAnUninstallation",
	"TestFaultsOfAnUpgrade",
	"TestHubComesBackByItself",
	"TestInstallAfterAKilledUninstall",
	"TestInstallationKilledAtEveryStep",
	"TestNoChannelAnswers",
	"TestTheChannelGoesWrong",
	"TestUninstallKilledAgainAndAgain",
	"TestUninstallOnAFullDisk",
	"TestUpgradeKilled",
	"TestUpgradeThatFails",
	"TestUpgradeWhileTheDiskFills",
}

// turns is the number of runs after which each rare test has had its turn.
const turns = 3

// inTurn leaves a rare test out unless it is its turn. The seed says so, as it chooses faults; all of them run with TLJH_FAULTS.
func inTurn(t *testing.T) {
	t.Helper()
	place := slices.Index(rare, t.Name())
	if place < 0 {
		t.Fatalf("%s is not listed in `rare`", t.Name())
	}
	seed := seedOf(time.Now())
	if faultRounds() == 0 && uint64(place)%turns != seed%turns {
		t.Skipf("its turn comes with another TLJH_SEED than %d; all of them: make test-faults", seed)
	}
}

// seedOf is TLJH_SEED, or the number of the week: it stays the same while one works on something, and everything has its turn.
func seedOf(now time.Time) uint64 {
	if seed, err := strconv.ParseUint(os.Getenv("TLJH_SEED"), 10, 64); err == nil {
		return seed
	}
	year, week := now.UTC().ISOWeek()
	return uint64(year*53 + week)
}

// TestRareTestsHaveTheirTurn holds the table against what it is for.
func TestRareTestsHaveTheirTurn(t *testing.T) {
	if !slices.IsSorted(rare) || len(slices.Compact(slices.Clone(rare))) != len(rare) {
		t.Fatal("sort `rare`, and name each test once")
	}
	monday := time.Date(2026, 12, 28, 0, 0, 0, 0, time.UTC)
	t.Setenv("TLJH_SEED", "")
	seen := map[uint64]bool{}
	for week := range turns {
		seen[seedOf(monday.AddDate(0, 0, 7*week))%turns] = true
	}
	if len(seen) != turns {
		t.Fatalf("in %d weeks, across a new year, only %d turns came", turns, len(seen))
	}
}
