package test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// space is a network namespace of the test's own, with a thread that is in it.
type space struct {
	t     *testing.T
	file  *os.File
	calls chan func()
}

func newSpace(t *testing.T) *space {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	s := &space{t: t, calls: make(chan func())}
	made := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			s.file, err = os.Open("/proc/thread-self/ns/net")
		}
		made <- err
		for f := range s.calls {
			f()
		}
	}()
	err := <-made
	t.Cleanup(func() { close(s.calls) })
	if err != nil {
		t.Skipf("making a network namespace: %v", err)
	}
	t.Cleanup(func() { s.file.Close() })
	return s
}

// path is where other processes find the namespace.
func (s *space) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.file.Fd()) }

// do calls f in the namespace.
func (s *space) do(f func() error) {
	s.t.Helper()
	done := make(chan error, 1)
	s.calls <- func() { done <- f() }
	if err := <-done; err != nil {
		s.t.Fatal(err)
	}
}

// joined makes a pair of interfaces: name in s, and peer in other. An empty address is none.
func (s *space) joined(name, address string, other *space, peer, peerAddress string) {
	s.t.Helper()
	s.do(func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: peer, PeerNamespace: netlink.NsFd(other.file.Fd())})
	})
	s.up(name, address)
	other.up(peer, peerAddress)
}

func (s *space) up(name, address string) {
	s.t.Helper()
	s.do(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if address != "" {
			a, err := netlink.ParseAddr(address)
			if err != nil {
				return err
			}
			if err := netlink.AddrAdd(l, a); err != nil {
				return err
			}
		}
		return netlink.LinkSetUp(l)
	})
}

// addresses are those that the host's kernel has on an interface.
func (s *space) addresses(name string) (list []string) {
	s.t.Helper()
	s.do(func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_V4)
		for _, a := range addrs {
			list = append(list, a.IPNet.String())
		}
		return err
	})
	return list
}

// listen has a server answer each connection in the namespace.
func (s *space) listen(address string, answer func(net.Conn)) {
	s.t.Helper()
	var l net.Listener
	s.do(func() (err error) {
		l, err = net.Listen("tcp", address)
		return err
	})
	s.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.SetDeadline(time.Now().Add(5 * time.Minute))
			answer(c)
			c.Close()
		}
	}()
}

// command runs a program in the namespace.
func (s *space) command(argv ...string) (out string, err error) {
	s.t.Helper()
	s.do(func() error {
		var b []byte
		b, err = exec.Command(argv[0], argv[1:]...).CombinedOutput()
		out = string(b)
		return nil
	})
	return out, err
}

// inNetwork has a container join a network namespace.
func inNetwork(path string) func(*specs.Spec) {
	return func(s *specs.Spec) {
		i := slices.IndexFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
		s.Linux.Namespaces[i].Path = path
		for _, set := range []*[]string{&s.Process.Capabilities.Bounding, &s.Process.Capabilities.Effective, &s.Process.Capabilities.Permitted} {
			*set = append(*set, "CAP_NET_RAW", "CAP_NET_ADMIN")
		}
	}
}

