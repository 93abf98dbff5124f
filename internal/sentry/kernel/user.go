package kernel

import (
	"sync"

	"coffer/internal/sentry/fs/mqueue"
	"coffer/internal/sentry/quota"

	"golang.org/x/sys/unix"
)

// userCounts is what one real user ID has in use: threads for RLIMIT_NPROC,
// queued signals and POSIX timers, which have a signal each, for
// RLIMIT_SIGPENDING.
type userCounts struct {
	tasks, signals quota.Count

	Counts
}

// Counts are what a real user ID has in use of the objects that the files which
// keep them count: see /proc/sys/fs/inotify and /proc/sys/fs/epoll.
type Counts struct {
	InotifyInstances, InotifyWatches, EpollWatches quota.Count
	// MessageQueues counts bytes.
	MessageQueues quota.Count
}

// Counts returns those of the task's user. They stay valid for as long as what
// is counted.
func (t *Task) Counts() *Counts {
	return &t.k.users.get(t.Credentials().RUID).Counts
}

// QueueAllowance is what the POSIX message queues that the task makes are
// counted to.
func (t *Task) QueueAllowance() mqueue.Allowance {
	return mqueue.Allowance{Used: &t.Counts().MessageQueues, Limit: t.Limit(unix.RLIMIT_MSGQUEUE)}
}

// userTable finds the counts of a user. Entries stay: there are as many as
// user IDs that were ever used, bounded by maxUsers, beyond which users share
// the last entry.
type userTable struct {
	mu sync.Mutex
	m  map[uint32]*userCounts
}

const maxUsers = 1 << 16

func (u *userTable) get(uid uint32) *userCounts {
	u.mu.Lock()
	defer u.mu.Unlock()
	if c := u.m[uid]; c != nil {
		return c
	}
	if len(u.m) >= maxUsers {
		uid = ^uint32(0)
		if c := u.m[uid]; c != nil {
			return c
		}
	}
	if u.m == nil {
		u.m = make(map[uint32]*userCounts)
	}
	c := new(userCounts)
	u.m[uid] = c
	return c
}
