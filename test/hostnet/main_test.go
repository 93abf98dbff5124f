// Package hostnet tests the host's side of networks with both walls: bridges, names,
// published ports, egress rules by packet filters, CNI plug-ins and overlays. All runs
// in a room of its own (package room): its network namespace stands for the host, and
// what is left behind in it is seen.
package hostnet

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coffer/test/room"

	"github.com/google/nftables"
)

// patience is how long anything may take on a busy machine.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	room.Main()
	guestMain()
	room.Tests(m.Run)
}

// need skips the test unless it can run here.
func need(t *testing.T, programs ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("bridges need root")
	}
	if room.Forbidden != nil {
		t.Skip(room.Forbidden)
	}
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed: scripts/test-deps does it on a Debian", p)
		}
	}
}

var walls = []string{"kernel", "process"}

// eachWall runs a test with each wall, and looks whether anything is left on the host.
func eachWall(t *testing.T, test func(t *testing.T, wall string)) {
	for _, wall := range walls {
		t.Run(wall, func(t *testing.T) {
			clean(t)
			test(t, wall)
		})
	}
}

// binary is the program that is tested.
func binary(t *testing.T) string {
	t.Helper()
	p, err := filepath.Abs("../../bin/coffer")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p); err != nil {
		t.Fatalf("bin/coffer is not there: make build: %v", err)
	}
	return p
}

// result is what a program left.
type result struct {
	stdout, stderr string
	code           int
}

// run runs a program to its end.
func run(t *testing.T, argv ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = "/"
	cmd.WaitDelay = 30 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		t.Fatalf("%q took too long; output %q, %q", argv, &stdout, &stderr)
	}
	if ee := new(exec.ExitError); err != nil && !errors.As(err, &ee) {
		t.Fatalf("%q: %v", argv, err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// must runs a program that must succeed, and returns its output.
func must(t *testing.T, argv ...string) string {
	t.Helper()
	r := run(t, argv...)
	if r.code != 0 {
		t.Fatalf("%q: exit status %d, output %q, %q", argv, r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// coffer runs a command of coffer's.
func coffer(t *testing.T, args ...string) result {
	t.Helper()
	return run(t, append([]string{binary(t)}, args...)...)
}

// words are a command line of coffer do that runs this test's own program inside.
func words(t *testing.T, wall, flags string, guest ...string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"do", "--isolation", wall, "--cwd", "/", "--bind", self + ":/guest"}
	args = append(args, strings.Fields(flags)...)
	return append(args, append([]string{"--", "/guest", guestRole}, guest...)...)
}

// do runs this test's own program in a sandbox.
func do(t *testing.T, wall, flags string, guest ...string) result {
	t.Helper()
	return coffer(t, words(t, wall, flags, guest...)...)
}

// sandbox is a program that goes on.
type sandbox struct {
	t     *testing.T
	cmd   *exec.Cmd
	ended chan struct{}
	// address is the IPv4 address that it says it has.
	address string
}

// start starts a program in a sandbox and waits until it says that it is ready. It is
// ended with the test.
func start(t *testing.T, wall, flags string, guest ...string) *sandbox {
	t.Helper()
	return startCommand(t, exec.Command(binary(t), words(t, wall, flags, guest...)...))
}

// startAt is start on another host, with all of coffer's words.
func startAt(t *testing.T, namespace string, args ...string) *sandbox {
	t.Helper()
	return startCommand(t, exec.Command("nsenter", append([]string{"--net=/run/netns/" + namespace, binary(t)}, args...)...))
}

func startCommand(t *testing.T, cmd *exec.Cmd) *sandbox {
	t.Helper()
	cmd.Dir = "/"
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &sandbox{t: t, cmd: cmd, ended: make(chan struct{})}
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		said <- strings.TrimSpace(line)
		io.Copy(io.Discard, out)
		cmd.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() {
		stdin.Close()
		s.stop()
	})
	select {
	case line := <-said:
		var ok bool
		if s.address, ok = strings.CutPrefix(line, "ready "); !ok {
			s.stop()
			t.Fatalf("%q said %q and not that it is ready; %s", cmd.Args, line, &stderr)
		}
	case <-time.After(patience):
		t.Fatalf("%q is not ready", cmd.Args)
	}
	return s
}

// stop ends the sandbox and waits for coffer's end.
func (s *sandbox) stop() { s.signal(false) }

// kill ends coffer without giving it a chance to clean up.
func (s *sandbox) kill() { s.signal(true) }

func (s *sandbox) signal(kill bool) {
	s.t.Helper()
	if kill {
		s.cmd.Process.Kill()
	} else {
		s.cmd.Process.Signal(os.Interrupt)
	}
	select {
	case <-s.ended:
	case <-time.After(patience):
		s.cmd.Process.Kill()
		s.t.Errorf("%q does not end", s.cmd.Args)
	}
}

// host tells of what is made on the host: interfaces, tables, records, switches.
func host(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString(must(t, "ip", "-br", "link"))
	b.WriteString(must(t, "ip", "route"))
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := conn.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		fmt.Fprintf(&b, "table %s %d\n", table.Name, table.Family)
	}
	files, err := filepath.Glob("/var/lib/coffer/network/attached/*")
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob("/var/lib/cni/networks/*/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	b.WriteString(strings.Join(append(files, more...), "\n"))
	forward, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&b, "\nforwarding %s", forward)
	return b.String()
}

// clean looks at the host now and when the test has ended.
func clean(t *testing.T) {
	t.Helper()
	before := host(t)
	t.Cleanup(func() { settles(t, before, func() {}) })
}

// settles waits until the host is as it was. The kernel takes namespaces apart, with
// their interfaces, some time after their last process has ended.
func settles(t *testing.T, before string, again func()) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		again()
		if after := host(t); after == before {
			return
		} else if time.Now().After(end) {
			t.Fatalf("the host was\n%s\nand is now\n%s", before, after)
		}
	}
}

// outside makes a network namespace that stands for another host, on a link of its own:
// it has 192.0.2.2 and 2001:db8::2, and this host 192.0.2.1 and 2001:db8::1, its way
// to everywhere.
func outside(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		run(t, "ip", "link", "del", "up0")
		run(t, "ip", "netns", "del", "outside")
	})
	for _, line := range strings.Split(strings.TrimSpace(`
ip netns add outside
ip link add up0 type veth peer name eth0 netns outside
ip addr add 192.0.2.1/24 dev up0
ip addr add 2001:db8::1/64 dev up0 nodad
ip link set up0 up
ip -n outside link set lo up
ip -n outside addr add 192.0.2.2/24 dev eth0
ip -n outside addr add 2001:db8::2/64 dev eth0 nodad
ip -n outside link set eth0 up
ip route add default via 192.0.2.2`), "\n") {
		must(t, strings.Fields(line)...)
	}
}

// at are the words before a command that run it in another namespace.
func at(namespace string, guest ...string) []string {
	self, _ := os.Executable()
	return append([]string{"ip", "netns", "exec", namespace, self, guestRole}, guest...)
}

// serveAt starts a server in another namespace, which ends with the test.
func serveAt(t *testing.T, namespace string, guest ...string) {
	t.Helper()
	argv := at(namespace, guest...)
	cmd := exec.Command(argv[0], argv[1:]...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.HasPrefix(line, "ready") {
		t.Fatalf("%q: %q, %v", argv, line, err)
	}
}
