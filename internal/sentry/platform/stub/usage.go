package stub

import (
	"fmt"
	"strconv"

	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// usage reads a stub's /proc/PID/statm.
func (s *Stubs) usage(pid int) platform.Usage {
	if s.procFD < 0 {
		return platform.Usage{}
	}
	fd, err := unix.Openat2(s.procFD, strconv.Itoa(pid)+"/statm", &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return platform.Usage{}
	}
	defer unix.Close(fd)
	var b [128]byte
	n, _ := unix.Read(fd, b[:])
	var size, resident, shared uint64
	fmt.Sscan(string(b[:max(n, 0)]), &size, &resident, &shared)
	if shared > resident {
		shared = resident
	}
	return platform.Usage{
		RSS: resident * PageSize, Shared: shared * PageSize, Anon: (resident - shared) * PageSize,
	}
}
