package profile

import (
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"golang.org/x/sys/unix"
)

// Features is what Compile knows and this host can do, for the features command.
func Features() *features.Seccomp {
	enabled := true
	f := &features.Seccomp{
		Enabled:        &enabled,
		Actions:        actionNames(),
		Operators:      operatorNames(),
		KnownFlags:     flagNames(),
		SupportedFlags: []string{},
	}
	for _, a := range architectures {
		f.Archs = append(f.Archs, string(a.name))
	}
	for _, flag := range flags {
		if supported(flag.flag) {
			f.SupportedFlags = append(f.SupportedFlags, string(flag.name))
		}
	}
	return f
}

// supported reports whether the host takes a flag: without a filter the call
// fails with EFAULT, but first with EINVAL if a flag is unknown (seccomp(2)).
func supported(flag uint) bool {
	if flag == unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV {
		flag |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(flag), 0)
	return errno == unix.EFAULT
}