// TestNetworkByPath is a container in a network namespace as CNI plug-ins make it.
func TestNetworkByPath(t *testing.T) {
	eachWall(t, func(t *testing.T, r *kernelRuntime) {
		inside, outside := newSpace(t), newSpace(t)
		outside.joined("peer", "10.9.0.1/24", inside, "eth0", "10.9.0.2/24")
		inside.up("lo", "")
		sum := make(chan []byte, 1)
		outside.listen("10.9.0.1:80", func(c net.Conn) {
			h := sha256.New()
			io.Copy(h, c)
			sum <- h.Sum(nil)
		})
		outside.listen("10.9.0.1:81", func(c net.Conn) { io.WriteString(c, "a server outside\n") })
		id := r.id("network")
		b := r.bundle("a", inNetwork(inside.path()), forever...)
		r.must("run", "--detach", "--bundle", b, id)
		r.awaitReady(id)

		if out := r.do("exec", id, "busybox", "nc", "10.9.0.1", "81"); out.stdout != "a server outside\n" {
			t.Errorf("a client inside: %+v", out)
		}
		const size = 20 << 20
		data := make([]byte, size)
		rand.NewChaCha8([32]byte{3}).Read(data)
		want := sha256.Sum256(data)
		argv := r.command("exec", id, "busybox", "nc", "10.9.0.1", "80")
		send := exec.Command(argv[0], argv[1:]...)
		send.Stdin = bytes.NewReader(data)
		if err := send.Start(); err != nil {
			t.Fatal(err)
		}
		select {
		case got := <-sum:
			if !bytes.Equal(got, want[:]) {
				t.Error("what arrived is not what was sent")
			}
		case <-time.After(5 * time.Minute):
			t.Error("what was sent does not arrive")
		}
		send.Process.Kill()
		send.Wait()

		if out, err := outside.command("ping", "-c", "3", "-i", "0.2", "-W", "10", "10.9.0.2"); err != nil {
			t.Errorf("ping from outside: %v: %s", err, out)
		}
		argv = r.command("exec", id, "sh", "-c", "while :; do echo a server inside | busybox nc -l -p 82; done")
		server := exec.Command(argv[0], argv[1:]...)
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		defer server.Wait()
		until := time.Now().Add(5 * time.Minute)
		for said := ""; said != "a server inside\n"; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(until) {
				t.Fatal("the server inside does not answer")
			}
			outside.do(func() error {
				c, err := net.Dial("tcp", "10.9.0.2:82")
				if err != nil {
					return nil // not there yet
				}
				defer c.Close()
				c.SetDeadline(until)
				b, _ := io.ReadAll(c)
				said = string(b)
				return nil
			})
		}
		r.checkInterfaces(id, size)
		r.must("delete", "--force", id)
		if list := inside.addresses("eth0"); !slices.Equal(list, []string{"10.9.0.2/24"}) {
			t.Errorf("afterwards, the host's kernel has the addresses %v", list)
		}
		if out, err := outside.command("ping", "-c", "1", "-W", "10", "10.9.0.2"); err != nil {
			t.Errorf("afterwards, the host's kernel does not answer: %v: %s", err, out)
		}
	})
}

// checkInterfaces looks at what events tells of the interface eth0 of a container that has sent
// at least so many bytes and answered pings: its kernel counts them, and runc tells of none.
func (r *kernelRuntime) checkInterfaces(id string, sent uint64) {
	r.t.Helper()
	var event struct {
		Data struct {
			List json.RawMessage `json:"network_interfaces"`
		}
	}
	out := r.do("events", "--stats", id)
	if err := json.Unmarshal([]byte(out.stdout), &event); err != nil {
		r.t.Fatalf("%v: %s", err, out.stdout)
	}
	if r.isolation == "process" {
		if string(event.Data.List) != "null" {
			r.t.Errorf("the interfaces are %s", event.Data.List)
		}
		return
	}
	var list []struct {
		Name                                    string
		RxBytes, RxPackets, RxErrors, RxDropped uint64
		TxBytes, TxPackets, TxErrors, TxDropped uint64
	}
	if err := json.Unmarshal(event.Data.List, &list); err != nil {
		r.t.Fatalf("%v: %s", err, event.Data.List)
	}
	if len(list) != 1 || list[0].Name != "eth0" || list[0].TxBytes < sent || list[0].TxPackets == 0 || list[0].RxPackets < 3 ||
		list[0].RxBytes < 3*84 || list[0].RxBytes > sent/2 || !strings.Contains(string(event.Data.List), `"TxErrors":0`) {
		r.t.Errorf("the interfaces are %s", event.Data.List)
	}
}

