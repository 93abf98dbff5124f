package hostnet

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// expect compares what a program printed.
func expect(t *testing.T, r result, want string) {
	t.Helper()
	if r.code != 0 || r.stdout != want {
		t.Errorf("exit status %d, output %q, want %q; %s", r.code, r.stdout, want, r.stderr)
	}
}

// TestBridge: a sandbox on the default bridge, what it reaches, and what reaches it.
func TestBridge(t *testing.T) {
	need(t, "ip")
	eachWall(t, func(t *testing.T, wall string) {
		outside(t)
		serveAt(t, "outside", "serve", "90", "outside")
		r := do(t, wall, "--network bridge", "addresses")
		lines := strings.Split(r.stdout, "\n")
		if r.code != 0 || len(lines) < 2 || !strings.HasPrefix(lines[1], "eth0 10.209.0.2/20 fd") {
			t.Errorf("exit status %d, interfaces %q, %s", r.code, r.stdout, r.stderr)
		}
		// Others see the host's address, and get in only by a published port.
		expect(t, do(t, wall, "--network bridge", "fetch", "tcp+:192.0.2.2:90", "udp+:192.0.2.2:90"), "outside to 192.0.2.1\noutside to 192.0.2.1\n")
		s := start(t, wall, "--network bridge -p 8078-8080:78-80 -p 127.0.0.1:8081:80 -p 8080:80/udp", "serve", "80", "sandbox")
		expect(t, run(t, at("outside", "fetch", "tcp+:192.0.2.1:8080", "udp+:192.0.2.1:8080")...), "sandbox to 192.0.2.2\nsandbox to 192.0.2.2\n")
		must(t, "ip", "-n", "outside", "route", "add", "10.209.0.0/16", "via", "192.0.2.1")
		expect(t, run(t, at("outside", "fetch", "tcp+:192.0.2.1:8081", "tcp:"+s.address+":80")...), "no: refused\nno: i/o timeout\n")
		// Nothing forwards IPv6 here.
		expect(t, run(t, at("outside", "fetch", "tcp+:[2001:db8::1]:8080")...), "sandbox to 10.209.0.1\n")
		// The host itself.
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		expect(t, run(t, self, guestRole, "fetch", "tcp+:"+s.address+":80", "tcp+:127.0.0.1:8080", "tcp+:127.0.0.1:8081", "tcp+:[::1]:8080", "tcp+:[2001:db8::1]:8080", "udp+:127.0.0.1:8080"),
			strings.Repeat("sandbox to 10.209.0.1\n", 6))
		// Another sandbox, directly and by what is published.
		expect(t, do(t, wall, "--network bridge", "fetch", "tcp+:"+s.address+":80", "tcp+:192.0.2.1:8080", "tcp+:10.209.0.1:8080", "tcp+:10.209.0.1:8081"),
			"sandbox to 10.209.0.3\nsandbox to 10.209.0.1\nsandbox to 10.209.0.1\nno: refused\n")
		r = do(t, wall, "--network bridge -p 8080:1", "addresses")
		if r.code != 125 || !strings.Contains(r.stderr, "the host's port 8080 is in use") {
			t.Errorf("a port in use: exit status %d, %s", r.code, r.stderr)
		}
	})
}

