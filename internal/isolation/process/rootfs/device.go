package rootfs

import (
	"errors"
	"fmt"
	"os"

	"coffer/internal/oci/mountoption"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// defaultDevices is what every container has (runtime-spec, "Default
// Devices").
var defaultDevices = []specs.LinuxDevice{
	{Path: "/dev/null", Type: "c", Major: 1, Minor: 3},
	{Path: "/dev/zero", Type: "c", Major: 1, Minor: 5},
	{Path: "/dev/full", Type: "c", Major: 1, Minor: 7},
	{Path: "/dev/random", Type: "c", Major: 1, Minor: 8},
	{Path: "/dev/urandom", Type: "c", Major: 1, Minor: 9},
	{Path: "/dev/tty", Type: "c", Major: 5, Minor: 0},
}

// defaultMode is the mode of a device for which the spec has none.
const defaultMode = 0o666

// devLinks is the links that every container has in /dev, each if what it
// leads to is there (runtime-spec, "Dev symbolic links").
var devLinks = []struct{ path, target string }{
	{"/dev/fd", "/proc/self/fd"},
	{"/dev/stdin", "/proc/self/fd/0"},
	{"/dev/stdout", "/proc/self/fd/1"},
	{"/dev/stderr", "/proc/self/fd/2"},
	{"/dev/core", "/proc/kcore"},
}

// ownDev reports whether /dev is the container's own. If it is bound from
// somewhere, it is who wrote the spec that fills it, and perhaps the host's.
func (r *Root) ownDev() bool {
	own := true
	for i := range r.cfg.Spec.Mounts {
		m := &r.cfg.Spec.Mounts[i]
		if o := mountoption.Parse(m.Options); cleanPath(m.Destination) == "/dev" && !o.Remount {
			own = !o.Bind && m.Type != "bind"
		}
	}
	return own
}

// makeDev makes the devices and links.
func (r *Root) makeDev() error {
	asked := r.linux.Devices
	for i := range defaultDevices {
		d := &defaultDevices[i]
		if hasDevice(asked, d.Path) {
			continue
		}
		if err := r.device(d, true); err != nil {
			return fmt.Errorf("making the device %s: %w", d.Path, err)
		}
	}
	for i := range asked {
		if err := r.device(&asked[i], false); err != nil {
			return fmt.Errorf("linux.devices[%d] %q: %w", i, asked[i].Path, err)
		}
	}
	for _, l := range devLinks {
		if err := r.link(l.path, l.target); err != nil {
			return fmt.Errorf("making the link %s: %w", l.path, err)
		}
	}
	return r.linkPTMX()
}

// hasDevice reports whether there is a device of a path among others.
func hasDevice(devices []specs.LinuxDevice, name string) bool {
	for i := range devices {
		if cleanPath(devices[i].Path) == name {
			return true
		}
	}
	return false
}

// deviceType is the bits of st_mode for a type of the spec's.
func deviceType(kind string) (uint32, error) {
	switch kind {
	case "c", "u":
		return unix.S_IFCHR, nil
	case "b":
		return unix.S_IFBLK, nil
	case "p":
		return unix.S_IFIFO, nil
	}
	return 0, fmt.Errorf("type %q: it is c or u (character device), b (block device) or p (FIFO)", kind)
}

// device makes a device node. Where that is not allowed, as in a user
// namespace, or where the image has a plain file in a default device's place,
// the host's own device is bound there.
func (r *Root) device(d *specs.LinuxDevice, isDefault bool) error {
	kind, err := deviceType(d.Type)
	if err != nil {
		return err
	}
	dev := unix.Mkdev(uint32(d.Major), uint32(d.Minor))
	if kind != unix.S_IFIFO && hasNamespace(r.cfg.Spec, specs.UserNamespace) {
		return r.bindDevice(d, kind, dev)
	}
	dir, name, err := makeParent(r.fd, d.Path)
	if err != nil {
		return fmt.Errorf("finding its directory: %w", err)
	}
	defer unix.Close(dir)
	mode := uint32(defaultMode)
	if d.FileMode != nil {
		mode = uint32(*d.FileMode) & 0o7777
	}
	made := true
	switch err := unix.Mknodat(dir, name, kind|mode, int(dev)); err {
	case nil:
	case unix.EEXIST:
		made = false
	case unix.EPERM:
		if kind != unix.S_IFIFO {
			return r.bindDevice(d, kind, dev)
		}
		fallthrough
	default:
		return fmt.Errorf("mknod: %w", because(err, cure{unix.EROFS, "mount a tmpfs on /dev, or make it in the image"}))
	}
	fd, err := unix.Openat(dir, name, pathFlags|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := checkDevice(fd, kind, dev); err != nil {
		if isDefault && isFile(fd) {
			return r.bindDevice(d, kind, dev)
		}
		return err
	}
	if !made {
		// What a mount of the spec has put there is the host's own.
		if _, bound, err := mountOf(fd); err != nil || bound {
			return err
		}
	}
	return setOwner(fd, d, mode, made)
}

// checkDevice makes sure that fd is a device of a type and number.
func checkDevice(fd int, kind uint32, dev uint64) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != kind || kind != unix.S_IFIFO && st.Rdev != dev {
		return errors.New("something else is there: remove it from the image, or leave the device out")
	}
	return nil
}

// isFile reports whether fd is an ordinary file.
func isFile(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG
}

// setOwner gives a device the spec's owner, and its mode if it was there
// already with another one.
func setOwner(fd int, d *specs.LinuxDevice, mode uint32, made bool) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	uid, gid := uint32(0), uint32(0)
	if d.UID != nil {
		uid = *d.UID
	}
	if d.GID != nil {
		gid = *d.GID
	}
	if st.Uid != uid || st.Gid != gid {
		if err := unix.Fchownat(fd, "", int(uid), int(gid), unix.AT_EMPTY_PATH); err != nil {
			return fmt.Errorf("giving it to user %d and group %d: %w", uid, gid, err)
		}
	} else if made || st.Mode&0o7777 == mode {
		return nil
	}
	// After the change of owner, which takes set-ID bits away.
	if err := withProc(func() error { return unix.Chmod(fdName(fd), mode) }); err != nil {
		return fmt.Errorf("setting its mode to %#o: %w", mode, err)
	}
	return nil
}

