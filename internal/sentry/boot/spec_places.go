package boot

import (
	"fmt"
	"path"
	"strings"

	"coffer/internal/sentry/fs/devfs"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// linksMax is how many symbolic links are followed on the way to a place
// (path_resolution(7)).
const linksMax = 40

// place finds where something is to be mounted, and makes what is missing of it
// on the way: directories, and at the end a file if that is wanted. Links are
// followed, those too that lead to what is missing.
func (f *furnisher) place(p string, file bool) (at vfs.Path, made bool, err error) {
	if at, err = f.resolve(p, 0); err == nil {
		return at, false, nil
	}
	if err != unix.ENOENT {
		return at, false, err
	}
	done, rest, links := "/", strings.Trim(path.Clean(p), "/"), 0
	for rest != "" {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if name == "" || name == "." {
			continue
		}
		next := path.Join(done, name)
		target, err := f.linkAt(next)
		switch {
		case err == unix.ENOENT:
			if err := f.make(next, file && rest == ""); err != nil {
				return at, false, fmt.Errorf("making %s: %w", next, err)
			}
		case err != nil:
			return at, false, err
		case target != "":
			if links++; links > linksMax {
				return at, false, unix.ELOOP
			}
			if path.IsAbs(target) {
				done = "/"
			}
			rest = strings.Trim(target+"/"+rest, "/")
			continue
		}
		done = next
	}
	at, err = f.resolve(done, 0)
	return at, true, err
}

// linkAt returns a symbolic link's target, "" of what is none.
func (f *furnisher) linkAt(p string) (string, error) {
	at, err := f.resolve(p, vfs.NoFollowLast)
	if err != nil {
		return "", err
	}
	defer at.DecRef()
	if at.Kind() != unix.S_IFLNK {
		return "", nil
	}
	return at.Inode().Readlink(f.t)
}

// make makes a directory or an empty file.
func (f *furnisher) make(p string, file bool) error {
	if file {
		return f.ns.MknodAt(f.t, f.origin(), p, unix.S_IFREG|0o644, 0, 0)
	}
	return f.ns.MkdirAt(f.t, f.origin(), p, 0o755)
}

func (f *furnisher) makeDirectory(p string) error {
	at, _, err := f.place(p, false)
	if err == nil {
		at.DecRef()
	}
	return err
}

// makeDevices makes the devices and links that every container has
// (runtime-spec, "Default Devices"), unless /dev is the host's, and those that
// the spec adds.
func (f *furnisher) makeDevices() error {
	if !f.c.Files.foreignDev() {
		for _, d := range devfs.Defaults() {
			if err := f.makeDevice(&Device{Path: "/dev/" + d.Name, Mode: unix.S_IFCHR | d.Perm, Major: d.Major, Minor: d.Minor}); err != nil {
				return fmt.Errorf("the device /dev/%s: %w", d.Name, err)
			}
		}
		for _, l := range devfs.Links() {
			err := f.ns.SymlinkAt(f.t, l[1], f.origin(), "/dev/"+l[0])
			if err != nil && err != unix.EEXIST {
				return fmt.Errorf("making the link /dev/%s: %w", l[0], err)
			}
		}
	}
	for i := range f.c.Files.Devices {
		d := &f.c.Files.Devices[i]
		if err := f.makeDevice(d); err != nil {
			return fmt.Errorf("%s: making %s: %w", d.Field, d.Path, err)
		}
	}
	return nil
}

// nodes are the paths of the devices and links that makeDevices makes.
func (f *Files) nodes() []string {
	var paths []string
	if !f.foreignDev() {
		for _, d := range devfs.Defaults() {
			paths = append(paths, "/dev/"+d.Name)
		}
		for _, l := range devfs.Links() {
			paths = append(paths, "/dev/"+l[0])
		}
	}
	for _, d := range f.Devices {
		paths = append(paths, d.Path)
	}
	return paths
}

// foreignDev reports whether /dev shows a directory of the host's.
func (f *Files) foreignDev() bool {
	for _, m := range f.Mounts {
		if m.Type == "" && path.Clean(m.Destination) == "/dev" {
			return true
		}
	}
	return false
}

// makeDevice makes a device node; where none can be, since the directory is the
// host's or belongs to a user namespace, it binds the kernel's own.
func (f *furnisher) makeDevice(d *Device) error {
	if err := f.makeDirectory(path.Dir(d.Path)); err != nil {
		return err
	}
	err := f.ns.MknodAt(f.t, f.origin(), d.Path, d.Mode, d.Major, d.Minor)
	switch err {
	case nil:
	case unix.EEXIST:
		return f.expectDevice(d)
	case unix.EPERM:
		return f.bindDevice(d)
	default:
		return err
	}
	at, err := f.resolve(d.Path, vfs.NoFollowLast)
	if err != nil {
		return err
	}
	defer at.DecRef()
	users := f.t.Credentials().UserNS
	if err := vfs.Chown(f.t, at, users.ToUID(d.UID), users.ToGID(d.GID)); err != nil {
		return err
	}
	return vfs.Chmod(f.t, at, d.Mode&0o7777)
}

// expectDevice accepts a device that is there already, if it is the very same.
func (f *furnisher) expectDevice(d *Device) error {
	at, err := f.resolve(d.Path, vfs.NoFollowLast)
	if err != nil {
		return err
	}
	defer at.DecRef()
	a, err := at.Attr()
	switch {
	case err != nil:
		return err
	case a.Mode&unix.S_IFMT == unix.S_IFREG && a.Size == 0:
		// What an earlier container on the same files was bound to.
		return f.bindDevice(d)
	case a.Mode&unix.S_IFMT != d.Mode&unix.S_IFMT || a.RdevMajor != d.Major || a.RdevMinor != d.Minor:
		return fmt.Errorf("there is something else already")
	}
	return nil
}

// bindDevice shows the kernel's own node on an empty file.
func (f *furnisher) bindDevice(d *Device) error {
	name := devfs.NameOf(d.Major, d.Minor)
	if d.Mode&unix.S_IFMT != unix.S_IFCHR || name == "" {
		return unix.EPERM
	}
	from, err := f.node(name)
	if err != nil {
		return err
	}
	defer from.DecRef()
	at, _, err := f.place(d.Path, true)
	if err != nil {
		return err
	}
	defer at.DecRef()
	return f.ns.Bind(from, at, 0)
}

// consolePath is where a process's terminal is shown.
const consolePath = "/dev/console"

// bindConsole shows the process's terminal at consolePath, as runc does.
func (f *furnisher) bindConsole(name string) error {
	pts, err := f.detached(f.s.pts)
	if err != nil {
		return err
	}
	defer pts.DecRef()
	from, err := f.ns.Resolve(f.t, vfs.Origin{Root: pts.Path, Start: pts.Path}, name, vfs.NoFollowLast)
	if err != nil {
		return err
	}
	defer from.DecRef()
	at, _, err := f.place(consolePath, true)
	if err != nil {
		return err
	}
	defer at.DecRef()
	return f.ns.Bind(from, at, 0)
}
