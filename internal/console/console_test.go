package console

import (
	"errors"
	"math"
	"os"
	"strings"
	"testing"

	"coffer/internal/scm"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func openMaster(t *testing.T) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no terminals here: ", err)
	}
	t.Cleanup(func() { master.Close() })
	return master
}

func socketPair(t *testing.T) (ours, theirs *os.File) {
	t.Helper()
	ours, theirs, err := scm.Pair("console")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, theirs
}

// TestSend: what arrives is the terminal, under its name.
func TestSend(t *testing.T) {
	master := openMaster(t)
	ours, theirs := socketPair(t)
	slave, err := Slave(master)
	if err != nil {
		t.Fatal(err)
	}
	defer slave.Close()
	if err := Send(theirs, master); err != nil {
		t.Fatal(err)
	}
	got, err := Receive(ours)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if !strings.HasPrefix(got.Name(), "/dev/pts/") {
		t.Errorf("the terminal's name is %q", got.Name())
	}
	if _, err := got.WriteString("line\n"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	if n, err := slave.Read(b); err != nil || string(b[:n]) != "line\n" {
		t.Errorf("its other end reads %q, %v", b[:n], err)
	}
}

func TestSendSomethingElse(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	_, theirs := socketPair(t)
	if err := Send(theirs, null); !errors.Is(err, unix.ENOTTY) {
		t.Errorf("sending %s: %v", os.DevNull, err)
	}
}

// TestReceiveNone: the sender may end without one, or send words only.
func TestReceiveNone(t *testing.T) {
	ours, theirs := socketPair(t)
	if _, err := theirs.WriteString("/dev/pts/0"); err != nil {
		t.Fatal(err)
	}
	if _, err := Receive(ours); !errors.Is(err, ErrNoMaster) {
		t.Errorf("a name alone: %v", err)
	}
	theirs.Close()
	if _, err := Receive(ours); !errors.Is(err, ErrNoMaster) {
		t.Errorf("an end: %v", err)
	}
}

func TestSetSize(t *testing.T) {
	master := openMaster(t)
	for _, c := range []struct {
		box  *specs.Box
		want unix.Winsize
	}{
		{&specs.Box{Height: 30, Width: 100}, unix.Winsize{Row: 30, Col: 100}},
		{nil, unix.Winsize{Row: 30, Col: 100}}, // stays as it is
		// More than Linux can say is the most that it can say, not what is left of it.
		{&specs.Box{Height: 1 << 16, Width: 1<<16 + 80}, unix.Winsize{Row: math.MaxUint16, Col: math.MaxUint16}},
	} {
		if err := SetSize(master, c.box); err != nil {
			t.Fatal(err)
		}
		got, err := unix.IoctlGetWinsize(int(master.Fd()), unix.TIOCGWINSZ)
		if err != nil || got.Row != c.want.Row || got.Col != c.want.Col {
			t.Errorf("%+v: %+v, %v", c.box, got, err)
		}
	}
}
