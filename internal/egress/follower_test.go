package egress

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"
)

var toSite = netip.MustParseAddrPort("198.51.100.1:80")

// followed returns who follows a connection to pypi.org.
func followed(t testing.TB, first []byte) *Follower {
	p, err := Parse("pypi.org, *.pypi.org, 198.51.100.2")
	if err != nil {
		t.Fatal(err)
	}
	c := clock{time.Unix(1000, 0)}
	e := New(Config{Policy: p, Now: c.Now})
	e.Answer("pypi.org", []netip.Addr{toSite.Addr()}, time.Hour)
	e.Answer("files.pypi.org", []netip.Addr{toSite.Addr()}, time.Hour)
	return e.Follow(toSite, first)
}

const (
	getFirst = "GET / HTTP/1.1\r\nHost: pypi.org\r\n\r\n"
	getEvil  = "GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"
	upgrade  = "GET / HTTP/1.1\r\nHost: pypi.org\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
)

func TestRequests(t *testing.T) {
	for _, test := range []struct{ what, sent, says string }{
		{"one", getFirst, ""},
		{"several", getFirst + getFirst + "GET / HTTP/1.1\r\nHost: files.pypi.org:80\r\n\r\n", ""},
		{"another host later", getFirst + getEvil, `names "evil.example"`},
		{"no host later", getFirst + "GET / HTTP/1.0\r\n\r\n", "must begin"},
		{"with a length", "POST / HTTP/1.1\r\nHost: pypi.org\r\nContent-Length: 5\r\n\r\nhello" + getFirst, ""},
		{"a request within a content", "POST / HTTP/1.1\r\nHost: pypi.org\r\nContent-Length: 38\r\n\r\n" + getEvil + getFirst, ""},
		{"behind a content", "POST / HTTP/1.1\r\nHost: pypi.org\r\nContent-Length: 5\r\n\r\nhello" + getEvil, `names "evil.example"`},
		{"a content of nothing", "POST / HTTP/1.1\r\nHost: pypi.org\r\nContent-Length: 0\r\n\r\n" + getEvil, `names "evil.example"`},
		{"chunked", "POST / HTTP/1.1\r\nHost: pypi.org\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\nA \r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n" + getFirst, ""},
		{"behind chunks", "POST / HTTP/1.1\r\nHost: pypi.org\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + getEvil, `names "evil.example"`},
		{"a chunk that is longer", "POST / HTTP/1.1\r\nHost: pypi.org\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n", "longer than it says"},
		{"a chunk without a size", "POST / HTTP/1.1\r\nHost: pypi.org\r\nTransfer-Encoding: chunked\r\n\r\n\r\n", "size of a chunk"},
		{"a chunk of a negative size", "POST / HTTP/1.1\r\nHost: pypi.org\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n", "size of a chunk"},
		{"a chunk's bare line feed", "POST / HTTP/1.1\r\nHost: pypi.org\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n", "does not end"},
		{"an endless line", "POST / HTTP/1.1\r\nHost: pypi.org\r\nTransfer-Encoding: chunked\r\n\r\n5;" + strings.Repeat("x", maxLine), "too long"},
		{"two lengths", "POST / HTTP/1.1\r\nHost: pypi.org\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", "two Content-Length"},
		{"length and coding", "POST / HTTP/1.1\r\nHost: pypi.org\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "both a length"},
		{"another coding", "POST / HTTP/1.1\r\nHost: pypi.org\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "not chunked"},
		{"a length that is none", "POST / HTTP/1.1\r\nHost: pypi.org\r\nContent-Length: +5\r\n\r\n", "not a number"},
		{"a length of several", "POST / HTTP/1.1\r\nHost: pypi.org\r\nContent-Length: 5, 5\r\n\r\n", "not a number"},
		{"an empty length", "POST / HTTP/1.1\r\nHost: pypi.org\r\nContent-Length:\r\n\r\n", "not a number"},
		{"a length of too much", "POST / HTTP/1.1\r\nHost: pypi.org\r\nContent-Length: 9223372036854775808\r\n\r\n", "not a number"},
		{"a WebSocket", upgrade + "\x81\x85\x01\x02\x03\x04hello" + getFirst, ""},
		{"a request behind an upgrade that is declined", upgrade + getEvil, "no frame of WebSocket"},
		{"an empty line and a request behind it", upgrade + "\r\n" + getEvil, "no frame of WebSocket"},
		{"a request behind an upgrade with a content", "GET / HTTP/1.1\r\nHost: pypi.org\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\n\x81\x80" + getEvil, "no frame of WebSocket"},
		{"an upgrade with chunks", "GET / HTTP/1.1\r\nHost: pypi.org\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n\x81\x80", "both an upgrade"},
		{"HTTP/2 behind an upgrade", "GET / HTTP/1.1\r\nHost: pypi.org\r\nUpgrade: h2c\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "first line"},
		{"CONNECT to itself", "CONNECT pypi.org:443 HTTP/1.1\r\nHost: pypi.org:443\r\n\r\n" + getEvil, "CONNECT"},
		{"chunks in HTTP/1.0", "POST / HTTP/1.0\r\nHost: pypi.org\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.0"},
		{"a header with a control character", "POST / HTTP/1.1\r\nHost: pypi.org\r\nContent-Length\x0b: 5\r\n\r\n", "NAME: VALUE"},
		{"a head without end", getFirst + "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", maxHead), "too long"},
		{"no method", getFirst + " / HTTP/1.1\r\nHost: pypi.org\r\n\r\n", "first line"},
		{"rubbish", getFirst + "rubbish\r\n\r\n", "first line"},
	} {
		for _, size := range []int{1, 2, 7, len(test.sent)} {
			r := followed(t, []byte(getFirst))
			var out []byte
			var v Verdict
			for rest := []byte(test.sent); len(rest) > 0; {
				n := min(size, len(rest))
				var pass []byte
				pass, v = r.Next(rest[:n:n])
				out = append(out, pass...)
				rest = rest[n:]
				if v.Decision != Permit {
					break
				}
			}
			switch {
			case test.says == "" && (v.Decision != Permit || string(out) != test.sent):
				t.Errorf("%s, %d at once: %+v, and %q has passed", test.what, size, v, out)
			case test.says != "" && (v.Decision != Refuse || !strings.Contains(v.Reason, test.says)):
				t.Errorf("%s, %d at once: %+v; want %q", test.what, size, v, test.says)
			case test.says != "" && bytes.Contains(out, []byte("evil")):
				t.Errorf("%s, %d at once: %q has passed", test.what, size, out)
			}
			if test.says != "" {
				if pass, again := r.Next([]byte(getFirst)); len(pass) > 0 || again.Decision != Refuse {
					t.Errorf("%s: after the refusal %q has passed", test.what, pass)
				}
			}
		}
	}
}

func TestWhoIsFollowed(t *testing.T) {
	for first, want := range map[string]bool{getFirst: true, "SSH-2.0-x\r\n": false, "": false, string(clientHello("pypi.org")): true} {
		if r := followed(t, []byte(first)); (r != nil) != want {
			t.Errorf("%.20q: %v", first, r)
		}
	}
	p, _ := Parse("198.51.100.2")
	e := New(Config{Policy: p, Now: time.Now})
	if r := e.Follow(netip.MustParseAddrPort("198.51.100.2:80"), []byte(getFirst)); r != nil {
		t.Error("what is permitted by address is followed")
	}
}

// What is permitted only by names that hold no longer is refused, not left alone.
func TestFollowedTooLate(t *testing.T) {
	e, c := newEngine(t, "pypi.org")
	resolve(t, e, "pypi.org", time.Minute, toSite.Addr().String())
	if v := e.First(toSite, []byte(getFirst), false); v.Decision != Permit {
		t.Fatalf("%+v", v)
	}
	c.now = c.now.Add(time.Hour)
	r := e.Follow(toSite, []byte(getFirst))
	if r == nil {
		t.Fatal("it is not followed")
	}
	if pass, v := r.Next([]byte(getFirst)); len(pass) > 0 || v.Decision != Refuse || r.Over() {
		t.Errorf("%q has passed: %+v", pass, v)
	}
}

func TestOver(t *testing.T) {
	for _, test := range []struct {
		what, sent string
		over       bool
	}{
		{"a request", getFirst, false},
		{"a WebSocket", upgrade + "\x81\x85", true},
		{"what is refused behind a WebSocket", upgrade + getEvil, false},
	} {
		r := followed(t, []byte(getFirst))
		r.Next([]byte(test.sent))
		if r.Over() != test.over {
			t.Errorf("%s: %v", test.what, r.Over())
		}
	}
}

func FuzzRequests(f *testing.F) {
	f.Add([]byte(getFirst+getFirst), 5)
	f.Add([]byte("POST / HTTP/1.1\r\nHost: pypi.org\r\nTransfer-Encoding: chunked\r\n\r\n5;x\r\nhello\r\n0\r\n\r\n"+getEvil), 3)
	f.Add([]byte("POST / HTTP/1.1\r\nHost: pypi.org\r\nContent-Length: 3\r\n\r\nabc"+getEvil), 100)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		if size <= 0 {
			size = 1
		}
		send := func(size int) (out []byte, refused bool) {
			r := followed(t, []byte(getFirst))
			for rest := bytes.Clone(b); len(rest) > 0; {
				n := min(size, len(rest))
				pass, v := r.Next(rest[:n:n])
				out = append(out, pass...)
				rest = rest[n:]
				if len(r.held) > maxHead+size+maxLine {
					t.Fatalf("%d bytes are held", len(r.held))
				}
				if v.Decision != Permit {
					return out, true
				}
			}
			return out, false
		}
		// How it is cut has no influence, but on how much has passed before a refusal.
		whole, refused := send(len(b) + 1)
		parts, refusedToo := send(size)
		if !bytes.HasPrefix(b, parts) || refused != refusedToo || !refused && !bytes.Equal(whole, parts) {
			t.Fatalf("at once %q, %v; in parts %q, %v", whole, refused, parts, refusedToo)
		}
	})
}
