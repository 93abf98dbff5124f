package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
)

// nameServer answers questions over UDP and TCP.
type nameServer struct {
	answer func(q dnsmessage.Question, stream bool) *dnsmessage.Message // nil is silence
	asked  atomic.Int32
}

func (s *nameServer) reply(query []byte, stream bool) []byte {
	s.asked.Add(1)
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	r := s.answer(m.Questions[0], stream)
	if r == nil {
		return nil
	}
	r.ID, r.Response, r.Questions = m.ID, true, m.Questions
	b, err := r.Pack()
	if err != nil {
		panic(err)
	}
	return b
}

func (s *nameServer) listen(t *testing.T, at string) {
	t.Helper()
	c, err := net.ListenPacket("udp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 4096)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			if r := s.reply(b[:n], false); r != nil {
				c.WriteTo(r, from)
			}
		}
	}()
	listen(t, at, func(c *net.TCPConn) {
		defer c.Close()
		var length [2]byte
		io.ReadFull(c, length[:])
		query := make([]byte, binary.BigEndian.Uint16(length[:]))
		io.ReadFull(c, query)
		if r := s.reply(query, true); r != nil {
			c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(r))), r...))
		}
	})
}

// records answers with addresses of the asked type.
func records(q dnsmessage.Question, addresses ...string) *dnsmessage.Message {
	m := new(dnsmessage.Message)
	for _, s := range addresses {
		h := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 100}
		switch a := netip.MustParseAddr(s); {
		case a.Is4() && q.Type == dnsmessage.TypeA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AResource{A: a.As4()}})
		case a.Is6() && q.Type == dnsmessage.TypeAAAA:
			m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}})
		}
	}
	return m
}

// resolver is Go's resolver over the guest's stack.
func (g *guest) resolver(server netip.Addr) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		at := tcpip.FullAddress{NIC: 1, Addr: tcpip.AddrFromSlice(server.AsSlice()), Port: dnsPort}
		if strings.HasPrefix(network, "tcp") {
			return gonet.DialContextTCP(ctx, g.stack, at, protocolOf(server))
		}
		return gonet.DialUDP(g.stack, nil, &at, protocolOf(server))
	}}
}

func (g *guest) lookup(name string) ([]string, error) {
	ctx, cancel := context.WithTimeout(g.Context(), patience)
	defer cancel()
	list, err := g.resolver(Resolver4).LookupHost(ctx, name)
	slices.Sort(list)
	return list, err
}

