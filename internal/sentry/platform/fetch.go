package platform

// Fetch says what a system call reads first of guest memory, which a platform
// may then bring along with the call. The zero value is nothing.
type Fetch struct {
	// Arg is the number of the argument that points to it, from 0.
	Arg int
	// Max is how many bytes are read, at most; no more than FetchMax.
	Max int
	// Counted says that the third argument is how many bytes there are, which
	// are brought if they are no more than Max. Arg is 1 then.
	Counted bool
}

// FetchMax is the most that comes along with a call.
const FetchMax = 128
