package syscalls

import (
	"strings"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func pathRows() []Row {
	return []Row{
		full(79, "getcwd", sysGetcwd, P("buf", OutStr), P("size", Unsigned)),
		full(80, "chdir", sysChdir, P("path", PathStr)),
		full(81, "fchdir", sysFchdir, P("fd", FD)),
		full(82, "rename", sysRename, P("old", PathStr), P("new", PathStr)),
		full(83, "mkdir", sysMkdir, P("path", PathStr), P("mode", Mode)),
		full(84, "rmdir", sysRmdir, P("path", PathStr)),
		full(86, "link", sysLink, P("old", PathStr), P("new", PathStr)),
		full(87, "unlink", sysUnlink, P("path", PathStr)),
		full(88, "symlink", sysSymlink, P("target", PathStr), P("path", PathStr)),
		full(89, "readlink", sysReadlink, P("path", PathStr), P("buf", OutBuf), P("size", Dec)),
		full(133, "mknod", sysMknod, P("path", PathStr), P("mode", Mode), P("dev", Dev)),
		full(161, "chroot", sysChroot, P("path", PathStr)),
		full(258, "mkdirat", sysMkdirat, P("dirfd", DirFD), P("path", PathStr), P("mode", Mode)),
		full(259, "mknodat", sysMknodat, P("dirfd", DirFD), P("path", PathStr), P("mode", Mode), P("dev", Dev)),
		full(263, "unlinkat", sysUnlinkat, P("dirfd", DirFD), P("path", PathStr), PF("flags", Flags, unlinkFlags)),
		full(264, "renameat", sysRenameat, P("olddirfd", DirFD), P("old", PathStr), P("newdirfd", DirFD), P("new", PathStr)),
		full(265, "linkat", sysLinkat, P("olddirfd", DirFD), P("old", PathStr), P("newdirfd", DirFD), P("new", PathStr), PF("flags", Flags, atFlagNames)),
		full(266, "symlinkat", sysSymlinkat, P("target", PathStr), P("dirfd", DirFD), P("path", PathStr)),
		full(267, "readlinkat", sysReadlinkat, P("dirfd", DirFD), P("path", PathStr), P("buf", OutBuf), P("size", Dec)),
		full(316, "renameat2", sysRenameat2, P("olddirfd", DirFD), P("old", PathStr), P("newdirfd", DirFD), P("new", PathStr), PF("flags", Flags, renameFlags)),
	}
}

var unlinkFlags = &FlagSet{Names: []FlagName{{unix.AT_REMOVEDIR, "AT_REMOVEDIR"}}}

var renameFlags = &FlagSet{Names: []FlagName{
	{unix.RENAME_NOREPLACE, "RENAME_NOREPLACE"}, {unix.RENAME_EXCHANGE, "RENAME_EXCHANGE"}, {unix.RENAME_WHITEOUT, "RENAME_WHITEOUT"},
}}

func sysMkdir(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return mkdirAt(t, unix.AT_FDCWD, a[0], a.Uint(1))
}

func sysMkdirat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return mkdirAt(t, a.Int(0), a[1], a.Uint(2))
}

func mkdirAt(t *kernel.Task, dirfd int32, addr uint64, mode uint32) (uintptr, error) {
	return atPath(t, dirfd, addr, func(o *origin, path string) error {
		return o.ns.MkdirAt(t, o.Origin, path, mode)
	})
}

func sysMknod(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return mknodAt(t, unix.AT_FDCWD, a[0], a.Uint(1), a.Uint(2))
}

func sysMknodat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return mknodAt(t, a.Int(0), a[1], a.Uint(2), a.Uint(3))
}

// mknodAt takes dev in the kernel's encoding: 8 low bits of the minor number,
// 12 of the major, 12 high ones of the minor.
func mknodAt(t *kernel.Task, dirfd int32, addr uint64, mode, dev uint32) (uintptr, error) {
	major, minor := dev>>8&0xfff, dev&0xff|dev>>12&0xfff00
	return atPath(t, dirfd, addr, func(o *origin, path string) error {
		return o.ns.MknodAt(t, o.Origin, path, mode, major, minor)
	})
}

