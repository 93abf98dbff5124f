package procfs

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// bootOffset is how far the time since boot that who reads a file sees is ahead
// of the sandbox's.
func bootOffset(c vfs.Caller) time.Duration {
	if t := taskOf(c); t != nil {
		return t.ClockOffset(unix.CLOCK_BOOTTIME)
	}
	return 0
}

// timeForChildren is the time namespace of the subject's children, which the
// file timens_offsets is about.
func (s subject) timeForChildren() (*kernel.TimeNamespace, error) {
	t, err := s.task()
	if err != nil {
		return nil, err
	}
	n := t.NamespacesOf()
	if n == nil {
		return nil, unix.ESRCH
	}
	return n.TimeForChildren, nil
}

// timensOffsets renders /proc/PID/timens_offsets (time_namespaces(7)).
func timensOffsets(s subject, _ vfs.Caller, b []byte) ([]byte, error) {
	ns, err := s.timeForChildren()
	if err != nil {
		return nil, err
	}
	o := ns.Offsets()
	row := func(name string, d time.Duration) {
		sec, nsec := d/time.Second, d%time.Second
		if nsec < 0 {
			sec, nsec = sec-1, nsec+time.Second
		}
		b = fmt.Appendf(b, "%-10s %10d %9d\n", name, int64(sec), int64(nsec))
	}
	row("monotonic", o.Monotonic)
	row("boottime", o.Boottime)
	return b, nil
}

// setTimensOffsets takes what is written to it.
func setTimensOffsets(s subject, _ vfs.Caller, opener *auth.Credentials, data []byte) error {
	offsets, err := parseTimeOffsets(string(data))
	if err != nil {
		return err
	}
	ns, err := s.timeForChildren()
	if err != nil {
		return err
	}
	return ns.SetOffsets(opener, offsets)
}

// maxOffset is the largest offset in seconds that a time.Duration holds; it is
// beyond what any clock may show.
const maxOffset = (1<<63 - 1) / int64(time.Second)

// parseTimeOffsets reads one or two lines, each a clock by name or number, whole
// seconds, which may be negative, and nanoseconds. EINVAL for anything else,
// ERANGE for what is out of all bounds.
func parseTimeOffsets(text string) (map[int32]time.Duration, error) {
	text, _, _ = strings.Cut(text, "\x00")
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) > 2 {
		return nil, unix.EINVAL
	}
	offsets := make(map[int32]time.Duration)
	for _, line := range lines {
		f := strings.Fields(line)
		if len(f) != 3 {
			return nil, unix.EINVAL
		}
		var clock int32
		switch f[0] {
		case "monotonic", strconv.Itoa(unix.CLOCK_MONOTONIC):
			clock = unix.CLOCK_MONOTONIC
		case "boottime", strconv.Itoa(unix.CLOCK_BOOTTIME):
			clock = unix.CLOCK_BOOTTIME
		default:
			return nil, unix.EINVAL
		}
		sec, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			return nil, unix.EINVAL
		}
		nsec, err := strconv.ParseUint(f[2], 10, 64)
		if err != nil || nsec >= uint64(time.Second) {
			return nil, unix.EINVAL
		}
		if sec >= maxOffset || sec <= -maxOffset {
			return nil, unix.ERANGE
		}
		offsets[clock] = time.Duration(sec)*time.Second + time.Duration(nsec)
	}
	return offsets, nil
}
