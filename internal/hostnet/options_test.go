package hostnet

import (
	"strings"
	"testing"

	"coffer/internal/egress"
)

func TestParsePublish(t *testing.T) {
	for _, c := range []struct{ in, out, err string }{
		{in: "80", out: "80:80"},
		{in: "8080:80", out: "8080:80"},
		{in: "8080:80/tcp", out: "8080:80"},
		{in: "53/udp", out: "53:53/udp"},
		{in: "8080:80/UDP", out: "8080:80/udp"},
		{in: "8080:80/Tcp", out: "8080:80"},
		{in: "127.0.0.1:80", out: "127.0.0.1:80:80"},
		{in: "127.0.0.1:8080:80/udp", out: "127.0.0.1:8080:80/udp"},
		{in: "0.0.0.0:80", out: "0.0.0.0:80:80"},
		{in: "[::1]:8080:80", out: "[::1]:8080:80"},
		{in: "[2001:db8::1]:80", out: "[2001:db8::1]:80:80"},
		{in: "", err: "no port"},
		{in: "0", err: "1 to 65535"},
		{in: "65536", err: "1 to 65535"},
		{in: "+80", err: "1 to 65535"},
		{in: "http", err: "no port"},
		{in: "80:", err: "no port"},
		{in: ":80", err: "no port"},
		{in: "80/sctp", err: "neither tcp nor udp"},
		{in: "80/", err: "neither tcp nor udp"},
		{in: "80-82:90-92", out: "80:90 81:91 82:92"},
		{in: "127.0.0.1:8000-8001/udp", out: "127.0.0.1:8000:8000/udp 127.0.0.1:8001:8001/udp"},
		{in: "65535-65535", out: "65535:65535"},
		{in: "80-82:90-93", err: "not as many ports"},
		{in: "80-82:90", err: "not as many ports"},
		{in: "82-80", err: "ends before it begins"},
		{in: "1-65535", err: "65535 ports, and 4096 are the most"},
		{in: "80-", err: "no port"},
		{in: "80-81-82", err: "no port"},
		{in: "localhost:80:80", err: "names are not looked up"},
		{in: "::1:80:80", err: "brackets"},
		{in: "[::1]80", err: "a colon and a port are missing"},
		{in: "[::1", err: "a colon and a port are missing"},
		{in: "[127.0.0.1]:80", err: "no IPv6 address"},
		{in: "[::ffff:1.2.3.4]:80", err: "no IPv6 address"},
		{in: "[fe80::1%eth0]:80", err: "zone"},
		{in: "224.0.0.1:80:80", err: "224.0.0.1 is the address of a multicast group"},
		{in: "[ff02::1]:80", err: "ff02::1 is the address of a multicast group"},
		{in: "255.255.255.255:80:80/udp", err: "255.255.255.255 is the address of broadcasts"},
		{in: "1.2.3:80", err: "no address of the host's"},
		{in: "1.2.3.4:5:6:7", err: "no port"},
	} {
		list, err := ParsePublish(c.in)
		var out []string
		for _, p := range list {
			out = append(out, p.String())
		}
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("ParsePublish(%q): %v, want %q", c.in, err, c.err)
			}
		case err != nil || strings.Join(out, " ") != c.out:
			t.Errorf("ParsePublish(%q) = %v, %v, want %s", c.in, list, err, c.out)
		}
	}
}

func FuzzParsePublish(f *testing.F) {
	for _, s := range []string{"80", "127.0.0.1:8080:80/udp", "[::1]:1:2", "a:b:c", "1-3:2-4"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, err := ParsePublish(s)
		if err != nil {
			return
		}
		for _, p := range list {
			again, err := ParsePublish(p.String())
			if err != nil || len(again) != 1 || again[0] != p {
				t.Errorf("%q became %v, and that %v, %v", s, p, again, err)
			}
		}
	})
}

