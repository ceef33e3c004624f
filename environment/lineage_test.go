package environment

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// line makes snapshots whose packages are told apart by their number.
func line(numbers ...int) Lineage {
	made := Lineage{}
	for _, n := range numbers {
		made = append(made, Snapshot{Number: n, Packages: map[string]string{"rich": fmt.Sprint(n)}})
	}
	return made
}

// gone adds what a rollback or a redo leaves.
func (l Lineage) gone(to int) Lineage {
	return append(l, Snapshot{Number: l[len(l)-1].Number + 1, Of: to, Tip: l.tip(), Packages: l.find(to).Packages})
}

// changed adds a change.
func (l Lineage) changed() Lineage {
	n := l[len(l)-1].Number + 1
	return append(l, Snapshot{Number: n, Parent: l.base(), Packages: map[string]string{"rich": fmt.Sprint(n)}})
}

func (l Lineage) back(t *testing.T) Lineage {
	t.Helper()
	to := l.Back(l[len(l)-1].Packages)
	require.NotNil(t, to)
	return l.gone(to.Number)
}

func TestGoingBackTwiceGoesFurtherBack(t *testing.T) {
	l := line(1, 2, 3)
	require.Nil(t, l.Forward(), "nothing was undone")
	l = l.back(t)
	assert.Equal(t, 2, l.base())
	l = l.back(t)
	assert.Equal(t, 1, l.base())
	require.Nil(t, l.Back(l[len(l)-1].Packages), "there is nothing before the first")
	for _, number := range []int{2, 3} {
		to := l.Forward()
		require.NotNil(t, to)
		require.Equal(t, number, to.Number)
		l = l.gone(to.Number)
	}
	require.Nil(t, l.Forward(), "all is done again")
}

func TestAChangeAfterGoingBackBeginsAnew(t *testing.T) {
	l := line(1, 2, 3).back(t).changed() // 4 is that of 2 again, 5 the change
	assert.Nil(t, l.Forward(), "what was undone is not on this line")
	l = l.back(t)
	assert.Equal(t, 2, l.base(), "back is what was there before the change, and not what was undone")
	assert.Equal(t, 5, l.Forward().Number)
	l = l.back(t)
	assert.Equal(t, 1, l.base())
	assert.Equal(t, 2, l.Forward().Number)
}

func TestABrokenStateIsNeverOffered(t *testing.T) {
	l := line(1, 2, 3, 4)
	l[2].Broken = "python is missing"
	to := l.Back(l[3].Packages)
	require.NotNil(t, to)
	assert.Equal(t, 2, to.Number)
	l = l.gone(2)
	assert.Equal(t, 4, l.Forward().Number)
	l[3].Broken = "too"
	assert.Nil(t, l.Forward())
	assert.Nil(t, line().Back(nil))
	assert.Equal(t, 4, line(1, 2, 3, 4).Back(map[string]string{"rich": "not kept"}).Number, "what was not kept is undone first")
}

func TestSnapshotsGoByAgeAndDistance(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	l := Lineage{}
	add := func(ago time.Duration) *Snapshot {
		l = append(l, Snapshot{Number: len(l) + 1, Time: now.Add(-ago)})
		return &l[len(l)-1]
	}
	day := 24 * time.Hour
	add(700 * day) // the first
	add(600 * day).Name = "before the exam"
	add(500 * day)
	for n := range 12 { // two a month
		add(time.Duration(360-n*27) * day)
		add(time.Duration(360-n*27)*day - time.Hour)
	}
	for n := range 20 { // two a day
		add(time.Duration(25-n)*day + 2*time.Hour)
		add(time.Duration(25-n)*day + time.Hour)
	}
	for n := range 20 {
		add(time.Duration(20-n) * time.Minute)
	}
	gone := l.Superfluous(now)
	went := func(number int) bool {
		return slices.ContainsFunc(gone, func(s Snapshot) bool { return s.Number == number })
	}
	assert.False(t, went(1), "the first one")
	assert.False(t, went(2), "one with a name")
	assert.True(t, went(3), "one of long ago")
	today := l[len(l)-20:]
	for _, each := range today {
		assert.False(t, went(each.Number), "all of a day are kept")
	}
	days, months := 0, 0
	for _, each := range l[3 : len(l)-20] {
		switch {
		case went(each.Number):
		case now.Sub(each.Time) < keptDaily:
			days++
		default:
			months++
		}
	}
	assert.Equal(t, 20, days, "one a day of the last month")
	assert.LessOrEqual(t, months, 13)
	assert.GreaterOrEqual(t, months, 10)
	assert.Empty(t, line(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11).Superfluous(now), "the first and the last ten")
}
