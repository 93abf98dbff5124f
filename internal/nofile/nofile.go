// Package nofile knows the limit of open files with which coffer was started.
//
// Go's package syscall raises the soft limit to the hard one when it is
// initialised, and gives the old one back only to programs that it starts
// itself. Whoever starts a program otherwise has to give it back, and nothing
// says any more what it was. So this package asks before: Go initialises
// packages that import nothing in the order of their import paths, and this
// one's is before "syscall". It must therefore import nothing.
package nofile

// Limit is struct rlimit of getrlimit(2).
type Limit struct{ Soft, Hard uint64 }

// Original is RLIMIT_NOFILE as coffer inherited it.
var Original = inherited()

func inherited() Limit {
	l := new(Limit)
	getrlimit(l)
	return *l
}

// getrlimit reads RLIMIT_NOFILE; it can't fail with a valid pointer.
//
//go:noescape
func getrlimit(l *Limit)
