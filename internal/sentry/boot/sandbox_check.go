package boot

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Bounds of a description. Arguments and environment are bounded by execve(2).
const (
	mountsMax   = 1024
	hostnameMax = 64 // __NEW_UTS_LEN
	groupsMax   = 65536
)

// check finds what would make no sandbox.
func (b *Sandbox) check() error {
	switch {
	case !slices.Contains(Platforms(), b.Intercept):
		return fmt.Errorf("there is no way to intercept system calls that is called %q", b.Intercept)
	case len(b.Hostname) > hostnameMax || strings.ContainsRune(b.Hostname, 0):
		return fmt.Errorf("the host name %.80q is none", b.Hostname)
	case b.Memory < 0:
		return fmt.Errorf("the memory limit %d is negative", b.Memory)
	case b.Umask > 0o777:
		return fmt.Errorf("%#o is no mask of permissions", b.Umask)
	case len(b.Groups) > groupsMax:
		return fmt.Errorf("%d groups are too many", len(b.Groups))
	case len(b.Mounts) > mountsMax:
		return fmt.Errorf("%d mounts are too many", len(b.Mounts))
	case len(b.Args) == 0 || b.Args[0] == "":
		return errors.New("no command is given")
	case !path.IsAbs(b.Cwd) || strings.ContainsRune(b.Cwd, 0):
		return fmt.Errorf("the working directory %q is not absolute", b.Cwd)
	}
	for _, s := range slices.Concat(b.Args, b.Env) {
		if strings.ContainsRune(s, 0) {
			return fmt.Errorf("the argument or variable %.80q has a NUL in it", s)
		}
	}
	for _, m := range b.Mounts {
		switch {
		case !path.IsAbs(m.Path) || path.Clean(m.Path) == "/" || strings.ContainsRune(m.Path, 0):
			return fmt.Errorf("%q is no place for a mount", m.Path)
		case strings.ContainsAny(m.Name, "/\x00") || m.Name == "." || m.Name == "..":
			return fmt.Errorf("%q is no file's name", m.Name)
		}
	}
	return b.checkDescriptors()
}

// checkDescriptors checks that each donated descriptor is one of its own: two
// owners would close it twice.
func (b *Sandbox) checkDescriptors() error {
	fds := []int{b.Root}
	for _, m := range b.Mounts {
		fds = append(fds, m.FD)
	}
	if b.Console >= 0 {
		fds = append(fds, b.Console)
	} else {
		fds = append(fds, b.Stdio[:]...)
	}
	if b.Trace != nil {
		fds = append(fds, b.Trace.FD)
	}
	slices.Sort(fds)
	for i, fd := range fds {
		if fd <= fdControl || i > 0 && fd == fds[i-1] {
			return fmt.Errorf("descriptor %d was not donated, or twice", fd)
		}
	}
	return nil
}