// TestNames: sandboxes on one network find each other, and those on others are
// strangers.
func TestNames(t *testing.T) {
	need(t, "ip")
	eachWall(t, func(t *testing.T, wall string) {
		for _, n := range []string{"lan", "dmz"} {
			must(t, binary(t), "network", "create", n)
			t.Cleanup(func() { must(t, binary(t), "network", "rm", n) })
		}
		s := start(t, wall, "--network lan --hostname srv", "serve", "80", "srv")
		expect(t, do(t, wall, "--network lan", "fetch", "tcp+:srv:80", "udp+:srv:80"), "srv to 10.209.16.3\nsrv to 10.209.16.3\n")
		for _, other := range walls {
			r := do(t, other, "--network lan", "lookup", "srv", "SRV", "nobody")
			if lines := strings.Split(r.stdout, "\n"); r.code != 0 || len(lines) != 4 || !strings.Contains(lines[0], s.address) || lines[1] != lines[0] || !strings.HasPrefix(lines[2], "no: ") {
				t.Errorf("names are %q; exit status %d, %s", r.stdout, r.code, r.stderr)
			}
		}
		expect(t, do(t, wall, "--network dmz", "fetch", "tcp:"+s.address+":80"), "no: i/o timeout\n")
		if r := do(t, wall, "--network dmz", "lookup", "srv"); !strings.HasPrefix(r.stdout, "no: ") {
			t.Errorf("a name of another network is %q", r.stdout)
		}
		if r := coffer(t, "network", "rm", "lan"); r.code != 125 || !strings.Contains(r.stderr, "in use by the sandbox srv") {
			t.Errorf("rm of a network in use: %d, %s", r.code, r.stderr)
		}
		if r := coffer(t, "network", "inspect", "lan"); !strings.Contains(r.stdout, `"name": "srv"`) {
			t.Errorf("inspect says %s, %s", r.stdout, r.stderr)
		}
		expect(t, do(t, wall, "--network lan --hostname me --add-host db:192.0.2.7 --dns 192.0.2.9 --dns-search example.org", "read", "/etc/resolv.conf"),
			"nameserver 10.209.16.1\nsearch example.org\noptions ndots:0\n")
		if r := do(t, wall, "--network lan --hostname me --add-host db:192.0.2.7", "read", "/etc/hosts"); !strings.Contains(r.stdout, "192.0.2.7\tdb\n") || !strings.Contains(r.stdout, "\tme\n") {
			t.Errorf("hosts are %q", r.stdout)
		}
	})
}

// TestEgressByName: a gateway on the bridge permits neighbours by name, and lets in what
// is published; what crosses the edge is captured.
func TestEgressByName(t *testing.T) {
	need(t, "ip")
	clean(t)
	must(t, binary(t), "network", "create", "lan")
	t.Cleanup(func() { must(t, binary(t), "network", "rm", "lan") })
	start(t, "process", "--network lan --hostname srv", "serve", "80", "srv")
	start(t, "kernel", "--network lan --egress none -p 8080:81", "serve", "81", "shut in")
	file := filepath.Join(t.TempDir(), "edge.pcap")
	expect(t, do(t, "kernel", "--network lan --egress srv:80 --pcap "+file, "fetch", "tcp+:srv:80", "tcp+:srv:81", "tcp+:10.209.16.1:8080"),
		"srv to 10.209.16.4\nno: permission denied\nno: permission denied\n")
	expect(t, do(t, "kernel", "--network lan --egress other:80", "fetch", "tcp+:10.209.16.2:80"), "no: permission denied\n")
	expect(t, do(t, "kernel", "--network lan", "fetch", "tcp+:10.209.16.1:8080"), "shut in to 10.209.16.1\n")
	if b, err := os.ReadFile(file); err != nil || !bytes.HasPrefix(b, []byte("\x4d\x3c\xb2\xa1")) || !bytes.Contains(b, []byte("srv to ")) {
		t.Errorf("%d bytes are captured, %v, and what was received is not among them", len(b), err)
	}
}

// TestNamesAgain: who has an address that another sandbox had a moment ago is answered, also
// at a port from which that one has asked.
func TestNamesAgain(t *testing.T) {
	need(t, "ip")
	eachWall(t, func(t *testing.T, wall string) {
		s := start(t, wall, "--network bridge --hostname srv", "serve", "80", "srv")
		for range 3 {
			expect(t, do(t, wall, "--network bridge", "ask-from", "40000", "srv"), s.address+"\n")
		}
	})
}

// TestResolver: names that no sandbox has are asked for outside, over UDP and TCP, of the
// host's name servers or those that the user gives.
func TestResolver(t *testing.T) {
	need(t, "ip")
	if err := os.WriteFile("/etc/resolv.conf", []byte("nameserver 192.0.2.2\nsearch example.org\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	eachWall(t, func(t *testing.T, wall string) {
		outside(t)
		must(t, "ip", "-n", "outside", "addr", "add", "192.0.2.3/24", "dev", "eth0")
		serveAt(t, "outside", "names", "192.0.2.2", "192.0.2.7")
		serveAt(t, "outside", "names", "192.0.2.3", "192.0.2.8")
		expect(t, do(t, wall, "--network bridge", "lookup", "a.example.org", "b"), "192.0.2.7\n192.0.2.7\n")
		expect(t, do(t, wall, "--network bridge --dns 192.0.2.3", "lookup", "a.example.org"), "192.0.2.8\n")
		expect(t, do(t, wall, "--network bridge --dns 192.0.2.77 --dns 192.0.2.3", "lookup", "a.example.org"), "192.0.2.8\n")
	})
}