func TestResolver(t *testing.T) {
	_, g := serve(t, nil, Host{"Db.internal", netip.MustParseAddr("10.1.2.3")}, Host{"db.internal", netip.MustParseAddr("2001:db8::7")}, Host{"four", netip.MustParseAddr("10.4.4.4")})
	big := make([]string, 100)
	for i := range big {
		big[i] = netip.AddrFrom4([4]byte{198, 51, 100, byte(i)}).String()
	}
	slices.Sort(big)
	s := &nameServer{answer: func(q dnsmessage.Question, stream bool) *dnsmessage.Message {
		switch q.Name.String() {
		case "example.org.":
			return records(q, "192.0.2.10", "2001:db8::10")
		case "big.example.org.":
			if !stream {
				return &dnsmessage.Message{Header: dnsmessage.Header{Truncated: true}}
			}
			return records(q, big...)
		case "broken.example.org.":
			return &dnsmessage.Message{Header: dnsmessage.Header{RCode: dnsmessage.RCodeServerFailure}}
		}
		return &dnsmessage.Message{Header: dnsmessage.Header{RCode: dnsmessage.RCodeNameError}}
	}}
	s.listen(t, other4+":53")
	for name, want := range map[string][]string{
		"example.org.":     {"192.0.2.10", "2001:db8::10"},
		"EXAMPLE.org.":     nil, // the server above is not that clever
		"big.example.org.": big, // over TCP
		"db.internal.":     {"10.1.2.3", "2001:db8::7"},
		"DB.INTERNAL.":     {"10.1.2.3", "2001:db8::7"},
		"four.":            {"10.4.4.4"},
	} {
		got, err := g.lookup(name)
		if want == nil {
			var de *net.DNSError
			if !errors.As(err, &de) || !de.IsNotFound {
				t.Errorf("%s: %v, %v", name, got, err)
			}
			continue
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if list, err := g.resolver(Resolver6).LookupHost(t.Context(), "example.org."); err != nil || len(list) != 2 {
		t.Errorf("over IPv6: %v, %v", list, err)
	}
	var de *net.DNSError
	if _, err := g.lookup("broken.example.org."); !errors.As(err, &de) || de.IsNotFound || !de.IsTemporary {
		t.Errorf("a server that fails: %v", err)
	}
}

// TestResolverUnreachable has nobody listen: that is told at once.
func TestResolverUnreachable(t *testing.T) {
	_, g := serve(t, nil)
	begin := time.Now()
	var de *net.DNSError
	if _, err := g.lookup("example.org."); !errors.As(err, &de) || de.IsNotFound || de.IsTimeout {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
}

// TestResolverSecond has the first server be silent, and then fail.
func TestResolverSecond(t *testing.T) {
	for _, code := range []dnsmessage.RCode{0, dnsmessage.RCodeServerFailure, dnsmessage.RCodeRefused} {
		first := &nameServer{answer: func(q dnsmessage.Question, _ bool) *dnsmessage.Message {
			if code == 0 {
				return nil
			}
			return &dnsmessage.Message{Header: dnsmessage.Header{RCode: code}}
		}}
		second := &nameServer{answer: func(q dnsmessage.Question, _ bool) *dnsmessage.Message { return records(q, "192.0.2.10") }}
		t.Run(code.String(), func(t *testing.T) {
			first.listen(t, outside4+":53")
			second.listen(t, other4+":53")
			_, g := serve(t, nil)
			r := newResolver([]netip.AddrPort{addr(outside4 + ":53"), addr(other4 + ":53")}, nil, nil)
			q := dnsmessage.Question{Name: dnsmessage.MustNewName("x."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
			query, _ := (&dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}, Questions: []dnsmessage.Question{q}}).Pack()
			var m dnsmessage.Message
			if err := m.Unpack(r.answer(query, false)); err != nil || m.ID != 7 || len(m.Answers) != 1 {
				t.Errorf("%v, %v", m, err)
			}
			_ = g
		})
	}
}

// TestResolverForged has answers come that are to another question, or have another
// ID: they are not taken.
func TestResolverForged(t *testing.T) {
	q := dnsmessage.Question{Name: dnsmessage.MustNewName("x."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	pack := func(m *dnsmessage.Message) []byte {
		b, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	query := pack(&dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: []dnsmessage.Question{q}})
	other := q
	other.Name = dnsmessage.MustNewName("y.")
	for name, m := range map[string]*dnsmessage.Message{
		"another ID":       {Header: dnsmessage.Header{ID: 8, Response: true}, Questions: []dnsmessage.Question{q}},
		"no answer":        {Header: dnsmessage.Header{ID: 7}, Questions: []dnsmessage.Question{q}},
		"another question": {Header: dnsmessage.Header{ID: 7, Response: true}, Questions: []dnsmessage.Question{other}},
		"no question":      {Header: dnsmessage.Header{ID: 7, Response: true}},
	} {
		if answersQuestion(query, pack(m), q) {
			t.Error(name)
		}
	}
	if !answersQuestion(query, pack(&dnsmessage.Message{Header: dnsmessage.Header{ID: 7, Response: true}, Questions: []dnsmessage.Question{q}}), q) {
		t.Error("the answer is not taken")
	}
}

// FuzzResolver has the sandbox ask anything, and the host's name servers say anything.
func FuzzResolver(f *testing.F) {
	q := dnsmessage.Question{Name: dnsmessage.MustNewName("db."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	query, _ := (&dnsmessage.Message{Header: dnsmessage.Header{ID: 7, RecursionDesired: true}, Questions: []dnsmessage.Question{q}}).Pack()
	m := records(q, "10.1.2.3")
	m.ID, m.Response, m.Questions = 7, true, []dnsmessage.Question{q}
	answer, _ := m.Pack()
	f.Add(query, answer)
	f.Add([]byte{}, []byte{1, 2, 3})
	r := newResolver(nil, []Host{{"db", netip.MustParseAddr("10.1.2.3")}}, nil)
	f.Fuzz(func(t *testing.T, query, answer []byte) {
		if len(query) > dnsMax || len(answer) > dnsMax {
			return
		}
		if got := r.answer(query, false); got != nil {
			if got[0] != query[0] || got[1] != query[1] || got[2]&0x80 == 0 {
				t.Errorf("% x is answered with % x", query, got)
			}
			var m dnsmessage.Message
			if err := m.Unpack(got); err != nil {
				t.Errorf("the answer % x: %v", got, err)
			}
		}
		if len(query) >= 2 {
			answersQuestion(query, answer, q)
		}
	})
}

// TestNamesOfAddresses: addresses of one's own are named, and nobody else is asked for them.
func TestNamesOfAddresses(t *testing.T) {
	// It has no servers to ask.
	n, err := NewNames(nil, func(string) ([]netip.Addr, bool) { return nil, false }, func(a netip.Addr) (string, bool) {
		switch a.String() {
		case "10.0.0.2", "2001:db8::1234:2":
			return "db", true
		case "10.0.0.3":
			return "not..a.name", true
		}
		return "", netip.MustParsePrefix("10.0.0.0/24").Contains(a)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		code dnsmessage.RCode
		says string
	}{
		{name: "2.0.0.10.in-addr.arpa.", says: "db."},
		{name: "2.0.0.0.4.3.2.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.IP6.ARPA.", says: "db."},
		{name: "3.0.0.10.in-addr.arpa.", code: dnsmessage.RCodeNameError},
		{name: "4.0.0.10.in-addr.arpa.", code: dnsmessage.RCodeNameError},
		{name: "4.0.1.10.in-addr.arpa.", code: dnsmessage.RCodeServerFailure},
		{name: "0.0.10.in-addr.arpa.", code: dnsmessage.RCodeServerFailure},
		{name: "in-addr.arpa.", code: dnsmessage.RCodeServerFailure},
		{name: "2.0.0.0.ip6.arpa.", code: dnsmessage.RCodeServerFailure},
	} {
		q := dnsmessage.Message{Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(c.name), Type: dnsmessage.TypePTR, Class: dnsmessage.ClassINET}}}
		query, err := q.Pack()
		if err != nil {
			t.Fatal(err)
		}
		var m dnsmessage.Message
		if err := m.Unpack(n.Answer(query)); err != nil {
			t.Fatal(err)
		}
		says := ""
		if len(m.Answers) == 1 {
			says = m.Answers[0].Body.(*dnsmessage.PTRResource).PTR.String()
		}
		if m.RCode != c.code || says != c.says {
			t.Errorf("%s: %v, %q, want %v, %q", c.name, m.RCode, says, c.code, c.says)
		}
	}
}
