package egress

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// clock is one that tests move.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

var (
	resolver = netip.MustParseAddr("10.0.2.3")
	host     = netip.MustParsePrefix("192.168.7.5/24")
)

func newEngine(t *testing.T, rules string, hosts ...Host) (*Engine, *clock) {
	t.Helper()
	p, err := Parse(rules)
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{time.Unix(1000, 0)}
	e := New(Config{Policy: p, Resolvers: []netip.Addr{resolver}, Hosts: hosts, Now: c.Now})
	e.SetHost([]netip.Prefix{host, netip.MustParsePrefix("2001:db8:7::5/64")}, []netip.Prefix{netip.MustParsePrefix("203.0.112.0/24")})
	return e, c
}

func resolve(t *testing.T, e *Engine, name string, ttl time.Duration, addrs ...string) {
	t.Helper()
	var as []netip.Addr
	for _, a := range addrs {
		as = append(as, netip.MustParseAddr(a))
	}
	if v := e.Answer(name, as, ttl); v.Decision != Permit {
		t.Fatalf("an answer for %s is refused: %s", name, v.Reason)
	}
}

func TestFlow(t *testing.T) {
	const rules = "pypi.org:443, *.debian.org:80,443, ssh.example:22, dns.example:53/udp, ping.example/icmp, all.example, " +
		"10.0.0.0/8:5432, [2001:db8::]/32:443, 169.254.0.0/16, 192.168.7.5:8000, [64:ff9b::a00:0]/104:5432"
	e, _ := newEngine(t, rules)
	resolve(t, e, "pypi.org", time.Minute, "198.51.100.1", "2001:db9::1", "169.254.169.254", "127.0.0.1", "192.168.7.5", "10.0.0.9", "::ffff:198.51.100.77")
	resolve(t, e, "ftp.debian.org", time.Minute, "198.51.100.2")
	resolve(t, e, "ssh.example", time.Minute, "198.51.100.3")
	resolve(t, e, "dns.example", time.Minute, "198.51.100.4")
	resolve(t, e, "ping.example", time.Minute, "198.51.100.5")
	resolve(t, e, "all.example", time.Minute, "198.51.100.6")
	for _, test := range []struct {
		proto Protocol
		to    string
		want  Decision
		says  string // of the rule or the reason
	}{
		{TCP, "198.51.100.1:443", Inspect, "pypi.org:443"},
		{TCP, "[2001:db9::1]:443", Inspect, "pypi.org:443"},
		{TCP, "198.51.100.77:443", Inspect, "pypi.org:443"},
		{TCP, "[::ffff:198.51.100.1]:443", Inspect, "pypi.org:443"},
		{TCP, "198.51.100.1:80", Refuse, "no rule permits tcp port 80 of pypi.org"},
		{UDP, "198.51.100.1:443", Refuse, "no rule permits udp port 443"},
		{ICMP, "198.51.100.1:0", Refuse, "no rule permits icmp of pypi.org"},
		{TCP, "198.51.100.2:80", Inspect, "*.debian.org:80,443"},
		{TCP, "198.51.100.3:22", Inspect, "ssh.example:22"},
		{UDP, "198.51.100.4:53", Permit, "dns.example:53/udp"},
		{TCP, "198.51.100.4:53", Refuse, "no rule permits tcp port 53"},
		{ICMP, "198.51.100.5:0", Permit, "ping.example/icmp"},
		{UDP, "198.51.100.6:443", Refuse, "QUIC"},
		{UDP, "198.51.100.6:444", Permit, "all.example"},
		{ICMP, "198.51.100.6:0", Permit, "all.example"},
		{TCP, "198.51.100.99:443", Refuse, "no permitted name has resolved to it"},
		{TCP, "10.1.2.3:5432", Permit, "10.0.0.0/8:5432"},
		{TCP, "10.1.2.3:5433", Refuse, "no rule permits tcp port 5433 of this address"},
		{TCP, "10.0.0.9:443", Inspect, "pypi.org:443"},
		{TCP, "[2001:db8::1]:443", Permit, "[2001:db8::]/32:443"},
		// Guarded addresses, whatever resolves there and whatever prefix is around them.
		{TCP, "169.254.1.1:80", Permit, "169.254.0.0/16"},
		{TCP, "169.254.169.254:443", Refuse, "metadata"},
		{TCP, "127.0.0.1:443", Refuse, "loopback"},
		{TCP, "192.168.7.5:443", Refuse, "the host's own"},
		{TCP, "203.0.112.9:443", Refuse, "the host's own"},
		{TCP, "192.168.7.5:8000", Permit, "192.168.7.5:8000"},
		{UDP, "192.168.7.255:9", Refuse, "broadcast"},
		{TCP, "[2001:db8:7::5]:443", Refuse, "the host's own"},
		{TCP, "[64:ff9b::a9fe:a9fe]:443", Refuse, "metadata service (translated"},
		{TCP, "[::ffff:0:a9fe:a9fe]:443", Refuse, "metadata service (translated"},
		{TCP, "[64:ff9b::a01:203]:5432", Permit, "[64:ff9b::a00:0]/104"},
		{TCP, "[2002:7f00:1::]:443", Refuse, "loopback address (translated"},
		{TCP, "[fe80::1%eth0]:443", Refuse, "link-local"},
		{UDP, "224.0.0.251:5353", Refuse, "multicast"},
		{TCP, "0.0.0.0:443", Refuse, "the host itself"},
		{TCP, "[::]:443", Refuse, "the host itself"},
		// Our resolver, and another.
		{UDP, "10.0.2.3:53", Permit, ""},
		{TCP, "10.0.2.3:53", Permit, ""},
		{TCP, "10.0.2.3:54", Refuse, "no rule"},
		{ICMP, "10.0.2.3:53", Refuse, "no rule"},
		{UDP, "198.51.100.53:53", Refuse, "no rule"},
		{0, "10.1.2.3:5432", Refuse, "only TCP, UDP and ping"},
	} {
		v := e.Flow(test.proto, netip.MustParseAddrPort(test.to))
		text := v.Rule
		if v.Decision == Refuse {
			text = v.Reason
		}
		if v.Decision != test.want || !strings.Contains(text, test.says) {
			t.Errorf("%s %s: %d, %q; want %d, %q", test.proto, test.to, v.Decision, text, test.want, test.says)
		}
	}
}