// TestWithoutIPv6: a host without IPv6 has bridges of IPv4.
func TestWithoutIPv6(t *testing.T) {
	need(t, "ip")
	const all = "/proc/sys/net/ipv6/conf/all/disable_ipv6"
	if err := os.WriteFile(all, []byte("1"), 0o644); err != nil {
		t.Skip("this host has no IPv6 to be switched off: ", err)
	}
	t.Cleanup(func() { os.WriteFile(all, []byte("0"), 0o644) })
	eachWall(t, func(t *testing.T, wall string) {
		s := start(t, wall, "--network bridge -p 8080:80", "serve", "80", "sandbox")
		expect(t, do(t, wall, "--network bridge", "fetch", "tcp+:"+s.address+":80", "tcp+:10.209.0.1:8080"), "sandbox to 10.209.0.3\nsandbox to 10.209.0.1\n")
		if r := do(t, wall, "--network bridge --egress 10.209.0.1", "fetch", "tcp+:192.0.2.2:80", "tcp+:10.209.0.1:81"); r.code != 0 || !strings.HasSuffix(r.stdout, "\nno: refused\n") {
			t.Errorf("exit status %d, %q, %s", r.code, r.stdout, r.stderr)
		}
	})
}

// TestForwarding: the host forwards for sandboxes, and for nobody else.
func TestForwarding(t *testing.T) {
	need(t, "ip")
	const all, up, up2 = "/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/conf/up0/forwarding", "/proc/sys/net/ipv4/conf/up2/forwarding"
	is := func(file, want string) {
		t.Helper()
		if b, err := os.ReadFile(file); err != nil || string(b) != want+"\n" {
			t.Errorf("%s is %q, %v, and should be %s", file, b, err, want)
		}
	}
	// A namespace begins with what the host has.
	if err := os.WriteFile(all, []byte("0"), 0o644); err != nil {
		t.Fatal(err)
	}
	eachWall(t, func(t *testing.T, wall string) {
		outside(t)
		// Another network that the host could lead the one outside to.
		must(t, "ip", "netns", "add", "beyond")
		must(t, "ip", "link", "add", "up2", "type", "veth", "peer", "name", "eth0", "netns", "beyond")
		t.Cleanup(func() {
			run(t, "ip", "link", "del", "up2")
			run(t, "ip", "netns", "del", "beyond")
		})
		for _, line := range []string{"ip addr add 198.51.100.1/24 dev up2", "ip link set up2 up", "ip -n beyond addr add 198.51.100.2/24 dev eth0",
			"ip -n beyond link set eth0 up", "ip -n beyond route add default via 198.51.100.1", "ip -n outside route add default via 192.0.2.1"} {
			must(t, strings.Fields(line)...)
		}
		serveAt(t, "beyond", "serve", "90", "beyond")
		is(up, "0")
		s := start(t, wall, "--network bridge", "serve", "80", "sandbox")
		is(all, "0")
		is(up, "1")
		is(up2, "1")
		expect(t, do(t, wall, "--network bridge", "fetch", "tcp+:198.51.100.2:90"), "beyond to 198.51.100.1\n")
		expect(t, run(t, at("outside", "fetch", "tcp:198.51.100.2:90")...), "no: i/o timeout\n")
		s.stop()
		is(up, "0")
		// Somebody else switches it on meanwhile, and it stays on.
		s = start(t, wall, "--network bridge", "serve", "80", "sandbox")
		if err := os.WriteFile(all, []byte("1"), 0o644); err != nil {
			t.Fatal(err)
		}
		s.stop()
		is(all, "1")
		is(up, "1")
		if err := os.WriteFile(all, []byte("0"), 0o644); err != nil {
			t.Fatal(err)
		}
	})
}

