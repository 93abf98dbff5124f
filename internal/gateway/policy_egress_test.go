package gateway

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"coffer/internal/egress"
	"coffer/internal/link"

	"golang.org/x/sys/unix"
)

// logBuffer takes lines from another goroutine.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func egressFor(t *testing.T, rules string, hosts ...Host) (*egressPolicy, *logBuffer) {
	t.Helper()
	parsed, err := egress.Parse(rules)
	if err != nil {
		t.Fatal(err)
	}
	log := new(logBuffer)
	p := newEgressPolicy(parsed, hosts, egress.NewLog(log, false, time.Now), time.Now)
	p.hostAddresses = func() (own, local []netip.Prefix, err error) {
		return []netip.Prefix{netip.MustParsePrefix("192.168.7.5/24")}, nil, nil
	}
	t.Cleanup(p.close)
	return p, log
}

func flowOf(protocol uint8, to string) Flow {
	return Flow{Protocol: protocol, From: netip.MustParseAddrPort("10.0.2.15:4000"), To: netip.MustParseAddrPort(to)}
}

func TestEgressPolicy(t *testing.T) {
	p, log := egressFor(t, "pypi.org:443, 198.51.100.0/24/icmp, 10.9.0.0/16", Host{"db", netip.MustParseAddr("10.0.0.1")})
	if d := p.Name("pypi.org", 1, egress.ClassINET); d != Permit {
		t.Errorf("the name is %d", d)
	}
	if d := p.Name("pypi.org", 65, egress.ClassINET); d != NoData {
		t.Errorf("its HTTPS record is %d", d)
	}
	if d := p.Name("evil.example", 1, egress.ClassINET); d != Refuse {
		t.Errorf("another name is %d", d)
	}
	if d := p.Answer("pypi.org", []netip.Addr{netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("192.168.7.5")}, time.Minute); d != Permit {
		t.Errorf("its answer is %d", d)
	}
	for _, test := range []struct {
		flow Flow
		want Decision
	}{
		{flowOf(unix.IPPROTO_TCP, "203.0.113.1:443"), Inspect},
		{flowOf(unix.IPPROTO_TCP, "203.0.113.1:80"), Refuse},
		{flowOf(unix.IPPROTO_TCP, "192.168.7.5:443"), Refuse},
		{flowOf(unix.IPPROTO_ICMP, "198.51.100.7:0"), Permit},
		{flowOf(unix.IPPROTO_UDP, "198.51.100.7:53"), Refuse},
		{flowOf(unix.IPPROTO_UDP, "10.9.1.1:53"), Permit},
		{flowOf(unix.IPPROTO_SCTP, "10.9.1.1:53"), Refuse},
	} {
		if d := p.Connect(test.flow); d != test.want {
			t.Errorf("%+v is %d", test.flow, d)
		}
	}
	web := flowOf(unix.IPPROTO_TCP, "203.0.113.1:443")
	if d := p.Data(web, []byte("GET / HTTP/1.1\r\nHost: pypi.org\r\n\r\n"), false); d != Permit {
		t.Errorf("its host is %d", d)
	}
	if d := p.Data(web, []byte("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"), false); d != Refuse {
		t.Errorf("another host is %d", d)
	}
	p.close()
	want := `coffer: egress refused: dns (evil.example): no rule permits this name
coffer: egress refused: tcp 203.0.113.1:80 (pypi.org): no rule permits tcp port 80 of pypi.org (rule pypi.org:443)
coffer: egress refused: tcp 192.168.7.5:443 (pypi.org): 192.168.7.5 is an address of the host's own, which only a rule for that address permits (rule pypi.org:443)
coffer: egress refused: udp 198.51.100.7:53: no rule permits udp port 53 of this address (rule 198.51.100.0/24/icmp)
coffer: egress refused: protocol 132 10.9.1.1:53: only TCP, UDP and ping can be permitted
coffer: egress refused: tcp 203.0.113.1:443 (evil.example): the HTTP request names "evil.example", but the address is permitted as pypi.org (rule pypi.org:443)
`
	if log.String() != want {
		t.Errorf("the log is\n%swant\n%s", log, want)
	}
}

