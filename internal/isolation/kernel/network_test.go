package kernel

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ip runs ip(8) in the network namespace that the host shows of a sandbox.
func (b *box) ip(line string) {
	b.pod.t.Helper()
	argv := append([]string{fmt.Sprintf("--net=/proc/%d/ns/net", b.Init.PID), "ip"}, strings.Fields(line)...)
	if out, err := exec.Command("nsenter", argv...).CombinedOutput(); err != nil {
		b.pod.t.Fatalf("ip %s: %v, %s", line, err, out)
	}
}

// await waits until a container's program says something.
func (b *box) await(want string, args ...string) {
	b.pod.t.Helper()
	var got string
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got, _ = b.exec(args...); strings.TrimSpace(got) == want {
			return
		}
	}
	b.pod.t.Fatalf("%q says %q, and not %q", args, got, want)
}

// TestLateNetwork fills the namespace between create and start, as CNI plug-ins do that
// are called then, and changes it while the container runs, as Docker does.
func TestLateNetwork(t *testing.T) {
	p := newPod(t)
	for _, program := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	for _, name := range []string{"ip", "grep"} {
		if err := os.Symlink("busybox", p.fs+"/bin/"+name); err != nil {
			t.Fatal(err)
		}
	}
	for _, kind := range []specs.LinuxNamespaceType{specs.NetworkNamespace, specs.UserNamespace} {
		t.Run(string(kind), func(t *testing.T) {
			s := spec("sh", "-c", "ip -o -4 addr show eth0; exec sleep 1000")
			s.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.NetworkNamespace}}
			if kind == specs.UserNamespace {
				s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: kind})
				s.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: 100000, Size: 1000}}
				s.Linux.GIDMappings = s.Linux.UIDMappings
			}
			testLateNetwork(t, p, string(kind), s)
		})
	}
}

func testLateNetwork(t *testing.T, p *pod, id string, s *specs.Spec) {
	first := p.mustCreate(id, s)
	b := &box{Container: first.Container, pod: p} // its output is that of what is executed
	// The other ends of its interfaces; the namespace goes with the process.
	host := exec.Command("unshare", "--net", "sleep", "1000")
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		host.Process.Kill()
		host.Wait()
	})
	namespace := func(pid string) string {
		link, err := os.Readlink("/proc/" + pid + "/ns/net")
		if err != nil {
			t.Fatal(err)
		}
		return link
	}
	for namespace(fmt.Sprint(host.Process.Pid)) == namespace("self") {
		time.Sleep(time.Millisecond)
	}
	connect := func(name, address string) {
		t.Helper()
		b.ip(fmt.Sprintf("link add %s type veth peer name p%s", name, name))
		b.ip(fmt.Sprintf("link set p%s netns %d", name, host.Process.Pid))
		b.ip(fmt.Sprintf("addr add %s dev %s", address, name))
		b.ip("link set " + name + " up")
	}
	connect("eth0", "10.9.0.2/24")
	b.ip("route add default via 10.9.0.1")
	b.start()
	b.await("default via 10.9.0.1 dev eth0", "sh", "-c", "ip route | grep default")

	connect("eth1", "10.9.1.2/24")
	b.await("10.9.1.2/24", "sh", "-c", "ip -o -4 addr show eth1 | while read n d f a rest; do echo $a; done")
	// What becomes of an interface that is there.
	b.ip("addr add 10.9.7.2/24 dev eth1")
	b.ip("route add 10.77.0.0/16 via 10.9.7.1")
	b.ip("route replace default via 10.9.1.1")
	b.await("10.77.0.0/16 via 10.9.7.1 dev eth1", "sh", "-c", "ip route | grep 10.77")
	b.await("default via 10.9.1.1 dev eth1", "sh", "-c", "ip route | grep default")
	b.ip("addr del 10.9.7.2/24 dev eth1")
	b.await("10.9.1.2/24", "sh", "-c", "ip -o -4 addr show eth1 | while read n d f a rest; do echo $a; done")
	// It goes as Docker takes it, and comes again with the same name.
	b.ip("link set eth1 down")
	b.ip("link set eth1 name other")
	b.ip("link del other")
	b.await("2", "sh", "-c", "ip -o link | grep -c :")
	connect("eth1", "10.9.2.2/24")
	b.await("10.9.2.2/24", "sh", "-c", "ip -o -4 addr show eth1 | while read n d f a rest; do echo $a; done")

	if err := b.Init.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.wait(b.Init)
	if out := first.output(); !strings.Contains(out, "inet 10.9.0.2/24") {
		t.Errorf("the program began with %q", out)
	}
}

// TestPassAfterEnd has a follower take nothing over once the sentry has ended: who gives
// the namespace back may have done it already.
func TestPassAfterEnd(t *testing.T) {
	child := exec.Command("sleep", "1000")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(child.Process.Pid, 0)
	child.Process.Kill()
	child.Wait()
	if err != nil {
		t.Fatal(err)
	}
	sentry := os.NewFile(uintptr(fd), "sentry")
	defer sentry.Close()
	dir := t.TempDir()
	record := filepath.Join(dir, recordName)
	if err := os.WriteFile(record, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	ns, err := os.Open(record) // it is no namespace: to take it over would fail
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if err := pass(ns, sentry, "c1", dir); !errors.Is(err, errGone) {
		t.Errorf("it says %v", err)
	}
	if err := os.Remove(record); err != nil {
		t.Fatal(err)
	}
	if _, err := lockNetwork(dir); !errors.Is(err, errGone) {
		t.Errorf("without a container it says %v", err)
	}
}