// TestRate: both directions have a limit. That it is kept shows in that a transfer
// takes at least as long; how much longer is the machine's affair.
func TestRate(t *testing.T) {
	need(t, "ip")
	eachWall(t, func(t *testing.T, wall string) {
		outside(t)
		// The process wall's limit lets a second's worth pass at once.
		const size, rate = 14 << 20, 8 << 20
		const least = (size - rate - 1<<20) * time.Second / rate
		serveAt(t, "outside", "serve", "90", fmt.Sprintf("bytes=%d", size))
		began := time.Now()
		r := do(t, wall, "--network bridge --net-rate 8M", "fetch", "tcp+:192.0.2.2:90")
		if took := time.Since(began); r.code != 0 || !strings.HasPrefix(r.stdout, fmt.Sprint(size)) || took < least {
			t.Errorf("in: exit status %d, %q, %v, %s", r.code, r.stdout, took, r.stderr)
		}
		s := start(t, wall, "--network bridge --net-rate 8M", "serve", "80", fmt.Sprintf("bytes=%d", size))
		self, _ := os.Executable()
		began = time.Now()
		r = run(t, self, guestRole, "fetch", "tcp+:"+s.address+":80")
		if took := time.Since(began); r.code != 0 || !strings.HasPrefix(r.stdout, fmt.Sprint(size)) || took < least {
			t.Errorf("out: exit status %d, %q, %v, %s", r.code, r.stdout, took, r.stderr)
		}
	})
}

// TestKilled: what a sandbox has on the host goes with the next command if coffer is
// killed, and its address is free again.
func TestKilled(t *testing.T) {
	need(t, "ip")
	eachWall(t, func(t *testing.T, wall string) {
		before := host(t)
		s := start(t, wall, "--network bridge -p 8080:80", "serve", "80", "sandbox")
		if during := host(t); during == before || !strings.Contains(during, "coffer0") || !strings.Contains(during, "attached/") {
			t.Errorf("the host has nothing of the sandbox's: %s", during)
		}
		s.kill()
		if after := host(t); !strings.Contains(after, "attached/") {
			t.Errorf("a killed coffer has cleaned up: %s", after)
		}
		// The sandbox's processes end on their own.
		settles(t, before, func() { must(t, binary(t), "network", "ls") })
		again := start(t, wall, "--network bridge -p 8080:80", "serve", "80", "sandbox")
		if again.address != s.address {
			t.Errorf("the address %s was not given again, but %s", s.address, again.address)
		}
	})
}

// TestVanishes: a sandbox whose interface or bridge is deleted on the host goes on without
// a network, and others are made as before.
func TestVanishes(t *testing.T) {
	need(t, "ip")
	eachWall(t, func(t *testing.T, wall string) {
		for _, what := range []string{"cfv", "coffer0"} {
			s := start(t, wall, "--network bridge -p 8080:80", "serve", "80", "sandbox")
			for line := range strings.Lines(must(t, "ip", "-br", "link")) {
				if name, _, _ := strings.Cut(strings.Fields(line)[0], "@"); strings.HasPrefix(name, what) {
					must(t, "ip", "link", "del", name)
				}
			}
			other := start(t, wall, "--network bridge", "serve", "80", "other")
			expect(t, do(t, wall, "--network bridge", "fetch", "tcp+:"+other.address+":80"), "other to 10.209.0.4\n")
			other.stop()
			select {
			case <-s.ended:
				t.Errorf("without %s the sandbox has ended", what)
			default:
			}
			s.stop()
		}
	})
}

// TestAtOnce: sandboxes that start and end at the same time do not disturb each other.
func TestAtOnce(t *testing.T) {
	need(t, "ip")
	eachWall(t, func(t *testing.T, wall string) {
		const many = 6
		var wg sync.WaitGroup
		got := make([]result, many)
		for i := range many {
			wg.Go(func() { got[i] = do(t, wall, "--network bridge", "addresses") })
		}
		wg.Wait()
		seen := map[string]bool{}
		for _, r := range got {
			_, line, _ := strings.Cut(r.stdout, "\n")
			if r.code != 0 || !strings.HasPrefix(line, "eth0 10.209.0.") {
				t.Errorf("exit status %d, interfaces %q, %s", r.code, r.stdout, r.stderr)
			}
			seen[line] = true
		}
		t.Logf("%d addresses for %d sandboxes", len(seen), many)
	})
}

