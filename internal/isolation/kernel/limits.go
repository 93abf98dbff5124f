package kernel

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// unlimited are the resource limits of this process that a sentry cannot live
// with, because guest memory is its stubs' memory and files in memory are its
// own files. Guests have limits of their own.
var unlimited = []struct {
	resource int
	what     string
	flag     string // ulimit's
}{
	{unix.RLIMIT_AS, "address space", "-v"},
	{unix.RLIMIT_DATA, "data segments", "-d"},
	{unix.RLIMIT_FSIZE, "file sizes", "-f"},
}

// liftLimits lifts these limits, for the sentry to inherit.
func liftLimits() error {
	for _, u := range unlimited {
		var l unix.Rlimit
		if err := unix.Getrlimit(u.resource, &l); err != nil {
			return fmt.Errorf("reading the limit on %s: %w", u.what, err)
		}
		if l.Cur == unix.RLIM_INFINITY {
			continue
		}
		none := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
		if err := unix.Setrlimit(u.resource, &none); err != nil {
			return fmt.Errorf("the limit on %s is %d bytes, and a sandbox needs it lifted (%w): run coffer with `ulimit %s unlimited`, and bound the sandbox with --memory",
				u.what, l.Cur, err, u.flag)
		}
	}
	return nil
}
