package procfs

import (
	"strconv"

	"coffer/internal/sentry/fs/genfs"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// The inode numbers of the initial namespaces (include/linux/proc_ns.h): a
// sandbox has one namespace of each kind.
var namespaces = []struct {
	name string
	ino  uint64
}{
	{"cgroup", 4026531835}, {"ipc", 4026531839}, {"mnt", 4026531841}, {"net", 4026531840},
	{"pid", 4026531836}, {"pid_for_children", 4026531836}, {"time", 4026531834},
	{"time_for_children", 4026531834}, {"user", 4026531837}, {"uts", 4026531838},
}

// nsfsDev is the minor number of nsfs's nameless device.
const nsfsDev = 4

// namespaceDir is /proc/PID/ns.
type namespaceDir struct{ subDir }

func newNamespaceDir(d *taskDir, ino uint64) vfs.Inode { return &namespaceDir{d.sub(ino, 0o511)} }

func (d *namespaceDir) Lookup(name string) (vfs.Inode, error) {
	for _, n := range namespaces {
		if n.name == name {
			return &namespaceLink{link: d.link(name), name: name, ns: n.ino}, nil
		}
	}
	return nil, unix.ENOENT
}

func (d *namespaceDir) Open(vfs.Caller, uint32) (vfs.File, error) {
	return &genfs.DirFile{Ino: d.ino, Parent: d.parent, Lister: d}, nil
}

// List implements genfs.Lister.
func (d *namespaceDir) List(_ vfs.Caller, after int64, emit func(int64, vfs.DirEntry) bool) error {
	for i := after; i < int64(len(namespaces)); i++ {
		n := namespaces[i].name
		if !emit(i+1, vfs.DirEntry{Ino: genfs.Ino(d.ino, n), Type: unix.DT_LNK, Name: n}) {
			return nil
		}
	}
	return nil
}

// namespaceLink is a link such as /proc/PID/ns/pid, which names the namespace.
type namespaceLink struct {
	link
	name string
	ns   uint64
}

func (l *namespaceLink) label() string {
	kind := l.name
	switch kind {
	case "pid_for_children":
		kind = "pid"
	case "time_for_children":
		kind = "time"
	}
	return kind + ":[" + strconv.FormatUint(l.ns, 10) + "]"
}

func (l *namespaceLink) Readlink(c vfs.Caller) (string, error) {
	if err := l.mayLook(c); err != nil {
		return "", err
	}
	return l.label(), nil
}

// Follow implements vfs.MagicLink: the link leads to a file that stands for
// the namespace.
func (l *namespaceLink) Follow(c vfs.Caller) (vfs.Path, error) {
	if err := l.mayLook(c); err != nil {
		return vfs.Path{}, err
	}
	return vfs.Nameless(&namespaceFile{ino: l.ns, label: l.label(), super: l.fs.super})
}

// namespaceFile is the object behind a namespace link. It can be opened and
// compared; setns(2) has nowhere to go.
type namespaceFile struct {
	vfs.NoInode
	ino   uint64
	label string
	super *genfs.Super
}

func (n *namespaceFile) LinkName() string { return n.label }

func (n *namespaceFile) Attr() (vfs.Attr, error) {
	a := n.super.Attr(n.ino, unix.S_IFREG|0o444)
	a.DevMinor = nsfsDev
	return a, nil
}

func (n *namespaceFile) Open(vfs.Caller, uint32) (vfs.File, error) { return vfs.NoFile{}, nil }

// staticDir is a directory of a process whose files are the same for all.
type staticDir struct {
	subDir
	entries []taskEntry
}

func (d *staticDir) Lookup(name string) (vfs.Inode, error) {
	for i := range d.entries {
		e := &d.entries[i]
		if e.name != name {
			continue
		}
		s := d.subject
		f := &genfs.File{Super: d.fs.super, Ino: genfs.Ino(d.ino, name), Perm: e.perm, Owner: s.owner}
		f.Content = func(c vfs.Caller, b []byte) ([]byte, error) { return e.read(s, c, b) }
		return f, nil
	}
	return nil, unix.ENOENT
}

func (d *staticDir) Open(vfs.Caller, uint32) (vfs.File, error) {
	return &genfs.DirFile{Ino: d.ino, Parent: d.parent, Lister: d}, nil
}

// List implements genfs.Lister.
func (d *staticDir) List(_ vfs.Caller, after int64, emit func(int64, vfs.DirEntry) bool) error {
	for i := after; i < int64(len(d.entries)); i++ {
		n := d.entries[i].name
		if !emit(i+1, vfs.DirEntry{Ino: genfs.Ino(d.ino, n), Type: unix.DT_REG, Name: n}) {
			return nil
		}
	}
	return nil
}

// attrEntries say that there is no security module: reading is EINVAL.
var attrEntries = []taskEntry{
	{name: "current", perm: 0o666, read: noModule}, {name: "prev", perm: 0o444, read: noModule},
	{name: "exec", perm: 0o666, read: noModule}, {name: "fscreate", perm: 0o666, read: noModule},
	{name: "keycreate", perm: 0o666, read: noModule}, {name: "sockcreate", perm: 0o666, read: noModule},
}

func noModule(subject, vfs.Caller, []byte) ([]byte, error) { return nil, unix.EINVAL }

func newAttrDir(d *taskDir, ino uint64) vfs.Inode { return &staticDir{d.sub(ino, 0o555), attrEntries} }

// netEntries are /proc/net: a network with nothing in it, as long as there is
// none but the sockets of AF_UNIX.
var netEntries = []taskEntry{
	{name: "dev", perm: 0o444, read: text("Inter-|   Receive                                                |  Transmit\n" +
		" face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n")},
	{name: "unix", perm: 0o444, read: text("Num       RefCount Protocol Flags    Type St Inode Path\n")},
	{name: "tcp", perm: 0o444, read: text("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     \n")},
	{name: "tcp6", perm: 0o444, read: text("  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n")},
	{name: "udp", perm: 0o444, read: text("   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops            \n")},
	{name: "udp6", perm: 0o444, read: text("  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n")},
	{name: "raw", perm: 0o444, read: text("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops            \n")},
	{name: "route", perm: 0o444, read: text("Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT                                                       \n")},
	{name: "ipv6_route", perm: 0o444, read: empty},
	{name: "if_inet6", perm: 0o444, read: empty},
	{name: "arp", perm: 0o444, read: text("IP address       HW type     Flags       HW address            Mask     Device\n")},
	{name: "netlink", perm: 0o444, read: text("sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n")},
	{name: "packet", perm: 0o444, read: text("sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n")},
	{name: "protocols", perm: 0o444, read: text("protocol  size sockets  memory press maxhdr  slab module     cl co di ac io in de sh ss gs se re bi br ha uh gp em\n")},
	{name: "sockstat", perm: 0o444, read: text("sockets: used 0\nTCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\nUDP: inuse 0 mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n")},
}

func newNetDir(d *taskDir, ino uint64) vfs.Inode { return &staticDir{d.sub(ino, 0o555), netEntries} }
