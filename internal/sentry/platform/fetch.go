package platform

// Fetch says what a system call reads first of guest memory, which a platform
// may then bring along with the call. The zero value is nothing.
type Fetch struct {
	// Arg is the number of the argument that points to it, from 0.
	Arg int
	// Max is how many bytes are read, at most; no more than FetchMax.
	Max int
	// Counted says that the third argument is how many bytes there are, all of
	// which are read. Where they are more than Max, a platform brings them, or the
	// first of them, if its window has room. Arg is 1 then.
	Counted bool
	// Vector says that it is an array of struct iovec, of which the third argument is the number,
	// and that all its buffers are read. A platform brings the first of them, if its window has room.
	Vector bool
}

// FetchMax is the most that comes along with a call, but for buffers.
const FetchMax = 128
