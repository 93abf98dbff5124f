package platform

// Counts are what guests have asked a platform for.
type Counts struct {
	// Calls are system calls, and Trapped those among them that took a signal:
	// their sites were not rewritten.
	Calls, Trapped uint64
}

// Counter is implemented by platforms that have a quick and a slow way for
// system calls.
type Counter interface {
	// Counts tells what contexts did that have been released.
	Counts() Counts
}
