package gateway

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"coffer/internal/egress"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// site is a web server at an address of the outside, and counts its requests.
type site struct{ requests atomic.Int32 }

func newSite(t *testing.T, at string, encrypted bool) *site {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	s := new(site)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, "this is "+r.Host)
	}))
	server.Listener.Close()
	server.Listener = l
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if encrypted {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return s
}

// bytewise sends each byte on its own.
type bytewise struct{ net.Conn }

func (c bytewise) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := c.Conn.Write(b[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(b), nil
}

// get asks for a page of a server at an address, whatever it calls it.
func (g *guest) get(url, at string, wrap func(net.Conn) net.Conn) (string, error) {
	client := http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			c, err := g.dial(at)
			if err != nil {
				return nil, err
			}
			return wrap(c), nil
		},
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
		DisableKeepAlives: true,
	}}
	r, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	return string(b), err
}

func plain(c net.Conn) net.Conn { return c }

func TestEgressFlows(t *testing.T) {
	rules, err := egress.Parse("good.test:80,443,25,7/udp, *.good.test:443, rebind.test:80, late.test:8000, 192.0.2.2:7777")
	if err != nil {
		t.Fatal(err)
	}
	refusals := new(logBuffer)
	var ahead atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	p := newEgressPolicy(rules, nil, egress.NewLog(refusals, false, time.Now), now)
	t.Cleanup(p.close)
	p.hostAddresses = func() (own, local []netip.Prefix, err error) {
		return []netip.Prefix{netip.MustParsePrefix("203.0.113.7/24")}, nil, nil
	}
	gw, g := serve(t, p)
	names := &nameServer{answer: func(q dnsmessage.Question, _ bool) *dnsmessage.Message {
		switch q.Name.String() {
		case "good.test.", "a.good.test.", "late.test.":
			return records(q, outside4)
		case "rebind.test.":
			return records(q, "127.0.0.1", "169.254.169.254", "203.0.113.7")
		case "alias.good.test.":
			m := records(dnsmessage.Question{Name: dnsmessage.MustNewName("cdn.example."), Type: q.Type, Class: q.Class}, outside4)
			alias := dnsmessage.Resource{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 100},
				Body:   &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName("cdn.example.")},
			}
			m.Answers = append([]dnsmessage.Resource{alias}, m.Answers...)
			return m
		case "forged.good.test.":
			return records(dnsmessage.Question{Name: dnsmessage.MustNewName("elsewhere.test."), Type: dnsmessage.TypeA, Class: q.Class}, other4)
		}
		return &dnsmessage.Message{Header: dnsmessage.Header{RCode: dnsmessage.RCodeNameError}}
	}}
	names.listen(t, other4+":53")
	web, secure, other := newSite(t, outside4+":80", false), newSite(t, outside4+":443", true), newSite(t, other4+":80", false)
	late := newSite(t, outside4+":8000", false)

	refused := func(what string, err error) {
		t.Helper()
		if err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s is not refused at once: %v", what, err)
		}
	}
	permitted := func(what, got string, err error) {
		t.Helper()
		if err != nil || !strings.HasPrefix(got, "this is ") {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}

	_, err = g.get("http://good.test/", outside4+":80", plain)
	refused("an address before its name is looked up", err)
	if list, err := g.lookup("good.test."); err != nil || len(list) != 1 {
		t.Fatalf("good.test: %v, %v", list, err)
	}
	got, err := g.get("http://good.test/", outside4+":80", plain)
	permitted("the name's address", got, err)
	got, err = g.get("https://good.test/", outside4+":443", plain)
	permitted("TLS", got, err)
	got, err = g.get("https://good.test/", outside4+":443", func(c net.Conn) net.Conn { return bytewise{c} })
	permitted("TLS, byte by byte", got, err)

	before := web.requests.Load() + secure.requests.Load()
	for _, url := range []string{"http://evil.test/", "http://" + outside4 + "/"} {
		_, err = g.get(url, outside4+":80", plain)
		refused(url, err)
	}
	for _, url := range []string{"https://evil.test/", "https://a.good.test/", "https://" + outside4 + "/"} {
		_, err = g.get(url, outside4+":443", plain)
		refused(url, err)
	}
	if n := web.requests.Load() + secure.requests.Load(); n != before {
		t.Errorf("%d requests with another name have come through", n-before)
	}
	// Requests that follow one another.
	again := g.mustDial(outside4 + ":80")
	answers := bufio.NewReader(again)
	for range 3 {
		io.WriteString(again, "POST / HTTP/1.1\r\nHost: good.test\r\nContent-Length: 300000\r\n\r\n"+strings.Repeat("x", 300000))
		r, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatalf("requests that follow one another: %v", err)
		}
		io.Copy(io.Discard, r.Body)
	}
	before = web.requests.Load()
	io.WriteString(again, "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n")
	if _, err := http.ReadResponse(answers, nil); err == nil || web.requests.Load() != before {
		t.Errorf("a later request with another name has come through: %v", err)
	}

	g.lookup("a.good.test.")
	got, err = g.get("https://a.good.test/", outside4+":443", plain)
	permitted("a name below", got, err)
	_, err = g.get("http://a.good.test/", outside4+":80", plain)
	refused("a name at a port that is another's", err)
	if _, err := g.lookup("alias.good.test."); err != nil {
		t.Errorf("an alias: %v", err)
	}
	got, err = g.get("https://alias.good.test/", outside4+":443", plain)
	permitted("an alias", got, err)
	_, err = g.get("https://cdn.example/", outside4+":443", plain)
	refused("what it is an alias of", err)

	// Names.
	asked := names.asked.Load()
	if list, err := g.lookup("evil.test."); err == nil {
		t.Errorf("evil.test: %v", list)
	}
	if n := names.asked.Load(); n != asked {
		t.Errorf("a name that no rule permits was asked for")
	}
	if list, err := g.lookup("forged.good.test."); err == nil {
		t.Errorf("an answer about another name: %v", list)
	}
	_, err = g.get("http://good.test/", other4+":80", plain)
	refused("another address", err)
	if n := other.requests.Load(); n != 0 {
		t.Errorf("%d requests have come to another address", n)
	}
	g.lookup("rebind.test.")
	for _, a := range []string{"169.254.169.254", "203.0.113.7"} {
		_, err = g.get("http://rebind.test/", a+":80", plain)
		refused(a, err)
	}

	// Another protocol, whose server speaks first.
	listen(t, outside4+":25", func(c *net.TCPConn) {
		defer c.Close()
		io.WriteString(c, "220 hello\r\n")
		line, _ := bufio.NewReader(c).ReadString('\n')
		io.WriteString(c, "got "+line)
	})
	c := g.mustDial(outside4 + ":25")
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); line != "220 hello\r\n" {
		t.Errorf("the greeting is %q, %v", line, err)
	}
	io.WriteString(c, "HELO me\r\n")
	if line, err := r.ReadString('\n'); line != "got HELO me\r\n" {
		t.Errorf("the answer is %q, %v", line, err)
	}

	// By address, nothing is looked at.
	listen(t, other4+":7777", func(c *net.TCPConn) { io.Copy(c, c); c.Close() })
	c = g.mustDial(other4 + ":7777")
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n")
	if line, err := bufio.NewReader(c).ReadString('\n'); line != "GET / HTTP/1.1\r\n" {
		t.Errorf("by address: %q, %v", line, err)
	}

	// Datagrams.
	echoDatagrams(t, outside4+":7")
	u := g.datagrams(outside4 + ":7")
	io.WriteString(u, "hello")
	b := make([]byte, 100)
	if n, err := u.Read(b); string(b[:n]) != "hello" {
		t.Errorf("a datagram: %q, %v", b[:n], err)
	}
	if d := gw.decide(Flow{Protocol: unix.IPPROTO_UDP, From: addr("10.0.2.15:1000"), To: addr(outside4 + ":8")}); d != Refuse {
		t.Errorf("a datagram to another port is %d", d)
	}

	// Time passes. An open connection stays; a new one needs a new answer.
	g.lookup("late.test.")
	open := g.mustDial(outside4 + ":8000")
	io.WriteString(open, "GET /first HTTP/1.1\r\nHost: late.test\r\n\r\n")
	eventually(t, "a request before the answer's end", func() bool { return late.requests.Load() == 1 })
	ahead.Store(int64(time.Hour))
	_, err = g.get("http://late.test/", outside4+":8000", plain)
	refused("an address after the answer's end", err)
	io.WriteString(open, "GET /second HTTP/1.1\r\nHost: late.test\r\n\r\n")
	eventually(t, "a request on an open connection", func() bool { return late.requests.Load() == 2 })
	u.SetDeadline(time.Now().Add(patience))
	io.WriteString(u, "again")
	if n, err := u.Read(b); string(b[:n]) != "again" {
		t.Errorf("a later datagram: %q, %v", b[:n], err)
	}
	port := uint16(u.LocalAddr().(*net.UDPAddr).Port)
	if !gw.isOpen(port, addr(outside4+":7")) || gw.isOpen(port, addr(outside4+":8")) || gw.isOpen(port+1, addr(outside4+":7")) {
		t.Error("which exchanges are open is not told")
	}
	g.lookup("late.test.")
	got, err = g.get("http://late.test/", outside4+":8000", plain)
	permitted("an address that was looked up again", got, err)

	p.close()
	for _, want := range []string{
		"dns (evil.test): no rule permits this name",
		"tcp 192.0.2.1:80 (evil.test): the HTTP request names \"evil.test\"",
		"tcp 192.0.2.1:443 (a.good.test): the TLS ClientHello names",
		"tcp 192.0.2.1:443 (good.test): at port 443 a flow that is permitted by name must begin with TLS",
		"tcp 169.254.169.254:80 (rebind.test): 169.254.169.254 is a cloud's metadata service",
		"tcp 203.0.113.7:80 (rebind.test): 203.0.113.7 is an address of the host's own",
		"udp 192.0.2.1:8 (alias.good.test): no rule permits udp port 8",
		"tcp 192.0.2.1:8000 (late.test): the name resolved to this address too long ago",
	} {
		if !strings.Contains(refusals.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, refusals)
		}
	}
}

