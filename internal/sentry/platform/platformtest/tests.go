package platformtest

import (
	"testing"

	"coffer/internal/sentry/platform"
)

// Test runs all tests on p.
func Test(t *testing.T, p platform.Platform) {
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { tt.run(t, p) })
	}
}

type test struct {
	name string
	run  func(*testing.T, platform.Platform)
}

var tests = []test{
	{"Syscall", testSyscall},
}

func testSyscall(t *testing.T, p platform.Platform) {
	g := NewGuest(t, p, Asm(MovEAX, 39, MovRDI, uint64(0x1122334455667788), Syscall, MovEAX, 40, Syscall))
	defer g.Done()
	g.Syscall(39)
	r := g.Ctx.Regs()
	if r.Rdi != 0x1122334455667788 || int64(r.Rax) != -38 || r.Rip != CodeAddr+17 || r.Rcx != r.Rip {
		t.Errorf("registers %+v", *r)
	}
	g.Syscall(40)
}
