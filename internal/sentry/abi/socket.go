package abi

// How much buffers of sockets hold, in bytes, as Linux counts (socket(7)).
const (
	// DefaultSocketBuffer is what rmem_default and wmem_default of /proc/sys/net/core are at
	// first, and rmem_max and wmem_max: what setsockopt(2) takes, and doubles.
	DefaultSocketBuffer = 212992
	// No buffer is smaller than these (SOCK_MIN_SNDBUF, SOCK_MIN_RCVBUF).
	MinSocketSendBuffer    = 4608
	MinSocketReceiveBuffer = 2304
)
