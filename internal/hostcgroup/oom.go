package hostcgroup

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// WatchOOM tells each time that the cgroup runs out of memory from now on, until
// ctx is done or the cgroup is gone: then the channel is closed.
func (c *Cgroup) WatchOOM(ctx context.Context) (<-chan struct{}, error) {
	dir := c.Path("memory")
	if dir == "" {
		if c.None() {
			return nil, ErrNone
		}
		return nil, errors.New("watching for lack of memory: the host has no memory controller")
	}
	open := openOOM1
	if c.unified() {
		open = openOOM2
	}
	events, next, err := open(dir)
	if err != nil {
		return nil, fmt.Errorf("watching cgroup %s for lack of memory: %w", dir, err)
	}
	told := make(chan struct{})
	go func() {
		defer close(told)
		defer events.Close()
		defer context.AfterFunc(ctx, func() { events.Close() })()
		for {
			n, ok := next()
			for ; ok && n > 0; n-- {
				select {
				case told <- struct{}{}:
				case <-ctx.Done():
				}
			}
			if !ok {
				return
			}
		}
	}()
	return told, nil
}

// openOOM1 has an eventfd(2) count what memory.oom_control tells
// (Documentation/admin-guide/cgroup-v1/memory.rst, section 10). next waits for
// the next count; it is false when the cgroup is gone, of which the eventfd is
// told too, or events was closed.
func openOOM1(dir string) (events *os.File, next func() (n uint64, ok bool), err error) {
	control, err := os.Open(filepath.Join(dir, "memory.oom_control"))
	if err != nil {
		return nil, nil, err
	}
	// The kernel holds the file itself from then on.
	defer control.Close()
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, nil, err
	}
	events = os.NewFile(uintptr(fd), "eventfd")
	register := filepath.Join(dir, "cgroup.event_control")
	if err := os.WriteFile(register, fmt.Appendf(nil, "%d %d", fd, control.Fd()), 0); err != nil {
		events.Close()
		return nil, nil, err
	}
	return events, func() (uint64, bool) {
		var count [8]byte
		if _, err := events.Read(count[:]); err != nil {
			return 0, false
		}
		if _, err := os.Stat(register); err != nil {
			return 0, false
		}
		return binary.NativeEndian.Uint64(count[:]), true
	}, nil
}

// openOOM2 is told by inotify(7) when memory.events changes, and counts what
// was killed (Documentation/admin-guide/cgroup-v2.rst). Of the cgroup's removal
// the directory above is told.
func openOOM2(dir string) (events *os.File, next func() (n uint64, ok bool), err error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, nil, err
	}
	events = os.NewFile(uintptr(fd), "inotify")
	file := filepath.Join(dir, "memory.events")
	for _, watch := range []struct {
		path string
		mask uint32
	}{{file, unix.IN_MODIFY}, {filepath.Dir(dir), unix.IN_DELETE}} {
		if _, err := unix.InotifyAddWatch(fd, watch.path, watch.mask); err != nil {
			events.Close()
			return nil, nil, &os.PathError{Op: "inotify_add_watch", Path: watch.path, Err: err}
		}
	}
	seen, err := oomCount(file)
	if err != nil {
		events.Close()
		return nil, nil, err
	}
	return events, func() (uint64, bool) {
		var buf [4096]byte
		if _, err := events.Read(buf[:]); err != nil {
			return 0, false
		}
		now, err := oomCount(file)
		if err != nil || now < seen {
			return 0, false
		}
		n := now - seen
		seen = now
		return n, true
	}, nil
}

// oomCount reads how often a cgroup of v2 ran out of memory.
func oomCount(file string) (uint64, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return keyed(string(data), "oom_kill")
}

// keyed finds a number in a file of lines "key value".
func keyed(data, key string) (uint64, error) {
	for line := range strings.Lines(data) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name == key {
			return strconv.ParseUint(value, 10, 64)
		}
	}
	return 0, fmt.Errorf("there is no line %q", key)
}
