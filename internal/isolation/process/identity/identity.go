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
// gives back the soft limit of open files that Go's runtime had raised.
//
// The steps, in the order in which they work:
//
//	Check    on the host, before anything is made
//	Outside  by the caller of the container's first process, with the host's
//	         privileges: what a user namespace would not let the process do
//	Sysctls  inside, once the container's /proc is there
//	Labels   inside, with a /proc mounted
//	Become   inside, last: afterwards there are no privileges left. A seccomp
//	         filter is installed by a function that Become calls at the right
//	         moment.
//
// Warnings (an unknown capability) go to log/slog's default logger.
package identity

import (
	"errors"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Settings is what a process is to become.
type Settings struct {
	// ID is the container's; the session keyring is named after it.
	ID      string
	Process *specs.Process
	// Linux has the personality, the memory policy and the sysctls; nil for
	// the process of an exec that has the first two from nowhere.
	Linux *specs.Linux
	// Exec is set for a process that joins a container.
	Exec bool
	// NoNewKeyring keeps the caller's session keyring.
	NoNewKeyring bool
	// Rootless is set if the caller's user namespace maps no second group.
	Rootless bool
}

// Check refuses what this host cannot do or what contradicts itself, by the
// name of the spec's field.
func (s *Settings) Check() error { return errors.ErrUnsupported }

// Outside sets on process pid what needs privileges over the host: resource
// limits, the OOM score, scheduling, the I/O priority. The process must be
// waiting. 0 is the calling one.
func (s *Settings) Outside(pid int) error { return errors.ErrUnsupported }

// Affinity binds process pid to the processors of execCPUAffinity: the initial
// ones before it joins the container's cgroup, the final ones afterwards (of
// an exec; nothing otherwise).
func (s *Settings) Affinity(pid int, final bool) error { return errors.ErrUnsupported }

// Keyring gives the process a session keyring of the container's. It comes
// before labels and users.
func (s *Settings) Keyring() error { return errors.ErrUnsupported }

// Sysctls writes linux.sysctl below /proc/sys of the container. They are
// those of the namespaces of the calling thread.
func (s *Settings) Sysctls() error { return errors.ErrUnsupported }

// Labels has the program start under its AppArmor profile or SELinux label.
func (s *Settings) Labels() error { return errors.ErrUnsupported }

// Become takes on user, groups, capabilities and the rest. seccomp installs
// the filter, and may be nil: it is called before privileges are given up if
// the process is not to have no_new_privs, and else as the last thing.
func (s *Settings) Become(seccomp func() error) error { return errors.ErrUnsupported }