func TestSetNetwork(t *testing.T) {
	for in, want := range map[string]string{
		"none": "none/", "user": "user/", "bridge": "bridge/", "host": "host/", "web.1": "bridge/web.1", "cni:lan": "cni/lan",
		"": "empty", "cni:": "names no CNI network", "cni:../x": "names no CNI network", "-x": "first character", "a/b": "character",
		"a b": "character", strings.Repeat("x", 65): "64",
	} {
		var o Options
		err := o.SetNetwork(in)
		got := string(o.Mode) + "/" + o.Name
		if err != nil {
			got = err.Error()
		}
		if err == nil && got != want || err != nil && !strings.Contains(got, want) {
			t.Errorf("SetNetwork(%q): %s, want %s", in, got, want)
		}
	}
}

func TestCheckOptions(t *testing.T) {
	published := func(list ...string) (ps []Publish) {
		for _, s := range list {
			p, err := ParsePublish(s)
			if err != nil {
				t.Fatal(err)
			}
			ps = append(ps, p...)
		}
		return ps
	}
	for _, c := range []struct {
		o   Options
		err string
	}{
		{Options{Mode: ModeNone}, ""},
		{Options{Mode: ModeNone, Publish: published("80")}, "--publish"},
		{Options{Mode: ModeNone, Search: []string{"a"}}, "--dns"},
		{Options{Mode: ModeNone, Rate: 1}, "--net-rate"},
		{Options{Mode: ModeNone, Capture: "f"}, "--pcap"},
		{Options{Mode: ModeHost, Publish: published("80")}, "--publish"},
		{Options{Mode: ModeHost, Capture: "f"}, "--pcap"},
		{Options{Mode: ModeUser, Capture: "-"}, "--pcap - would mix"},
		{Options{Mode: ModeUser, EgressLog: "-", Egress: new(egress.Policy)}, "--egress-log - would mix"},
		{Options{Mode: ModeUser, Capture: "./-"}, ""},
		{Options{Mode: ModeUser, Publish: published("80", "80/udp", "127.0.0.1:81", "127.0.0.2:81")}, ""},
		{Options{Mode: ModeUser, Publish: published("80:1", "127.0.0.1:80:2")}, "the same port"},
		{Options{Mode: ModeUser, Publish: published("0.0.0.0:80:1", "[::1]:80:2")}, ""},
		{Options{Mode: ModeUser, Publish: published("0.0.0.0:80:1", "1.2.3.4:80:2")}, "the same port"},
	} {
		err := c.o.Check()
		if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("Check(%+v): %v, want %q", c.o, err, c.err)
		}
	}
}

func TestParseRate(t *testing.T) {
	for in, want := range map[string]uint64{
		"10M": 10 << 20, "1k": 1 << 10, "2048": 2048, "1G": 1 << 30, "80Mbit": 10e6, "8kbit": 0, "100kbit": 12500, "1gbit": 125e6,
		"": 0, "M": 0, "bit": 0, "1": 0, "-5M": 0, "1.5M": 0, "99999999999G": 0, "18446744073709551615K": 0, "10MB": 0,
	} {
		got, err := ParseRate(in)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("ParseRate(%q) = %d, %v, want %d", in, got, err, want)
		}
	}
}

func TestParseHost(t *testing.T) {
	for in, want := range map[string]string{
		"db:10.0.0.5": "10.0.0.5\tdb\n", "a.b-c:::1": "::1\ta.b-c\n", "a:[::1]": "::1\ta\n",
		"db": "no colon", ":1.2.3.4": "no host name", "a b:1.2.3.4": "no host name", "a\n:1.2.3.4": "no host name", "a:1.2.3": "no address", "a:fe80::1%x": "no address",
	} {
		h, err := ParseHost(in)
		got := string(hostsFile(nil, []Host{h}))
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, want) {
			t.Errorf("ParseHost(%q): %q, want %q", in, got, want)
		}
	}
}