// TestNearestRule: what is refused is told with the rule that comes nearest.
func TestNearestRule(t *testing.T) {
	e, c := newEngine(t, "10.0.0.0/8:5432, 10.0.0.0/16:80, *.debian.org:80,443, *.org:22, late.example:443, udp.example")
	resolve(t, e, "ftp.debian.org", time.Hour, "198.51.100.2", "127.0.0.1")
	resolve(t, e, "late.example", time.Minute, "198.51.100.3")
	resolve(t, e, "udp.example", time.Hour, "198.51.100.4")
	c.now = c.now.Add(30 * time.Minute)
	for _, test := range []struct {
		proto    Protocol
		to, want string
	}{
		{TCP, "10.0.0.1:22", "10.0.0.0/8:5432"},
		{TCP, "11.0.0.1:22", ""},
		{TCP, "198.51.100.2:25", "*.debian.org:80,443"},
		{UDP, "198.51.100.2:22", "*.debian.org:80,443"},
		{TCP, "127.0.0.1:22", "*.org:22"},
		{TCP, "198.51.100.3:443", "late.example:443"},
		{UDP, "198.51.100.4:443", "udp.example"},
	} {
		if v := e.Flow(test.proto, netip.MustParseAddrPort(test.to)); v.Decision != Refuse || v.Rule != test.want {
			t.Errorf("%s %s: %d, rule %q, want %q", test.proto, test.to, v.Decision, v.Rule, test.want)
		}
	}
	if v := e.Name("ftp.debian.org", 16, ClassINET); v.Decision != Refuse || v.Rule != "*.org:22" {
		t.Errorf("a record of type TXT is %d, rule %q", v.Decision, v.Rule)
	}
	if v := e.First(netip.MustParseAddrPort("198.51.100.2:443"), []byte("GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n"), false); v.Decision != Refuse || v.Rule != "*.debian.org:80,443" {
		t.Errorf("another host is %d, rule %q", v.Decision, v.Rule)
	}
}

