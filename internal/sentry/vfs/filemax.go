package vfs

import (
	"math"
	"sync/atomic"

	"coffer/internal/sentry/quota"
)

// openFiles are all descriptions that there are, maxFiles how many may be when
// one gets its first descriptor; 0 for any number.
var (
	openFiles quota.Count
	maxFiles  atomic.Int64
)

// SetMaxFiles sets /proc/sys/fs/file-max: how many files may be open in the
// sandbox, beyond which calls that open one fail with ENFILE. It binds every
// user, because it bounds the sentry's memory.
func SetMaxFiles(n int64) { maxFiles.Store(n) }

// OpenFiles tells how many files are open, and how many may be.
func OpenFiles() (open, most int64) {
	most = maxFiles.Load()
	if most == 0 {
		most = math.MaxInt64
	}
	return openFiles.Used(), most
}

// MaxFilesFor is Linux's choice for a machine with so many bytes of memory: one
// for each 10 KiB, but no less than NR_FILE.
func MaxFilesFor(memory uint64) int64 {
	const each, least = 10 << 10, 8192
	return int64(max(memory/each, least))
}

// admit reports whether d may get a descriptor: it has had one, or there are
// not too many files.
func (d *FileDescription) admit() bool {
	if d.admitted.Load() {
		return true
	}
	if open, most := OpenFiles(); open > most {
		return false
	}
	d.admitted.Store(true)
	return true
}
