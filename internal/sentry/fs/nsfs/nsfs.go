// Package nsfs is the file system of namespaces: what the links in
// /proc/PID/ns lead to, setns(2) takes, and a bind mount keeps.
//
// It takes no lock of its own.
package nsfs

import (
	"strconv"
	"sync"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// magic is nsfs's number for statfs(2), devMinor that of its nameless device.
const (
	magic    = 0x6e736673
	devMinor = 4
)

// fileSystem is nsfs. Its objects have no paths until they are bound to some.
type fileSystem struct{ vfs.NoInode }

func (*fileSystem) Name() string      { return "nsfs" }
func (f *fileSystem) Root() vfs.Inode { return f }
func (*fileSystem) Release()          {}
func (*fileSystem) StatFS() (vfs.StatFS, error) {
	return vfs.StatFS{Type: magic, BlockSize: 4096, NameLen: 255}, nil
}

// Attr implements vfs.Inode, for the root that nobody sees.
func (*fileSystem) Attr() (vfs.Attr, error) {
	return vfs.Attr{Mode: unix.S_IFDIR | 0o500, Nlink: 2, BlockSize: 4096, DevMinor: devMinor}, nil
}

var mount = sync.OnceValue(func() *vfs.Mount {
	m, err := vfs.NamelessMount(&fileSystem{})
	if err != nil {
		panic(err) // its root's attributes are above
	}
	return m
})

// Place returns a path, with a reference, to the file that stands for ns. It
// takes over the caller's reference to ns, if its kind is counted.
func Place(ns kernel.Namespace) (vfs.Path, error) {
	defer kernel.DropNamespace(ns)
	return mount().Place(&inode{ns: ns})
}

// Of returns the namespace that an open file stands for, or nil.
func Of(d *vfs.FileDescription) kernel.Namespace {
	if f, ok := d.File.(*file); ok {
		return f.ns
	}
	return nil
}

// Label is what a link to ns reads, such as "uts:[4026531838]".
func Label(ns kernel.Namespace) string {
	return kindNames[kernel.KindOf(ns)] + ":[" + strconv.FormatUint(ns.ID(), 10) + "]"
}

var kindNames = map[uint64]string{
	unix.CLONE_NEWUSER: "user", unix.CLONE_NEWNS: "mnt", unix.CLONE_NEWUTS: "uts", unix.CLONE_NEWIPC: "ipc",
	unix.CLONE_NEWPID: "pid", unix.CLONE_NEWCGROUP: "cgroup", unix.CLONE_NEWNET: "net", unix.CLONE_NEWTIME: "time",
}

// inode is the object behind a link.
type inode struct {
	vfs.NoInode
	ns kernel.Namespace
}

// IncRef and DecRef implement vfs.Referenced.
func (i *inode) IncRef() { kernel.HoldNamespace(i.ns) }
func (i *inode) DecRef() { kernel.DropNamespace(i.ns) }

// LinkName implements vfs.LinkNamer.
func (i *inode) LinkName() string { return Label(i.ns) }

// Identity implements vfs.Identifier.
func (i *inode) Identity() any { return i.ns }

// BindsInto implements vfs.Bindable. Numbers grow, so that mount namespaces
// that hold younger ones only cannot hold each other.
func (i *inode) BindsInto(into *vfs.MountNamespace) bool {
	m, ok := i.ns.(*vfs.MountNamespace)
	return !ok || m.ID() > into.ID()
}

// Attr implements vfs.Inode.
func (i *inode) Attr() (vfs.Attr, error) {
	return vfs.Attr{Ino: i.ns.ID(), Mode: unix.S_IFREG | 0o444, Nlink: 1, BlockSize: 4096, DevMinor: devMinor}, nil
}

// Open implements vfs.Inode.
func (i *inode) Open(_ vfs.Caller, flags uint32) (vfs.File, error) {
	if flags&unix.O_ACCMODE != unix.O_RDONLY {
		return nil, unix.EPERM
	}
	kernel.HoldNamespace(i.ns)
	return &file{ns: i.ns}, nil
}

// file is an open namespace.
type file struct {
	vfs.NoFile
	ns kernel.Namespace
}

// Namespace is the namespace that the file stands for.
func (f *file) Namespace() kernel.Namespace { return f.ns }

// Release implements vfs.File.
func (f *file) Release() { kernel.DropNamespace(f.ns) }

// Requests of ioctl_nsfs(2).
const (
	nsGetUserNS       = 0xb701
	nsGetParent       = 0xb702
	nsGetNSType       = 0xb703
	nsGetOwnerUID     = 0xb704
	nsGetMntNSID      = 0x8008b705
	nsGetPIDFromPIDNS = 0x8004b706
	nsGetTGIDFrom     = 0x8004b707
	nsGetPIDIn        = 0x8004b708
	nsGetTGIDIn       = 0x8004b709
)

// Ioctl implements vfs.File.
func (f *file) Ioctl(c vfs.Caller, cmd uint32, arg uint64) (uintptr, error) {
	t, ok := c.(*kernel.Task)
	if !ok {
		return 0, unix.ENOTTY
	}
	switch cmd {
	case nsGetUserNS:
		return related(t, f.ns.Owner())
	case nsGetParent:
		switch n := f.ns.(type) {
		case *auth.UserNamespace:
			return related(t, n.Parent())
		case *kernel.PIDNamespace:
			p := n.Parent()
			if p == nil || !p.Within(t.PIDs()) {
				return 0, unix.EPERM
			}
			return install(t, p)
		}
		return 0, unix.EINVAL
	case nsGetNSType:
		return uintptr(kernel.KindOf(f.ns)), nil
	case nsGetOwnerUID:
		u, ok := f.ns.(*auth.UserNamespace)
		if !ok {
			return 0, unix.EINVAL
		}
		return 0, t.CopyOutUint32(arg, t.Credentials().UserNS.FromUID(u.Creator()))
	case nsGetMntNSID:
		m, ok := f.ns.(*vfs.MountNamespace)
		if !ok {
			return 0, unix.EINVAL
		}
		return 0, t.CopyOutUint64(arg, m.ID())
	case nsGetPIDFromPIDNS, nsGetTGIDFrom, nsGetPIDIn, nsGetTGIDIn:
		return f.translate(t, cmd, int32(arg))
	}
	return 0, unix.ENOTTY
}

// translate turns the number of a thread or process in the file's PID namespace
// into the caller's, or the other way round. ESRCH if there is none.
func (f *file) translate(t *kernel.Task, cmd uint32, id int32) (uintptr, error) {
	ns, ok := f.ns.(*kernel.PIDNamespace)
	if !ok {
		return 0, unix.EINVAL
	}
	from, to := ns, t.PIDs()
	if cmd == nsGetPIDIn || cmd == nsGetTGIDIn {
		from, to = to, from
	}
	o := from.Task(id)
	if o == nil {
		return 0, unix.ESRCH
	}
	n := o.TIDIn(to)
	if cmd == nsGetTGIDFrom || cmd == nsGetTGIDIn {
		n = o.ThreadGroup().IDIn(to)
	}
	if n == 0 {
		return 0, unix.ESRCH
	}
	return uintptr(n), nil
}

// related opens a user namespace that lies within the caller's: EPERM if it
// does not.
func related(t *kernel.Task, u *auth.UserNamespace) (uintptr, error) {
	if u == nil || !u.Within(t.Credentials().UserNS) {
		return 0, unix.EPERM
	}
	return install(t, u)
}

// install opens a namespace of a kind that is not counted.
func install(t *kernel.Task, ns kernel.Namespace) (uintptr, error) {
	p, err := Place(ns)
	if err != nil {
		return 0, err
	}
	defer p.DecRef()
	d, err := t.Mounts().Open(t, p, unix.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	fd, err := t.FDs().Install(d, 0, t.Limit(unix.RLIMIT_NOFILE), true)
	return uintptr(fd), err
}