// TestNetworkOfTwo has two containers on a bridge, and a third one that may not share
// another's namespace behind the kernel wall.
func TestNetworkOfTwo(t *testing.T) {
	eachWall(t, func(t *testing.T, r *kernelRuntime) {
		host, one, two := newSpace(t), newSpace(t), newSpace(t)
		host.joined("v1", "", one, "eth0", "10.9.0.1/24")
		host.joined("v2", "", two, "eth0", "10.9.0.2/24")
		host.do(func() error {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = "br0"
			bridge := &netlink.Bridge{LinkAttrs: attrs}
			if err := netlink.LinkAdd(bridge); err != nil {
				return err
			}
			for _, name := range []string{"v1", "v2"} {
				l, err := netlink.LinkByName(name)
				if err != nil {
					return err
				}
				if err := netlink.LinkSetMaster(l, bridge); err != nil {
					return err
				}
			}
			return netlink.LinkSetUp(bridge)
		})
		server, client := r.id("server"), r.id("client")
		r.must("run", "--detach", "--bundle", r.bundle("server", inNetwork(one.path()), "sh", "-c", "while :; do echo over the bridge | busybox nc -l -p 80; done"), server)
		r.must("run", "--detach", "--bundle", r.bundle("client", inNetwork(two.path()), forever...), client)
		r.awaitReady(client)
		for until := time.Now().Add(5 * time.Minute); ; {
			out := r.do("exec", client, "busybox", "nc", "10.9.0.1", "80")
			if out.stdout == "over the bridge\n" {
				break
			}
			if time.Now().After(until) {
				t.Fatalf("the other container is not reached: %+v", out)
			}
		}
		if r.isolation == "kernel" {
			out := r.do("create", "--bundle", r.bundle("third", inNetwork(one.path()), forever...), r.id("third"))
			if out.code == 0 || !strings.Contains(out.stderr, "container "+server) {
				t.Errorf("a third container: %+v", out)
			}
		}
		for _, id := range []string{server, client} {
			r.must("delete", "--force", id)
		}
		if list := one.addresses("eth0"); !slices.Equal(list, []string{"10.9.0.1/24"}) {
			t.Errorf("afterwards, the host's kernel has the addresses %v", list)
		}
	})
}

// TestNetworkOfMany has a container in a namespace with a bridge, rules, and routes that refuse or
// are in tables of their own, of which some come later.
func TestNetworkOfMany(t *testing.T) {
	eachWall(t, func(t *testing.T, r *kernelRuntime) {
		inside, outside := newSpace(t), newSpace(t)
		const first = "fifteen-bytes-1"
		outside.joined("peer", "10.9.0.1/24", inside, first, "10.9.0.2/24")
		outside.joined("peer2", "10.9.1.1/24", inside, "port", "")
		outside.up("lo", "10.50.0.1/32")
		ip := func(argv ...string) {
			t.Helper()
			if out, err := inside.command(append([]string{"busybox", "ip"}, argv...)...); err != nil {
				t.Fatalf("ip %v: %v: %s", argv, err, out)
			}
		}
		inside.do(func() error {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = "br0"
			bridge := &netlink.Bridge{LinkAttrs: attrs}
			if err := netlink.LinkAdd(bridge); err != nil {
				return err
			}
			port, err := netlink.LinkByName("port")
			if err != nil {
				return err
			}
			return netlink.LinkSetMaster(port, bridge)
		})
		inside.up("br0", "10.9.1.2/24")
		ip("route", "add", "blackhole", "10.60.0.0/16")
		ip("route", "add", "default", "via", "10.9.1.1", "table", "100")
		ip("rule", "add", "from", "10.9.1.2", "lookup", "100", "pref", "7")
		id := r.id("many")
		r.must("run", "--detach", "--bundle", r.bundle("a", inNetwork(inside.path()), forever...), id)
		r.awaitReady(id)
		for _, to := range []string{"10.9.0.2", "10.9.1.2"} {
			if out, err := outside.command("ping", "-c", "2", "-i", "0.2", "-W", "10", to); err != nil || strings.Contains(out, "DUP!") {
				t.Errorf("ping from outside to %s: %v: %s", to, err, out)
			}
		}
		ping := func(to string) result {
			return r.do("exec", id, "busybox", "ping", "-c", "1", "-W", "10", "-I", "10.9.1.2", to)
		}
		if out := ping("10.50.0.1"); out.code != 0 {
			t.Errorf("by the rule: %+v", out)
		}
		const network = "10.9.0.0/24 dev " + first + " scope link  src 10.9.0.2 \n10.9.1.0/24 dev br0 scope link  src 10.9.1.2 \n"
		listed := func(want string, argv ...string) {
			t.Helper()
			for until := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
				out := r.do(append([]string{"exec", id, "busybox", "ip"}, argv...)...)
				if out.stdout == want {
					return
				}
				if time.Now().After(until) {
					t.Errorf("ip %v: %+v, want %q", argv, out, want)
					return
				}
			}
		}
		listed(network+"blackhole 10.60.0.0/16 \n", "route")
		listed("default via 10.9.1.1 dev br0 \n", "route", "show", "table", "100")
		listed("0:\tfrom all lookup local \n7:\tfrom 10.9.1.2 lookup 100 \n32766:\tfrom all lookup main \n32767:\tfrom all lookup default \n", "rule")

		ip("rule", "del", "pref", "7")
		ip("route", "del", "blackhole", "10.60.0.0/16")
		ip("route", "add", "unreachable", "10.61.0.0/16")
		listed(network+"unreachable 10.61.0.0/16 \n", "route")
		listed("0:\tfrom all lookup local \n32766:\tfrom all lookup main \n32767:\tfrom all lookup default \n", "rule")
		if out := ping("10.50.0.1"); out.code == 0 {
			t.Errorf("without the rule: %+v", out)
		}
		r.must("delete", "--force", id)
	})
}