func TestFlowWithoutAddress(t *testing.T) {
	e, _ := newEngine(t, "*")
	if v := e.Flow(TCP, netip.AddrPort{}); v.Decision != Refuse {
		t.Errorf("a flow to nowhere is permitted by %q", v.Rule)
	}
}

// "*" and the default routes' prefixes are everything but what is guarded.
func TestEverything(t *testing.T) {
	for _, rules := range []string{"*", "0.0.0.0/0, [::]/0", "*:443", "* /tcp"} {
		if rules == "* /tcp" {
			if _, err := Parse(rules); err == nil {
				t.Error("white space within a rule is taken")
			}
			continue
		}
		e, _ := newEngine(t, rules)
		for to, want := range map[string]Decision{
			"198.51.100.1:443": Permit, "[2001:db9::1]:443": Permit, "10.0.0.1:443": Permit,
			"169.254.169.254:443": Refuse, "127.0.0.1:443": Refuse, "192.168.7.5:443": Refuse, "[::1]:443": Refuse,
		} {
			if v := e.Flow(TCP, netip.MustParseAddrPort(to)); v.Decision != want {
				t.Errorf("%s: %s is %d: %s", rules, to, v.Decision, v.Reason)
			}
		}
	}
}

func TestNone(t *testing.T) {
	e, _ := newEngine(t, "none", Host{"db", netip.MustParseAddr("10.0.0.1")})
	if v := e.Name("pypi.org", typeA, ClassINET); v.Decision != Refuse {
		t.Error("a name is permitted")
	}
	if v := e.Flow(TCP, netip.MustParseAddrPort("10.0.0.1:5432")); v.Decision != Refuse {
		t.Error("a configured name's address is permitted")
	}
}

func TestName(t *testing.T) {
	e, _ := newEngine(t, "pypi.org:443, *.debian.org:80, 10.0.0.0/8", Host{"DB.corp", netip.MustParseAddr("10.0.0.1")})
	any, _ := newEngine(t, "*:443")
	for _, test := range []struct {
		e    *Engine
		name string
		kind uint16
		want Decision
	}{
		{e, "pypi.org", typeA, Permit},
		{e, "PYPI.org.", typeAAAA, Permit},
		{e, "pypi.org", typeCNAME, Permit},
		{e, "pypi.org", typeHTTPS, NoData},
		{e, "pypi.org", typeSVCB, NoData},
		{e, "pypi.org", 16, Refuse},  // TXT
		{e, "pypi.org", 255, Refuse}, // ANY
		{e, "x.pypi.org", typeA, Refuse},
		{e, "debian.org", typeA, Refuse},
		{e, "ftp.debian.org", typeA, Permit},
		{e, "a.b.c.debian.org", typeA, Permit},
		{e, "xdebian.org", typeA, Refuse},
		{e, ".debian.org", typeA, Refuse},
		{e, "a\nb.debian.org", typeA, Refuse},
		{e, "a b.debian.org", typeA, Refuse},
		{e, "", typeA, Refuse},
		{e, "1.0.0.10.in-addr.arpa", 12, Refuse},
		{e, "db.corp", typeA, Permit}, // by configuration: nobody is asked
		{e, "db.corp", 16, Refuse},
		{any, "anything.example", typeA, Permit},
		{any, "anything.example", 16, Permit},
		{any, "anything.example", typeHTTPS, Permit},
	} {
		if v := test.e.Name(test.name, test.kind, ClassINET); v.Decision != test.want {
			t.Errorf("%q type %d: %d, not %d: %s", test.name, test.kind, v.Decision, test.want, v.Reason)
		}
	}
}

// Of other classes, nobody is asked for anything, but with a rule "*".
func TestOtherClasses(t *testing.T) {
	e, _ := newEngine(t, "pypi.org:443", Host{"db.corp", netip.MustParseAddr("10.0.0.1")})
	any, _ := newEngine(t, "*")
	const chaos = 3
	for _, name := range []string{"pypi.org", "db.corp"} {
		if v := e.Name(name, typeA, chaos); v.Decision != Refuse {
			t.Errorf("%s: %+v", name, v)
		}
	}
	if v := any.Name("version.bind", 16, chaos); v.Decision != Permit {
		t.Errorf("with *: %+v", v)
	}
}