// bindDevice binds the device of the same path on the host.
func (r *Root) bindDevice(d *specs.LinuxDevice, kind uint32, dev uint64) error {
	fd, err := unix.Open(cleanPath(d.Path), pathFlags, 0)
	if err != nil {
		return fmt.Errorf("opening the host's device, since none can be made here: %w", err)
	}
	defer unix.Close(fd)
	if err := checkDevice(fd, kind, dev); err != nil {
		return fmt.Errorf("no device can be made here, and the host's own %s is not %s %d:%d: bind the right one by a mount", d.Path, d.Type, d.Major, d.Minor)
	}
	dir, name, err := makeParent(r.fd, d.Path)
	if err != nil {
		return fmt.Errorf("finding its directory: %w", err)
	}
	defer unix.Close(dir)
	if err := unix.Mknodat(dir, name, unix.S_IFREG|0o644, 0); err != nil && err != unix.EEXIST {
		return fmt.Errorf("making a file to bind the host's device on: %w", err)
	}
	again := func() (int, error) { return unix.Openat(dir, name, pathFlags|unix.O_NOFOLLOW, 0) }
	at, err := again()
	if err != nil {
		return err
	}
	defer unix.Close(at)
	if !isFile(at) && checkDevice(at, kind, dev) != nil {
		return errors.New("something else is there: remove it from the image, or leave the device out")
	}
	mount, err := r.mounter.bind(source{fd: fd}, place{fd: at, again: again}, &mountoption.Attributes{})
	if err != nil {
		return fmt.Errorf("binding the host's device: %w", err)
	}
	return unix.Close(mount)
}

