// Package boot assembles a kernel from a sandbox description, puts the walls
// around the process that it runs in, and runs the first program.
//
// It is the only package that knows all parts of the sentry. It must not know
// the command line.
package boot

// Sandbox describes what to boot: a kernel, and the first container on it.
// Descriptors are numbers in the sentry's own descriptor table; who starts the
// sentry donates them.
type Sandbox struct {
	// Intercept names the platform: "trap" or "ptrace".
	Intercept string

	// Memory limits the sandbox, in bytes; 0 is no limit. The host enforces
	// it; here it is what the guest is told.
	Memory int64

	// Trace, if not nil, has each system call written down.
	Trace *Trace

	// Advice is what errors tell users to do.
	Advice Advice

	// Server, if not nil, makes the sandbox one that outlives its starter and
	// is told what to do over a socket. Otherwise it ends with its starter.
	Server *Server

	Container
}

// Advice is what to do about errors, in the words of who describes the sandbox: boot does not
// know what its users write.
type Advice struct {
	// Cwd is for a working directory that cannot be entered, Mount for a Mount that cannot be
	// where it is to be, and Emulator for a host's file that is to be shown in the sandbox, whose path follows.
	Cwd, Mount, Emulator string
}

// Server is how a sandbox that outlives its starter is reached.
type Server struct {
	// Listener is a listening stream socket.
	Listener int
	// Furnished, if it is not 0, is a stream socket that does not block. Over it the
	// sentry is told what its network is, once that is known, before it is told to
	// start (SendNetwork).
	Furnished int
}

// Mount is one host directory or file in the sandbox.
type Mount struct {
	// Path is where it appears, absolute.
	Path string
	// FD is the directory, or the one that holds the file called Name.
	FD   int
	Name string
	// Write lets the guest change the host's files.
	Write bool
	// Overlay keeps the host's files as they are and takes the guest's
	// changes in memory.
	Overlay bool
}

// Trace says how system calls are written down.
type Trace struct {
	FD     int
	JSON   bool
	Filter string
}

// Message is one line, JSON, on the control socket between the sentry and
// who started it. The sentry reads commands and writes events.
type Message struct {
	// Op is "start", "signal" or "resize" towards the sentry; "started", "exit"
	// or "error" from it. A sandbox with a server sends "created" for "started"
	// and is answered "keep", which ends the conversation.
	Op     string `json:"op"`
	Signal int    `json:"signal,omitempty"`
	Rows   uint16 `json:"rows,omitempty"`
	Cols   uint16 `json:"cols,omitempty"`
	// Status is the first program's wait status as in waitpid(2).
	Status int `json:"status,omitempty"`
	// Calls and Trapped are platform.Counts, of an exit, where the platform
	// counts.
	Calls   uint64 `json:"calls,omitempty"`
	Trapped uint64 `json:"trapped,omitempty"`
	// Error and Code are why the program could not be started and the exit
	// code that says so (125, 126, 127).
	Error string `json:"error,omitempty"`
	Code  int    `json:"code,omitempty"`
}
