package trap

import (
	"testing"

	. "coffer/internal/sentry/platform/platformtest"
)

// TestCounts has a guest make the same call many times: once it is released,
// all are counted, and those before the site was rewritten as trapped.
func TestCounts(t *testing.T) {
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	// mov %r12,%rax; syscall; test %eax,%eax; jmp back
	g, c := rewritable(t, p, Asm(pad, "\x4c\x89\xe0", Syscall, "\x85\xc0\x90\x90\x90", "\xeb\xf4"))
	const calls = 50
	var trapped uint64
	for range calls {
		c.Regs().R12 = 1
		g.Syscall(1)
		if c.Trapped() {
			trapped++
		}
	}
	g.Done()
	got := p.(*trap).Counts()
	if got.Calls != calls || got.Trapped != trapped {
		t.Errorf("%+v, want %d calls, %d of them trapped", got, calls, trapped)
	}
}
