// Package profile compiles the spec's seccomp profiles (linux.seccomp) to the
// classic BPF programs that seccomp(2) takes, and installs them.
//
// It knows nothing of who is filtered: the process wall gives a program to the
// host, the kernel wall to its own kernel.
package profile

import (
	"errors"
	"os"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Program is a compiled profile.
type Program struct {
	// Filter are the instructions, at most 4096.
	Filter []unix.SockFilter
	// Flags are the SECCOMP_FILTER_FLAG_* of seccomp(2) that the profile asks
	// for.
	Flags uint
	// Notify is set if a verdict is SECCOMP_RET_USER_NOTIF: Install returns
	// a listener then.
	Notify bool
	// Unknown are the names that no architecture of the profile has a call
	// for; their rules are left out, as runc does.
	Unknown []string
}

// Compile compiles a profile. The error names the field. A nil profile gives a
// nil program, which Install takes for nothing to do.
func Compile(p *specs.LinuxSeccomp) (*Program, error) { return nil, errors.ErrUnsupported }

// Install puts the filter on the calling thread, and on the whole process if
// the profile's flags say so. Without no_new_privs the thread needs
// CAP_SYS_ADMIN in its user namespace. The listener, close-on-exec, is nil
// unless Notify is set.
func (p *Program) Install() (listener *os.File, err error) { return nil, errors.ErrUnsupported }

// SendListener hands the listener to the agent at the Unix socket path, with
// the state of the process as the spec wants it. It goes from a process that
// still has the host's file system.
func SendListener(path string, listener *os.File, state *specs.ContainerProcessState) error {
	return errors.ErrUnsupported
}

// Actions, Operators, Architectures and Flags are what Compile knows, for the
// features command.
func Actions() []specs.LinuxSeccompAction     { return nil }
func Operators() []specs.LinuxSeccompOperator { return nil }
func Architectures() []specs.Arch             { return nil }
func Flags() []specs.LinuxSeccompFlag         { return nil }
