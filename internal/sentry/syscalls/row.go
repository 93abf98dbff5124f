// Package syscalls is the system call table of amd64 and the functions behind
// it: one row per call, in the file of the family that the call belongs to,
// beside the function that answers it. From the rows come the dispatch, what
// --trace prints, and docs/syscalls.md.
//
// A function copies its arguments in once, checks them, and works on Go
// values. What waits, waits through Task.Block or the helpers in wait.go.
package syscalls

import "coffer/internal/sentry/kernel"

// Fn answers one system call: the value for RAX, or an errno.
type Fn func(t *kernel.Task, a kernel.Args) (uintptr, error)

// Support says how much of a call is there.
type Support int

// Levels of support.
const (
	// Missing calls return ENOSYS.
	Missing Support = iota
	// Partial calls do what their caveat does not exclude.
	Partial
	// Full calls do what their manual page says.
	Full
)

// Row describes one system call.
type Row struct {
	Number  uint64
	Name    string
	Fn      Fn
	Params  []Param
	Support Support
	// Caveat says in words what is missing or different; it is never empty
	// for Partial.
	Caveat string
	// Result is how --trace shows the result: Dec, Hex for addresses, or FD.
	Result Kind
}

// returns says how the result is shown.
func (r Row) returns(k Kind) Row {
	r.Result = k
	return r
}

// full and partial make rows; they keep the families' lists readable.
func full(nr uint64, name string, fn Fn, params ...Param) Row {
	return Row{Number: nr, Name: name, Fn: fn, Params: params, Support: Full}
}

func partial(nr uint64, name string, fn Fn, caveat string, params ...Param) Row {
	return Row{Number: nr, Name: name, Fn: fn, Params: params, Support: Partial, Caveat: caveat}
}

func missing(nr uint64, name string, params ...Param) Row {
	return Row{Number: nr, Name: name, Params: params, Support: Missing, Caveat: "returns ENOSYS"}
}
