package installer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/release"
)

// Seen is the newest signed release that this machine was ever offered. It is what an offer is compared with: an address that offers an older one
// holds something back. Fields are only ever added.
type Seen struct {
	Version string    `json:"version"`
	Signed  time.Time `json:"signed,omitzero"` // zero where the signature did not say
	From    string    `json:"from"`
	First   time.Time `json:"first"` // when it was offered first
	Last    time.Time `json:"last"`  // and last
}

// oldRelease is how old the newest release may be before people are told to look at another address, too.
const oldRelease = 180 * 24 * time.Hour

// LoadSeen returns nil where nothing was ever offered, and where only root can read what was.
func LoadSeen(files host.Files) (*Seen, error) {
	data, err := files.Read(layout.Seen)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read which releases were seen: %w", err)
	}
	seen := &Seen{}
	if err := json.Unmarshal(data, seen); err != nil {
		return nil, host.Hint(fmt.Errorf("cannot read %s: %w", layout.Seen, err), "move it aside: it is written anew, and what was seen before is forgotten")
	}
	return seen, nil
}

// Consider compares an offer with the newest release that was seen, and remembers the newer of them. One that was asked for by its version is never
// refused: whoever is behind goes step by step.
func Consider(files host.Files, now time.Time, offer *release.Offer, named bool) error {
	seen, err := LoadSeen(files)
	if err != nil {
		return err
	}
	order, err := seen.compare(offer)
	switch {
	case err != nil:
		return err
	case order < 0 && !named:
		return &SkewRefused{seen.heldBack(offer)}
	case order < 0:
		return nil
	case order > 0:
		seen = &Seen{Version: offer.Version.String(), Signed: offer.Signed, From: offer.From, First: now.UTC().Truncate(time.Second)}
	}
	seen.Last = now.UTC().Truncate(time.Second)
	return seen.save(files)
}

// compare is below 0 for an offer that is older than what was seen, and 0 for the same. Of one version, what was signed later is the newer: releases are
// signed anew to say that there still is nothing newer.
func (s *Seen) compare(offer *release.Offer) (int, error) {
	if s == nil {
		return 1, nil
	}
	version, err := release.Parse(s.Version)
	if err != nil {
		return 0, fmt.Errorf("cannot read %s: %w", layout.Seen, err)
	}
	if order := offer.Version.Compare(version); order != 0 {
		return order, nil
	}
	return offer.Signed.Compare(s.Signed), nil
}

// heldBack is the error for an offer that is older than what was seen.
func (s *Seen) heldBack(offer *release.Offer) error {
	day := func(t time.Time) string {
		if t.IsZero() {
			return "at an unknown time"
		}
		return "on " + t.Format(time.DateOnly)
	}
	err := fmt.Errorf("%s offers %s, signed %s; %s, signed %s, was seen before (%s at %s): newer releases are held back there",
		offer.From, offer.Version, day(offer.Signed), s.Version, day(s.Signed), s.First.Format(time.DateOnly), s.From)
	return host.Hint(err, "name another address with --from; to take %s all the same: tljh-install upgrade --to %s", offer.Version, offer.Version)
}

// save keeps it where there is an installation, and the rights to.
func (s *Seen) save(files host.Files) error {
	if !files.Exists(layout.State) {
		return nil
	}
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	err = files.Write(layout.Seen, append(data, '\n'), secret)
	if errors.Is(err, fs.ErrPermission) {
		return nil
	}
	return err
}

// Age says how old a release is, and what that may mean.
func Age(now, signed time.Time) (words string, old bool) {
	if signed.IsZero() {
		return "of unknown age: its signature has no time", false
	}
	days := int(now.Sub(signed).Hours() / 24)
	switch {
	case now.Before(signed.Add(-24 * time.Hour)):
		return fmt.Sprintf("signed on %s, which is in the future: check this machine's clock", signed.Format(time.DateOnly)), true
	case days < 1:
		return "signed today", false
	case days == 1:
		return "signed yesterday", false
	}
	words = fmt.Sprintf("signed %d days ago, on %s", days, signed.Format(time.DateOnly))
	return words, now.Sub(signed) > oldRelease
}

// OldHint is what to do about the newest release being old.
const OldHint = "an address can hide newer releases: compare with the address of their publisher: tljh-install upgrade --check --from ADDRESS"

// lookAtSeen reports how old the newest release is that was ever offered. It asks nobody.
func lookAtSeen(files host.Files, now time.Time) (PartStatus, bool) {
	seen, err := LoadSeen(files)
	if err != nil {
		return PartStatus{Name: "newest release seen", State: err.Error(), Problem: true, Hint: host.HintOf(err)}, true
	}
	if seen == nil {
		return PartStatus{}, false
	}
	age, old := Age(now, seen.Signed)
	part := PartStatus{Name: "newest release seen", State: fmt.Sprintf("%s, %s; last looked at %s", seen.Version, age, seen.Last.Local().Format(time.DateTime))}
	if old {
		part.Hint = OldHint
	}
	return part, true
}
