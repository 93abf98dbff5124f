package link

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// message is the struct mmsghdr of recvmmsg(2) and sendmmsg(2).
type message struct {
	unix.Msghdr
	n uint32
	_ [4]byte
}

// batchFrames is how many frames go over the socket in one call.
const batchFrames = 8

// set has the message refer to buffers.
func (m *message) set(buffers []unix.Iovec) {
	*m = message{}
	m.Iov = &buffers[0]
	m.SetIovlen(len(buffers))
}

// recvBatch takes what there is. None is EAGAIN.
func recvBatch(fd uintptr, m []message) (int, error) {
	return batch(unix.SYS_RECVMMSG, fd, m, unix.MSG_DONTWAIT)
}

// sendBatch gives what is taken at once.
func sendBatch(fd uintptr, m []message) (int, error) {
	return batch(unix.SYS_SENDMMSG, fd, m, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
}

func batch(call, fd uintptr, m []message, flags uintptr) (int, error) {
	for {
		n, _, errno := unix.Syscall6(call, fd, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), flags, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
