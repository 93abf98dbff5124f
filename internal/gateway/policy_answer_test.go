package gateway

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// record is a resource record: "a.example. 60 A 198.51.100.1" in parts.
type record struct {
	owner string
	ttl   uint32
	data  any // netip.Addr, or a string for a CNAME
}

func packAnswer(t testing.TB, name string, records ...record) []byte {
	t.Helper()
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{Response: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	for _, r := range records {
		h := dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName(r.owner), Class: dnsmessage.ClassINET, TTL: r.ttl}
		var body dnsmessage.ResourceBody
		switch d := r.data.(type) {
		case string:
			body = &dnsmessage.CNAMEResource{CNAME: dnsmessage.MustNewName(d)}
		case netip.Addr:
			if d.Is4() {
				body = &dnsmessage.AResource{A: d.As4()}
			} else {
				body = &dnsmessage.AAAAResource{AAAA: d.As16()}
			}
		}
		m.Answers = append(m.Answers, dnsmessage.Resource{Header: h, Body: body})
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnsweredAddresses(t *testing.T) {
	a1, a2 := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8::1")
	var long []record
	for i := range maxChain + 2 {
		long = append(long, record{fmt.Sprintf("n%d.", i), 60, fmt.Sprintf("n%d.", i+1)})
	}
	var many []record
	for range maxAddresses + 1 {
		many = append(many, record{"a.example.", 60, a1})
	}
	for _, test := range []struct {
		what    string
		name    string
		records []record
		want    []netip.Addr
		ttl     time.Duration
		fails   bool
	}{
		{"directly", "a.example", []record{{"A.example.", 60, a1}, {"a.example.", 30, a2}}, []netip.Addr{a1, a2}, 30 * time.Second, false},
		{"through aliases, in any order", "a.example", []record{{"c.net.", 60, a1}, {"b.example.", 5, "C.net."}, {"a.example.", 60, "b.example."}}, []netip.Addr{a1}, 5 * time.Second, false},
		{"none", "a.example", nil, nil, (1<<31 - 1) * time.Second, false},
		{"of another name", "a.example", []record{{"a.example.", 60, a1}, {"b.example.", 60, a2}}, nil, 0, true},
		{"of a name that is an alias of ours", "a.example", []record{{"b.example.", 60, "a.example."}, {"b.example.", 60, a2}}, nil, 0, true},
		{"two aliases", "a.example", []record{{"a.example.", 60, "b.example."}, {"a.example.", 60, "c.example."}, {"c.example.", 60, a2}}, nil, 0, true},
		{"in a circle", "a.example", []record{{"a.example.", 60, "b.example."}, {"b.example.", 60, "a.example."}}, nil, 60 * time.Second, false},
		{"through too many aliases", "n0", long, nil, 0, true},
		{"too many", "a.example", many, nil, 0, true},
	} {
		got, ttl, err := answeredAddresses(test.name, packAnswer(t, "a.example.", test.records...))
		if (err != nil) != test.fails || !slices.Equal(got, test.want) || ttl != test.ttl {
			t.Errorf("%s: %v, %v, %v", test.what, got, ttl, err)
		}
	}
}

func FuzzAnsweredAddresses(f *testing.F) {
	f.Add(packAnswer(f, "a.example.", record{"a.example.", 5, "b.example."}, record{"b.example.", 60, netip.MustParseAddr("198.51.100.1")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		addresses, ttl, err := answeredAddresses("a.example", b)
		if err == nil && (len(addresses) > maxAddresses || ttl < 0) {
			t.Fatalf("%d addresses for %v", len(addresses), ttl)
		}
	})
}

// Nothing but the name and the type leaves with a question.
func TestPlainQuery(t *testing.T) {
	q := dnsmessage.Question{Name: dnsmessage.MustNewName("a.example."), Type: dnsmessage.TypeAAAA, Class: dnsmessage.ClassINET}
	secret := []byte("secret")
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, RecursionDesired: true, CheckingDisabled: true},
		Questions: []dnsmessage.Question{q},
		Answers:   []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class}, Body: &dnsmessage.TXTResource{TXT: []string{string(secret)}}}},
		Additionals: []dnsmessage.Resource{{
			Header: dnsmessage.ResourceHeader{Name: dnsmessage.MustNewName("."), Type: dnsmessage.TypeOPT, Class: 4096},
			Body:   &dnsmessage.OPTResource{Options: []dnsmessage.Option{{Code: 8, Data: secret}}},
		}},
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	plain, err := plainQuery(append(b, secret...))
	if err != nil || bytes.Contains(plain, secret) {
		t.Fatalf("%q, %v", plain, err)
	}
	var got dnsmessage.Message
	if err := got.Unpack(plain); err != nil {
		t.Fatal(err)
	}
	if len(got.Additionals) != 1 || got.Additionals[0].Header.Class != plainSize {
		t.Errorf("options: %+v", got.Additionals)
	}
	if got.ID != 7 || len(got.Questions) != 1 || got.Questions[0] != q || got.CheckingDisabled || !got.RecursionDesired || len(got.Answers)+len(got.Authorities) != 0 {
		t.Errorf("%+v", got)
	}
}

// Who offers no long datagrams has none offered in his name.
func TestPlainQueryWithoutOptions(t *testing.T) {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: 7, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName("a.example."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := plainQuery(b); err != nil || !bytes.Equal(plain, b) {
		t.Errorf("%q became %q, %v", b, plain, err)
	}
}

func FuzzPlainQuery(f *testing.F) {
	f.Add(packAnswer(f, "a.example.", record{"a.example.", 5, "b.example."}))
	f.Fuzz(func(t *testing.T, b []byte) {
		plain, err := plainQuery(b)
		if err != nil {
			return
		}
		again, err := plainQuery(plain)
		if err != nil || !bytes.Equal(plain, again) {
			t.Fatalf("%q became %q, %v", plain, again, err)
		}
	})
}
