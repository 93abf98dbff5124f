package netlink

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/socket/unixsock"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// caller is a program with all privileges, or none.
type caller struct {
	vfs.Caller
	cred  *auth.Credentials
	other *network.Namespace
}

func (c *caller) Credentials() *auth.Credentials { return c.cred }
func (c *caller) PID() int32                     { return 42 }
func (c *caller) NetworkByPID(int32) (*network.Namespace, *auth.UserNamespace, error) {
	return nil, nil, unix.ESRCH
}
func (c *caller) NetworkByFD(fd int32) (*network.Namespace, *auth.UserNamespace, error) {
	if fd != 5 {
		return nil, nil, unix.EBADF
	}
	return c.other, auth.Initial, nil
}

func root() *caller { return &caller{cred: auth.New(0, 0, nil), other: network.Empty()} }

func namespace() Namespace {
	return Namespace{
		IP: network.Empty(), Owner: auth.Initial, Ports: new(Ports), Sockets: new(socket.Registry), Unix: unixsock.NewNamespace(),
	}
}

func open(t testing.TB, ns Namespace, protocol int32) *Socket {
	s, err := New(ns, root(), unix.SOCK_RAW, protocol)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Release)
	return s
}

// message lays out a request.
func message(typ, flags uint16, fill func(w *builder)) []byte {
	var w builder
	w.begin(typ, flags|unix.NLM_F_REQUEST, 1, 0)
	fill(&w)
	w.end()
	return w.b
}

func send(t testing.TB, s *Socket, c vfs.Caller, b []byte) {
	t.Helper()
	if n, err := s.Send(c, b, &socket.Message{}); n != len(b) || err != nil {
		t.Fatal(n, err)
	}
}

// messages takes all that has been received apart.
func messages(t testing.TB, s *Socket, size int) (all []request, datagrams int) {
	t.Helper()
	for {
		p := make([]byte, size)
		n, err := s.Recv(p, &socket.Message{})
		if err == unix.EAGAIN {
			return all, datagrams
		}
		if err != nil {
			t.Fatal(err)
		}
		datagrams++
		for b := p[:n]; len(b) > 0; {
			r, rest, ok := nextMessage(b)
			if !ok {
				t.Fatalf("a datagram of %d bytes ends with %d that are no message", n, len(b))
			}
			all, b = append(all, r), rest
		}
	}
}

func link(w *builder, index int32, flags, change uint32) {
	w.u32(0)
	w.u32(uint32(index))
	w.u32(flags)
	w.u32(change)
}

func TestDumpInPieces(t *testing.T) {
	ns := namespace()
	s := open(t, ns, unix.NETLINK_ROUTE)
	const pairs = 100
	for i := range pairs {
		if _, _, err := ns.IP.AddPair(network.NewLink{Name: fmt.Sprint("a", i)}, ns.IP, network.NewLink{}); err != nil {
			t.Fatal(err)
		}
	}
	for _, size := range []int{4096, 8192, 1 << 16} {
		send(t, s, root(), message(unix.RTM_GETLINK, unix.NLM_F_DUMP, func(w *builder) { link(w, 0, 0, 0) }))
		all, datagrams := messages(t, s, size)
		if len(all) != 2*pairs+2 || all[len(all)-1].typ != unix.NLMSG_DONE {
			t.Errorf("%d messages", len(all))
		}
		t.Logf("%d bytes at a time: %d datagrams", size, datagrams)
		if datagrams < 4 || size == 1<<16 && datagrams > 12 {
			t.Errorf("%d datagrams", datagrams)
		}
	}
}

