package egress

import (
	"bytes"
	"strings"
	"testing"
)

// record is a record of TLS.
func record(kind byte, body string) string {
	return string([]byte{kind, 3, 3, byte(len(body) >> 8), byte(len(body))}) + body
}

// earlyHello is a ClientHello to pypi.org with early data.
var earlyHello = sniHello([]byte("\x00\x00\x00\x0d\x00\x0b\x00\x00\x08pypi.org\x00\x2a\x00\x00"))

func TestHellos(t *testing.T) {
	first, evil := string(clientHello("pypi.org")), string(clientHello("evil.example"))
	change, data, encrypted := record(recordCipher, "\x01"), record(recordData, strings.Repeat("x", 100)), record(recordHandshake, strings.Repeat("x", 40))
	for _, test := range []struct {
		what, sent, says string
		over             bool
	}{
		{"nothing more", first, "", false},
		{"TLS 1.3", first + change + data + evil, "", true},
		{"TLS 1.2", first + record(recordHandshake, "\x10\x00\x00\x21"+strings.Repeat("x", 33)) + change + encrypted + data, "", true},
		{"TLS 1.2, a session again", first + change + encrypted + data, "", true},
		{"a second hello", first + first + change + data, "", true},
		{"a second hello of another name of the address", first + change + string(clientHello("files.pypi.org")) + data, "", true},
		{"a second hello of another name", first + evil, `second TLS ClientHello names "evil.example"`, false},
		{"the same behind a change of ciphers and an alert", first + change + record(recordAlert, "\x01\x5a") + evil, `names "evil.example"`, false},
		{"the same in small records", first + string(inRecords([]byte(evil), 1)), `names "evil.example"`, false},
		{"a third hello of another name", first + first + evil, `names "evil.example"`, false},
		{"the same behind early data", string(earlyHello) + change + data + data + evil, `names "evil.example"`, false},
		{"a second hello of no name", first + string(clientHello("")), "must begin", false},
		{"a second hello that is too long", first + record(recordHandshake, "\x01\x00\x7f\xff"+strings.Repeat("x", 1<<14)), "too long", false},
		{"the same, much too long", first + strings.Repeat(record(recordHandshake, "\x01\x02\x00\x00"+strings.Repeat("x", 9000)), 2), "too long", false},
		{"one that is longer than any server takes", first + record(recordHandshake, "\x01\x03\x00\x00"+strings.Repeat("x", 100)), "", true},
		{"one with something behind it", first + record(recordHandshake, evil[5:]+"x"), "something follows", false},
		{"the same around a change of ciphers", first + record(recordHandshake, evil[5:35]) + change + record(recordHandshake, evil[35:]), `names "evil.example"`, false},
		// Of encrypted messages the first bytes can be anything.
		{"TLS 1.2, a session again, like a hello", first + change + record(recordHandshake, "\x01\x00\x12"+strings.Repeat("x", 37)) + data, "", true},
		{"the same, like a long one", first + change + record(recordHandshake, "\x01\x02\x00"+strings.Repeat("x", 37)) + data, "", true},
		{"the same, like one in a record", first + change + record(recordHandshake, "\x01\x00\x00\x03"+strings.Repeat("x", 36)) + data, "", true},
		{"the same, ended at once", first + change + record(recordHandshake, "\x01\x00\x12"+strings.Repeat("x", 37)) + record(recordAlert, strings.Repeat("x", 26)), "", false},
		{"the same, and the server is to speak", first + change + record(recordHandshake, "\x01\x00\x12"+strings.Repeat("x", 37)), "", false},
		{"no record", first + getEvil, "no record of TLS", false},
		{"an empty record", first + record(recordCipher, "") + evil, "no record of TLS", false},
	} {
		for _, size := range []int{1, 7, len(test.sent)} {
			r := followed(t, []byte(test.sent))
			if r == nil {
				t.Fatalf("%s is not followed", test.what)
			}
			r.port = 443
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
				t.Errorf("%s, %d at once: %+v, and %d of %d bytes have passed", test.what, size, v, len(out), len(test.sent))
			case test.says != "" && (v.Decision != Refuse || !strings.Contains(v.Reason, test.says) || bytes.Contains(out, []byte("evil"))):
				t.Errorf("%s, %d at once: %+v; want %q", test.what, size, v, test.says)
			}
			if r.Over() != test.over {
				t.Errorf("%s, %d at once: over is %v", test.what, size, r.Over())
			}
		}
	}
}

func FuzzHellos(f *testing.F) {
	evil := clientHello("evil.example")
	f.Add(append([]byte(record(recordCipher, "\x01")), evil...), 1)
	f.Add(inRecords(evil, 100), 50)
	f.Add([]byte(record(recordCipher, "\x01")+record(recordData, "abc")), 3)
	f.Fuzz(func(t *testing.T, b []byte, size int) {
		send := func(size int) (out []byte, refused bool) {
			r := followed(t, earlyHello)
			r.Next(earlyHello)
			for rest := bytes.Clone(b); len(rest) > 0; {
				n := min(max(size, 1), len(rest))
				pass, v := r.Next(rest[:n:n])
				out, rest = append(out, pass...), rest[n:]
				if held := len(r.held) + len(r.hello); held > recordHeaderLen+maxEncrypted+maxHello {
					t.Fatalf("%d bytes are held", held)
				}
				if v.Decision != Permit {
					return out, true
				}
			}
			return out, false
		}
		whole, refused := send(len(b))
		parts, refusedToo := send(size)
		if !bytes.HasPrefix(b, parts) || refused != refusedToo || !refused && !bytes.Equal(whole, parts) {
			t.Fatalf("at once %q, %v; in parts %q, %v", whole, refused, parts, refusedToo)
		}
	})
}
