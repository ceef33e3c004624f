package integration

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tljh/integration-tests/want"
)

// Tests that look at one corner of the product, or at a rare fault, for minutes. A run takes every fourth of them, in turns by the week:
// see inTurn. What every student and teacher needs each day, and what an attacker tries first, is not listed and runs each time.
var byTurns = []string{
	"TestABadConfigDoesNotReplaceTheGoodOne",
	"TestABrokenEnvironmentKeepsNobodyFromTheirFiles",
	"TestAMachineThatIsNotReady",
	"TestARM64",
	"TestAdoptKilled",
	"TestAdoptThatFails",
	"TestAdoptWhileTheDiskFills",
	"TestAdoptWithANewEnvironment",
	"TestAsAScriptWould",
	"TestAttackOnesOwnServer",
	"TestAttackWhatAllNeed",
	"TestAuthenticators",
	"TestBadConfigs",
	"TestBehindAProxy",
	"TestBehindReverseProxies",
	"TestCondaInTerminals",
	"TestCondaIsRepaired",
	"TestCondaKilled",
	"TestCtrlC",
	"TestEnvironmentsFromSources",
	"TestEveryKey",
	"TestFaultsOfAnInstallation",
	"TestFaultsOfAnUninstallation",
	"TestFaultsOfAnUpgrade",
	"TestFoldersOfOthersAreNoWayToRoot",
	"TestHomesThatRootArranged",
	"TestHubComesBackByItself",
	"TestHubPackages",
	"TestIdleServersAndUsersAreCulled",
	"TestInstallAfterAKilledUninstall",
	"TestInstallationKilledAtEveryStep",
	"TestLetsEncryptOnARunningHub",
	"TestNoChannelAnswers",
	"TestNoNetwork",
	"TestNoSystemd",
	"TestOddKernels",
	"TestOnDebian13",
	"TestOnesOwnFilesKeepNobodyOut",
	"TestRequirementsThatCannotBeResolved",
	"TestSiteAccounts",
	"TestSnippetsOfRealSites",
	"TestSourcesOfASite",
	"TestStrangersAttackTheEdge",
	"TestStudentsOwnThings",
	"TestTheChannelGoesWrong",
	"TestTheDiskIsFull",
	"TestTheHubDoesNotComeUp",
	"TestTheSystemIsUpgradedUnderneath",
	"TestToldToEnd",
	"TestTwoInstallsAtOnce",
	"TestUninstallHalfAnInstallation",
	"TestUninstallKilledAgainAndAgain",
	"TestUninstallOnAFullDisk",
	"TestUninstallThatCannotBegin",
	"TestUninstallWithEverythingAgainstIt",
	"TestUpgradeKilled",
	"TestUpgradeOfTheProxy",
	"TestUpgradeThatFails",
	"TestUpgradeThatIsNone",
	"TestUpgradeWhileTheDiskFills",
	"TestWhatDebianRestarts",
	"TestWhoIsNoAdminAnyMore",
}

// turns is the number of runs after which each of them has had its turn.
const turns = 4

// inTurn leaves a test out unless it is its turn. The seed says so, as it chooses faults; all of them run with TLJH_TURNS=all.
func inTurn(t *testing.T) {
	t.Helper()
	place := slices.Index(byTurns, t.Name())
	if place < 0 {
		t.Fatalf("%s is not listed in `byTurns`", t.Name())
	}
	seed := seedOf(time.Now())
	if faultRounds() == 0 && os.Getenv("TLJH_TURNS") != "all" && uint64(place)%turns != seed%turns {
		t.Skipf("its turn comes with another TLJH_SEED than %d; all of them: make test-all", seed)
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

// TestTurns holds the table against what it is for.
func TestTurns(t *testing.T) {
	if !slices.IsSorted(byTurns) || len(slices.Compact(slices.Clone(byTurns))) != len(byTurns) {
		t.Fatal("sort `byTurns`, and name each test once")
	}
	monday := time.Date(2026, 12, 28, 0, 0, 0, 0, time.UTC)
	t.Setenv("TLJH_SEED", "")
	seen := map[uint64]bool{}
	for week := range 2 * turns {
		seen[seedOf(monday.AddDate(0, 0, 7*week))%turns] = true
	}
	if len(seen) != turns {
		t.Fatalf("in %d weeks, across a new year, only %d turns came", 2*turns, len(seen))
	}
	if asking := askingInTurn(t); !slices.Equal(asking, byTurns) {
		t.Errorf("these tests ask inTurn, and others are listed in `byTurns`: %s", strings.Join(asking, ", "))
	}
}

// askingInTurn are the tests of this package whose source says so.
func askingInTurn(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	want.OK(t, err)
	found := []string{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		want.OK(t, err)
		for _, function := range strings.Split(string(text), "\nfunc ") {
			if name, _, _ := strings.Cut(function, "("); strings.Contains(function, "\n\tinTurn(t)\n") {
				found = append(found, name)
			}
		}
	}
	slices.Sort(found)
	return found
}