func TestConfiguredNames(t *testing.T) {
	e, c := newEngine(t, "db.corp:5432", Host{"db.corp", netip.MustParseAddr("10.0.0.1")}, Host{"meta", netip.MustParseAddr("169.254.169.254")}, Host{"bad name", netip.MustParseAddr("10.0.0.2")})
	c.now = c.now.Add(1000 * time.Hour)
	e.names.sweep(c.now, 0)
	if v := e.Flow(TCP, netip.MustParseAddrPort("10.0.0.1:5432")); v.Decision != Inspect || v.Name != "db.corp" {
		t.Errorf("db.corp: %+v", v)
	}
	if v := e.Flow(TCP, netip.MustParseAddrPort("169.254.169.254:5432")); v.Decision != Refuse || v.Name != "meta" {
		t.Errorf("meta: %+v", v)
	}
}

func TestAnswersHoldForTheirTTL(t *testing.T) {
	e, c := newEngine(t, "pypi.org:443, a.example:443")
	to := netip.MustParseAddrPort("198.51.100.1:443")
	check := func(want Decision, says string) {
		t.Helper()
		if v := e.Flow(TCP, to); v.Decision != want || !strings.Contains(v.Reason, says) {
			t.Errorf("after %s: %+v", c.now.Sub(time.Unix(1000, 0)), v)
		}
	}
	check(Refuse, "no permitted name")
	resolve(t, e, "pypi.org", 0, "198.51.100.1")
	check(Inspect, "")
	c.now = c.now.Add(minTTL - 1)
	check(Inspect, "")
	hello := clientHello("pypi.org")
	c.now = c.now.Add(1)
	check(Refuse, "must be looked up again")
	if v := e.First(to, hello, false); v.Decision != Permit {
		t.Errorf("the first bytes of a flow that was permitted before the answer's end: %+v", v)
	}
	c.now = c.now.Add(lateData)
	if v := e.First(to, hello, false); v.Decision != Refuse {
		t.Errorf("first bytes long after: %+v", v)
	}
	// A shorter answer does not shorten what an earlier one has promised.
	resolve(t, e, "pypi.org", time.Minute, "198.51.100.1")
	resolve(t, e, "pypi.org", time.Second, "198.51.100.1")
	c.now = c.now.Add(59 * time.Second)
	check(Inspect, "")
	resolve(t, e, "pypi.org", 1000*time.Hour, "198.51.100.1")
	c.now = c.now.Add(maxTTL)
	check(Refuse, "looked up again")
	// Another name for the address is not affected.
	resolve(t, e, "a.example", time.Minute, "198.51.100.1")
	check(Inspect, "")
	if v := e.Answer("evil.example", []netip.Addr{netip.MustParseAddr("198.51.100.9")}, time.Minute); v.Decision != Refuse {
		t.Errorf("an answer for a name that no rule permits: %+v", v)
	}
}

func TestTableIsBounded(t *testing.T) {
	e, c := newEngine(t, "*.example:443")
	addr := func(i int) []netip.Addr {
		return []netip.Addr{netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)})}
	}
	for i := range maxAnswers {
		if v := e.Answer("a.example", addr(i), time.Minute); v.Decision != Permit {
			t.Fatalf("answer %d: %s", i, v.Reason)
		}
	}
	if v := e.Answer("a.example", addr(maxAnswers), time.Minute); v.Decision != Refuse || !strings.Contains(v.Reason, "too many names") {
		t.Fatalf("beyond the bound: %+v", v)
	}
	if v := e.Flow(TCP, netip.AddrPortFrom(addr(maxAnswers)[0], 443)); v.Decision != Refuse {
		t.Fatalf("what was not noted is permitted: %+v", v)
	}
	if v := e.Answer("a.example", addr(0), time.Minute); v.Decision != Permit {
		t.Fatalf("a known answer again: %+v", v)
	}
	c.now = c.now.Add(time.Minute)
	for i := range maxNames {
		if v := e.Answer(fmt.Sprintf("n%d.example", i), addr(7), time.Minute); v.Decision != Permit {
			t.Fatalf("name %d after all have passed: %s", i, v.Reason)
		}
	}
	if v := e.Answer("one-more.example", addr(7), time.Minute); v.Decision != Refuse {
		t.Fatalf("names of one address: %+v", v)
	}
	counted := 0
	for _, known := range e.names.byAddr {
		counted += len(known)
	}
	if e.names.answers != counted || counted < maxNames || counted > maxAnswers {
		t.Errorf("%d answers, and %d are counted", counted, e.names.answers)
	}
}

