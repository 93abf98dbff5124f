package procfs

import (
	"coffer/internal/sentry/fs/genfs"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

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