// A resolver that answers nothing resolves nothing, and what is not resolved is refused.
func TestEgressWithoutResolver(t *testing.T) {
	p, _ := egressFor(t, "good.test")
	gw, g := serve(t, p)
	if list, err := g.lookup("good.test."); err == nil {
		t.Errorf("nobody has answered %v", list)
	}
	if d := gw.decide(Flow{Protocol: unix.IPPROTO_TCP, From: addr("10.0.2.15:1000"), To: addr(outside4 + ":80")}); d != Refuse {
		t.Errorf("it is %d", d)
	}
}

// TestSilentFlows has clients wait with their first bytes, or with a part of them, for longer than
// they may at the web's ports.
func TestSilentFlows(t *testing.T) {
	was := inspectTime
	t.Cleanup(func() { inspectTime = was })
	inspectTime = 20 * time.Millisecond
	p, _ := egressFor(t, "good.test:8000")
	gw, g := serve(t, p)
	p.engine.Answer("good.test", []netip.Addr{netip.MustParseAddr(outside4)}, time.Hour)
	site := newSite(t, outside4+":8000", false)
	if d := gw.decide(Flow{Protocol: unix.IPPROTO_TCP, From: addr("10.0.2.15:1000"), To: addr(outside4 + ":8000")}); d != Inspect {
		t.Fatalf("a flow by name is %d", d)
	}
	const good, evil = "GET / HTTP/1.1\r\nHost: good.test\r\n\r\n", "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n"
	for _, test := range []struct {
		what, before, after string
		served              bool
	}{
		{"nothing at first", "", good, true},
		{"half a word at first", good[:2], good[2:], true},
		{"half a line at first", good[:10], good[10:], true},
		{"nothing at first, then another name", "", evil, false},
		{"half a word of another name at first", evil[:2], evil[2:], false},
		{"half a line of another name at first", evil[:10], evil[10:], false},
		{"an empty line before another name", "", "\r\n" + evil, false},
		{"an empty line at first", "\r\n", evil, false},
	} {
		before := site.requests.Load()
		c := g.mustDial(outside4 + ":8000")
		io.WriteString(c, test.before)
		time.Sleep(5 * inspectTime)
		io.WriteString(c, test.after)
		c.SetDeadline(time.Now().Add(patience))
		line, err := bufio.NewReader(c).ReadString('\n')
		if served := strings.HasPrefix(line, "HTTP/1.1 200"); served != test.served || site.requests.Load()-before > 0 != test.served {
			t.Errorf("%s: %q, %v", test.what, line, err)
		}
		c.Close()
	}
}