func sysRmdir(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return unlinkAt(t, unix.AT_FDCWD, a[0], unix.AT_REMOVEDIR)
}

func sysUnlink(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return unlinkAt(t, unix.AT_FDCWD, a[0], 0)
}

func sysUnlinkat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return unlinkAt(t, a.Int(0), a[1], a.Uint(2))
}

func unlinkAt(t *kernel.Task, dirfd int32, addr uint64, flags uint32) (uintptr, error) {
	if flags&^unix.AT_REMOVEDIR != 0 {
		return 0, unix.EINVAL
	}
	return atPath(t, dirfd, addr, func(o *origin, path string) error {
		if flags&unix.AT_REMOVEDIR != 0 {
			return o.ns.RmdirAt(t, o.Origin, path)
		}
		return o.ns.UnlinkAt(t, o.Origin, path)
	})
}

func sysSymlink(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return symlinkAt(t, a[0], unix.AT_FDCWD, a[1])
}

func sysSymlinkat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return symlinkAt(t, a[0], a.Int(1), a[2])
}

func symlinkAt(t *kernel.Task, target uint64, dirfd int32, addr uint64) (uintptr, error) {
	s, err := t.CopyInPath(target)
	if err != nil {
		return 0, err
	}
	return atPath(t, dirfd, addr, func(o *origin, path string) error {
		// The string comes from a buffer that grew to fit; keep no more.
		return o.ns.SymlinkAt(t, strings.Clone(s), o.Origin, path)
	})
}

func sysLink(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return linkAt(t, unix.AT_FDCWD, a[0], unix.AT_FDCWD, a[1], 0)
}

func sysLinkat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return linkAt(t, a.Int(0), a[1], a.Int(2), a[3], a.Uint(4))
}

func linkAt(t *kernel.Task, olddirfd int32, oldAddr uint64, dirfd int32, addr uint64, flags uint32) (uintptr, error) {
	if flags&^(unix.AT_SYMLINK_FOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	if flags&unix.AT_EMPTY_PATH != 0 && !t.Credentials().Can(unix.CAP_DAC_READ_SEARCH) {
		return 0, unix.ENOENT
	}
	at := flags & unix.AT_EMPTY_PATH
	if flags&unix.AT_SYMLINK_FOLLOW == 0 {
		at |= unix.AT_SYMLINK_NOFOLLOW
	}
	old, err := resolveAt(t, olddirfd, oldAddr, at)
	if err != nil {
		return 0, err
	}
	defer old.DecRef()
	return atPath(t, dirfd, addr, func(o *origin, path string) error {
		return o.ns.LinkAt(t, old, o.Origin, path)
	})
}

func sysRename(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return renameAt(t, unix.AT_FDCWD, a[0], unix.AT_FDCWD, a[1], 0)
}

func sysRenameat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return renameAt(t, a.Int(0), a[1], a.Int(2), a[3], 0)
}

func sysRenameat2(t *kernel.Task, a kernel.Args) (uintptr, error) {
	return renameAt(t, a.Int(0), a[1], a.Int(2), a[3], a.Uint(4))
}

func renameAt(t *kernel.Task, olddirfd int32, oldAddr uint64, dirfd int32, addr uint64, flags uint32) (uintptr, error) {
	return atPath(t, olddirfd, oldAddr, func(o *origin, old string) error {
		_, err := atPath(t, dirfd, addr, func(n *origin, path string) error {
			return o.ns.RenameAt(t, o.Origin, old, n.Origin, path, flags)
		})
		return err
	})
}

func sysReadlink(t *kernel.Task, a kernel.Args) (uintptr, error) {
	epoch := vfs.CurrentEpoch()
	n, path, lasting, err := readlinkAt(t, unix.AT_FDCWD, a[0], a[1], a.Int(2))
	if lasting && (err == unix.EINVAL || err == unix.ENOENT) {
		t.KeepNoLink(path, err.(unix.Errno), epoch)
	}
	return n, err
}

