package isolation

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// FindPID returns the process that has a number now. It fails with
// fs.ErrNotExist if there is none.
func FindPID(pid int) (PID, error) {
	st, err := readStat(pid)
	if err != nil {
		return PID{}, err
	}
	return PID{PID: pid, Started: st.started}, nil
}

// Alive reports whether the process still runs: neither gone, nor a zombie
// that waits for its parent, nor another one that got its number.
func (p PID) Alive() (bool, error) {
	if p.PID <= 0 {
		return false, nil
	}
	st, err := readStat(p.PID)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	}
	return st.started == p.Started && !st.ended(), nil
}

// Headless reports whether a seccomp filter has ended the first thread of the process,
// the one that executes programs, and others go on: SCMP_ACT_KILL ends a thread alone.
func (p PID) Headless() bool {
	st, err := readStat(p.PID)
	return err == nil && st.started == p.Started && st.headless()
}

// Open returns a descriptor of the process (pidfd_open(2)), which stays that
// process's. The caller closes it. It fails with unix.ESRCH if the process has
// ended, even if its number was given to another one.
func (p PID) Open() (*os.File, error) {
	if p.PID <= 0 {
		return nil, unix.ESRCH
	}
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "pidfd:"+strconv.Itoa(p.PID))
	// Only now does the number stay: whose is it?
	alive, err := p.Alive()
	if err == nil && !alive {
		err = unix.ESRCH
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// Signal sends a signal to the process and to no other one that got its
// number. It fails with unix.ESRCH if the process has ended.
func (p PID) Signal(sig unix.Signal) error {
	f, err := p.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.PidfdSendSignal(int(f.Fd()), sig, nil, 0)
}

// AwaitEnd waits until the process of a descriptor that Open returned has ended,
// be it as a zombie. It fails with os.ErrDeadlineExceeded if it has not after some
// time.
func AwaitEnd(process *os.File, patience time.Duration) error {
	fds := []unix.PollFd{{Fd: int32(process.Fd()), Events: unix.POLLIN}}
	for until := time.Now().Add(patience); ; {
		n, err := unix.Poll(fds, int(max(time.Until(until), 0).Milliseconds()))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("waiting for the end of a process: %w", err)
		case n > 0:
			return nil
		default:
			return os.ErrDeadlineExceeded
		}
	}
}

// processStat is what is needed of /proc/PID/stat.
type processStat struct {
	state   byte
	threads int
	started uint64
	// exit is how the first thread ended, as wait(2) has it; 0 until then, and for
	// callers that may not know.
	exit int
}

// ended reports whether nothing of the process runs any more. Its first thread
// may have ended before the others do: it is a zombie until then.
func (s processStat) ended() bool {
	return s.state == 'X' || s.state == 'Z' && s.threads <= 1
}

// headless tells a process whose first thread a filter ended from one that is ending as
// a whole, of which other threads may take long.
func (s processStat) headless() bool {
	by := unix.WaitStatus(s.exit)
	return s.state == 'Z' && !s.ended() && (by == 0 || by.Signaled() && by.Signal() == unix.SIGSYS)
}

func readStat(pid int) (processStat, error) {
	path := "/proc/" + strconv.Itoa(pid) + "/stat"
	b, err := os.ReadFile(path)
	if err != nil {
		if errors.Is(err, unix.ESRCH) { // it ended while it was read
			err = fs.ErrNotExist
		}
		return processStat{}, fmt.Errorf("looking for process %d: %w", pid, err)
	}
	st, err := parseStat(string(b))
	if err != nil {
		return st, fmt.Errorf("%s: %w", path, err)
	}
	return st, nil
}

// parseStat takes apart proc_pid_stat(5). The second field is the program's
// name in parentheses, and may hold parentheses and spaces itself.
func parseStat(s string) (st processStat, err error) {
	_, rest, found := cutLast(s, ") ")
	f := strings.Fields(rest)
	// rest begins with field 3, the state; threads are field 20, the start time 22, and
	// how the thread ended 52.
	if !found || len(f) < 20 {
		return st, fmt.Errorf("not in the form of proc_pid_stat(5): %q", s)
	}
	st.state = f[0][0]
	if st.threads, err = strconv.Atoi(f[17]); err != nil {
		return st, fmt.Errorf("the number of threads, %q, is not a number", f[17])
	}
	if st.started, err = strconv.ParseUint(f[19], 10, 64); err != nil {
		return st, fmt.Errorf("the start time, %q, is not a number", f[19])
	}
	if len(f) >= 50 {
		if st.exit, err = strconv.Atoi(f[49]); err != nil {
			return st, fmt.Errorf("the exit code, %q, is not a number", f[49])
		}
	}
	return st, nil
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
