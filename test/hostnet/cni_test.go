package hostnet

import (
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// plugins makes the CNI plug-ins known, and a directory for configurations.
func plugins(t *testing.T) {
	t.Helper()
	built, err := filepath.Abs("../../bin/cni")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(built, "bridge")); err != nil {
		t.Skip("the CNI plug-ins are not built: scripts/cni-deps does it")
	}
	for _, dir := range []string{"/opt/cni/bin", "/etc/cni/net.d"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	list, err := os.ReadDir(built)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if err := os.Symlink(filepath.Join(built, e.Name()), filepath.Join("/opt/cni/bin", e.Name())); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
}

// configure writes a network configuration list, which goes with the test.
func configure(t *testing.T, name, plugins string) {
	t.Helper()
	path := "/etc/cni/net.d/" + name + ".conflist"
	if err := os.WriteFile(path, fmt.Appendf(nil, `{"cniVersion": "1.0.0", "name": %q, "plugins": [%s]}`, name, plugins), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
}

const ptp = `{"type": "ptp", "ipMasq": true, "mtu": 1400, "dns": {"nameservers": ["192.0.2.2"], "search": ["cni.example"]},
	"ipam": {"type": "host-local", "subnet": "10.99.0.0/24", "routes": [{"dst": "0.0.0.0/0"}]}}`

const portmap = `, {"type": "portmap", "capabilities": {"portMappings": true}}`

// TestCNI: plug-ins attach a sandbox, and detach it however it ends.
func TestCNI(t *testing.T) {
	need(t, "ip", "iptables")
	plugins(t)
	configure(t, "lan", ptp+portmap)
	must(t, binary(t), "network", "create", "named", "--driver", "cni:lan")
	t.Cleanup(func() { must(t, binary(t), "network", "rm", "named") })
	// What plug-ins make once for all attachments stays.
	do(t, "kernel", "--network cni:lan -p 8080:80", "addresses")
	for _, path := range []string{"/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/conf/all/route_localnet"} {
		if err := os.WriteFile(path, []byte("1"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("0"), 0o644) })
	eachWall(t, func(t *testing.T, wall string) {
		outside(t)
		serveAt(t, "outside", "serve", "90", "outside")
		r := do(t, wall, "--network named", "addresses")
		if _, line, _ := strings.Cut(r.stdout, "\n"); r.code != 0 || !strings.HasPrefix(line, "eth0 10.99.0.") {
			t.Errorf("exit status %d, interfaces %q, %s", r.code, r.stdout, r.stderr)
		}
		expect(t, do(t, wall, "--network cni:lan", "fetch", "tcp+:192.0.2.2:90"), "outside to 192.0.2.1\n")
		expect(t, do(t, wall, "--network cni:lan", "read", "/etc/resolv.conf"), "nameserver 192.0.2.2\nsearch cni.example\n")
		before := host(t)
		s := start(t, wall, "--network cni:lan -p 8080:80", "serve", "80", "sandbox")
		expect(t, run(t, at("outside", "fetch", "tcp+:192.0.2.1:8080")...), "sandbox to 192.0.2.2\n")
		s.kill()
		if host(t) == before {
			t.Error("nothing is left of a sandbox whose coffer was killed, so this tests nothing")
		}
		// The plug-ins' result need not have been written whole.
		results, err := filepath.Glob("/var/lib/coffer/network/cni/*/results/*")
		if err != nil || len(results) != 1 {
			t.Fatalf("results of plug-ins: %q, %v", results, err)
		}
		if err := os.Truncate(results[0], 10); err != nil {
			t.Fatal(err)
		}
		settles(t, before, func() { must(t, binary(t), "network", "ls") })
		if left, _ := filepath.Glob("/var/lib/coffer/network/cni/*"); len(left) > 0 {
			t.Errorf("results of plug-ins are left: %q", left)
		}
	})
	t.Run("egress", func(t *testing.T) {
		clean(t)
		outside(t)
		serveAt(t, "outside", "serve", "90", "outside")
		serveAt(t, "outside", "serve", "91", "outside")
		expect(t, do(t, "kernel", "--network cni:lan --egress 192.0.2.2:90", "fetch", "tcp+:192.0.2.2:91", "tcp+:192.0.2.2:90"),
			"no: permission denied\noutside to 192.0.2.1\n")
	})
}

// twin is a plug-in that makes two interfaces.
const twin = `#!/bin/sh
case $CNI_COMMAND in
VERSION) echo '{"cniVersion": "1.0.0", "supportedVersions": ["1.0.0"]}' ;;
ADD)
	nsenter --net="$CNI_NETNS" sh -c 'ip link add eth0 type veth peer name eth1; ip link set eth0 up; ip link set eth1 up' >&2
	echo '{"cniVersion": "1.0.0"}' ;;
esac
`

// TestCNICapture: one file takes what crosses one interface.
func TestCNICapture(t *testing.T) {
	need(t, "ip", "nsenter")
	plugins(t)
	program := "/opt/cni/bin/twin"
	if err := os.WriteFile(program, []byte(twin), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(program) })
	configure(t, "two", `{"type": "twin"}`)
	clean(t)
	file := filepath.Join(t.TempDir(), "edge")
	r := do(t, "kernel", "--network cni:two --pcap "+file, "addresses")
	if _, err := os.Stat(file); r.code != 125 || !strings.Contains(r.stderr, "--pcap writes what crosses one interface, and here are 2") || err == nil {
		t.Errorf("two interfaces: exit status %d, %s, capture %v", r.code, r.stderr, err)
	}
	if r := do(t, "kernel", "--network cni:two", "addresses"); r.code != 0 || !strings.Contains(r.stdout, "eth1") {
		t.Errorf("without a capture: exit status %d, %q, %s", r.code, r.stdout, r.stderr)
	}
}

// TestCNIFails: what plug-ins cannot do is told, and what they cannot undo is tried
// again.
func TestCNIFails(t *testing.T) {
	need(t, "ip", "iptables")
	plugins(t)
	configure(t, "plain", strings.ReplaceAll(ptp, `"ipMasq": true,`, ""))
	configure(t, "nosuch", `{"type": "nosuch"}`)
	configure(t, "wrong", `{"type": "ptp", "ipam": {"type": "host-local", "subnet": "10.99.0.0"}}`)
	clean(t)
	t.Cleanup(func() { os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("0"), 0o644) }) // ptp leaves it on
	for _, c := range []struct{ flags, says string }{
		{"--network cni:nosuch", "the CNI plug-in nosuch is not in [/opt/cni/bin]"},
		{"--network cni:wrong", "CNI plug-ins: ADD: "},
		{"--network cni:plain -p 80", "no plug-in of the CNI network plain has the capability portMappings"},
	} {
		for _, wall := range walls {
			if r := do(t, wall, c.flags, "addresses"); r.code != 125 || !strings.Contains(r.stderr, c.says) {
				t.Errorf("%s, %s: exit status %d, %s", wall, c.flags, r.code, r.stderr)
			}
		}
	}
	s := start(t, "kernel", "--network cni:plain", "serve", "80", "sandbox")
	if err := os.Rename("/opt/cni/bin/host-local", "/opt/cni/bin/moved"); err != nil {
		t.Fatal(err)
	}
	s.kill()
	if r := coffer(t, "network", "ls"); r.code != 0 || !strings.Contains(r.stderr, "cannot be removed") {
		t.Errorf("a plug-in that is missing: exit status %d, %s", r.code, r.stderr)
	}
	if err := os.Rename("/opt/cni/bin/moved", "/opt/cni/bin/host-local"); err != nil {
		t.Fatal(err)
	}
	must(t, binary(t), "network", "ls")
}

