package egress

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// clientHello is what Go's client sends first to a server of that name; without one,
// without the extension.
func clientHello(name string) []byte {
	client, server := net.Pipe()
	go func() {
		tls.Client(client, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
		client.Close()
	}()
	defer server.Close()
	b := make([]byte, 1<<14)
	n, _ := server.Read(b)
	return b[:n]
}

// inRecords splits a ClientHello in one record over several of at most n bytes.
func inRecords(hello []byte, n int) []byte {
	var out []byte
	for body := hello[5:]; len(body) > 0; {
		part := body[:min(n, len(body))]
		body = body[len(part):]
		out = append(out, 22, 3, 1, byte(len(part)>>8), byte(len(part)))
		out = append(out, part...)
	}
	return out
}

func TestFirst(t *testing.T) {
	e, _ := newEngine(t, "pypi.org, *.pypi.org")
	resolve(t, e, "pypi.org", time.Minute, "198.51.100.1")
	resolve(t, e, "files.pypi.org", time.Minute, "198.51.100.1")
	resolve(t, e, "elsewhere.pypi.org", time.Minute, "198.51.100.2")
	hello := clientHello("pypi.org")
	for _, test := range []struct {
		what  string
		port  uint16
		first string
		last  bool
		want  Decision
		says  string
	}{
		{"SNI", 443, string(hello), false, Permit, ""},
		{"SNI in capitals", 443, string(clientHello("PyPI.org")), false, Permit, ""},
		{"another name of the address", 443, string(clientHello("files.pypi.org")), false, Permit, ""},
		{"a permitted name of another address", 443, string(clientHello("elsewhere.pypi.org")), false, Refuse, `names "elsewhere.pypi.org", but the address is permitted as pypi.org, files.pypi.org`},
		{"another SNI", 443, string(clientHello("evil.example")), false, Refuse, `names "evil.example"`},
		{"another SNI elsewhere", 5671, string(clientHello("evil.example")), false, Refuse, `names "evil.example"`},
		{"no SNI", 443, string(clientHello("")), false, Refuse, "must begin with TLS or HTTP/1"},
		{"no SNI elsewhere", 5671, string(clientHello("")), false, Permit, ""},
		{"in small records", 443, string(inRecords(hello, 7)), false, Permit, ""},
		{"half a hello", 443, string(hello[:100]), false, Inspect, ""},
		{"half a hello, no more", 443, string(hello[:100]), true, Refuse, "does not end in time"},
		{"half a hello elsewhere, no more", 22, string(hello[:100]), true, Refuse, "does not end in time"},
		{"a TLS alert", 443, "\x15\x03\x01\x00\x02\x01\x00", false, Refuse, "another record"},
		{"half an alert elsewhere", 5671, "\x15\x03\x01", false, Pass, ""},
		// Go's server passes over both.
		{"an alert before the hello elsewhere", 5671, "\x15\x03\x01\x00\x02\x01\x5a" + string(clientHello("evil.example")), false, Refuse, "another record"},
		{"another version of the record elsewhere", 5671, "\x16\x02" + string(clientHello("evil.example")[2:]), false, Refuse, "another record"},
		{"MySQL", 3306, "\x16\x01\x00\x01\x85\xa6\xff\x01", false, Permit, ""},
		{"nothing yet", 443, "", false, Inspect, ""},
		{"nothing at all", 443, "", true, Refuse, "must begin"},
		{"nothing at all elsewhere", 22, "", true, Permit, ""},
		{"ssh", 22, "SSH-2.0-OpenSSH_9\r\n", false, Permit, ""},
		{"ssh at the web's port", 443, "SSH-2.0-OpenSSH_9\r\n", false, Refuse, "must begin"},
		{"PostgreSQL", 5432, "\x00\x00\x00\x08\x04\xd2\x16\x2f", false, Permit, ""},
		{"SMTP", 25, "EHLO me\r\n", false, Permit, ""},
		{"a word that is no method yet", 25, "EHLO", false, Pass, ""},
		{"the same at the web's port", 8080, "EHLO", false, Inspect, ""},
		{"words that are no request yet", 25, "EHLO me http", false, Pass, ""},
		{"words and a version without an end", 8000, "GET / HTTP/1.1", false, Inspect, ""},
		{"lines that end with a bare carriage return", 8000, "GET / HTTP/1.1\rHost: evil.example\r\r", false, Inspect, ""},
		{"a word that never is", 25, "EHLO", true, Permit, ""},
		{"a word in small letters that is no method yet", 25, "ehlo", false, Pass, ""},
		{"LDAP", 389, "0\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00", false, Permit, ""},
		{"NATS", 4222, "CONNECT {\"verbose\":false}\r\n", false, Permit, ""},
		{"a word about HTTP", 70, "about:http/1.1\r\n", false, Permit, ""},
		{"RTSP", 554, "OPTIONS rtsp://x/ RTSP/1.0\r\n", false, Permit, ""},
		{"HTTP", 80, "GET / HTTP/1.1\r\nHost: pypi.org\r\n\r\n", false, Permit, ""},
		{"HTTP with a port", 8080, "GET / HTTP/1.1\r\nhost:PYPI.org:8080 \r\n\r\nbody", false, Permit, ""},
		{"HTTP at 443", 443, "GET / HTTP/1.1\r\nHost: pypi.org\r\n\r\n", false, Permit, ""},
		{"WebDAV", 80, "PROPFIND / HTTP/1.1\r\nHost: pypi.org\r\n\r\n", false, Permit, ""},
		{"HTTP for another host", 80, "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", false, Refuse, `names "evil.example"`},
		{"the same elsewhere", 8000, "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", false, Refuse, `names "evil.example"`},
		// What some servers take: Go's, nginx, Apache, Python's and Squid.
		{"a method in small letters elsewhere", 8000, "get / HTTP/1.1\r\nHost: evil.example\r\n\r\n", false, Refuse, `names "evil.example"`},
		{"a method with an underscore elsewhere", 8000, "G_T / HTTP/1.1\r\nHost: evil.example\r\n\r\n", false, Refuse, `names "evil.example"`},
		{"a method with a digit elsewhere", 8000, "1GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", false, Refuse, `names "evil.example"`},
		{"a long method elsewhere", 8000, strings.Repeat("A", 100) + " / HTTP/1.1\r\nHost: evil.example\r\n\r\n", false, Refuse, `names "evil.example"`},
		{"a long line elsewhere", 8000, "GET /" + strings.Repeat("a", 9000) + " HTTP/1.1\r\nHost: evil.example\r\n\r\n", false, Refuse, `names "evil.example"`},
		{"a longer line elsewhere", 8000, "GET /" + strings.Repeat("a", maxHead), true, Refuse, "does not end within"},
		{"many empty lines elsewhere", 8000, strings.Repeat("\r\n", maxHead/2), true, Refuse, "does not end within"},
		{"tabs elsewhere", 8000, "GET\t/\tHTTP/1.1\r\nHost: evil.example\r\n\r\n", false, Refuse, "malformed"},
		{"tabs behind CONNECT", 3128, "CONNECT\tevil.example:443\tHTTP/1.1\r\n\r\n", false, Refuse, "malformed"},
		{"a space before it elsewhere", 8000, " GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", false, Refuse, "malformed"},
		{"a version in small letters elsewhere", 8000, "GET / http/1.1\r\nHost: evil.example\r\n\r\n", false, Refuse, "malformed"},
		{"an address as host", 80, "GET / HTTP/1.1\r\nHost: 198.51.100.1\r\n\r\n", false, Refuse, "names"},
		{"an IPv6 address as host", 80, "GET / HTTP/1.1\r\nHost: [2001:db8::1]:80\r\n\r\n", false, Refuse, "names"},
		{"no host", 80, "GET / HTTP/1.0\r\n\r\n", false, Refuse, "must begin"},
		{"an empty host", 80, "GET / HTTP/1.1\r\nHost:\r\n\r\n", false, Refuse, "must begin"},
		{"no host elsewhere", 8000, "GET / HTTP/1.0\r\n\r\n", false, Permit, ""},
		{"absolute form", 80, "GET http://pypi.org/x HTTP/1.1\r\nHost: pypi.org\r\n\r\n", false, Permit, ""},
		{"absolute form for another", 80, "GET http://evil.example/x HTTP/1.1\r\nHost: pypi.org\r\n\r\n", false, Refuse, "different servers"},
		{"absolute form of a proxy", 3128, "GET http://evil.example/x HTTP/1.1\r\n\r\n", false, Refuse, `names "evil.example"`},
		{"CONNECT through a proxy", 3128, "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", false, Refuse, "CONNECT"},
		{"a user before the host", 80, "GET http://pypi.org@evil.example/ HTTP/1.1\r\nHost: pypi.org\r\n\r\n", false, Refuse, "no name has"},
		{"a backslash for a slash", 80, "GET http://evil.example\\pypi.org/ HTTP/1.1\r\nHost: pypi.org\r\n\r\n", false, Refuse, "different servers"},
		{"an empty line before it", 80, "\r\nGET / HTTP/1.1\r\nHost: pypi.org\r\n\r\n", false, Refuse, "first line"},
		{"an empty line before it elsewhere", 8000, "\r\n\nGET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", false, Refuse, "malformed"},
		{"an empty line elsewhere", 8000, "\r\n", false, Inspect, ""},
		{"two hosts", 80, "GET / HTTP/1.1\r\nHost: pypi.org\r\nHost: evil.example\r\n\r\n", false, Refuse, "two Host headers"},
		{"a folded line", 80, "GET / HTTP/1.1\r\nX: y\r\n Host: evil.example\r\nHost: pypi.org\r\n\r\n", false, Refuse, "NAME: VALUE"},
		{"a space before the colon", 80, "GET / HTTP/1.1\r\nHost : evil.example\r\nHost: pypi.org\r\n\r\n", false, Refuse, "NAME: VALUE"},
		{"a bare line feed", 80, "GET / HTTP/1.1\nHost: evil.example\n\nHost: pypi.org\r\n\r\n", false, Refuse, "carriage return"},
		{"a bare carriage return", 80, "GET / HTTP/1.1\r\nX: y\rHost: evil.example\r\nHost: pypi.org\r\n\r\n", false, Refuse, "control character"},
		{"a zero byte", 80, "GET / HTTP/1.1\r\nHost: pypi.org\x00.evil.example\r\n\r\n", false, Refuse, "control character"},
		{"half a request", 80, "GET / HTTP/1.1\r\nHost: pypi.org\r\n", false, Inspect, ""},
		{"half a request, no more", 80, "GET / HTTP/1.1\r\nHost: pypi.org\r\n", true, Refuse, "does not end in time"},
		{"HTTP/2 in the clear", 80, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false, Refuse, "must begin"},
		{"HTTP/2 in the clear elsewhere", 50051, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", false, Permit, ""},
		{"HTTP/0.9", 80, "GET /\r\n", false, Refuse, "must begin"},
	} {
		v := e.First(netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), test.port), []byte(test.first), test.last)
		if v.Decision != test.want || !strings.Contains(v.Reason, test.says) {
			t.Errorf("%s: %+v; want %d, %q", test.what, v, test.want, test.says)
		}
	}
}

