package installer

import (
	"context"

	"tljh/internal/host"
	"tljh/internal/layout"
	"tljh/internal/report"
)

// watchHint is what an admin can do about a watch that does not start: each user's server and each watch takes an inotify instance of the kernel's.
const watchHint = "the kernel may have no inotify instance left: sudo sysctl -w fs.inotify.max_user_instances=1024, and put that line into /etc/sysctl.d/; " +
	"then sudo systemctl restart " + layout.WatchPath

// watchAnew lets the watch look at the user environment that is live now: it watches the folder that was. The timer looks, too, so that a watch which does not
// start is no failure.
func watchAnew(ctx context.Context, h *host.Host, r *report.Reporter) error {
	err := h.Systemd.Do(ctx, "restart", layout.WatchPath)
	if err == nil || ctx.Err() != nil {
		return err
	}
	r.Warn(watchHint, "the watch on the user environment does not start: changes are kept within 5 minutes")
	return nil
}
