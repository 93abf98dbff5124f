package vfs

import "coffer/internal/sentry/waiter"

// BlockingController is implemented by a File that has ioctl(2) requests which
// wait, whether or not O_NONBLOCK is set. For such a request IoctlWaits
// returns what to wait for while Ioctl answers EAGAIN; for others 0.
type BlockingController interface {
	IoctlWaits(cmd uint32) waiter.Mask
}
