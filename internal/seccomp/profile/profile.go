// Package profile compiles the spec's seccomp profiles (linux.seccomp) to the
// classic BPF programs that seccomp(2) takes, and installs them.
//
// A profile means what it means to libseccomp, through which other runtimes
// install theirs, in what the spec leaves open, too:
//
//   - A rule with the default action is as if it were not there.
//   - The first rule of a call that has no conditions decides, whatever rules
//     with conditions stand before or after it.
//   - Else the first rule of which all conditions hold decides.
//   - Conditions on one and the same argument are alternatives, each a rule of
//     its own.
//   - The host's own architecture is always among the profile's. Calls of
//     others kill the thread.
//   - On 32-bit architectures, x32 included, the lower 32 bits of an argument
//     count. The calls that x86 has behind socketcall(2) and ipc(2) are looked
//     for there as well as by their own numbers; there a rule with conditions,
//     which can't be checked, denies always or allows never. (libseccomp also
//     allows, or checks other arguments.)
//   - If the default action denies, calls with higher numbers than any that the
//     profile names return ENOSYS on the architectures that it lists: programs
//     then fall back to older calls, which they don't if they get EPERM.
//
// It knows nothing of who is filtered: the process wall gives a program to the
// host, the kernel wall to its own kernel.
package profile

import (
	"golang.org/x/sys/unix"
)

// Program is a compiled profile.
type Program struct {
	// Filter are the instructions, at most bpf.MaxInstructions.
	Filter []unix.SockFilter
	// Flags are the SECCOMP_FILTER_FLAG_* of seccomp(2) that the profile asks
	// for.
	Flags uint
	// Notify is set if a verdict is SECCOMP_RET_USER_NOTIF: Install returns
	// a listener then.
	Notify bool
	// Unknown are the names that no architecture of the profile has a call
	// for, in the profile's order; their rules are left out, as by others.
	Unknown []string
}
