package packet

import (
	"bytes"
	"encoding/binary"
	"sync"
	"testing"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/socket"
	"coffer/internal/sentry/vfs"
	"coffer/internal/sentry/waiter"

	"golang.org/x/sys/unix"
)

// caller is a root without memory.
type caller struct{ socket.Caller }

func (caller) Credentials() *auth.Credentials { return &auth.Credentials{UserNS: auth.Initial} }

const ownProtocol = 0x88b5

func open(t testing.TB, n *network.Namespace, r *socket.Registry, typ int32, protocol uint16) *Socket {
	t.Helper()
	s, err := New(n, r, caller{}, typ, int32(swap(protocol)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func onLink(index int32) []byte { return address{protocol: ownProtocol, index: index}.bytes() }

// frameOf is an Ethernet frame to nobody.
func frameOf(text string) []byte {
	f := make([]byte, etherHeader)
	binary.BigEndian.PutUint16(f[12:], ownProtocol)
	return append(f, text...)
}

func TestRegistryAndMemory(t *testing.T) {
	n, r := network.Loopback(), new(socket.Registry)
	before := shmem.Buffers.Used()
	s, sender := open(t, n, r, unix.SOCK_RAW, ownProtocol), open(t, n, r, unix.SOCK_RAW, 0)
	for range 10 {
		if _, err := sender.Send(caller{}, frameOf("text"), &socket.Message{Addr: onLink(1)}); err != nil {
			t.Fatal(err)
		}
	}
	if shmem.Buffers.Used() == before {
		t.Error("what is queued is not counted")
	}
	all := r.List(func(i *socket.Info) bool { return i.Family == unix.AF_PACKET })
	if len(all) != 2 || all[0].EtherType != ownProtocol || !all[0].Running || all[1].Running || all[0].ReceiveQueue == 0 {
		t.Errorf("listed are %+v", all)
	}
	s.Release()
	sender.Release()
	if left := shmem.Buffers.Used() - before; left != 0 {
		t.Errorf("%d bytes stay counted", left)
	}
	if left := r.List(func(*socket.Info) bool { return true }); len(left) != 0 {
		t.Errorf("%+v stay listed", left)
	}
}

func TestInterfacesComeAndGo(t *testing.T) {
	n, r := network.Loopback(), new(socket.Registry)
	s := open(t, n, r, unix.SOCK_RAW, unix.ETH_P_ALL)
	defer s.Release()
	d, err := n.AddDummy(network.NewLink{Name: "d"})
	if err != nil {
		t.Fatal(err)
	}
	index := d.Index
	n.SetUp(index, true)
	sender := open(t, n, r, unix.SOCK_RAW, 0)
	defer sender.Release()
	if err := sender.Bind(caller{}, onLink(index)); err != nil {
		t.Fatal(err)
	}
	if _, err := sender.Send(caller{}, frameOf("text"), &socket.Message{}); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 100)
	for {
		var m socket.Message
		got, err := s.Recv(p, &m)
		if err != nil {
			t.Fatalf("the frame of a new interface is not seen: %v", err)
		}
		if bytes.Equal(p[:got], frameOf("text")) {
			if m.Addr[10] != unix.PACKET_OUTGOING {
				t.Errorf("its address is %v", m.Addr)
			}
			break
		}
	}
	if err := n.DeleteLink(index); err != nil {
		t.Fatal(err)
	}
	if sender.Readiness(waiter.Err) == 0 || sender.takeError() != unix.ENETDOWN {
		t.Error("who was bound to an interface that is gone is not told")
	}
	if _, err := sender.Send(caller{}, frameOf("text"), &socket.Message{}); err != unix.ENXIO {
		t.Errorf("sending by it: %v", err)
	}
}

// Sending, receiving, binding and closing at once: for the race detector.
func TestAtOnce(t *testing.T) {
	n, r := network.Loopback(), new(socket.Registry)
	s, sender := open(t, n, r, unix.SOCK_RAW, unix.ETH_P_ALL), open(t, n, r, unix.SOCK_RAW, 0)
	defer sender.Release()
	var all sync.WaitGroup
	for _, f := range []func(){
		func() { sender.Send(caller{}, frameOf("text"), &socket.Message{Addr: onLink(1)}) },
		func() { s.Recv(make([]byte, 50), new(socket.Message)) },
		func() { s.Bind(caller{}, onLink(1)) },
		func() { s.Bind(caller{}, onLink(0)) },
		func() { s.Info(); s.Readiness(waiter.Readable); s.Name() },
		func() {
			if d, err := n.AddDummy(network.NewLink{}); err == nil {
				n.DeleteLink(d.Index)
			}
		},
	} {
		all.Go(func() {
			for range 50 {
				f()
			}
		})
	}
	all.Wait()
	s.Release()
}

// memory is a caller with some memory at address 0.
type memory struct {
	caller
	b []byte
}

func (m memory) CopyIn(addr uint64, p []byte) (int, error) {
	if addr > uint64(len(m.b)) || uint64(len(p)) > uint64(len(m.b))-addr {
		return 0, unix.EFAULT
	}
	return copy(p, m.b[addr:]), nil
}

var _ vfs.Caller = memory{}

// FuzzOptions sets what it is told to, then sends and receives: nothing panics, and the
// sockets' memory is given back.
func FuzzOptions(f *testing.F) {
	f.Add(int32(unix.SOL_PACKET), int32(unix.PACKET_RX_RING), []byte{0, 16, 0, 0, 1, 0, 0, 0, 0, 8, 0, 0, 2, 0, 0, 0}, []byte("frame of more than a header"))
	f.Add(int32(unix.SOL_PACKET), int32(unix.PACKET_ADD_MEMBERSHIP), []byte{1, 0, 0, 0, 1, 0, 6, 0, 1, 2, 3, 4, 5, 6, 0, 0}, onLink(1))
	f.Add(int32(unix.SOL_SOCKET), int32(unix.SO_ATTACH_FILTER), []byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, []byte{6, 0, 0, 0, 1, 0, 0, 0})
	f.Add(int32(unix.SOL_PACKET), int32(unix.PACKET_FANOUT), []byte{1, 0, 1, 0}, []byte("frame of a group"))
	n := network.Loopback()
	f.Fuzz(func(t *testing.T, level, name int32, value, data []byte) {
		before := shmem.Buffers.Used()
		r := new(socket.Registry)
		c := memory{b: data}
		s := open(t, n, r, unix.SOCK_RAW, ownProtocol)
		s.SetOption(c, level, name, value)
		s.Option(c, level, name)
		if s.Asks(level, name) {
			s.Answer(level, name, value)
		}
		s.Bind(c, data)
		s.Bind(c, onLink(1))
		s.Send(c, data, &socket.Message{Addr: value})
		s.Send(c, frameOf(string(data)), &socket.Message{})
		s.Recv(make([]byte, 20), &socket.Message{Flags: name})
		s.Readiness(waiter.Readable)
		s.Release()
		if left := shmem.Buffers.Used() - before; left != 0 {
			t.Errorf("%d bytes stay counted", left)
		}
	})
}

// FuzzFlow has packets of all kinds told apart by their flows: nothing panics, and what comes back, with
// source and destination exchanged, belongs to the same one.
func FuzzFlow(f *testing.F) {
	udp4 := append([]byte{0x45, 0, 0, 32, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}, 1, 2, 3, 4, 0, 12, 0, 0)
	tcp6 := append(append([]byte{0x60, 0, 0, 0, 0, 20, 6, 64}, make([]byte, 31)...), 1, 1, 2, 3, 4)
	f.Add(udp4, 0, uint16(unix.ETH_P_IP))
	f.Add(tcp6, 0, uint16(unix.ETH_P_IPV6))
	f.Add(append(make([]byte, etherHeader), udp4...), etherHeader, uint16(unix.ETH_P_IP))
	f.Fuzz(func(t *testing.T, whole []byte, net int, protocol uint16) {
		if net < 0 {
			return // it is a length
		}
		hash := flowHash(whole, net, protocol)
		packet := bytes.Clone(whole[min(net, len(whole)):])
		exchange := func(at, n int) {
			from := bytes.Clone(packet[at : at+n])
			copy(packet[at:], packet[at+n:at+2*n])
			copy(packet[at+n:], from)
		}
		switch {
		case protocol == unix.ETH_P_IP && len(packet) >= 24 && packet[0] == 0x45:
			exchange(12, 4)
			exchange(20, 2)
		case protocol == unix.ETH_P_IPV6 && len(packet) >= 44:
			exchange(8, 16)
			exchange(40, 2)
		default:
			return
		}
		if back := flowHash(packet, 0, protocol); back != hash {
			t.Errorf("what comes back has %#x, not %#x", back, hash)
		}
	})
}

// TestVersionsChangeMeanwhile: a request that was long enough for the version of before is refused under the
// lock that the version changes under.
func TestVersionsChangeMeanwhile(t *testing.T) {
	s := open(t, network.Loopback(), new(socket.Registry), unix.SOCK_RAW, 0)
	defer s.Release()
	request := make([]byte, sizeofRequest3)
	for i, v := range []uint32{4096, 1, 2048, 2} {
		binary.LittleEndian.PutUint32(request[4*i:], v)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range int32(20000) {
			s.setRingOption(unix.PACKET_VERSION, tpacketV2+i%2)
		}
	})
	for range 20000 {
		s.setRing(request[:sizeofRequest])
		s.setRing(make([]byte, sizeofRequest3))
	}
	wg.Wait()
}