// link makes a symbolic link if what it leads to is there. What is in its
// place already stays.
func (r *Root) link(name, target string) error {
	fd, err := lookup(r.fd, target, pathFlags|unix.O_NOFOLLOW, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.EACCES) {
		return nil
	}
	if err != nil {
		return err
	}
	unix.Close(fd)
	dir, base, err := makeParent(r.fd, name)
	if err != nil {
		return err
	}
	defer unix.Close(dir)
	if err := unix.Symlinkat(target, dir, base); err != nil && err != unix.EEXIST {
		return err
	}
	return nil
}

// linkPTMX makes /dev/ptmx the container's own: a device node there, of an
// image or the host, opens whichever devpts lies beside it.
func (r *Root) linkPTMX() error {
	const target = "pts/ptmx"
	dir, name, err := makeParent(r.fd, "/dev/ptmx")
	if err != nil {
		return fmt.Errorf("making /dev/ptmx: %w", err)
	}
	defer unix.Close(dir)
	if err = unix.Symlinkat(target, dir, name); err == unix.EEXIST {
		buf := make([]byte, len(target)+1)
		if n, readErr := unix.Readlinkat(dir, name, buf); readErr == nil && string(buf[:n]) == target {
			return nil
		}
		if err = unix.Unlinkat(dir, name, 0); err == nil {
			err = unix.Symlinkat(target, dir, name)
		}
	}
	if err != nil {
		return fmt.Errorf("making /dev/ptmx a link to %s: %w", target, because(err, cure{unix.EROFS, "mount a tmpfs on /dev, or make the link in the image"}))
	}
	return nil
}

// PTMX opens a new pseudoterminal's master in the container's own devpts,
// close-on-exec. It comes after Enter.
func (r *Root) PTMX() (*os.File, error) { return openPTMX(r.fd) }

// OpenPTMX does as PTMX in a container that the process has joined, whose root
// is its own root.
func OpenPTMX() (*os.File, error) {
	root, err := unix.Open("/", pathFlags|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a terminal: %w", err)
	}
	defer unix.Close(root)
	return openPTMX(root)
}

func openPTMX(root int) (*os.File, error) {
	fd, err := lookup(root, "/dev/pts/ptmx", unix.O_RDWR|unix.O_NOCTTY, unix.RESOLVE_NO_SYMLINKS)
	if err != nil {
		return nil, fmt.Errorf("opening a terminal, /dev/pts/ptmx in the container: %w", because(err,
			cure{unix.ENOENT, "a process with a terminal needs a mount of type devpts at /dev/pts, with the option newinstance"},
			cure{unix.EACCES, "mount devpts with the option ptmxmode=0666"},
			cure{unix.ENOSPC, "there are as many terminals as /proc/sys/kernel/pty/max allows"}))
	}
	in, err := isOn(fd, unix.DEVPTS_SUPER_MAGIC)
	if err == nil && !in {
		err = errors.New("it is not in a devpts file system: mount one at /dev/pts")
	}
	if err == nil {
		err = checkDevice(fd, unix.S_IFCHR, unix.Mkdev(5, 2))
	}
	if err != nil {
		return nil, fmt.Errorf("opening a terminal, /dev/pts/ptmx in the container: %w", closeIf(fd, err))
	}
	return os.NewFile(uintptr(fd), "/dev/pts/ptmx"), nil
}

// Console makes /dev/console the terminal slave, a descriptor from
// TIOCGPTPEER of PTMX's file. It comes between Enter and Finish.
func (r *Root) Console(slave *os.File) error {
	defer unix.Umask(unix.Umask(0))
	mount, err := r.bindTo(source{fd: int(slave.Fd())}, "/dev/console", false, &mountoption.Attributes{})
	if err != nil {
		return fmt.Errorf("making /dev/console the terminal: %w", err)
	}
	return unix.Close(mount)
}