// TestOverlay: two hosts, on each a sandbox, and between them a VXLAN.
func TestOverlay(t *testing.T) {
	need(t, "ip", "nsenter")
	plugins(t)
	t.Cleanup(func() {
		for _, h := range []string{"host1", "host2"} {
			run(t, "ip", "netns", "del", h)
		}
	})
	for i, h := range []string{"host1", "host2"} {
		configure(t, h, fmt.Sprintf(`{"type": "bridge", "bridge": "cni0", "mtu": 1450, "ipam": {"type": "host-local", "dataDir": "/var/lib/cni/%s",
			"ranges": [[{"subnet": "10.88.0.0/16", "rangeStart": "10.88.%d.2", "rangeEnd": "10.88.%d.9"}]]}}`, h, i+1, i+1))
		must(t, "ip", "netns", "add", h)
	}
	must(t, "ip", "link", "add", "under", "netns", "host1", "type", "veth", "peer", "name", "under", "netns", "host2")
	for i, h := range []string{"host1", "host2"} {
		for _, line := range strings.Split(fmt.Sprintf(`link set lo up
addr add 192.0.2.%[1]d/24 dev under
link set under up
link add vx0 mtu 1450 type vxlan id 42 local 192.0.2.%[1]d remote 192.0.2.%[2]d dstport 4789
link add cni0 type bridge
link set vx0 master cni0
link set vx0 up
link set cni0 up`, i+1, 2-i), "\n") {
			must(t, append([]string{"ip", "-n", h}, strings.Fields(line)...)...)
		}
	}
	const size = 8 << 20
	sum := fmt.Sprintf("%d bytes, %08x\n", size, crc32.ChecksumIEEE(answer(fmt.Sprintf("bytes=%d", size), nil)))
	for _, server := range walls {
		for _, client := range walls {
			t.Run(server+"-"+client, func(t *testing.T) {
				s := startAt(t, "host1", words(t, server, "--network cni:host1", "serve", "80", fmt.Sprintf("bytes=%d", size))...)
				if !strings.HasPrefix(s.address, "10.88.1.") {
					t.Errorf("the server's address is %q", s.address)
				}
				argv := append([]string{"nsenter", "--net=/run/netns/host2", binary(t)}, words(t, client, "--network cni:host2", "fetch", "tcp+:"+s.address+":80")...)
				expect(t, run(t, argv...), sum)
			})
		}
	}
	for _, h := range []string{"host1", "host2"} {
		if left, _ := filepath.Glob("/var/lib/cni/" + h + "/*/[0-9]*"); len(left) > 0 {
			t.Errorf("leases are left: %q", left)
		}
	}
}
