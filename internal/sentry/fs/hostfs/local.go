package hostfs

import (
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// local is the Host that makes the calls itself, beneath one descriptor.
type local struct{ root Dir }

// Local returns the Host of the tree beneath a directory descriptor (O_PATH
// will do), which it takes over.
func Local(fd int) Host { return &local{Dir(fd)} }

// beneath are the rules for every open: nothing but what the directory holds.
const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS

// cname is a component as the host wants it: in a fixed buffer with a NUL, so
// that it needs no allocation.
type cname [unix.NAME_MAX + 1]byte

// set checks a component and copies it. The empty name is for the caller to
// allow.
func (c *cname) set(name string) error {
	switch {
	case len(name) > unix.NAME_MAX:
		return unix.ENAMETOOLONG
	case name == "." || name == "..":
		return unix.EINVAL
	case strings.IndexByte(name, '/') >= 0 || strings.IndexByte(name, 0) >= 0:
		return unix.EINVAL
	}
	c[copy(c[:], name)] = 0
	return nil
}

// checkName is set's check, and refuses the empty name.
func checkName(name string) error {
	if name == "" {
		return unix.ENOENT
	}
	var c cname
	return c.set(name)
}

// retry makes a host call again for as long as a signal to the sentry (Go's
// own preemption, mostly) interrupts it.
func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return hostErr(err)
		}
	}
}

// hostErr turns the errors that are about the sentry's own limits into what
// they are to the guest.
func hostErr(err error) error {
	if err == unix.EMFILE {
		return unix.ENFILE
	}
	return err
}

// openat2 opens a component beneath dir. name may be "." for dir itself.
func openat2(dir Dir, name string, flags int, mode uint32) (fd int, err error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC | unix.O_NOFOLLOW),
		Mode:    uint64(mode),
		Resolve: beneath,
	}
	for {
		fd, err = unix.Openat2(int(dir), name, &how)
		// EAGAIN: the host could not rule out a race with a rename.
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, hostErr(err)
		}
	}
}

func (l *local) Root() Dir { return l.root }

func (l *local) Walk(dir Dir, name string) (Dir, error) {
	if err := checkName(name); err != nil {
		return -1, err
	}
	fd, err := openat2(dir, name, unix.O_PATH|unix.O_DIRECTORY, 0)
	return Dir(fd), err
}

func (l *local) CloseDir(dir Dir) { unix.Close(int(dir)) }

func (l *local) Stat(dir Dir, name string) (st unix.Statx_t, err error) {
	var c cname
	if err := c.set(name); err != nil {
		return st, err
	}
	err = statx(int(dir), &c[0], &st)
	return st, err
}

// statPathMax bounds StatPath's path, with its NUL.
const statPathMax = 512

func (l *local) StatPath(dir Dir, path string) (st unix.Statx_t, err error) {
	var c [statPathMax]byte
	switch {
	case len(path) >= len(c):
		return st, unix.ENAMETOOLONG
	case path == "" || path[0] == '/' || strings.IndexByte(path, 0) >= 0:
		return st, unix.EINVAL
	}
	for name := range strings.SplitSeq(path, "/") {
		if name == ".." {
			return st, unix.EINVAL
		}
	}
	copy(c[:], path)
	err = statx(int(dir), &c[0], &st)
	return st, err
}

// statx is statx(2) without following a final link; an empty name, ended by a
// NUL as every other, is fd itself.
func statx(fd int, name *byte, st *unix.Statx_t) error {
	for {
		_, _, e := unix.Syscall6(unix.SYS_STATX, uintptr(fd), uintptr(unsafe.Pointer(name)),
			unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT,
			unix.STATX_BASIC_STATS|unix.STATX_BTIME|unix.STATX_MNT_ID, uintptr(unsafe.Pointer(st)), 0)
		switch e {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return hostErr(e)
		}
	}
}

// fstat is statx(2) of a descriptor.
func fstat(fd int, st *unix.Statx_t) error {
	var empty byte
	return statx(fd, &empty, st)
}

func (l *local) Statfs(dir Dir, name string) (st unix.Statfs_t, err error) {
	fd := int(dir)
	if name != "" {
		if err := checkName(name); err != nil {
			return st, err
		}
		if fd, err = openat2(dir, name, unix.O_PATH, 0); err != nil {
			return st, err
		}
		defer unix.Close(fd)
	}
	err = retry(func() error { return unix.Fstatfs(fd, &st) })
	return st, err
}

func (l *local) Readlink(dir Dir, name string) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	var buf [unix.PathMax]byte
	n, err := unix.Readlinkat(int(dir), name, buf[:])
	if err != nil {
		return "", hostErr(err)
	}
	return string(buf[:n]), nil
}

