package identity

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"coffer/internal/oci/linuxname"

	"golang.org/x/sys/unix"
)

func (s *Settings) checkLimits() error {
	seen := map[string]bool{}
	for i, l := range s.Process.Rlimits {
		field := fmt.Sprintf("process.rlimits[%d]", i)
		if _, ok := linuxname.Rlimit(l.Type); !ok {
			return fmt.Errorf("%s.type is %q, which is no limit; the limits are %q", field, l.Type, linuxname.Rlimits())
		}
		if seen[l.Type] {
			return fmt.Errorf("%s.type: %s is there twice; remove one of them", field, l.Type)
		}
		seen[l.Type] = true
		if l.Soft > l.Hard {
			return fmt.Errorf("%s: the soft limit of %s, %d, is above the hard one, %d; lower it", field, l.Type, l.Soft, l.Hard)
		}
	}
	return nil
}

// late says of a limit that what runs before the program could not do with less than it
// has: it opens files, and may have to wait for long.
func late(resource int) bool { return resource == unix.RLIMIT_NOFILE || resource == unix.RLIMIT_CPU }

// setLimits sets the resource limits of process pid. Those that are late are only raised,
// which takes the caller's privileges.
func (s *Settings) setLimits(pid int) error {
	for i, l := range s.Process.Rlimits {
		resource, ok := linuxname.Rlimit(l.Type)
		if !ok {
			return fmt.Errorf("process.rlimits[%d].type is %q, which is no limit", i, l.Type)
		}
		to := unix.Rlimit{Cur: l.Soft, Max: l.Hard}
		var err error
		if late(resource) {
			var now unix.Rlimit
			err = unix.Prlimit(pid, resource, nil, &now)
			to.Cur, to.Max = max(to.Cur, now.Cur), max(to.Max, now.Max)
		}
		if err == nil {
			err = unix.Prlimit(pid, resource, &to, nil)
		}
		if errors.Is(err, unix.EPERM) {
			var now unix.Rlimit
			if unix.Prlimit(pid, resource, nil, &now) == nil && l.Hard > now.Max {
				err = fmt.Errorf("%w: raising the hard limit above %d takes CAP_SYS_RESOURCE, which the caller lacks on this host; lower it", err, now.Max)
			}
			if resource == unix.RLIMIT_NOFILE && l.Hard > now.Max {
				err = fmt.Errorf("%w (or raise fs.nr_open, which is what root itself can have)", err)
			}
		}
		if err != nil {
			return fmt.Errorf("setting process.rlimits[%d], %s, to %d (soft) and %d (hard): %w", i, l.Type, l.Soft, l.Hard, err)
		}
	}
	return nil
}

// LateLimits gives the calling process the limits that Outside has only raised, unless it has
// them already. It is the last thing before the program: with them little else may work. But
// it may be called before with how many files may have to be open until then: it waits with a
// limit that is lower.
func (s *Settings) LateLimits(files uint64) error {
	for i, l := range s.Process.Rlimits {
		resource, ok := linuxname.Rlimit(l.Type)
		if !ok || !late(resource) || s.limited[resource] || resource == unix.RLIMIT_NOFILE && l.Soft < files {
			continue
		}
		// Of package syscall: from then on syscall.Exec does not set the limit on open
		// files back to what the process was started with.
		if err := syscall.Setrlimit(resource, &syscall.Rlimit{Cur: l.Soft, Max: l.Hard}); err != nil {
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) { // everybody may lower limits
				err = fmt.Errorf("%w: linux.seccomp must allow prlimit64", err)
			}
			return fmt.Errorf("setting process.rlimits[%d], %s, to %d (soft) and %d (hard): %w", i, l.Type, l.Soft, l.Hard, err)
		}
		if s.limited == nil {
			s.limited = map[int]bool{}
		}
		s.limited[resource] = true
	}
	return nil
}

func (s *Settings) checkOOMScore() error {
	if adj := s.Process.OOMScoreAdj; adj != nil && (*adj < -1000 || *adj > 1000) {
		return fmt.Errorf("process.oomScoreAdj is %d; it must be between -1000 and 1000", *adj)
	}
	return nil
}

// setOOMScore says how soon process pid is killed when the host is out of
// memory: proc_pid_oom_score_adj(5).
func (s *Settings) setOOMScore(pid int) error {
	adj := s.Process.OOMScoreAdj
	if adj == nil {
		return nil
	}
	who := "self"
	if pid != 0 {
		who = strconv.Itoa(pid)
	}
	err := os.WriteFile("/proc/"+who+"/oom_score_adj", []byte(strconv.Itoa(*adj)), 0)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
		err = fmt.Errorf("%w: going below what a privileged process has set before takes CAP_SYS_RESOURCE, which the caller lacks on this host; raise it, or leave it out", err)
	}
	if err != nil {
		return fmt.Errorf("setting process.oomScoreAdj to %d: %w", *adj, err)
	}
	return nil
}