// TestNetworkDevices moves an interface into a network namespace of the container's own.
func TestNetworkDevices(t *testing.T) {
	eachWall(t, func(t *testing.T, r *kernelRuntime) {
		host := newSpace(t)
		host.joined("dev0", "10.9.0.2/24", host, "peer", "10.9.1.1/24")
		host.listen("10.9.1.1:80", func(c net.Conn) { io.WriteString(c, "a server outside\n") })
		id, b := r.id("devices"), r.bundle("a", func(s *specs.Spec) {
			s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"dev0": {Name: "eth0"}}
		}, forever...)
		log := filepath.Join(t.TempDir(), "log")
		argv := append([]string{"nsenter", "--net=" + host.path()}, r.command("--log", log, "run", "--detach", "--bundle", b, id)...)
		if err := exec.Command(argv[0], argv[1:]...).Run(); err != nil { // the container keeps none of our pipes
			text, _ := os.ReadFile(log)
			t.Fatalf("%v: %s", err, text)
		}
		r.awaitReady(id)
		if out := r.do("exec", id, "busybox", "ip", "-o", "addr", "show", "eth0"); !strings.Contains(out.stdout, "inet 10.9.0.2/24") {
			t.Errorf("inside there is %+v", out)
		}
		r.must("delete", "--force", id)
	})
}

// TestNetworkOfHost has a container use the network of who runs it.
func TestNetworkOfHost(t *testing.T) {
	eachWall(t, func(t *testing.T, r *kernelRuntime) {
		host := newSpace(t)
		host.up("lo", "")
		host.listen("127.0.0.1:80", func(c net.Conn) { io.WriteString(c, "a server outside\n") })
		b := r.bundle("a", func(s *specs.Spec) {
			s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
		}, "busybox", "nc", "127.0.0.1", "80")
		argv := append([]string{"nsenter", "--net=" + host.path()}, r.command("run", "--bundle", b, r.id("host"))...)
		if out := run(t, 5*time.Minute, "/", "", argv...); out.stdout != "a server outside\n" {
			t.Errorf("it said %+v", out)
		}
	})
}