func (l *local) Open(dir Dir, name string, flags int) (fd int, st unix.Statx_t, err error) {
	if name == "" {
		fd, err = openat2(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		return fd, st, err
	}
	if err = checkName(name); err == nil {
		fd, err = openat2(dir, name, flags&(unix.O_ACCMODE|unix.O_DIRECTORY)|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	}
	if err != nil {
		return -1, st, err
	}
	err = fstat(fd, &st)
	if kind := st.Mode & unix.S_IFMT; err == nil && kind != unix.S_IFREG && kind != unix.S_IFDIR {
		err = unix.ENXIO
	}
	if err != nil {
		unix.Close(fd)
		return -1, st, err
	}
	return fd, st, nil
}

func (l *local) Handle(fd int) Dir { return Dir(fd) }

func (l *local) Create(dir Dir, name string, mode uint32) (int, error) {
	if err := checkName(name); err != nil {
		return -1, err
	}
	return openat2(dir, name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, mode&07777)
}

func (l *local) Mkdir(dir Dir, name string, mode uint32) error {
	if err := checkName(name); err != nil {
		return err
	}
	return hostErr(unix.Mkdirat(int(dir), name, mode&07777))
}

func (l *local) Mknod(dir Dir, name string, mode uint32) error {
	if err := checkName(name); err != nil {
		return err
	}
	switch mode & unix.S_IFMT {
	case unix.S_IFIFO, unix.S_IFSOCK, unix.S_IFCHR:
	default:
		return unix.EPERM
	}
	return hostErr(unix.Mknodat(int(dir), name, mode&(unix.S_IFMT|07777), 0))
}

func (l *local) Symlink(target string, dir Dir, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	return hostErr(unix.Symlinkat(target, int(dir), name))
}

func (l *local) Link(oldDir Dir, oldName string, newDir Dir, newName string) error {
	if err := checkNames(oldName, newName); err != nil {
		return err
	}
	return hostErr(unix.Linkat(int(oldDir), oldName, int(newDir), newName, 0))
}

func (l *local) Unlink(dir Dir, name string, isDir bool) error {
	if err := checkName(name); err != nil {
		return err
	}
	flags := 0
	if isDir {
		flags = unix.AT_REMOVEDIR
	}
	return hostErr(unix.Unlinkat(int(dir), name, flags))
}

func (l *local) Rename(oldDir Dir, oldName string, newDir Dir, newName string, flags uint32) error {
	if err := checkNames(oldName, newName); err != nil {
		return err
	}
	// RENAME_WHITEOUT would make a device node.
	if flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE) != 0 {
		return unix.EINVAL
	}
	return hostErr(unix.Renameat2(int(oldDir), oldName, int(newDir), newName, uint(flags)))
}

func checkNames(a, b string) error {
	if err := checkName(a); err != nil {
		return err
	}
	return checkName(b)
}

// sysFchmodat2 is fchmodat2(2), of Linux 6.6.
const sysFchmodat2 = 452

func (l *local) Chmod(dir Dir, name string, mode uint32) error {
	var c cname
	if err := c.set(name); err != nil {
		return err
	}
	_, _, e := unix.Syscall6(sysFchmodat2, uintptr(dir), uintptr(unsafe.Pointer(&c)),
		uintptr(mode&07777), unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH, 0, 0)
	switch e {
	case 0:
		return nil
	case unix.ENOSYS:
		return l.chmodOpen(dir, name, mode)
	}
	return hostErr(e)
}

// chmodOpen is Chmod on hosts without fchmodat2, where fchmodat(2) would
// follow a symbolic link that takes the name's place.
func (l *local) chmodOpen(dir Dir, name string, mode uint32) error {
	st, err := l.Stat(dir, name)
	if err != nil {
		return err
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return unix.ENXIO
	}
	fd, _, err := l.Open(dir, name, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return hostErr(unix.Fchmod(fd, mode&07777))
}

func (l *local) Chown(dir Dir, name string, uid, gid uint32) error {
	var c cname
	if err := c.set(name); err != nil {
		return err
	}
	return hostErr(unix.Fchownat(int(dir), name, int(int32(uid)), int(int32(gid)),
		unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH))
}

func (l *local) Utimes(dir Dir, name string, times *[2]unix.Timespec) error {
	var c cname
	if err := c.set(name); err != nil {
		return err
	}
	if name == "" {
		name = "." // AT_EMPTY_PATH is known here from Linux 5.8 on
	}
	return hostErr(unix.UtimesNanoAt(int(dir), name, times[:], unix.AT_SYMLINK_NOFOLLOW))
}
