package egress

import (
	"reflect"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, test := range []struct{ in, out string }{
		{"none", "none"},
		{" None ", "none"},
		{"pypi.org:443", "pypi.org:443"},
		{"PyPI.org.:443", "pypi.org:443"},
		{"pypi.org:443, *.debian.org:80,443, 10.0.0.0/8:5432, [2001:db8::]/32:443, host:53/udp, *",
			"pypi.org:443, *.debian.org:80,443, 10.0.0.0/8:5432, [2001:db8::]/32:443, host:53/udp, *"},
		{"a:53/udp,53/tcp,8000-8010", "a:53/udp,53,8000-8010"},
		{"10.0.0.0/8/udp", "10.0.0.0/8/udp"},
		{"10.0.0.1/32:1-2/UDP", "10.0.0.1:1-2/udp"},
		{"[2001:DB8::0:1]", "[2001:db8::1]"},
		{"example.org/icmp,example.org/tcp", "example.org/icmp, example.org/tcp"},
		{"*:443 , 80", "*:443,80"},
		{"xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"_x.example:1", "_x.example:1"},
		{"0.0.0.0/0, [::]/0", "0.0.0.0/0, [::]/0"},
		{"a:443-443", "a:443"},
	} {
		p, err := Parse(test.in)
		if err != nil {
			t.Errorf("%q: %v", test.in, err)
			continue
		}
		if got := p.String(); got != test.out {
			t.Errorf("%q became %q, not %q", test.in, got, test.out)
		}
	}
}

// Errors name the rule by its number, the column, and what is wrong.
func TestParseErrors(t *testing.T) {
	for _, test := range []struct{ in, says string }{
		{"", `egress rule 1 (""), column 1: there is no rule here`},
		{"a, ", `egress rule 2 (""), column 3: there is no rule here`},
		{"a,,b", `egress rule 2 (""), column 3: there is no rule here`},
		{"a, none", `egress rule 2 ("none"), column 4: 'none' stands alone`},
		{"443", "column 1: a port needs a destination before it"},
		{"a, 443", `egress rule 1 ("443"), column 4: a port after a rule without ports; write a:443`},
		{"a/tcp, 443", "write a:443"},
		{"a:0", `column 3: port "0" is not a number from 1 to 65535`},
		{"a:80,65536", `egress rule 1 ("65536"), column 6: port "65536" is not`},
		{"a:", `port "" is not`},
		{"a:http", `port "http" is not`},
		{"a:+1", `port "+1" is not`},
		{"a:9-3", "ends before it begins"},
		{"a:1-65535", "write /tcp without ports"},
		{"a:1/sctp", `"sctp" is none of the protocols`},
		{"a:1/icmp", "icmp has no ports"},
		{"a/", `"" is none of the protocols`},
		{"a/24", "only an address has the length of a prefix"},
		{"b, a.*.org", "column 4: a * stands alone or as the whole first part"},
		{"*.*.org", "a * stands alone"},
		{"*a.org", "a * stands alone"},
		{"*.", "a name is missing"},
		{"a..b", "nothing between two dots"},
		{"-a.org", "begins or ends with a hyphen"},
		{"a:1 b:2", "column 4: rules stand between commas"},
		{"a:1; b:2", "column 4: rules stand between commas"},
		{"http://a.org", "not a URL; leave http:// and"},
		{"bücher.example", "xn--"},
		{"ü, 10.1", `egress rule 1 ("ü"), column 1`},
		{"[::1]:80, ü", `egress rule 2 ("ü"), column 11`},
		{"10.1", "no IPv4 address of four"},
		{"1.2.3.4.5", "no IPv4 address of four"},
		{"0x7f.1", "no IPv4 address of four"},
		{"127.0.0.0x1", "no IPv4 address of four"},
		{"10.0.0.1/8", "write 10.0.0.0/8"},
		{"10.0.0.0/33", "not the length of a prefix, 0 to 32"},
		{"10.0.0.0/8x", "\"8x\" is not the length"},
		{"[2001:db8::1]/32", "write [2001:db8::]/32"},
		{"2001:db8::1", "in brackets"},
		{"2001:db8::/32", "in brackets"},
		{"[2001:db8::/32]", "behind the bracket"},
		{"[fe80::1%eth0]", "a zone"},
		{"[::1]x", "after the destination"},
		{"[::ffff:10.0.0.1]", "write the IPv4 address 10.0.0.1"},
		{"[10.0.0.1]", "no IPv6 address"},
		{"[::1", "not closed"},
		{"a:443/udp", "QUIC"},
		{"a:80,443/udp", "QUIC"},
		{strings.Repeat("a", 64) + ".org", "63 are the most"},
		{strings.Repeat("a.", 127) + "org", "253 are the most"},
		{strings.Repeat("a,", maxRules) + "a", "more than 1024 rules"},
		{"a:1" + strings.Repeat(",1", maxPorts), "64 ports of one rule"},
		{strings.Repeat("a", maxText+1), "65536 are the most"},
	} {
		_, err := Parse(test.in)
		if err == nil {
			t.Errorf("%.80q is taken", test.in)
		} else if !strings.Contains(err.Error(), test.says) {
			t.Errorf("%.80q: %v; it should say %q", test.in, err, test.says)
		}
	}
}

func TestPolicyText(t *testing.T) {
	p, err := Parse("a:1, *.b/icmp")
	if err != nil {
		t.Fatal(err)
	}
	text, _ := p.MarshalText()
	var again Policy
	if err := again.UnmarshalText(text); err != nil || !reflect.DeepEqual(p, &again) {
		t.Fatalf("%s became %s, %v", p, &again, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"none", "pypi.org:443, *.debian.org:80,443, 10.0.0.0/8:5432, [2001:db8::]/32:443, host:53/udp, *",
		"a/icmp,b:1-2/udp,3", "10.0.0.0/8/udp,[::]/0", "ü:1", "[::1", "a:443/udp",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(p.String())
		if err != nil || !reflect.DeepEqual(p, again) {
			t.Fatalf("%q became %q, and that %v, %v", s, p, again, err)
		}
	})
}
