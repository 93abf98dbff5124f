package test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// wireHost is the near end of a wire: sockets in a network namespace, of the host's
// kernel or inside of the kernel wall.
type wireHost struct {
	*wire
	t      *testing.T
	inside bool
	// Each case has a far address, and ports, of its own: what is remembered of one
	// peer does not bear on others.
	cases atomic.Int32

	stdin io.Writer
	mu    sync.Mutex
	calls map[string]chan string
	next  int
}

var (
	near4 = netip.MustParseAddr("10.9.0.2")
	near6 = netip.MustParseAddr("fd09::2")
)

// newWireHost makes a link, and has wireguest run at its near end.
func newWireHost(t *testing.T, inside bool) *wireHost {
	t.Helper()
	near, far := newSpace(t), newSpace(t)
	far.joined("peer", "", near, "eth0", "10.9.0.2/16")
	noOffload(t, near, "eth0")
	near.up("lo", "")
	h := &wireHost{t: t, inside: inside, calls: make(map[string]chan string)}
	var mac net.HardwareAddr
	near.do(func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		mac = l.Attrs().HardwareAddr
		a, err := netlink.ParseAddr("fd09::2/64")
		if err != nil {
			return err
		}
		a.Flags = unix.IFA_F_NODAD
		return netlink.AddrAdd(l, a)
	})
	h.wire = newWire(t, far, "peer", mac)

	dir := t.TempDir()
	program := filepath.Join(dir, "wireguest")
	build := exec.Command("go", "build", "-o", program, "./wireguest")
	build.Env = append(build.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building wireguest: %v\n%s", err, out)
	}
	argv := []string{"nsenter", "--net=" + near.path(), program}
	if inside {
		r := newKernelRuntime(t)
		b := r.bundle("wire", func(s *specs.Spec) {
			inNetwork(near.path())(s)
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/wireguest", Source: program, Type: "bind", Options: []string{"bind", "ro"}})
		}, "/wireguest")
		argv = r.command("run", "--bundle", b, r.id("wire"))
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h.stdin = in
	lines := bufio.NewScanner(out)
	ready := make(chan bool, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ready <- lines.Scan()
		for lines.Scan() {
			id, result, _ := strings.Cut(lines.Text(), " ")
			h.mu.Lock()
			h.calls[id] <- result
			h.mu.Unlock()
		}
		cmd.Wait()
	}()
	t.Cleanup(func() {
		if t.Failed() {
			for _, name := range []string{"dev", "snmp", "netstat", "snmp6"} {
				t.Logf("%s: %s", name, strings.ReplaceAll(h.begin(t, "file /proc/net/%s", name)(), `\n`, "\n"))
			}
		}
		in.Close() // it ends then
		select {
		case <-ended:
		case <-time.After(wirePatience):
			cmd.Process.Kill()
			t.Errorf("%q does not end", argv)
		}
		if t.Failed() && stderr.Len() > 0 {
			t.Log(stderr.String())
		}
	})
	select {
	case ok := <-ready:
		if !ok {
			<-ended
			t.Fatalf("%q ends at once: %s", argv, stderr.String())
		}
	case <-time.After(2 * wirePatience):
		t.Fatalf("%q does not start", argv)
	}
	return h
}

// begin makes a call at the near end. What is returned waits for its result.
func (h *wireHost) begin(t *testing.T, format string, args ...any) func() string {
	t.Helper()
	done := make(chan string, 1)
	what := fmt.Sprintf(format, args...)
	h.mu.Lock()
	h.next++
	id := strconv.Itoa(h.next)
	h.calls[id] = done
	_, err := fmt.Fprintln(h.stdin, id, what)
	h.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	return func() string {
		t.Helper()
		select {
		case result := <-done:
			return result
		case <-time.After(wirePatience):
			t.Fatalf("%q takes too long", what)
			return ""
		}
	}
}

// wireCase is one run of a case.
type wireCase struct {
	*testing.T
	h         *wireHost
	far, near netip.AddrPort
	name      string // of its sockets
}

