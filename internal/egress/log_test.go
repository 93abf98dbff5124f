package egress

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestLogText(t *testing.T) {
	c := &clock{time.Unix(1000, 0)}
	var b bytes.Buffer
	l := NewLog(&b, false, c.Now)
	l.Refused(Refusal{PID: 7, Command: "cu\x1b[31mrl\n", Protocol: "tcp", Name: "evil.example", Address: netip.MustParseAddrPort("198.51.100.1:443"), Rule: "good.example:443", Reason: "no"})
	l.Refused(Refusal{Protocol: "dns", Name: "a\r\nb\u202e", Reason: "no rule"})
	l.Refused(Refusal{Protocol: "icmp", Address: netip.MustParseAddrPort("[2001:db8::1]:0"), Reason: "no"})
	want := `coffer: egress refused: cu\x1b[31mrl\n (pid 7) tcp 198.51.100.1:443 (evil.example): no (rule good.example:443)
coffer: egress refused: dns (a\r\nb\u202e): no rule
coffer: egress refused: icmp 2001:db8::1: no
`
	if b.String() != want {
		t.Errorf("%s\nwant\n%s", b.String(), want)
	}
}

func TestLogJSON(t *testing.T) {
	c := &clock{time.Unix(1000, 0)}
	var b bytes.Buffer
	l := NewLog(&b, true, c.Now)
	l.Refused(Refusal{PID: 7, Command: "a\nb\xff", Protocol: "tcp", Address: netip.MustParseAddrPort("198.51.100.1:443"), Rule: "10.0.0.0/8", Reason: "no"})
	var got map[string]any
	if err := json.Unmarshal(b.Bytes(), &got); err != nil || strings.Count(b.String(), "\n") != 1 {
		t.Fatalf("%q: %v", b.String(), err)
	}
	want := map[string]any{"time": "1970-01-01T00:16:40Z", "pid": 7.0, "command": "a\nb\uFFFD", "protocol": "tcp", "address": "198.51.100.1", "port": 443.0, "rule": "10.0.0.0/8", "reason": "no"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v", got)
	}
}

func TestLogRate(t *testing.T) {
	c := &clock{time.Unix(1000, 0)}
	var b bytes.Buffer
	l := NewLog(&b, false, c.Now)
	for i := range logBurst + 5 {
		l.Refused(Refusal{Protocol: "tcp", PID: int32(i % 2), Reason: "no"})
	}
	if n := strings.Count(b.String(), "\n"); n != logBurst {
		t.Fatalf("%d lines at once", n)
	}
	b.Reset()
	c.now = c.now.Add(logEvery)
	l.Refused(Refusal{Protocol: "icmp", Reason: "no"})
	l.Refused(Refusal{Protocol: "udp", Reason: "no"})
	l.Close()
	if want := "coffer: egress: 5 more refusals\ncoffer: egress refused: icmp: no\ncoffer: egress: 1 more refusals\n"; b.String() != want {
		t.Errorf("%q", b.String())
	}
	c.now = c.now.Add(time.Hour)
	b.Reset()
	for i := range logBurst + 5 {
		l.Refused(Refusal{Protocol: "tcp", PID: int32(i % 2), Reason: "no"})
	}
	if n := strings.Count(b.String(), "\n"); n != logBurst {
		t.Fatalf("%d lines at once after an hour", n)
	}
}

// What is refused again at once is a line of its own only for programs.
func TestLogRepeats(t *testing.T) {
	for json, want := range map[bool]int{false: 2, true: 4} {
		c := &clock{time.Unix(1000, 0)}
		var b bytes.Buffer
		l := NewLog(&b, json, c.Now)
		for range 3 {
			l.Refused(Refusal{Protocol: "dns", Name: "a.example", Reason: "no"})
		}
		c.now = c.now.Add(repeatTime)
		l.Refused(Refusal{Protocol: "dns", Name: "a.example", Reason: "no"})
		l.Close()
		if n := strings.Count(b.String(), "\n"); n != want {
			t.Errorf("%d lines, json is %v", n, json)
		}
	}
}

func TestQuestion(t *testing.T) {
	for _, q := range []Question{
		{ID: 1 << 40, Protocol: 6, From: netip.MustParseAddrPort("10.0.2.15:4000"), To: netip.MustParseAddrPort("198.51.100.1:443"), PID: 7, Command: "curl"},
		{Protocol: 17, From: netip.MustParseAddrPort("[::]:0"), To: netip.MustParseAddrPort("[2001:db8::1]:53"), PID: -1, Command: "fifteen bytes.."},
	} {
		got, err := ParseQuestion(q.Append(nil))
		if err != nil || got != q {
			t.Errorf("%+v became %+v, %v", q, got, err)
		}
	}
	for _, r := range []Reply{{ID: 5, Permitted: true}, {ID: 1 << 60}} {
		if got, err := ParseReply(r.Append(nil)); err != nil || got != r {
			t.Errorf("%+v became %+v, %v", r, got, err)
		}
	}
	if _, err := ParseReply(make([]byte, replyLen-1)); err == nil {
		t.Error("half a reply is taken")
	}
}

func FuzzQuestion(f *testing.F) {
	q := Question{ID: 1, Protocol: 6, To: netip.MustParseAddrPort("198.51.100.1:443"), Command: "curl"}
	f.Add(q.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := ParseQuestion(b)
		if err == nil && (!q.To.IsValid() || len(q.Command) > 3*maxCommand || len(q.Append(nil)) != len(b)) {
			t.Fatalf("%+v", q)
		}
	})
}