// TestWordWithoutEnd has a client send a word without an end, and wait for the answer.
func TestWordWithoutEnd(t *testing.T) {
	p, _ := egressFor(t, "good.test:2181")
	_, g := serve(t, p)
	p.engine.Answer("good.test", []netip.Addr{netip.MustParseAddr(outside4)}, time.Hour)
	got := make(chan string, 2)
	listen(t, outside4+":2181", func(c *net.TCPConn) {
		defer c.Close()
		word := make([]byte, 4)
		io.ReadFull(c, word)
		io.WriteString(c, "imok\n")
		rest, _ := io.ReadAll(c)
		got <- string(word) + string(rest)
	})
	for _, test := range []struct{ word, rest, want string }{
		{"ruok", " now\nand more", "ruok now\nand more"},
		{"GETx", " / HTTP/1.1\r\nHost: good.test\r\n\r\n", "GETx / HTTP/1.1\r\nHost: good.test\r\n\r\n"},
		{"GETx", " / HTTP/1.1\r\nHost: evil.test\r\n\r\n", "GETx"},
	} {
		c := g.mustDial(outside4 + ":2181")
		io.WriteString(c, test.word)
		c.SetDeadline(time.Now().Add(patience))
		if line, err := bufio.NewReader(c).ReadString('\n'); line != "imok\n" {
			t.Fatalf("%s is answered %q, %v", test.word, line, err)
		}
		io.WriteString(c, test.rest)
		c.CloseWrite()
		if got := <-got; got != test.want {
			t.Errorf("%q has come; want %q", got, test.want)
		}
		c.Close()
	}
}
