package identity

import (
	"errors"
	"fmt"
	"os"
	"strconv"

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

// setLimits sets the resource limits of process pid.
func (s *Settings) setLimits(pid int) error {
	for i, l := range s.Process.Rlimits {
		resource, ok := linuxname.Rlimit(l.Type)
		if !ok {
			return fmt.Errorf("process.rlimits[%d].type is %q, which is no limit", i, l.Type)
		}
		err := unix.Prlimit(pid, resource, &unix.Rlimit{Cur: l.Soft, Max: l.Hard}, nil)
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
