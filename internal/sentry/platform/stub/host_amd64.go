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

// spinResult is how a spin ended.
type spinResult uint8

const (
	spinVain     spinResult = iota
	spinAnswered            // the sentry has the turn
	spinSameCPU             // the stub needs this processor to answer
	spinMet                 // the sentry has the turn: the stub answered on this processor, in its stead
)

// spinForTurn spins until the sentry has the turn, for at most that many
// cycles of the TSC.
//
//go:noescape
func spinForTurn(p *page, cycles uint32) spinResult

// cpu returns a number for the processor that it runs on.
func cpu() uint32

// cycles reads the TSC.
func cycles() uint64

// CPUID runs the instruction of that name.
func CPUID(leaf, sub uint32) (a, b, c, d uint32)

// xgetbv returns XCR0, the extended states that the host enabled.
func xgetbv() uint64