func sysReadlinkat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	n, _, _, err := readlinkAt(t, a.Int(0), a[1], a[2], a.Int(3))
	return n, err
}

// readlinkAt returns the path too, and, if it fails, whether it does so until the epoch changes.
func readlinkAt(t *kernel.Task, dirfd int32, addr, buf uint64, size int32) (n uintptr, path string, lasting bool, err error) {
	if size <= 0 {
		return 0, "", false, unix.EINVAL
	}
	if path, err = t.CopyInPath(addr); err != nil {
		return 0, "", false, err
	}
	o, err := originOf(t, dirfd, path)
	if err != nil {
		return 0, path, false, err
	}
	defer o.release()
	p, lasting, err := o.ns.ResolveLink(t, o.Origin, path)
	if err != nil {
		return 0, path, lasting, err
	}
	defer p.DecRef()
	if path == "" && (dirfd == unix.AT_FDCWD || p.Kind() != unix.S_IFLNK) {
		return 0, path, false, unix.ENOENT
	}
	if p.Kind() != unix.S_IFLNK {
		return 0, path, lasting, unix.EINVAL
	}
	target, err := p.Inode().Readlink(t)
	if err != nil {
		return 0, path, false, err
	}
	b := getBuffer(min(uint64(size), uint64(len(target))))
	defer b.put()
	n = uintptr(copy(b.b, target))
	if _, err := t.CopyOut(buf, b.b[:n]); err != nil {
		return 0, path, false, err
	}
	return n, path, false, nil
}

func sysGetcwd(t *kernel.Task, a kernel.Args) (uintptr, error) {
	fs := t.FS()
	cwd, root := fs.Cwd(), fs.Root()
	defer cwd.DecRef()
	defer root.DecRef()
	if cwd.Deleted() {
		return 0, unix.ENOENT
	}
	name, ok := fs.Mounts().PathName(root, cwd)
	if !ok {
		name = "(unreachable)" + name
	}
	if len(name)+1 > unix.PathMax {
		return 0, unix.ENAMETOOLONG
	}
	if uint64(len(name)+1) > a[1] {
		return 0, unix.ERANGE
	}
	b := getBuffer(uint64(len(name) + 1))
	defer b.put()
	copy(b.b, name)
	b.b[len(name)] = 0
	if _, err := t.CopyOut(a[0], b.b); err != nil {
		return 0, err
	}
	return uintptr(len(name) + 1), nil
}

func sysChdir(t *kernel.Task, a kernel.Args) (uintptr, error) {
	path, err := t.CopyInPath(a[0])
	if err != nil {
		return 0, err
	}
	p, err := resolve(t, unix.AT_FDCWD, path, vfs.WantDirectory)
	if err != nil {
		return 0, err
	}
	return 0, enterDir(t, p, t.FS().Chdir)
}

func sysFchdir(t *kernel.Task, a kernel.Args) (uintptr, error) {
	p, err := placeOf(t, a.Int(0), true)
	if err != nil {
		return 0, err
	}
	if !p.IsDir() {
		p.DecRef()
		return 0, unix.ENOTDIR
	}
	return 0, enterDir(t, p, t.FS().Chdir)
}

func sysChroot(t *kernel.Task, a kernel.Args) (uintptr, error) {
	path, err := t.CopyInPath(a[0])
	if err != nil {
		return 0, err
	}
	p, err := resolve(t, unix.AT_FDCWD, path, vfs.WantDirectory)
	if err != nil {
		return 0, err
	}
	if !t.Credentials().CanHere(unix.CAP_SYS_CHROOT) {
		p.DecRef()
		return 0, unix.EPERM
	}
	return 0, enterDir(t, p, t.FS().Chroot)
}

// enterDir hands p, and its reference, to set if t may search it.
func enterDir(t *kernel.Task, p vfs.Path, set func(vfs.Path)) error {
	if err := vfs.Access(t, p, unix.X_OK); err != nil {
		p.DecRef()
		return err
	}
	set(p)
	return nil
}
