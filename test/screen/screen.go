// Package screen lets a test sit at a terminal: it types, and reads what the
// screen shows.
package screen

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Patience is how long a busy host may take for what a user waits for.
const Patience = 2 * time.Minute

// Screen is a user at a pseudoterminal.
type Screen struct {
	t      *testing.T
	master *os.File
	mu     sync.Mutex
	seen   bytes.Buffer
	grew   chan struct{}
}

// Open starts a command on a terminal of its own, of 30 rows and 100 columns,
// which a test has for as long as it runs.
func Open(t *testing.T, argv ...string) (*Screen, *exec.Cmd) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudoterminals here: %v", err)
	}
	t.Cleanup(func() { master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 30, Col: 100}); err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return At(t, master), cmd
}

// At sits at the pseudoterminal of which master is the master, until that is
// closed.
func At(t *testing.T, master *os.File) *Screen {
	term := &Screen{t: t, master: master, grew: make(chan struct{}, 1)}
	go func() {
		var b [4096]byte
		for {
			n, err := master.Read(b[:])
			term.mu.Lock()
			term.seen.Write(b[:n])
			term.mu.Unlock()
			select {
			case term.grew <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	return term
}

// Type types s.
func (m *Screen) Type(s string) {
	if _, err := m.master.WriteString(s); err != nil {
		m.t.Fatalf("typing %q: %v", s, err)
	}
}

// Expect waits until the screen shows what the expression matches, and
// forgets what came before its end.
func (m *Screen) Expect(expr string) string {
	m.t.Helper()
	re := regexp.MustCompile(expr)
	limit := time.After(Patience)
	for {
		m.mu.Lock()
		text := m.seen.String()
		if at := re.FindStringIndex(text); at != nil {
			found := text[at[0]:at[1]]
			m.seen.Next(at[1])
			m.mu.Unlock()
			return found
		}
		m.mu.Unlock()
		select {
		case <-m.grew:
		case <-limit:
			m.t.Fatalf("the terminal did not show %q but:\n%s", expr, text)
		}
	}
}

// Resize changes the terminal's size.
func (m *Screen) Resize(rows, columns uint16) {
	if err := unix.IoctlSetWinsize(int(m.master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		m.t.Fatal(err)
	}
}

// Cooked reports whether the terminal does what shells start programs with: it
// edits lines, echoes, makes signals of ^C and ^Z, and adds carriage returns.
func (m *Screen) Cooked() bool {
	m.t.Helper()
	modes, err := unix.IoctlGetTermios(int(m.master.Fd()), unix.TCGETS)
	if err != nil {
		m.t.Fatal(err)
	}
	return modes.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) == unix.ICANON|unix.ECHO|unix.ISIG && modes.Oflag&(unix.OPOST|unix.ONLCR) == unix.OPOST|unix.ONLCR
}

// Shown is what the screen has shown since the last Expect.
func (m *Screen) Shown() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.TrimSpace(m.seen.String())
}
