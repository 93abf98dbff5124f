package container

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// lockKind is how a container is locked.
type lockKind int

const (
	// lockChange is for those that change a container: one at a time.
	lockChange lockKind = unix.LOCK_EX
	// lockUse is for those that need it to stay: any number at once.
	lockUse lockKind = unix.LOCK_SH
)

// lockWait is for how long another command's lock is waited for. A hook may
// take its time; but a command that waits for its own hook would do so forever.
var lockWait = 30 * time.Second

// lockDirectory locks a container's directory. Closing the file gives the lock
// back. It fails with fs.ErrNotExist if the directory is not there, or was
// removed by who held the lock before.
func lockDirectory(dir string, how lockKind) (*os.File, error) {
	f, err := os.OpenFile(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := waitForLock(f, how); err != nil {
		return nil, err
	}
	now, err := os.Lstat(dir)
	if err == nil {
		var locked fs.FileInfo
		if locked, err = f.Stat(); err == nil && !os.SameFile(now, locked) {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// waitForLock locks an open directory, and closes it if that fails.
func waitForLock(f *os.File, how lockKind) error {
	err := flock(f, int(how)|unix.LOCK_NB)
	if err == nil {
		return nil
	}
	if !errors.Is(err, unix.EWOULDBLOCK) {
		f.Close()
		return fmt.Errorf("it cannot be locked: %w", err)
	}
	locked := make(chan error)
	abandoned := make(chan struct{})
	go func() {
		err := flock(f, int(how))
		select {
		case locked <- err:
		case <-abandoned:
			f.Close()
		}
	}()
	timer := time.NewTimer(lockWait)
	defer timer.Stop()
	select {
	case err := <-locked:
		if err != nil {
			f.Close()
			return fmt.Errorf("it cannot be locked: %w", err)
		}
		return nil
	case <-timer.C:
		holders := lockHolders(f)
		close(abandoned)
		return fmt.Errorf("another command has been at work on it for more than %v%s: wait for that command, or end it", lockWait, holders)
	}
}

func flock(f *os.File, how int) error {
	for {
		if err := unix.Flock(int(f.Fd()), how); err != unix.EINTR {
			return err
		}
	}
}

// lockHolders names the processes that hold locks of a file, as far as
// /proc/locks shows them: " (process 12)", or nothing.
func lockHolders(f *os.File) string {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return ""
	}
	locks, err := os.Open("/proc/locks")
	if err != nil {
		return ""
	}
	defer locks.Close()
	file := fmt.Sprintf("%02x:%02x:%d", unix.Major(st.Dev), unix.Minor(st.Dev), st.Ino)
	var pids []string
	for sc := bufio.NewScanner(locks); sc.Scan(); {
		// 1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF; waiters have "->" as
		// the second field (proc_locks(5)).
		w := strings.Fields(sc.Text())
		if len(w) > 5 && w[1] == "FLOCK" && w[5] == file {
			if _, err := strconv.Atoi(w[4]); err == nil {
				pids = append(pids, w[4])
			}
		}
	}
	if len(pids) == 0 {
		return ""
	}
	return " (process " + strings.Join(pids, ", ") + ")"
}