func (h *wireHost) newCase(t *testing.T, v6 bool) *wireCase {
	n := uint16(h.cases.Add(1))
	c := &wireCase{T: t, h: h, name: fmt.Sprintf("s%d-", n)}
	far, near := netip.AddrFrom4([4]byte{10, 9, byte(1 + n>>8), byte(n)}), near4
	if v6 {
		far, near = netip.AddrFrom16([16]byte{0: 0xfd, 1: 9, 13: 1, 14: byte(n >> 8), 15: byte(n)}), near6
	}
	c.far, c.near = netip.AddrPortFrom(far, 10000+n), netip.AddrPortFrom(near, 20000+n)
	return c
}

// call makes a call of a socket, and want is what it returns.
func (c *wireCase) call(want, verb, socket, format string, args ...any) {
	c.Helper()
	if got := c.begin(verb, socket, format, args...)(); got != want {
		c.Fatalf("%s of %s: %s, want %s", verb, socket, got, want)
	}
}

func (c *wireCase) begin(verb, socket, format string, args ...any) func() string {
	c.Helper()
	return c.h.begin(c.T, "%s", verb+" "+c.name+socket+" "+fmt.Sprintf(format, args...))
}

// await waits until a socket's state is one of Linux's numbers for them.
func (c *wireCase) await(socket string, state int) {
	c.Helper()
	for until := time.Now().Add(wirePatience); ; time.Sleep(5 * time.Millisecond) {
		got := c.begin("state", socket, "")()
		if got == strconv.Itoa(state) {
			return
		}
		if time.Now().After(until) {
			c.Fatalf("the state is %s, want %d", got, state)
		}
	}
}

