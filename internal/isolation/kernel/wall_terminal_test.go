package kernel

import (
	"bufio"
	"io"
	"os"
	"strings"
	"testing"

	"coffer/internal/console"
	"coffer/internal/isolation"
	"coffer/internal/scm"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// userConsole is the user's end of a terminal that comes over a console socket.
type userConsole struct {
	t       *testing.T
	ours    *os.File
	streams isolation.Streams
	master  *os.File
	lines   *bufio.Reader
}

func newConsole(t *testing.T) *userConsole {
	t.Helper()
	ours, theirs, err := scm.Pair("console")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return &userConsole{t: t, ours: ours, streams: isolation.Streams{ConsoleSocket: theirs}}
}

// receive takes the master that was sent.
func (c *userConsole) receive() {
	c.t.Helper()
	master, err := console.Receive(c.ours)
	if err != nil {
		c.t.Fatal(err)
	}
	if !strings.HasPrefix(master.Name(), "/dev/pts/") {
		c.t.Errorf("the terminal is called %q", master.Name())
	}
	c.master = master
	c.lines = bufio.NewReader(c.master)
	c.t.Cleanup(func() { c.master.Close() })
}

// expect reads lines until one is want.
func (c *userConsole) expect(want string) {
	c.t.Helper()
	var seen []string
	for {
		line, err := c.lines.ReadString('\n')
		line = strings.TrimRight(line, "\r\n")
		if line == want {
			return
		}
		seen = append(seen, line)
		if err != nil {
			c.t.Fatalf("the terminal showed %q and ended (%v), want %q", seen, err, want)
		}
	}
}

func (c *userConsole) resize(rows, cols uint16) {
	c.t.Helper()
	if err := unix.IoctlSetWinsize(int(c.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *userConsole) write(s string) {
	c.t.Helper()
	if _, err := c.master.WriteString(s); err != nil {
		c.t.Fatal(err)
	}
}

// conversation tells of the terminal, of its sizes and of what is typed.
const conversation = `trap 'echo size $(stty size)' WINCH
tty; stty size; [ -t 0 ] && [ -t 2 ] && echo terminal
while :; do read line && echo "got $line"; [ "$line" = end ] && exit 6; done`

func (c *userConsole) converse() {
	c.t.Helper()
	c.expect("/dev/pts/0")
	c.expect("30 100")
	c.expect("terminal")
	c.write("hello\r")
	c.expect("got hello")
	c.resize(20, 60)
	c.write("\r") // ends read, if the signal does not
	c.expect("size 20 60")
	c.write("end\r")
	c.expect("got end")
	rest, err := io.ReadAll(c.lines)
	if len(rest) != 0 {
		c.t.Errorf("after the end: %q, %v", rest, err)
	}
}

func terminalSpec(args ...string) *specs.Spec {
	s := spec(args...)
	s.Process.Terminal = true
	s.Process.ConsoleSize = &specs.Box{Height: 30, Width: 100}
	return s
}

func TestTerminal(t *testing.T) {
	p := newPod(t)
	c := newConsole(t)
	b, err := p.createWith("a", terminalSpec("sh", "-c", conversation), c.streams)
	if err != nil {
		t.Fatal(err)
	}
	c.receive()
	b.start()
	c.converse()
	if w := p.wait(b.Init); w.ExitStatus() != 6 {
		t.Errorf("ended with %#x", w)
	}
}

func TestExecTerminal(t *testing.T) {
	p := newPod(t)
	b := p.mustCreate("a", spec("sleep", "1000"))
	b.start()
	c := newConsole(t)
	process := terminalSpec("sh", "-c", conversation).Process
	pid, err := New().Exec(b.Container, &isolation.Exec{Process: process, Streams: c.streams})
	if err != nil {
		t.Fatal(err)
	}
	c.receive()
	c.converse()
	if w := p.wait(pid); w.ExitStatus() != 6 {
		t.Errorf("ended with %#x", w)
	}
}

// TestHangUp closes the user's end: programs are hung up on, as on Linux.
func TestHangUp(t *testing.T) {
	p := newPod(t)
	b := p.mustCreate("a", spec("sleep", "1000"))
	b.start()
	c := newConsole(t)
	process := terminalSpec("sh", "-c", "echo ready; read line; exit 0").Process
	pid, err := New().Exec(b.Container, &isolation.Exec{Process: process, Streams: c.streams})
	if err != nil {
		t.Fatal(err)
	}
	c.receive()
	c.expect("ready")
	c.master.Close()
	if w := p.wait(pid); w.ExitStatus() != 128+int(unix.SIGHUP) {
		t.Errorf("ended with %#x", w)
	}
}