// However a beginning is cut, it is not permitted before the name has come, and permitted then.
func TestFirstByteByByte(t *testing.T) {
	e, _ := newEngine(t, "pypi.org")
	resolve(t, e, "pypi.org", time.Minute, "198.51.100.1")
	for _, whole := range [][]byte{
		clientHello("pypi.org"), inRecords(clientHello("pypi.org"), 100), inRecords(clientHello("pypi.org"), 1),
		[]byte("POST / HTTP/1.1\r\nA: b\r\nHost: pypi.org\r\n\r\n"),
	} {
		for n := range whole {
			if v := e.First(netip.MustParseAddrPort("198.51.100.1:443"), whole[:n], false); v.Decision != Inspect {
				t.Fatalf("%d of %d bytes: %+v", n, len(whole), v)
			}
		}
		if v := e.First(netip.MustParseAddrPort("198.51.100.1:443"), whole, false); v.Decision != Permit {
			t.Fatalf("%d bytes: %+v", len(whole), v)
		}
	}
}

// sniHello is a ClientHello with the given extensions.
func sniHello(extensions []byte) []byte {
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(body, 0, 0, 2, 0x13, 1, 1, 0, byte(len(extensions)>>8), byte(len(extensions)))
	body = append(body, extensions...)
	message := append([]byte{1, 0, byte(len(body) >> 8), byte(len(body))}, body...)
	return append([]byte{22, 3, 1, byte(len(message) >> 8), byte(len(message))}, message...)
}

