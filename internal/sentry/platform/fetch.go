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
	// Also are other parts that the call reads; where Max is 0 there is none.
	Also [AlsoMax]Part
}

// Part is something small that a call reads beside what it reads first.
type Part struct {
	// Arg is the number of the argument that points to it, from 0.
	Arg int
	// Max is how many bytes it has, a multiple of 8. FetchMax stands for what may be shorter: no
	// more is read than its page has.
	Max int
	// Bits says that it has as many bits as the first argument tells, in words of 64, and is
	// brought if that is no more than Max bytes.
	Bits bool
	// Points says that its first word, if not 0, points to 8 bytes that are read as well. They
	// count as another part.
	Points bool
}

// AlsoMax is the most parts that come along beside the first.
const AlsoMax = 5

// FetchMax is the most that comes along with a call, but for buffers.
const FetchMax = 128
