// Package entropy ends coffer with a message where the host refuses random numbers.
//
// Packages of the TCP/IP stack take some when they are initialised, and panic without.
// So this package asks before: Go initialises packages that import nothing in the
// order of their import paths, and then those that import them; this one must therefore
// import nothing.
package entropy

// What getrandom(2) returns that is not for good: no error of its own.
const enosys, eperm = -38, -1

var _ = check()

func check() (checked struct{}) {
	var one byte
	var reason string
	switch getrandom(&one) {
	case eperm:
		reason = "operation not permitted"
	case enosys:
		reason = "function not implemented"
	default:
		return
	}
	end("coffer: this host refuses the system call getrandom (" + reason + "), by which coffer makes random numbers: it takes Linux 5.12 or later, and no seccomp profile or security module around coffer may forbid it\n")
	return
}

// getrandom asks for one random byte, and returns how many there are or an error.
//
//go:noescape
func getrandom(b *byte) int

// end writes a message to standard error, and ends the program with exit code 125.
//
//go:noescape
func end(message string)
