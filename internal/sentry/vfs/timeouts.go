package vfs

import "time"

// IOTimeouts is implemented by a File whose blocking reads and writes give up
// with EAGAIN after a time, as SO_RCVTIMEO and SO_SNDTIMEO say (socket(7)).
// Zero means never. A call that has a time-out is not restarted after a
// signal handler (signal(7)).
type IOTimeouts interface {
	ReadTimeout() time.Duration
	WriteTimeout() time.Duration
}