func TestServerNameIsTakenInOneWay(t *testing.T) {
	sni := "\x00\x00\x00\x0d\x00\x0b\x00\x00\x08pypi.org"
	if name, err := serverName(sniHello([]byte(sni))); name != "pypi.org" || err != nil {
		t.Fatalf("%q, %v", name, err)
	}
	long := sniHello([]byte(sni))
	long[6] = 1 // 64 KiB and more
	follows := sniHello([]byte(sni))
	follows[4]++
	follows = append(follows, 0)
	interrupted := append(bytes.Clone(inRecords(sniHello([]byte(sni)), 20)[:25]), 20, 3, 1, 0, 1, 1)
	for what, b := range map[string][]byte{
		"twice":                sniHello([]byte(sni + sni)),
		"two names":            sniHello([]byte("\x00\x00\x00\x12\x00\x10\x00\x00\x05a.org\x00\x00\x05b.org")),
		"another kind of name": sniHello([]byte("\x00\x00\x00\x0d\x00\x0b\x01\x00\x08pypi.org")),
		"an empty name":        sniHello([]byte("\x00\x00\x00\x05\x00\x03\x00\x00\x00")),
		"an empty list":        sniHello([]byte("\x00\x00\x00\x02\x00\x00")),
		"a rest in it":         sniHello([]byte("\x00\x00\x00\x0e\x00\x0b\x00\x00\x08pypi.org\x00")),
		"half an extension":    sniHello([]byte(sni + "\x00\x10\x00")),
		"too long":             long,
		"more in its record":   follows,
		"another record":       interrupted,
		"an empty record":      {22, 3, 1, 0, 0},
		"a ServerHello":        {22, 3, 1, 0, 4, 2, 0, 0, 0},
	} {
		if name, err := serverName(b); err == nil || err == errMore {
			t.Errorf("%s: %q, %v", what, name, err)
		}
	}
}

