package container

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Kill sends a signal to a container's first process, or to all in it. It waits
// for no other command: a start that hangs can be ended.
func (s *Store) Kill(id string, sig unix.Signal, all bool) error {
	c, err := s.Find(id)
	if err != nil {
		return err
	}
	status, err := c.Status()
	if err != nil {
		return err
	}
	if status == specs.StateStopped && !all {
		return fmt.Errorf("%w: %s has stopped", ErrNotRunning, id)
	}
	wall, it, err := c.behind()
	if err != nil {
		return err
	}
	if err := wall.Signal(it, sig, all); err != nil {
		if errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("%w: %s has stopped", ErrNotRunning, id)
		}
		return fmt.Errorf("container %s: sending %s: %w", id, signalName(sig), err)
	}
	if sig != unix.SIGKILL {
		return nil
	}
	// On cgroup v1 a frozen process does not even die.
	if frozen, err := it.Cgroup.Frozen(); err != nil || !frozen {
		return err
	}
	return it.Cgroup.Thaw()
}

// maxSignal is SIGRTMAX.
const maxSignal = 64

// ParseSignal reads a signal's name, with SIG or without, or its number.
func ParseSignal(s string) (unix.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > maxSignal {
			return 0, fmt.Errorf("unknown signal %q: there are the numbers 1 to %d, and 0, which only looks", s, maxSignal)
		}
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	if sig, ok := realTimeSignal(name); ok {
		return sig, nil
	}
	return 0, fmt.Errorf("unknown signal %q: it is a name, such as TERM or SIGTERM, or a number", s)
}

// The first real-time signal for programs: glibc keeps 32 and 33 for itself.
const firstRealTime = 34

// realTimeSignal reads SIGRTMIN, SIGRTMIN+n, SIGRTMAX and SIGRTMAX-n.
func realTimeSignal(name string) (unix.Signal, bool) {
	base, rest := firstRealTime, ""
	switch {
	case strings.HasPrefix(name, "SIGRTMIN"):
		rest = strings.TrimPrefix(name, "SIGRTMIN")
	case strings.HasPrefix(name, "SIGRTMAX"):
		base, rest = maxSignal, strings.TrimPrefix(name, "SIGRTMAX")
	default:
		return 0, false
	}
	offset := 0
	if rest != "" {
		var err error
		if offset, err = strconv.Atoi(rest); err != nil || rest[0] != '+' && rest[0] != '-' {
			return 0, false
		}
	}
	n := base + offset
	return unix.Signal(n), n >= firstRealTime && n <= maxSignal
}

// signalName is how kill(1) -l names a signal.
func signalName(sig unix.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	return "signal " + strconv.Itoa(int(sig))
}
