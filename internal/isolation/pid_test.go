package isolation

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestPIDLife follows a process through its life: it runs, is a zombie, is gone.
func TestPIDLife(t *testing.T) {
	cat := exec.Command("cat")
	in, err := cat.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	p, err := FindPID(cat.Process.Pid)
	if err != nil || p.Started == 0 {
		t.Fatalf("FindPID = %v, %v", p, err)
	}
	if alive, err := p.Alive(); !alive || err != nil {
		t.Errorf("while it runs: %v, %v", alive, err)
	}
	if err := p.Signal(0); err != nil {
		t.Errorf("signal 0 while it runs: %v", err)
	}
	other := PID{PID: p.PID, Started: p.Started + 1}
	if alive, err := other.Alive(); alive || err != nil {
		t.Errorf("another process with its number: %v, %v", alive, err)
	}
	if err := other.Signal(unix.SIGKILL); err != unix.ESRCH {
		t.Errorf("a signal to another process with its number: %v", err)
	}
	process, err := p.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer process.Close()
	if err := AwaitEnd(process, 0); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the end while it runs: %v", err)
	}
	in.Close()
	if err := AwaitEnd(process, time.Minute); err != nil {
		t.Fatal(err)
	}
	if alive, err := p.Alive(); alive || err != nil {
		t.Errorf("as a zombie: %v, %v", alive, err)
	}
	cat.Wait()
	if alive, err := p.Alive(); alive || err != nil {
		t.Errorf("when it is gone: %v, %v", alive, err)
	}
	if err := (PID{}).Signal(unix.SIGKILL); err != unix.ESRCH {
		t.Errorf("a signal to no process: %v", err)
	}
}

// TestFirstThreadEnds: a process whose first thread has ended lives on.
func TestFirstThreadEnds(t *testing.T) {
	if (processStat{state: 'Z', threads: 2}).ended() || !(processStat{state: 'Z', threads: 1}).ended() {
		t.Error("a zombie with other threads runs, one without has ended")
	}
	for _, c := range []struct {
		stat processStat
		want bool
	}{
		{processStat{state: 'Z', threads: 2, exit: int(unix.SIGSYS)}, true},
		{processStat{state: 'Z', threads: 2}, true},
		{processStat{state: 'Z', threads: 1, exit: int(unix.SIGSYS)}, false},
		{processStat{state: 'Z', threads: 2, exit: int(unix.SIGKILL)}, false},
		{processStat{state: 'Z', threads: 2, exit: 1 << 8}, false},
		{processStat{state: 'S', threads: 2}, false},
	} {
		if got := c.stat.headless(); got != c.want {
			t.Errorf("%+v: headless %v", c.stat, got)
		}
	}
}

func TestParseStat(t *testing.T) {
	const tail = " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 7 18 4321 20"
	for _, c := range []struct {
		line string
		want processStat
		ok   bool
	}{
		{"12 (cat) S" + tail, processStat{'S', 7, 4321, 0}, true},
		{"12 (cat) Z" + tail + strings.Repeat(" 0", 28) + " 31", processStat{'Z', 7, 4321, 31}, true},
		{"12 (cat) Z" + tail + strings.Repeat(" 0", 28) + " x", processStat{}, false},
		{"12 (a) Z 1) R" + tail, processStat{'R', 7, 4321, 0}, true},
		{"12 (cat) S 1 2", processStat{}, false},
		{"", processStat{}, false},
	} {
		got, err := parseStat(c.line)
		if (err == nil) != c.ok || c.ok && got != c.want {
			t.Errorf("parseStat(%q) = %+v, %v", c.line, got, err)
		}
	}
	if _, err := FindPID(1 << 30); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such process: %v", err)
	}
}
