package installer

import (
	"encoding/json"
	"fmt"
	"time"

	"golang.org/x/crypto/bcrypt"

	"tljh/internal/host"
	"tljh/internal/layout"
)

// GlassTime is how long the way in stays open.
const GlassTime = 10 * time.Minute

// BreakGlass opens a way in for an admin until a moment: the hub reads the file at each try. Only a digest of the password is kept.
func BreakGlass(files host.Files, name, password string, until time.Time) error {
	digest, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if err != nil {
		return fmt.Errorf("cannot make a digest of the password: %w", err)
	}
	data, err := json.Marshal(map[string]any{"user": name, "hash": string(digest), "until": until.Unix()})
	if err != nil {
		return err
	}
	return files.Write(layout.BreakGlass, data, secret)
}