// TestWithheldAnswer: an answer that says of another name than the one asked for where that
// leads is refused and logged.
func TestWithheldAnswer(t *testing.T) {
	p, log := egressFor(t, "a.example:443")
	r := newResolver(nil, nil, p)
	if r.told("a.example", packAnswer(t, "a.example.", record{"b.example.", 60, netip.MustParseAddr("203.0.113.1")})) {
		t.Error("it is passed on")
	}
	if d := p.Connect(flowOf(unix.IPPROTO_TCP, "203.0.113.1:443")); d != Refuse {
		t.Errorf("its address is %d", d)
	}
	p.close()
	want := "coffer: egress refused: dns (a.example): the name server's answer cannot be trusted: an address of another name (rule a.example:443)\n"
	if !strings.HasPrefix(log.String(), want) {
		t.Errorf("the log is %s", log)
	}
}

// Whoever does not know the host's addresses cannot guard them.
func TestEgressWithoutHostAddresses(t *testing.T) {
	p, log := egressFor(t, "*")
	p.hostAddresses = func() (own, local []netip.Prefix, err error) { return nil, nil, errors.New("no memory") }
	now := time.Now()
	p.now = func() time.Time { return now }
	if d := p.Connect(flowOf(unix.IPPROTO_TCP, "198.51.100.1:443")); d != Refuse {
		t.Errorf("it is %d", d)
	}
	p.hostAddresses = func() (own, local []netip.Prefix, err error) { return nil, nil, nil }
	now = now.Add(hostRefresh)
	if d := p.Connect(flowOf(unix.IPPROTO_TCP, "198.51.100.1:443")); d != Permit {
		t.Errorf("afterwards it is %d", d)
	}
	p.hostAddresses = func() (own, local []netip.Prefix, err error) {
		return []netip.Prefix{netip.MustParsePrefix("198.51.100.1/32")}, nil, nil
	}
	now = now.Add(hostRefresh)
	if d := p.Connect(flowOf(unix.IPPROTO_TCP, "198.51.100.1:443")); d != Refuse {
		t.Errorf("an address that the host has got is %d", d)
	}
	p.close()
	if !strings.Contains(log.String(), "cannot be read: no memory") {
		t.Errorf("the log is %s", log)
	}
}

