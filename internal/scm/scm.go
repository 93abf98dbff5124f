// Package scm has Unix sockets that descriptors are sent over (SCM_RIGHTS,
// unix(7)), and takes these out of what comes beside a message. What else there is
// of a message is its receiver's business.
package scm

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Space is how many bytes of control data n descriptors take.
func Space(n int) int { return unix.CmsgSpace(4 * n) }

// Descriptors returns the descriptors that came in control data, as recvmsg(2)
// fills it in; the caller closes them. It returns those that it has found beside
// an error, which is control data of another kind or form.
func Descriptors(control []byte) ([]int, error) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil, fmt.Errorf("taking descriptors from a message: %w", err)
	}
	var all []int
	for i := range messages {
		// ParseUnixRights reads beyond descriptors that are not whole.
		messages[i].Data = messages[i].Data[:len(messages[i].Data)&^3]
		fds, e := unix.ParseUnixRights(&messages[i])
		if e != nil && err == nil {
			err = fmt.Errorf("taking descriptors from a message: control data of type %d: %w", messages[i].Header.Type, e)
		}
		all = append(all, fds...)
	}
	return all, err
}

// Pair returns the two ends of a stream socket, close-on-exec. The name is what
// the socket is called in errors.
func Pair(name string) (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("creating the %s socket: %w", name, err)
	}
	return os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name), nil
}
