package hostnet

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// within calls f on a thread that is in a network namespace. What f opens there stays
// there; it must start no goroutine that is to be there, too.
func within(ns *os.File, f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		own, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			runtime.UnlockOSThread()
			result <- err
			return
		}
		defer own.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			runtime.UnlockOSThread()
			result <- fmt.Errorf("entering the network namespace: %w (this takes CAP_SYS_ADMIN)", err)
			return
		}
		err = f()
		// A thread that cannot come back ends with its goroutine.
		if unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}
