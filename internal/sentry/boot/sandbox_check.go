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
	writtenMax  = 16
	hostnameMax = 64 // __NEW_UTS_LEN
	groupsMax   = 65536
	extraMax    = 1024
)

// check finds what would make no sandbox.
func (b *Sandbox) check() error {
	switch {
	case !slices.Contains(Platforms(), b.Intercept):
		return fmt.Errorf("there is no way to intercept system calls that is called %q", b.Intercept)
	case b.Memory < 0:
		return fmt.Errorf("the memory limit %d is negative", b.Memory)
	}
	if err := b.Container.check(); err != nil {
		return err
	}
	return b.checkDescriptors()
}

// check finds what would make no container.
func (c *Container) check() error {
	switch {
	case len(c.Hostname) > hostnameMax || strings.ContainsRune(c.Hostname, 0):
		return fmt.Errorf("the host name %.80q is none", c.Hostname)
	case len(c.Mounts) > mountsMax:
		return fmt.Errorf("%d mounts are too many", len(c.Mounts))
	case len(c.Written) > writtenMax:
		return fmt.Errorf("%d files to write are too many", len(c.Written))
	}
	for _, m := range c.Mounts {
		switch {
		case !path.IsAbs(m.Path) || path.Clean(m.Path) == "/" || strings.ContainsRune(m.Path, 0):
			return fmt.Errorf("%q is no place for a mount", m.Path)
		case strings.ContainsAny(m.Name, "/\x00") || m.Name == "." || m.Name == "..":
			return fmt.Errorf("%q is no file's name", m.Name)
		}
	}
	for _, f := range c.Written {
		if !path.IsAbs(f.Path) || path.Clean(f.Path) == "/" || strings.ContainsRune(f.Path, 0) {
			return fmt.Errorf("%q is no place for a file", f.Path)
		}
	}
	if err := c.checkSpec(); err != nil {
		return err
	}
	return c.Process.check()
}

// check finds what would make no process.
func (p *Process) check() error {
	switch {
	case p.Umask > 0o777:
		return fmt.Errorf("%#o is no mask of permissions", p.Umask)
	case len(p.Groups) > groupsMax:
		return fmt.Errorf("%d groups are too many", len(p.Groups))
	case len(p.Extra) > extraMax:
		return fmt.Errorf("%d descriptors are too many", len(p.Extra))
	case len(p.Args) == 0 || p.Args[0] == "":
		return errors.New("no command is given")
	case !path.IsAbs(p.Cwd) || strings.ContainsRune(p.Cwd, 0):
		return fmt.Errorf("the working directory %q is not absolute", p.Cwd)
	}
	for _, s := range slices.Concat(p.Args, p.Env) {
		if strings.ContainsRune(s, 0) {
			return fmt.Errorf("the argument or variable %.80q has a NUL in it", s)
		}
	}
	if p.Attributes != nil {
		return p.Attributes.check()
	}
	return nil
}

// checkDescriptors checks that each donated descriptor is one of its own: two
// owners would close it twice.
func (b *Sandbox) checkDescriptors() error {
	var fds []int
	for _, fd := range b.descriptors() {
		fds = append(fds, *fd)
	}
	if b.Trace != nil {
		fds = append(fds, b.Trace.FD)
	}
	if b.Server != nil {
		for _, p := range b.Server.descriptors() {
			fds = append(fds, *p)
		}
	}
	slices.Sort(fds)
	for i, fd := range fds {
		if fd <= fdControl || i > 0 && fd == fds[i-1] {
			return fmt.Errorf("descriptor %d was not donated, or twice", fd)
		}
	}
	return nil
}
