package installer

import (
	"tljh/internal/host"
	"tljh/internal/layout"
)

// backRoom is reserved before something is switched, and given free before going back: for journals, units and links, and so that a hub can start.
const backRoom = 64 << 20

// configRoom is what going back to another config writes.
const configRoom = 4 << 20

// reserveRoom takes room on the disk that going back may need.
func reserveRoom(files host.Files, size int64) error { return host.Reserve(files, layout.Room, size) }

// reserveRoom also holds a copy of the database, which a release before may need in its own format.
func (u *Upgrader) reserveRoom() error {
	size := int64(backRoom)
	if info, err := u.Host.Files.Lstat(liveDatabase); err == nil {
		size += info.Size()
	}
	return host.Hint(reserveRoom(u.Host.Files, size), "nothing was changed; make room on the disk of %s, then run the same command again", layout.Root)
}