// Whoever enforces rules by prefixes guards what the engine does.
func TestGuardedRanges(t *testing.T) {
	ranges := GuardedRanges()
	for _, p := range ranges {
		if p != p.Masked() {
			t.Errorf("%s is not masked", p)
		}
		for _, a := range []netip.Addr{p.Addr(), p.Addr().Next()} {
			if _, guarded := guardOf(a, nil); p.Contains(a) && !guarded {
				t.Errorf("%s of %s is not guarded", a, p)
			}
		}
	}
	for _, s := range []string{"169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:7f00:1::", "::ffff:0:7f00:1", "fe80::1", "::1", "255.255.255.255"} {
		if !slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(netip.MustParseAddr(s)) }) {
			t.Errorf("%s is in none of the ranges", s)
		}
	}
}

// An IPv6 address that leads to a guarded IPv4 address is guarded, as are tunnels as such.
func TestEmbeddedAddresses(t *testing.T) {
	host := []netip.Prefix{netip.MustParsePrefix("192.0.2.7/24")}
	for _, c := range []struct {
		address          string
		guarded, secrets bool
	}{
		{"64:ff9b::a9fe:a9fe", true, true},                // NAT64: 169.254.169.254
		{"64:ff9b::c633:6401", false, false},              // NAT64: 198.51.100.1
		{"64:ff9b::c000:207", true, false},                // NAT64: the host's own
		{"2002:a9fe:a9fe::1", true, true},                 // 6to4: 169.254.169.254
		{"2002:7f00:1::1", true, false},                   // 6to4: 127.0.0.1
		{"2002:c633:6401::1", false, false},               // 6to4: 198.51.100.1
		{"2001:0:a9fe:a9fe:0:ffff:399c:9bfe", true, true}, // Teredo: its server is 169.254.169.254
		{"2001:0:c633:6401:0:ffff:5601:5601", true, true}, // Teredo: its client is
		{"2001:0:c633:6401:0:ffff:399c:9bfe", true, false},
		{"2001:db9::1", false, false},
		{"2001:db9::5efe:a9fe:a9fe", true, true}, // ISATAP: 169.254.169.254
		{"2001:db9::200:5efe:7f00:1", true, false},
		{"2001:db9::200:5efe:c000:207", true, false},
		{"2001:db9::200:5efe:c633:6401", false, false},
		{"2001:db9::300:5efe:7f00:1", false, false}, // is none
	} {
		a := netip.MustParseAddr(c.address)
		if g, guarded := guardOf(a, hostGuards(host, nil)); guarded != c.guarded {
			t.Errorf("%s: guarded %v (%s %s), want %v", a, guarded, g.prefix, g.what, c.guarded)
		}
		if got := HoldsSecrets(a); got != c.secrets {
			t.Errorf("%s: holds secrets %v, want %v", a, got, c.secrets)
		}
	}
	for rules, want := range map[string]Decision{"[2001::]/32": Refuse, "*": Refuse, "[2001:0:a9fe:a9fe::]/64": Permit} {
		e, _ := newEngine(t, rules)
		if v := e.Flow(TCP, netip.MustParseAddrPort("[2001:0:a9fe:a9fe:0:ffff:399c:9bfe]:80")); v.Decision != want {
			t.Errorf("%s: %d: %s", rules, v.Decision, v.Reason)
		}
	}
}

func BenchmarkFlow(b *testing.B) {
	p, err := Parse("pypi.org:443, *.debian.org:80,443, 10.0.0.0/8:5432")
	if err != nil {
		b.Fatal(err)
	}
	e := New(Config{Policy: p, Now: time.Now})
	e.Answer("ftp.debian.org", []netip.Addr{netip.MustParseAddr("198.51.100.2")}, time.Hour)
	to := netip.MustParseAddrPort("198.51.100.2:443")
	for b.Loop() {
		if e.Flow(TCP, to).Decision != Inspect {
			b.Fatal("it is refused")
		}
	}
}