// counter is one of those in /proc/net/snmp or netstat, by "Group Name".
func (h *wireHost) counter(t *testing.T, file, which string) uint64 {
	t.Helper()
	text, err := strconv.Unquote(h.begin(t, "file /proc/net/%s", file)())
	if err != nil {
		t.Fatal(err)
	}
	group, name, _ := strings.Cut(which, " ")
	var heads []string
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 2 && words[0] == which { // snmp6 has one on a line
			n, _ := strconv.ParseUint(words[1], 10, 64)
			return n
		}
		if words[0] != group+":" {
			continue
		}
		if heads == nil {
			heads = words
			continue
		}
		for i, head := range heads {
			if head == name && i < len(words) {
				n, err := strconv.ParseUint(words[i], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
	}
	t.Fatalf("/proc/net/%s has no %s:\n%s", file, which, text)
	return 0
}

// awaitCounter waits until a counter is larger than it was.
func (h *wireHost) awaitCounter(t *testing.T, file, which string, was uint64) {
	t.Helper()
	for until := time.Now().Add(wirePatience); ; time.Sleep(5 * time.Millisecond) {
		if h.counter(t, file, which) > was {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%s of /proc/net/%s stays at %d", which, file, was)
		}
	}
}

// conn is a connection with the socket "a".
type conn struct {
	*flow
	c *wireCase
	// next is the sequence number of what is sent next, and due of what is to come.
	next, due uint32
	stamped   bool
	clock     uint32
	echo      uint32
	answer    segment // the SYN-ACK
}

// firstSeq is just below where sequence numbers wrap.
const firstSeq = 0xffff_fffa

// listen has a socket "l" listen.
func (c *wireCase) listen(backlog int, options string) {
	c.Helper()
	c.call("ok", "listen", "l", "%v %d %s", c.near, backlog, options)
}

// accepted makes a connection with what listens, and accepts it.
func (c *wireCase) accepted(options ...[]byte) *conn {
	c.Helper()
	k := c.dial(c.far, options...)
	c.call("ok", "accept", "l", "%sa", c.name)
	return k
}

// dial makes a connection from an address.
func (c *wireCase) dial(far netip.AddrPort, options ...[]byte) *conn {
	c.Helper()
	k := &conn{flow: c.h.flow(c.T, far, c.near), c: c, next: firstSeq, clock: 1000}
	var all []byte
	for _, o := range options {
		all = append(all, o...)
		k.stamped = k.stamped || o[0] == 8
	}
	k.flow.send(segment{flags: syn, seq: k.next, window: 0xffff, options: all})
	k.next++
	k.answer = k.expect("a SYN-ACK", func(s segment) bool { return s.flags == syn|ack && s.ack == k.next })
	k.due = k.answer.seq + 1
	k.echo = k.answer.stamp
	k.send(segment{flags: ack})
	return k
}

// connected has the near end connect, and answers. wait is for what connect returns.
func (c *wireCase) connected(options ...[]byte) *conn {
	c.Helper()
	f := c.h.flow(c.T, c.far, c.near)
	wait := c.begin("connect", "a", "%v %v", c.near, c.far)
	s := f.expect("a SYN", func(s segment) bool { return s.flags == syn })
	k := &conn{flow: f, c: c, next: firstSeq, due: s.seq + 1}
	k.send(segment{flags: syn | ack, options: concat(options...)})
	k.expect("an ACK", func(s segment) bool { return s.flags == ack && s.ack == k.next && s.seq == k.due })
	if got := wait(); got != "ok" {
		c.Fatalf("connect: %s", got)
	}
	return k
}

func concat(pieces ...[]byte) (all []byte) {
	for _, p := range pieces {
		all = append(all, p...)
	}
	return all
}

// send sends a segment at next, which acknowledges all up to due.
func (k *conn) send(s segment) {
	s.seq = k.next
	k.next += s.length()
	k.sendAt(s)
}

// sendAt sends a segment with a sequence number of its own.
func (k *conn) sendAt(s segment) {
	if s.flags&rst == 0 {
		s.flags |= ack
	}
	if s.flags&ack != 0 && s.ack == 0 {
		s.ack = k.due
	}
	if s.window == 0 && !s.shut {
		s.window = 0xffff
	}
	if k.stamped && s.options == nil {
		s.options = optionStamp(k.clock, k.echo)
	}
	k.flow.send(s)
}

// isReset is what must not come to a connection that lives.
func isReset(s segment) bool { return s.flags&rst != 0 }

// acked waits until all is acknowledged that was sent.
func (k *conn) acked() segment {
	k.t.Helper()
	return k.expectWithout(fmt.Sprintf("an ACK of %d", k.next), func(s segment) bool {
		return s.flags&ack != 0 && s.ack == k.next
	}, isReset)
}

// say sends data, and waits until it is acknowledged and read.
func (k *conn) say(text string) {
	k.t.Helper()
	k.send(segment{flags: psh, data: []byte(text)})
	k.acked()
	k.c.call(strconv.Quote(text), "read", "a", "%d", len(text))
}

// hear has the near end write so many bytes, and takes them.
func (k *conn) hear(n int) {
	k.t.Helper()
	k.c.call(strconv.Itoa(n), "write", "a", "%d", n)
	k.take(n)
}

// take takes so many bytes that were written, in order, and acknowledges them.
// Segments are returned as they come.
func (k *conn) take(n int) (list []segment) {
	k.t.Helper()
	start, end := k.due, k.due+uint32(n)
	for k.due != end {
		s := k.expectWithout(fmt.Sprintf("data at %d", k.due), func(s segment) bool {
			return len(s.data) > 0 && int32(s.seq-k.due) <= 0 && int32(s.seq+uint32(len(s.data))-k.due) > 0
		}, isReset)
		for i, b := range s.data {
			if at := s.seq + uint32(i) - start; int32(at) >= 0 && b != 'a'+byte(at%26) {
				k.t.Fatalf("byte %d is %q\n%s", at, b, k.history())
			}
		}
		list = append(list, s)
		k.due = s.seq + uint32(len(s.data))
		k.send(segment{})
	}
	return list
}

// alive has both ends say something.
func (k *conn) alive() {
	k.t.Helper()
	k.say("alive")
	k.hear(7)
}

// gone waits until the connection is no more: what is sent is answered with RST.
func (k *conn) gone() {
	k.t.Helper()
	for range 1000 {
		k.sendAt(segment{flags: psh, seq: k.next, data: []byte("x")})
		s := k.expect("an answer", func(s segment) bool { return s.flags&(rst|ack) != 0 })
		if s.flags&rst != 0 {
			return
		}
	}
	k.t.Fatalf("no RST comes:\n%s", k.history())
}
