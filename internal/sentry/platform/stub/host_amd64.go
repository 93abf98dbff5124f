package stub

// spawnArgs is what spawn's child needs.
type spawnArgs struct {
	code  *byte   // the stub's code in the sentry
	size  uintptr // and its size
	text  uintptr // where it goes
	slots uintptr // where the slots go
	start uintptr // stubStart's address there
	memfd uintptr // the slots' memory file
}

// spawn forks a child that becomes a stub and waits in stubWait, and returns
// its PID or a negative errno. All signals must be blocked.
//
//go:noescape
func spawn(a *spawnArgs) int64

// spinUntil spins until one of bit's bits is set in word, for at most that
// many cycles of the TSC, and reports whether it is set.
//
//go:noescape
func spinUntil(word *uint32, bit uint32, cycles uint64) bool

// cycles reads the TSC.
func cycles() uint64

func cpuid(leaf, sub uint32) (a, b, c, d uint32)

// xgetbv returns XCR0, the extended states that the host enabled.
func xgetbv() uint64
