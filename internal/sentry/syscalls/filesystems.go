package syscalls

import (
	"encoding/binary"
	"slices"

	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func fileSystemRows() []Row {
	return []Row{
		full(136, "ustat", sysUstat, P("dev", Dev), P("ubuf", OutUstat)),
		full(139, "sysfs", sysSysfs, P("option", Dec), P("arg1", Hex), P("arg2", Hex)),
	}
}

// ustatSize is the size of struct ustat.
const ustatSize = 32

// sysUstat tells about the file system of a device, which must be mounted.
func sysUstat(t *kernel.Task, a kernel.Args) (uintptr, error) {
	dev := a.Uint(0)
	major, minor := dev>>8&0xfff, dev&0xff|dev>>12&0xfff00
	root := t.FS().Root()
	defer root.DecRef()
	for _, m := range t.FS().Mounts().Mounts(root) {
		if m.DevMajor != major || m.DevMinor != minor {
			continue
		}
		p, err := resolve(t, unix.AT_FDCWD, m.Point, 0)
		if err != nil {
			return 0, unix.EINVAL
		}
		s, err := p.StatFS(t)
		p.DecRef()
		if err != nil {
			return 0, err
		}
		var b [ustatSize]byte
		binary.LittleEndian.PutUint32(b[:], uint32(s.Free))
		binary.LittleEndian.PutUint64(b[8:], s.FilesFree)
		_, err = t.CopyOut(a[1], b[:])
		return 0, err
	}
	return 0, unix.EINVAL
}

// sysSysfs numbers the types of file systems: 1 finds a number by name, 2 a
// name by number, 3 counts.
func sysSysfs(t *kernel.Task, a kernel.Args) (uintptr, error) {
	types := vfs.FileSystemTypes()
	switch a.Int(0) {
	case 1:
		name, err := t.CopyInPath(a[1])
		if err != nil {
			return 0, err
		}
		i := slices.IndexFunc(types, func(f vfs.FileSystemType) bool { return f.Name == name })
		if i < 0 {
			return 0, unix.EINVAL
		}
		return uintptr(i), nil
	case 2:
		i := uint64(a.Uint(1))
		if i >= uint64(len(types)) {
			return 0, unix.EINVAL
		}
		_, err := t.CopyOut(a[2], append([]byte(types[i].Name), 0))
		return 0, err
	case 3:
		return uintptr(len(types)), nil
	}
	return 0, unix.EINVAL
}
