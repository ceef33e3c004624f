package installer

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tljh/conda"
	"tljh/config"
	"tljh/environment"
	"tljh/installer/journal"
	"tljh/internal/fetch"
	"tljh/internal/layout"
	"tljh/internal/report"
	"tljh/internal/step"
)

// notes collects what people are told.
type notes struct{ said []string }

func (n *notes) Event(e report.Event) {
	if e.Kind == report.KindNote || e.Kind == report.KindWarning {
		n.said = append(n.said, e.Message)
	}
}

// choosing is an installer on a machine from which conda's channel is out of reach.
func choosing(s *wholeSite, said *notes) *Installer {
	i := s.installer()
	i.Report = report.New(said)
	i.Builder = environment.New(environment.Setup{Host: s.host, Now: time.Now, Client: &fetch.Client{Tries: 1}, Conda: conda.Settings{Mirror: "http://127.0.0.1:1/miniforge"}})
	return i
}

func condaSteps(plan journal.Plan) []string {
	found := []string{}
	for _, node := range plan.Nodes {
		if id := node.Step.ID(); strings.Contains(id, "miniforge") || strings.Contains(id, ".condarc") {
			found = append(found, id)
		}
	}
	return found
}

// Who is told "made by uv, as conda cannot be fetched" has nothing fail on conda afterwards.
func TestUVInThePlaceOfCondaNeedsNoConda(t *testing.T) {
	s := newWholeSite(t)
	said := &notes{}
	i := choosing(s, said)
	in := inputs(t, plainConfig)
	in.Manager = <-i.managerFor(t.Context(), in, Auto)
	assert.Equal(t, ManagerChoice{Name: "uv"}, in.Manager)
	assert.Len(t, slices.DeleteFunc(said.said, func(words string) bool { return !strings.Contains(words, "made by uv, as conda cannot be fetched") }), 1)
	plan, err := InstallPlan(in, i.Builder)
	require.NoError(t, err)
	assert.Empty(t, condaSteps(plan))
	assert.Contains(t, nodeIDs(plan), idFetch(environment.UserWheels))
}

// An adoption copies an environment of conda's: nobody is told of uv, and the check of the environment says that conda cannot be fetched. With a new environment, it is
// uv that makes it, and nothing of conda's is fetched.
func TestAnAdoptionDoesNotAnnounceUVAndFailOnConda(t *testing.T) {
	s := olderSite(t)
	said := &notes{}
	i := choosing(s, said)
	in := s.olderInputs(olderConfig)
	in.Manager = <-i.managerFor(t.Context(), in, Auto)
	assert.Equal(t, "conda", in.Manager.Name)
	assert.Empty(t, said.said)
	finding := s.finding(i, in, "older-environment")
	assert.Contains(t, finding.Message, "conda, which it goes on being changed with, cannot be fetched")
	assert.Contains(t, finding.Hint, "--new-environment")

	in.fresh = true
	in.Manager = <-i.managerFor(t.Context(), in, Auto)
	assert.Equal(t, "uv", in.Manager.Name)
	require.Len(t, said.said, 1)
	plan, err := aheadOfAdoption(in, i.Builder)
	require.NoError(t, err)
	assert.Empty(t, condaSteps(plan))
	assert.NotContains(t, s.finding(i, in, "older-environment").Message, "cannot be fetched")
}

func nodeIDs(plan journal.Plan) []string {
	found := []string{}
	for _, node := range plan.Nodes {
		found = append(found, node.Step.ID())
	}
	return found
}

// The reverse proxy that browsers connect to is the edge, in steps, units and the reference of the config.
func TestTheEdgeHasOneName(t *testing.T) {
	s := newWholeSite(t)
	plan, err := InstallPlan(inputs(t, plainConfig), s.installer().Builder)
	require.NoError(t, err)
	text, seen := string(config.Reference())+string(config.Starter(nil, config.Network{})), map[string]bool{}
	for _, node := range plan.Nodes {
		text += node.Step.Title() + "\n"
		if file, ok := node.Step.(step.File); ok && strings.HasPrefix(file.Path, layout.Units) {
			text += string(file.Content)
		}
		if title := node.Step.Title(); strings.HasPrefix(title, "start ") {
			assert.False(t, seen[title], "two steps have the title %q", title)
			seen[title] = true
		}
	}
	assert.NotRegexp(t, `(?i)\bdoor`, text)
	assert.Contains(t, text, "edge restart")
}