// TestSpoof: a sandbox of the process wall, whose root rules its own interface, sends by
// no other address than its own.
func TestSpoof(t *testing.T) {
	need(t, "ip")
	clean(t)
	for _, c := range []struct{ name, change string }{
		{"IP address", "ip addr add 10.209.0.99/20 dev eth0 && ip addr del 10.209.0.3/20 dev eth0"},
		{"Ethernet address", "ip link set eth0 address 02:00:00:00:00:99"},
		{"nothing", "true"},
	} {
		t.Run(c.name, func(t *testing.T) {
			clean(t)
			s := start(t, "process", "--network bridge", "serve", "80", "sandbox")
			want, network := "no: ", "tcp"
			if c.name == "nothing" {
				want, network = "sandbox to 10.209.0.3\n", "tcp+"
			}
			self, _ := os.Executable()
			r := coffer(t, "do", "--isolation", "process", "--cwd", "/", "--bind", self+":/guest", "--network", "bridge", "--", "sh", "-c",
				"{ "+c.change+"; } && exec /guest "+guestRole+" fetch "+network+":"+s.address+":80")
			if r.code != 0 || !strings.HasPrefix(r.stdout, want) {
				t.Errorf("exit status %d, %q, %s", r.code, r.stdout, r.stderr)
			}
		})
	}
}

// TestNeighbours: a sandbox claims a neighbour's IPv6 address, and nobody believes it.
func TestNeighbours(t *testing.T) {
	need(t, "ip")
	clean(t)
	s := start(t, "process", "--network bridge", "serve", "80", "sandbox")
	var gateway netip.Prefix
	for _, word := range strings.Fields(must(t, "ip", "-6", "-o", "addr", "show", "dev", "coffer0", "scope", "global")) {
		if p, err := netip.ParsePrefix(word); err == nil {
			gateway = p
		}
	}
	if !gateway.IsValid() {
		t.Skip("this host has no IPv6")
	}
	b := gateway.Addr().As16()
	b[15] = netip.MustParseAddr(s.address).As4()[3] // the number is the same in both families
	victim := netip.AddrFrom16(b)
	self, _ := os.Executable()
	reach := func() {
		expect(t, run(t, self, guestRole, "fetch", "tcp+:["+victim.String()+"]:80"), "sandbox to "+gateway.Addr().String()+"\n")
	}
	reach()
	for _, flags := range []string{"--network bridge", "--network bridge --egress 192.0.2.1"} {
		if r := do(t, "process", flags, "advertise", victim.String(), gateway.Addr().String()); r.code != 0 {
			t.Errorf("exit status %d, %q, %s", r.code, r.stdout, r.stderr)
		}
		if known := must(t, "ip", "-6", "neigh", "show", "dev", "coffer0"); strings.Contains(known, "02:00:00:00:00:99") {
			t.Errorf("%s: the host believes %s", flags, known)
		}
		reach()
	}
}

// TestEgress: rules by address, which the host's nftables enforce for the process wall,
// and a gateway in the bridge's network for the kernel wall.
func TestEgress(t *testing.T) {
	need(t, "ip")
	eachWall(t, func(t *testing.T, wall string) {
		outside(t)
		must(t, "ip", "-n", "outside", "addr", "add", "192.0.2.3/24", "dev", "eth0")
		serveAt(t, "outside", "serve", "90", "outside")
		serveAt(t, "outside", "serve", "91", "other")
		s := start(t, wall, "--network bridge", "serve", "80", "neighbour")
		const ok, other = "outside to 192.0.2.1\n", "other to 192.0.2.1\n"
		for _, c := range []struct {
			rules string
			want  [5]bool // 192.0.2.2:90, :91, the same by UDP, 192.0.2.3:90, the neighbour
		}{
			{"none", [5]bool{}},
			{"192.0.2.2:90", [5]bool{true, false, false, false, false}},
			{"192.0.2.2:90,91", [5]bool{true, true, false, false, false}},
			{"192.0.2.2:91/udp,192.0.2.3", [5]bool{false, false, true, true, false}},
			{"192.0.2.0/24/tcp", [5]bool{true, true, false, true, false}},
			{"192.0.2.0/29:90-91", [5]bool{true, true, false, true, false}},
			{"*", [5]bool{true, true, true, true, wall == "kernel"}},
		} {
			r := do(t, wall, "--network bridge --egress "+c.rules, "fetch",
				"tcp+:192.0.2.2:90", "tcp+:192.0.2.2:91", "udp+:192.0.2.2:91", "tcp+:192.0.2.3:90", "tcp+:"+s.address+":80")
			lines := strings.SplitAfter(r.stdout, "\n")
			if r.code != 0 || len(lines) != 6 {
				t.Errorf("%s: exit status %d, %q, %s", c.rules, r.code, r.stdout, r.stderr)
				continue
			}
			for i, want := range c.want {
				if got := !strings.HasPrefix(lines[i], "no: "); got != want {
					t.Errorf("%s: destination %d: %q", c.rules, i, lines[i])
				}
			}
			if strings.Contains(r.stdout, "i/o timeout") {
				t.Errorf("%s: a refusal was not told at once: %q", c.rules, r.stdout)
			}
		}
	})
	for _, c := range []struct{ flags, says string }{
		{"--egress example.org", "the rule example.org is by name"},
		{"--egress 192.0.2.1 --dns 192.0.2.3", "--dns: on a bridge with isolation process"},
		{"--egress none --dns 192.0.2.3", "--dns: on a bridge with isolation process"},
	} {
		if r := do(t, "process", "--network bridge "+c.flags, "addresses"); r.code != 125 || !strings.Contains(r.stderr, c.says) {
			t.Errorf("%s: exit status %d, %s, want %q", c.flags, r.code, r.stderr, c.says)
		}
	}
}

