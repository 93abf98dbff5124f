package kernel

import (
	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// KeepNoLink lets the platform answer the task's readlink(2) of path with errno, as in epoch,
// in which it has failed so. It does not if somebody is to see each call: who has traces
// written, or a seccomp filter that does not let all of them pass. A new filter begins a new epoch.
func (t *Task) KeepNoLink(path string, errno unix.Errno, epoch vfs.Epoch) {
	keeper, ok := t.ctx.(platform.NoLinkKeeper)
	if !ok || epoch.Word == nil || t.k.config.CallsTraced {
		return
	}
	if word := keeper.Epoch(); epoch.Word != word {
		vfs.ShareEpoch(word)
		return
	}
	if s := t.seccomp.Load(); s != nil && (s.filter == nil || !s.filter.allows(unix.SYS_READLINK)) {
		return
	}
	keeper.KeepNoLink(path, errno, epoch.Number)
}
