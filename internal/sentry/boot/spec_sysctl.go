package boot

import (
	"errors"
	"strings"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

var errNoSysctl = errors.New("the kernel of this wall has no such setting that can be changed")

// set writes a setting below /proc/sys, as the container's namespaces have it,
// whether or not it has a /proc mounted.
func (f *furnisher) set(v Sysctl) error {
	kind, _, err := vfs.FindFileSystemType("proc")
	if err != nil {
		return err
	}
	proc, err := kind.Mount(vfs.MountRequest{Caller: f.t})
	if err != nil {
		return err
	}
	at := proc.Root()
	for name := range strings.SplitSeq("sys/"+v.Name, "/") {
		if at, err = vfs.InodeFor(f.t, at).Lookup(name); err == unix.ENOENT || err == unix.ENOTDIR {
			return errNoSysctl
		} else if err != nil {
			return err
		}
	}
	a, err := at.Attr()
	if err != nil {
		return err
	}
	if a.Mode&unix.S_IFMT != unix.S_IFREG || a.Mode&0o222 == 0 {
		return errNoSysctl
	}
	file, err := at.Open(f.t, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer file.Release()
	_, _, err = file.Write(f.t, []byte(v.Value), 0, 0)
	if err == unix.EINVAL || err == unix.ENOENT && strings.HasPrefix(v.Name, "net/") {
		return errors.New("it does not take this value")
	}
	return err
}