// TestRefused: what cannot be had is refused by name, and nothing is left of it.
func TestRefused(t *testing.T) {
	need(t, "ip")
	clean(t)
	must(t, "ip", "link", "add", "coffer0", "type", "bridge")
	t.Cleanup(func() { must(t, "ip", "link", "del", "coffer0") })
	must(t, binary(t), "network", "create", "taken", "--subnet", "192.168.77.0/24")
	t.Cleanup(func() { must(t, binary(t), "network", "rm", "taken") })
	for _, c := range []struct{ args, says string }{
		{"do --network nowhere -- true", "there is no network nowhere"},
		{"do --network cni:nowhere -- true", "there is no CNI network nowhere"},
		{"do --network bridge -- true", "an interface coffer0 that Coffer has not made"},
		{"do --isolation process --network bridge --pcap /tmp/x -- true", "--pcap with --network bridge is for isolation kernel"},
		{"do --network taken -p 192.0.2.77:80 -- true", "192.0.2.77 is no address of the host's"},
		{"network create taken", "there is a network taken"},
		{"network create other --subnet 192.168.0.0/16", "overlaps 192.168.77.0/24, which is network taken's"},
		{"network create other --subnet 10.209.3.0/24", "which is the default network's"},
		{"network create other --subnet 192.168.78.1/24", "has bits beyond its prefix"},
		{"network create other --subnet 192.168.78.0/30", "8 to 29"},
		{"network create other --subnet fd00::/64", "no IPv4 network"},
		{"network create other --subnet 192.168.78.0/24 --gateway 192.168.79.1", "no address of a host in"},
		{"network create other --gateway 192.168.79.1", "needs --subnet"},
		{"network create other --driver vlan", "bridge or cni:NAME"},
		{"network create host", "means something else"},
		{"network rm nowhere", "there is no network nowhere"},
		{"network inspect ../x", "no name of a network"},
	} {
		if r := coffer(t, strings.Fields(c.args)...); r.code == 0 || !strings.Contains(r.stderr, c.says) {
			t.Errorf("coffer %s: exit status %d, %q, want %q", c.args, r.code, r.stderr, c.says)
		}
	}
}

// TestDenied: the host's administrator has the last word.
func TestDenied(t *testing.T) {
	need(t, "ip")
	clean(t)
	if err := os.MkdirAll("/etc/coffer", 0o755); err != nil {
		t.Fatal(err)
	}
	const file = "/etc/coffer/config.toml"
	if err := os.WriteFile(file, []byte("[network]\ndeny = [\"host\", \"cni\"]\ndefault = \"none\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(file) })
	for _, network := range []string{"host", "cni:x"} {
		if r := do(t, "kernel", "--network "+network, "addresses"); r.code != 125 || !strings.Contains(r.stderr, "refused by this host's administrator") {
			t.Errorf("--network %s: exit status %d, %s", network, r.code, r.stderr)
		}
	}
	for _, wall := range walls {
		if r := do(t, wall, "", "addresses"); r.code != 0 || r.stdout != "lo 127.0.0.1/8 ::1/128\n" {
			t.Errorf("the default: exit status %d, %q, %s", r.code, r.stdout, fmt.Sprint(r.stderr))
		}
	}
}