func TestQuestionsAreAnswered(t *testing.T) {
	p, log := egressFor(t, "10.9.0.0/16:443, pypi.org:443")
	ours, theirs, err := link.Pair()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { p.answerQuestions(theirs); close(done) }()
	ask := func(to string, pid int32, command string) bool {
		t.Helper()
		q := egress.Question{ID: 77, Protocol: unix.IPPROTO_TCP, To: netip.MustParseAddrPort(to), PID: pid, Command: command}
		ours.Write([]byte("hello"))
		ours.Write(append(q.Append(nil), 0))
		if _, err := ours.Write(q.Append(nil)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 64)
		ours.SetReadDeadline(time.Now().Add(time.Minute))
		n, err := ours.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		r, err := egress.ParseReply(b[:n])
		if err != nil || r.ID != 77 {
			t.Fatalf("%+v, %v", r, err)
		}
		return r.Permitted
	}
	p.Answer("pypi.org", []netip.Addr{netip.MustParseAddr("203.0.113.1")}, time.Minute)
	if !ask("10.9.0.1:443", 5, "curl") || !ask("203.0.113.1:443", 6, "wget") || !ask("10.0.2.3:53", 8, "dig") {
		t.Error("what is permitted is refused")
	}
	if ask("10.9.0.1:80", 7, "nc\x1b[2J") {
		t.Error("what is refused is permitted")
	}
	// What is refused only later is still laid to who asked.
	p.Data(flowOf(unix.IPPROTO_TCP, "203.0.113.1:443"), []byte("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"), false)
	p.Name("evil.example", 1, egress.ClassINET)
	ours.Close()
	<-done
	p.close()
	for _, want := range []string{`nc\x1b[2J (pid 7) tcp 10.9.0.1:80: `, "wget (pid 6) tcp 203.0.113.1:443 (evil.example)", "dig (pid 8) dns (evil.example)"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
}

// A log that nobody reads holds up nothing.
func TestLogThatIsNotRead(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	unix.FcntlInt(w.Fd(), unix.F_SETPIPE_SZ, 4096)
	rules, _ := egress.Parse("none")
	p := newEgressPolicy(rules, nil, egress.NewLog(w, true, time.Now), time.Now)
	p.hostAddresses = func() (own, local []netip.Prefix, err error) { return nil, nil, nil }
	for range 10 * logQueue {
		p.Connect(flowOf(unix.IPPROTO_TCP, "198.51.100.1:443"))
	}
	p.close()
	w.Close()
	// What has been written is whole lines.
	b := make([]byte, 8192)
	n, _ := r.Read(b)
	for line := range bytes.Lines(b[:n]) {
		if !json.Valid(line) && bytes.HasSuffix(line, []byte("\n")) {
			t.Errorf("%q", line)
		}
	}
}

func TestOwnAddresses(t *testing.T) {
	f, err := openAddresses()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	l := &addressLister{fd: int(f.Fd())}
	for range 2 {
		got, local, err := listAll([]*addressLister{l})
		if err != nil {
			t.Fatal(err)
		}
		addresses, err := net.InterfaceAddrs()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range addresses {
			want := netip.MustParsePrefix(a.String())
			if !slices.Contains(got, want) {
				t.Errorf("%v lacks %v", got, want)
			}
			if lo := netip.MustParsePrefix("127.0.0.0/8"); lo.Contains(want.Addr()) && !slices.Contains(local, lo) {
				t.Errorf("the local routes %v lack %v", local, lo)
			}
		}
	}
}

// A line begins at the left of a terminal, whose output is not processed.
func TestRawTerminal(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	if terminalLines(w) != w {
		t.Error("a pipe is taken for a terminal")
	}
	line := []byte("a line\nrest")
	rawTerminal{w}.Write(line[:7])
	b := make([]byte, 100)
	if n, _ := r.Read(b); string(b[:n]) != "a line\r\n" || string(line) != "a line\nrest" {
		t.Errorf("%q, and %q is left", b[:n], line)
	}
}

// TestAddressesThatChange has a host say of its first lists, which lack an address, that something changed meanwhile.
func TestAddressesThatChange(t *testing.T) {
	for _, changes := range []int{0, 1, listTries - 1, 100} {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			left := changes
			b := make([]byte, 100)
			for first := true; ; {
				if n, err := unix.Read(fds[1], b); n < unix.SizeofNlMsghdr || err != nil {
					return
				}
				is := func(kind, flags uint16, body ...byte) []byte {
					m := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body)))
					m = binary.NativeEndian.AppendUint16(m, kind)
					m = binary.NativeEndian.AppendUint16(m, flags)
					return append(append(m, b[8:16]...), body...)
				}
				var answer []byte
				if binary.NativeEndian.Uint16(b[4:]) == unix.RTM_GETADDR {
					flags := uint16(0)
					if left > 0 {
						left--
						flags = unix.NLM_F_DUMP_INTR
					}
					address := byte(1)
					if first && changes > 0 {
						address = 2
					}
					first = false
					answer = is(unix.RTM_NEWADDR, flags, unix.AF_INET, 24, 0, 0, 1, 0, 0, 0, 8, 0, unix.IFA_LOCAL, 0, 192, 0, 2, address)
				}
				unix.Write(fds[1], append(answer, is(unix.NLMSG_DONE, 0, 0, 0, 0, 0)...))
			}
		}()
		own, _, err := (&addressLister{fd: fds[0]}).list()
		if err != nil || !slices.Contains(own, netip.MustParsePrefix("192.0.2.1/24")) || len(own) != min(changes+1, listTries) {
			t.Errorf("after %d changes: %v, %v", changes, own, err)
		}
		unix.Close(fds[0])
		<-done
		unix.Close(fds[1])
	}
}
