// Package shmem counts the memory that belongs to no process of a sandbox: the
// contents of files in memory and System V shared memory segments, which Linux
// calls shmem. Each file system has a limit of its own, as on Linux; the sum of
// all has one here, because nothing else does where the sandbox has no memory
// limit, and because where it has one, the host's answer to too much of it is
// to end processes, which frees none of this.
//
// What is counted is what the sentry gives out. Pages that come up when a guest
// touches a mapping are the host's to give: tmpfs counts them when it next looks
// at the file, even beyond the limit.
//
// The same holds for what pipes, sockets and message queues hold: on Linux the memory of the
// kernel, here that of the sentry itself, which must not be the one to end.
//
// It has no locks.
package shmem

import (
	"math"
	"sync/atomic"
)

// Account counts bytes up to a limit. The zero Account has none.
type Account struct {
	used  atomic.Int64
	limit atomic.Int64 // 0 for none
}

// Sandbox is the account of this process, which runs one sandbox.
var Sandbox Account

// Buffers is the account of what pipes, sockets and message queues of
// the sandbox hold, and its seccomp filters.
var Buffers Account

// Share is the part of a sandbox's memory that may be taken: three quarters.
// The rest is for its programs and the sentry, who would otherwise have to end
// because of files, which they do not even have open. It is more than the half
// that a single tmpfs has by default (tmpfs(5)).
func Share(memory uint64) int64 {
	return int64(min(memory/4*3, math.MaxInt64))
}

// BufferShare is the part of a sandbox's memory that they may take: an
// eighth, since the garbage collector lets the sentry take a multiple
// of what is in use; but enough for some programs to work.
func BufferShare(memory uint64) int64 {
	const least = 4 << 20
	return int64(min(max(memory/8, least), math.MaxInt64))
}

// SetLimit sets the limit in bytes; 0 for none. What is taken stays so.
func (a *Account) SetLimit(n int64) { a.limit.Store(n) }

// Charge takes n bytes, or reports false if there are not that many left, as
// for a negative n, which is a size that has overflowed.
func (a *Account) Charge(n int64) bool {
	for {
		used := a.used.Load()
		if n < 0 || n > a.room(used) {
			return false
		}
		if a.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// Uncharge gives n bytes back. A negative n takes some beyond the limit: for
// what the host has given already.
func (a *Account) Uncharge(n int64) { a.used.Add(-n) }

// Used is how many bytes are taken.
func (a *Account) Used() int64 { return a.used.Load() }

// Room is how many bytes can be taken yet.
func (a *Account) Room() int64 { return max(0, a.room(a.used.Load())) }

func (a *Account) room(used int64) int64 {
	limit := a.limit.Load()
	if limit == 0 {
		limit = math.MaxInt64
	}
	return limit - used
}
