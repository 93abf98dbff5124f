package isolation

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// sealPatience is how long the pages of a file may be in use.
const sealPatience = 5 * time.Second

// Seal makes a file in memory unchangeable. The host refuses that (EBUSY) while somebody holds a page of it, which
// its own memory management does at times, and does not itself wait long enough on a busy host.
func Seal(fd int) error {
	const all = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
	for end := time.Now().Add(sealPatience); ; time.Sleep(time.Millisecond) {
		_, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, all)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return fmt.Errorf("sealing a file in memory: %w", err)
		}
	}
}