func TestReleaseGivesBack(t *testing.T) {
	ns := namespace()
	s, err := New(ns, root(), unix.SOCK_RAW, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetOption(root(), unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, socket.Number(unix.RTNLGRP_LINK)); err != nil {
		t.Fatal(err)
	}
	ns.IP.SetUp(1, true)
	send(t, s, root(), message(unix.RTM_GETLINK, unix.NLM_F_DUMP, func(w *builder) { link(w, 0, 0, 0) }))
	s.Release()
	ns.IP.SetUp(1, false)
	if s.queue != nil || s.used != 0 || s.dump != nil || ns.Ports.at(unix.NETLINK_ROUTE, 42) != nil {
		t.Errorf("%d bytes are still there", s.used)
	}
	if len(ns.Sockets.List(func(*socket.Info) bool { return true })) != 0 {
		t.Error("it is still listed")
	}
}

func TestNeedsPrivilege(t *testing.T) {
	ns := namespace()
	s := open(t, ns, unix.NETLINK_ROUTE)
	nobody := &caller{cred: auth.New(0, 0, nil).Clone()}
	nobody.cred.Effective = 0
	for typ := unix.RTM_BASE; typ < unix.RTM_BASE+120; typ++ {
		if typ%4 == unix.RTM_GETLINK%4 {
			continue
		}
		send(t, s, nobody, message(uint16(typ), 0, func(w *builder) { link(w, 1, unix.IFF_UP, unix.IFF_UP) }))
		all, _ := messages(t, s, 4096)
		if len(all) != 1 || int32(binary.LittleEndian.Uint32(all[0].body)) != -int32(unix.EPERM) {
			t.Errorf("type %d: %+v", typ, all)
		}
	}
}

// TestOpenerNeedsPrivilege has a privileged program write to a socket that somebody without
// privileges has opened, as its standard error perhaps.
func TestOpenerNeedsPrivilege(t *testing.T) {
	ns := namespace()
	nobody := &caller{cred: auth.New(0, 0, nil).Clone()}
	nobody.cred.Effective = 0
	s, err := New(ns, nobody, unix.SOCK_RAW, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Release)
	up := message(unix.RTM_SETLINK, unix.NLM_F_ACK, func(w *builder) { link(w, 1, unix.IFF_UP, unix.IFF_UP) })
	for _, c := range []struct {
		name string
		addr []byte
		want unix.Errno
	}{{"without an address", nil, unix.EPERM}, {"to an address", address{}.bytes(), 0}} {
		if n, err := s.Send(root(), up, &socket.Message{Addr: c.addr}); n != len(up) || err != nil {
			t.Fatal(n, err)
		}
		all, _ := messages(t, s, 4096)
		if len(all) != 1 || int32(binary.LittleEndian.Uint32(all[0].body)) != -int32(c.want) {
			t.Errorf("%s: %+v, want %v", c.name, all, c.want)
		}
	}
}

func TestAttributes(t *testing.T) {
	var w builder
	w.attr32(1, 7)
	w.attrText(2, "name")
	w.attr8(3, 9)
	w.attr32(1, 8)
	w.attr(63, []byte{1})
	w.attr(64, []byte{1})
	end := w.nest(4)
	w.attr8(1, 1)
	end()
	a, err := parseAttrs(w.b, true)
	if err != nil {
		t.Fatal(err)
	}
	if v, ok, err := a.u32(1); v != 8 || !ok || err != nil {
		t.Error(v, ok, err)
	}
	if s, ok, err := a.text(2, 16); s != "name" || !ok || err != nil {
		t.Error(s, ok, err)
	}
	if _, _, err := a.text(2, 4); !errors.Is(err, unix.ERANGE) {
		t.Error(err)
	}
	if _, _, err := a.u32(3); !errors.Is(err, unix.ERANGE) {
		t.Error(err)
	}
	if _, ok, err := a.u32(5); ok || err != nil {
		t.Error(ok, err)
	}
	if inner, _ := parseAttrs(a[4], true); inner == nil || !inner.has(1) {
		t.Error("what is nested is not there")
	}
	if _, err := parseAttrs(append(w.b, 1, 2, 3), true); !errors.Is(err, unix.EINVAL) {
		t.Error(err)
	}
	if _, err := parseAttrs(append(w.b, 3, 0, 0, 0), false); err != nil {
		t.Error(err)
	}
}

// FuzzMessages sends what a hostile program may to each protocol, and checks that the answers are
// whole messages.
func FuzzMessages(f *testing.F) {
	pair := func(w *builder) {
		link(w, 0, 0, 0)
		w.attrText(unix.IFLA_IFNAME, "v0")
		info := w.nest(unix.IFLA_LINKINFO)
		w.attrText(unix.IFLA_INFO_KIND, "veth")
		data := w.nest(unix.IFLA_INFO_DATA)
		peer := w.nest(vethInfoPeer)
		link(w, 0, unix.IFF_UP, 0)
		w.attrText(unix.IFLA_IFNAME, "v1")
		w.attr32(unix.IFLA_NET_NS_FD, 5)
		peer()
		data()
		info()
	}
	address := func(w *builder) {
		w.u8(unix.AF_INET, 24, 0, 0)
		w.u32(1)
		w.attr(unix.IFA_LOCAL, []byte{192, 0, 2, 1})
		w.attrText(unix.IFA_LABEL, "lo:1")
	}
	route := func(w *builder) {
		w.u8(unix.AF_INET, 24, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, 0, unix.RTN_UNICAST)
		w.u32(0)
		w.attr(unix.RTA_DST, []byte{198, 51, 100, 0})
		hops := w.nest(unix.RTA_MULTIPATH)
		hop := len(w.b)
		w.u16(0)
		w.u8(0, 0)
		w.u32(1)
		w.attr(unix.RTA_GATEWAY, []byte{192, 0, 2, 7})
		binary.LittleEndian.PutUint16(w.b[hop:], uint16(len(w.b)-hop))
		hops()
	}
	diag := func(w *builder) {
		w.u8(unix.AF_INET, unix.IPPROTO_TCP, 0xff, 0)
		w.u32(0xffffffff)
		w.b = append(w.b, make([]byte, sizeofInetID)...)
	}
	f.Add(message(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_ACK, pair), uint8(unix.NETLINK_ROUTE))
	f.Add(message(unix.RTM_NEWADDR, unix.NLM_F_CREATE, address), uint8(unix.NETLINK_ROUTE))
	f.Add(append(message(unix.RTM_NEWROUTE, unix.NLM_F_CREATE, route), message(unix.RTM_GETROUTE, unix.NLM_F_DUMP, route)...), uint8(unix.NETLINK_ROUTE))
	f.Add(message(unix.RTM_GETLINK, unix.NLM_F_DUMP, func(w *builder) { link(w, 0, 0, 0) }), uint8(unix.NETLINK_ROUTE))
	f.Add(message(unix.RTM_GETNSID, 0, func(w *builder) { w.u32(0); w.attr32(netnsaFD, 5) }), uint8(unix.NETLINK_ROUTE))
	f.Add(message(sockDiagByFamily, unix.NLM_F_DUMP, diag), uint8(unix.NETLINK_SOCK_DIAG))
	f.Add(message(unix.GENL_ID_CTRL, 0, func(w *builder) { w.u32(unix.CTRL_CMD_GETFAMILY); w.attrText(unix.CTRL_ATTR_FAMILY_NAME, "nlctrl") }), uint8(unix.NETLINK_GENERIC))
	f.Fuzz(func(t *testing.T, b []byte, protocol uint8) {
		ns := namespace()
		ns.IP.AddAddress(network.AddressInfo{Link: 1, Prefix: netip.MustParsePrefix("192.0.2.9/24")})
		s, err := New(ns, root(), unix.SOCK_RAW, int32(protocol))
		if err != nil {
			return
		}
		defer s.Release()
		c := root()
		// Everything at once: groups, extended acknowledgements, strict checks.
		s.flags.Store(1<<unix.NETLINK_EXT_ACK | uint32(protocol)<<unix.NETLINK_GET_STRICT_CHK)
		s.setGroups(s.groupMask())
		if _, err := s.Send(c, b, &socket.Message{}); err != nil {
			return
		}
		for range 10000 {
			p := make([]byte, 1<<16)
			n, err := s.Recv(p, &socket.Message{})
			if err == unix.EAGAIN {
				return
			}
			if err == unix.ENOBUFS {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			for rest := p[:min(n, len(p))]; len(rest) > 0; {
				var ok bool
				if _, rest, ok = nextMessage(rest); !ok {
					t.Fatal("an answer is no whole message")
				}
			}
		}
		t.Fatal("there is no end to the answers")
	})
}

// FuzzAttributes takes attributes apart and reads them in all ways.
func FuzzAttributes(f *testing.F) {
	var w builder
	w.attr32(1, 7)
	w.attrText(2, "name")
	f.Add(w.b, true)
	f.Add([]byte{0xff, 0xff, 1, 0, 1}, false)
	f.Fuzz(func(t *testing.T, b []byte, strict bool) {
		a, err := parseAttrs(b, strict)
		if err != nil {
			return
		}
		total := 0
		for i := range a {
			total += len(a[i])
			a.u8(i)
			a.u32(i)
			a.ip(i, unix.AF_INET)
			if s, _, err := a.text(i, 16); err == nil && len(s) >= 16 {
				t.Errorf("%q", s)
			}
		}
		if total > len(b) {
			t.Errorf("%d bytes in %d", total, len(b))
		}
	})
}