func FuzzFirst(f *testing.F) {
	hello := clientHello("pypi.org")
	f.Add(hello)
	f.Add(inRecords(hello, 50))
	f.Add([]byte("GET http://pypi.org/ HTTP/1.1\r\nHost: pypi.org:80\r\nA: b\r\n\r\n"))
	f.Add([]byte("CONNECT [::1]:443 HTTP/1.1\r\n\r\n"))
	p, _ := Parse("pypi.org")
	c := clock{time.Unix(1000, 0)}
	e := New(Config{Policy: p, Now: c.Now})
	to := netip.MustParseAddrPort("198.51.100.1:443")
	e.Answer("pypi.org", []netip.Addr{to.Addr()}, time.Hour)
	f.Fuzz(func(t *testing.T, b []byte) {
		v := e.First(to, b, false)
		last := e.First(to, b, true)
		if last.Decision == Inspect || last.Decision == Pass || last.Decision == NoData {
			t.Fatalf("the last bytes are not decided on: %+v", last)
		}
		// What is permitted stays so with more bytes, and has the name in it.
		if more := e.First(to, append(bytes.Clone(b), 'x'), false); v.Decision == Permit && more.Decision != Permit {
			t.Fatalf("%+v, and with more %+v", v, more)
		}
		if v.Decision != Permit {
			return
		}
		if tls, _ := looksLikeTLS(b); !tls && !bytes.Contains(bytes.ToLower(b), []byte("pypi.org")) {
			t.Fatalf("permitted without the name: %+v", v)
		}
	})
}
