// Package identity makes a process what its spec says: who it is and what it
// may do. It is used from inside a container's first process, and from that of
// an exec, by the thread that will call execve(2).
//
// Most of what it sets belongs to a thread and not to a process: credentials,
// capabilities, no_new_privs, scheduling, the I/O priority, personality,
// labels, the session keyring. So the caller must have locked its goroutine to
// its thread (runtime.LockOSThread) before the first call and must call
// execve(2) from it; and if something was set on the process by its PID from
// outside, the thread must be the first one of the process, which is what
// Linux takes the PID for. The program is best started by syscall.Exec: it
// gives back the soft limit of open files that Go's runtime had raised. With
// SCHED_DEADLINE the thread can make no others from then on (sched(7)), which
// Go leaves to another thread as long as this one is locked.
//
// The steps, in the order in which they work:
//
//	Check    on the host, before anything is made
//	Keyring  inside, first: it comes before labels and users
//	Outside  by the caller of the container's first process, with the host's
//	         privileges: what a user namespace would not let the process do
//	Sysctls  inside, once the container's /proc is there
//	Labels   inside, with a /proc mounted
//	Become   inside, last: afterwards there are no privileges left. A seccomp
//	         filter is installed by a function that Become calls at the right
//	         moment.
//	LateLimits  inside, the very last, or before a filter that does not permit it
//
// Warnings (an unknown capability) go to log/slog's default logger.
package identity

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Settings is what a process is to become.
type Settings struct {
	// ID is the container's; the session keyring is named after it.
	ID      string
	Process *specs.Process
	// Linux has the personality, the memory policy, the sysctls and the
	// namespaces; nil for none.
	Linux *specs.Linux
	// Exec is set for a process that joins a container.
	Exec bool
	// NoNewKeyring keeps the caller's session keyring.
	NoNewKeyring bool
	// Rootless is set if the container's user namespace maps one group only
	// and forbids setgroups(2).
	Rootless bool

	// limited are the resources whose limits LateLimits has set.
	limited map[int]bool
}

// linux is Linux, or nothing where there is none.
func (s *Settings) linux() *specs.Linux {
	if s.Linux == nil {
		return &specs.Linux{}
	}
	return s.Linux
}

// Check refuses what this host cannot do or what contradicts itself, by the
// name of the spec's field.
func (s *Settings) Check() error {
	for _, check := range []func() error{
		s.checkLimits, s.checkOOMScore, s.checkScheduler, s.checkIOPriority, s.checkAffinity,
		s.checkUser, s.checkCapabilities, s.checkPersonality, s.checkMemoryPolicy, s.checkLabels,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	if s.Exec {
		return nil // the container has its sysctls
	}
	return s.checkSysctls()
}

// Outside sets on process pid what needs privileges over the host: resource
// limits, the OOM score, scheduling, the I/O priority. The process must be
// waiting. 0 is the calling one.
func (s *Settings) Outside(pid int) error {
	// The limits come last: they bind what comes after them.
	for _, set := range []func(int) error{s.setOOMScore, s.setIOPriority, s.setScheduler, s.setLimits} {
		if err := set(pid); err != nil {
			return err
		}
	}
	return nil
}

// Become takes on user, groups, capabilities and the rest. seccomp installs
// the filter, and may be nil: it is called before privileges are given up if
// the process is not to have no_new_privs, and else as the last thing.
func (s *Settings) Become(seccomp func() error) error {
	if err := s.setPersonality(); err != nil {
		return err
	}
	if err := s.setMemoryPolicy(); err != nil {
		return err
	}
	if seccomp == nil {
		seccomp = func() error { return nil }
	}
	if !s.Process.NoNewPrivileges {
		if err := seccomp(); err != nil {
			return err
		}
	}
	caps, err := s.capabilities()
	if err != nil {
		return err
	}
	if err := caps.bound(); err != nil {
		return err
	}
	if err := s.setUser(); err != nil {
		return err
	}
	if err := caps.apply(); err != nil {
		return err
	}
	if !s.Process.NoNewPrivileges {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("setting no_new_privs (process.noNewPrivileges): %w", err)
	}
	return seccomp()
}
