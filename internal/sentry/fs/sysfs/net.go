package sysfs

import (
	"fmt"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/genfs"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// networker is a Caller that is in a network namespace.
type networker interface{ Network() *network.Namespace }

// networkOf is the network of who looks, or nil.
func networkOf(c vfs.Caller) *network.Namespace {
	if n, ok := c.(networker); ok {
		return n.Network()
	}
	return nil
}

// linksDir is a directory with an entry for each interface of who looks: links in
// /sys/class/net, directories in /sys/devices/virtual/net.
type linksDir struct {
	vfs.NoInode
	super       *genfs.Super
	ino, parent uint64
	class       bool
	caller      vfs.Caller
}

// addNet adds both directories.
func addNet(class, devices *genfs.Dir) {
	for _, d := range []struct {
		at    *genfs.Dir
		class bool
	}{{class, true}, {devices.AddDir("virtual"), false}} {
		d.at.Add("net", &linksDir{super: d.at.Super, ino: genfs.Ino(d.at.Ino, "net"), parent: d.at.Ino, class: d.class})
	}
}

// For implements vfs.ServedInode.
func (d *linksDir) For(c vfs.Caller) vfs.Inode {
	n := *d
	n.caller = c
	return &n
}

// Attr implements vfs.Inode.
func (d *linksDir) Attr() (vfs.Attr, error) { return d.super.Attr(d.ino, unix.S_IFDIR|0o555), nil }

func (d *linksDir) link(name string) (network.LinkInfo, bool) {
	n := networkOf(d.caller)
	if n == nil {
		return network.LinkInfo{}, false
	}
	return n.LinkByName(name)
}

// Lookup implements vfs.Inode.
func (d *linksDir) Lookup(name string) (vfs.Inode, error) {
	l, ok := d.link(name)
	if !ok {
		return nil, unix.ENOENT
	}
	ino := genfs.Ino(d.ino, name)
	if d.class {
		return &genfs.Symlink{Super: d.super, Ino: ino, Target: func(vfs.Caller) (string, error) {
			return "../../devices/virtual/net/" + name, nil
		}}, nil
	}
	return newLinkDir(d.super, ino, d.ino, name, l.Kind), nil
}

// Open implements vfs.Inode.
func (d *linksDir) Open(vfs.Caller, uint32) (vfs.File, error) {
	return &genfs.DirFile{Ino: d.ino, Parent: d.parent, Lister: d}, nil
}

// List implements genfs.Lister: an entry's key is the interface's index.
func (d *linksDir) List(c vfs.Caller, after int64, emit func(int64, vfs.DirEntry) bool) error {
	n := networkOf(c)
	if n == nil {
		return nil
	}
	typ := uint8(unix.DT_DIR)
	if d.class {
		typ = unix.DT_LNK
	}
	for _, l := range n.Links() {
		if int64(l.Index) > after && !emit(int64(l.Index), vfs.DirEntry{Ino: genfs.Ino(d.ino, l.Name), Type: typ, Name: l.Name}) {
			return nil
		}
	}
	return nil
}

// Revalidate implements vfs.Revalidator: interfaces come and go.
func (fs *FS) Revalidate(dir vfs.Inode, name string, child vfs.Inode) bool {
	if d, ok := dir.(*linksDir); ok {
		_, ok := d.link(name)
		return (child != nil) == ok
	}
	return child != nil
}

// newLinkDir is the directory of an interface of a kind, by its name: what its files tell is
// looked up as they are read.
func newLinkDir(super *genfs.Super, ino, parent uint64, name, kind string) vfs.Inode {
	d := &genfs.Dir{Super: super, Ino: ino, Parent: parent, Perm: 0o755}
	addFor := func(to *genfs.Dir, file string, text func(l *network.LinkInfo, c vfs.Caller) (string, error)) {
		to.AddFile(file, func(c vfs.Caller, b []byte) ([]byte, error) {
			n := networkOf(c)
			if n == nil {
				return nil, unix.ENODEV
			}
			l, ok := n.LinkByName(name)
			if !ok {
				return nil, unix.ENODEV
			}
			s, err := text(&l, c)
			if err != nil {
				return nil, err
			}
			return append(append(b, s...), '\n'), nil
		})
	}
	add := func(to *genfs.Dir, file string, text func(l *network.LinkInfo) (string, error)) {
		addFor(to, file, func(l *network.LinkInfo, _ vfs.Caller) (string, error) { return text(l) })
	}
	for _, f := range linkFiles {
		add(d, f.name, f.text)
	}
	if kind == "tun" {
		add(d, "tun_flags", one(func(l *network.LinkInfo) string { return fmt.Sprintf("%#x", l.Tun.Flags) }))
		addFor(d, "owner", func(l *network.LinkInfo, c vfs.Caller) (string, error) {
			return fmt.Sprint(int32(idIn(l.Tun.Owner, c.Credentials().UserNS.FromUID))), nil
		})
		addFor(d, "group", func(l *network.LinkInfo, c vfs.Caller) (string, error) {
			return fmt.Sprint(int32(idIn(l.Tun.Group, c.Credentials().UserNS.FromGID))), nil
		})
	}
	statistics := d.AddDir("statistics")
	for _, s := range linkStatistics {
		add(statistics, s.name, func(l *network.LinkInfo) (string, error) { return fmt.Sprint(s.of(&l.Statistics)), nil })
	}
	queues := d.AddDir("queues")
	queues.AddDir("rx-0")
	queues.AddDir("tx-0")
	d.AddLink("subsystem", "../../../../class/net")
	return d
}

// idIn is an ID in a user namespace, or none.
func idIn(id uint32, from func(uint32) uint32) uint32 {
	if id == auth.NoID {
		return id
	}
	return from(id)
}

// linkFiles are the files of an interface. EINVAL is for what it has not, as on Linux.
var linkFiles = []struct {
	name string
	text func(l *network.LinkInfo) (string, error)
}{
	{"addr_assign_type", one(func(l *network.LinkInfo) string { return "0" })},
	{"addr_len", one(func(l *network.LinkInfo) string { return fmt.Sprint(l.AddressLen()) })},
	{"address", one(func(l *network.LinkInfo) string { return hardware(l, l.HardwareAddr) })},
	{"broadcast", one(func(l *network.LinkInfo) string { return hardware(l, l.Broadcast) })},
	{"carrier", func(l *network.LinkInfo) (string, error) {
		if l.Flags&unix.IFF_UP == 0 {
			return "", unix.EINVAL
		}
		return flag(l.Flags&unix.IFF_RUNNING != 0), nil
	}},
	{"carrier_changes", one(func(l *network.LinkInfo) string { return "0" })},
	{"dev_id", one(func(l *network.LinkInfo) string { return "0x0" })},
	{"dev_port", one(func(l *network.LinkInfo) string { return "0" })},
	{"dormant", one(func(l *network.LinkInfo) string { return "0" })},
	{"duplex", func(l *network.LinkInfo) (string, error) {
		if l.Flags&unix.IFF_LOOPBACK != 0 {
			return "", unix.EINVAL
		}
		return "full", nil
	}},
	// What IFF_UP and others lead to is no part of the flags here.
	{"flags", one(func(l *network.LinkInfo) string { return fmt.Sprintf("0x%x", l.Flags&0xffff&^unix.IFF_RUNNING) })},
	{"ifalias", one(func(l *network.LinkInfo) string { return l.Alias })},
	{"ifindex", one(func(l *network.LinkInfo) string { return fmt.Sprint(l.Index) })},
	{"iflink", one(func(l *network.LinkInfo) string {
		if l.Peer != 0 {
			return fmt.Sprint(l.Peer)
		}
		return fmt.Sprint(l.Index)
	})},
	{"link_mode", one(func(l *network.LinkInfo) string { return "0" })},
	{"mtu", one(func(l *network.LinkInfo) string { return fmt.Sprint(l.MTU) })},
	{"name_assign_type", func(l *network.LinkInfo) (string, error) {
		if l.Kind == "tun" {
			return "", unix.EINVAL
		}
		return "3", nil
	}},
	{"netdev_group", one(func(l *network.LinkInfo) string { return fmt.Sprint(l.Group) })},
	{"operstate", one(func(l *network.LinkInfo) string { return operStates[l.State] })},
	{"proto_down", one(func(l *network.LinkInfo) string { return "0" })},
	{"speed", func(l *network.LinkInfo) (string, error) {
		if l.Flags&unix.IFF_LOOPBACK != 0 {
			return "", unix.EINVAL
		}
		return "10000", nil
	}},
	{"testing", one(func(l *network.LinkInfo) string { return "0" })},
	{"tx_queue_len", one(func(l *network.LinkInfo) string { return fmt.Sprint(l.QueueLen) })},
	{"type", one(func(l *network.LinkInfo) string { return fmt.Sprint(l.Type) })},
	{"uevent", one(func(l *network.LinkInfo) string { return fmt.Sprintf("INTERFACE=%s\nIFINDEX=%d", l.Name, l.Index) })},
}

// operStates are the names of RFC 2863's states (linux/if.h).
var operStates = map[uint8]string{0: "unknown", 2: "down", 3: "lowerlayerdown", 6: "up"}

func one(f func(*network.LinkInfo) string) func(*network.LinkInfo) (string, error) {
	return func(l *network.LinkInfo) (string, error) { return f(l), nil }
}

func flag(v bool) string {
	if v {
		return "1"
	}
	return "0"
}

func hardware(l *network.LinkInfo, a [6]byte) string {
	if l.AddressLen() == 0 {
		return ""
	}
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", a[0], a[1], a[2], a[3], a[4], a[5])
}

// linkStatistics are the files of statistics; the errors of cables do not happen.
var linkStatistics = []struct {
	name string
	of   func(s *network.Statistics) uint64
}{
	{"rx_bytes", func(s *network.Statistics) uint64 { return s.RxBytes }},
	{"rx_packets", func(s *network.Statistics) uint64 { return s.RxPackets }},
	{"rx_dropped", func(s *network.Statistics) uint64 { return s.RxDropped }},
	{"rx_errors", none}, {"rx_fifo_errors", none}, {"rx_frame_errors", none}, {"rx_crc_errors", none}, {"rx_length_errors", none},
	{"rx_missed_errors", none}, {"rx_over_errors", none}, {"rx_nohandler", none}, {"rx_compressed", none}, {"multicast", none},
	{"tx_bytes", func(s *network.Statistics) uint64 { return s.TxBytes }},
	{"tx_packets", func(s *network.Statistics) uint64 { return s.TxPackets }},
	{"tx_dropped", func(s *network.Statistics) uint64 { return s.TxDropped }},
	{"tx_errors", none}, {"tx_fifo_errors", none}, {"tx_aborted_errors", none}, {"tx_carrier_errors", none},
	{"tx_heartbeat_errors", none}, {"tx_window_errors", none}, {"tx_compressed", none}, {"collisions", none},
}

func none(*network.Statistics) uint64 { return 0 }
