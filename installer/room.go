package installer

import "tljh/internal/host"

// backRoom is what going back to another hub may need of the disk: for journals, units and links, and so that a hub can start.
const backRoom = 64 << 20

// configRoom is what going back to another config writes.
const configRoom = 4 << 20

// releaseRoom also holds a copy of the database, which a release before may need in its own format.
func releaseRoom(files host.Files) int64 {
	size := int64(backRoom)
	if info, err := files.Lstat(liveDatabase); err == nil {
		size += info.Size()
	}
	return size
}
