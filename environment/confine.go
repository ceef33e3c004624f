package environment

import (
	"context"
	"errors"
	"path"
	"strings"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// confine encloses what runs as an environment's owner: it may change the environment and what else is named. What root does is no one else's.
func confine(owner host.Attr, readable []string, writable ...string) *host.Confine {
	if owner.UID == 0 {
		return nil
	}
	confine := &host.Confine{Readable: readable}
	for _, dir := range writable {
		if dir != "" {
			confine.Writable = append(confine.Writable, dir)
		}
	}
	return confine
}

// named are files that requirements name and that a confined command would not see.
func named(requirements []string) []string {
	found := []string{}
	for _, word := range strings.Fields(strings.Join(requirements, " ")) {
		if word = strings.TrimPrefix(word, "file://"); host.Hidden(word) {
			found = append(found, word)
		}
	}
	return found
}

// confine encloses conda. Its packages become the environment's by hard links, which a mount of their own would not let pass: so all of our folder is
// one, in which other environments of the same owner are sealed.
func (c Conda) confine(owner host.Attr, dir string) *host.Confine {
	confine := confine(owner, nil, layout.Root)
	names, _ := c.Builder.Host.Files.List(layout.Generations)
	for _, name := range names {
		if other := path.Join(layout.Generations, name); other != dir && confine != nil {
			confine.Sealed = append(confine.Sealed, other)
		}
	}
	return confine
}

// endLeftovers ends what an earlier command, or an admin's, left running as the owner of user environments.
func (b *tools) endLeftovers(ctx context.Context) error {
	uid, _, err := b.Host.Files.AccountIDs(layout.EnvironmentUser)
	if errors.Is(err, host.ErrNoAccount) {
		return nil
	}
	if err != nil {
		return nil // a machine without accounts, as in a test
	}
	return b.Host.EndLeftovers(ctx, uid)
}
