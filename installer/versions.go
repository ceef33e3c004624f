package installer

import (
	"tljh/environment"
	"tljh/internal/host"
	"tljh/internal/release"
)

// Versions is what is installed, and what is to be had.
type Versions struct {
	Live        *Release   `json:"installed"`
	Before      *Release   `json:"before,omitempty"`
	Past        []Passing  `json:"past,omitempty"`
	Generations []Standing `json:"generations"`
	Available   string     `json:"available,omitempty"`
	At          string     `json:"at,omitempty"`    // where it is available
	Named       string     `json:"named,omitempty"` // who says that it is to be looked for there
	Unavailable string     `json:"unavailable,omitempty"`
}

// Standing is a generation that is on this machine.
type Standing struct {
	environment.Generation
	Live bool `json:"live"`
}

// Installed returns the releases of this machine's installation.
func Installed(files host.Files) (*Releases, error) { return installed(files) }

// Judge tells which move it would be to go to an offer; one that an upgrade does not make is an error.
func Judge(releases *Releases, offer *release.Offer) (release.Move, error) {
	from, err := release.Parse(releases.Live.Version)
	if err != nil {
		return release.TooFar, err
	}
	if err := release.Judge(from, offer.Version); err != nil {
		return from.MoveTo(offer.Version), &SkewRefused{err}
	}
	return from.MoveTo(offer.Version), nil
}

// ListVersions tells what is on this machine. It needs no root.
func ListVersions(files host.Files) (*Versions, error) {
	releases, err := installed(files)
	if err != nil {
		return nil, err
	}
	v := &Versions{Live: releases.Live, Before: releases.Before, Past: releases.Past, Generations: []Standing{}}
	for _, kind := range []environment.Kind{environment.Hub, environment.User} {
		all, _, err := environment.Generations(files, kind)
		if err != nil {
			return nil, err
		}
		live, _ := environment.Current(files, kind)
		for _, generation := range all {
			v.Generations = append(v.Generations, Standing{generation, generation.Number == live.Number})
		}
	}
	return v, nil
}
