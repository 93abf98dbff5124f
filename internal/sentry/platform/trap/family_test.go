package trap

import (
	"testing"

	. "coffer/internal/sentry/platform/platformtest"
)

// TestFamily: what forked children come to call, once each, is rewritten for those to
// come, though their parent never calls it; but not if the children must be believed.
func TestFamily(t *testing.T) {
	p := newPlatform(t)
	for _, tt := range loops {
		t.Run(tt.name, func(t *testing.T) {
			// The parent runs the first loop, the children the second one.
			first := Asm(loops[0].code, pad)
			code := Asm(first, tt.code)
			g, c := rewritable(t, p, code)
			defer g.Done()
			// child reports whether the call of the next child traps.
			child := func() bool {
				t.Helper()
				g.Syscall(39)
				c.Regs().Rax = 0
				as, forked, err := c.Fork()
				if err != nil {
					t.Fatal(err)
				}
				child := &Guest{TB: t, AS: as, Ctx: forked}
				defer child.Done()
				r := forked.Regs()
				r.Rip, r.Rbx = CodeAddr+uint64(len(first)), 7
				child.Syscall(39)
				if r.Rbx != 8 || r.Rip < CodeAddr+uint64(len(first)) || r.Rip > CodeAddr+uint64(len(code)) {
					t.Errorf("rbx %d, rip %#x", r.Rbx, r.Rip)
				}
				got := make([]byte, len(code))
				if forked.CopyIn(CodeAddr, got); string(got) != string(code) {
					t.Errorf("the child's code is % x, want % x", got, code)
				}
				return forked.(*context).Trapped()
			}
			for n := range rewriteAfter {
				if !child() {
					t.Fatalf("child %d does not trap", n)
				}
			}
			if child() == tt.evident {
				t.Errorf("the next child's call traps: %t", !tt.evident)
			}
			// What executes a program is of the family no more.
			f := c.space.family
			c.space.reset()
			if c.space.family == f || len(c.space.family.hot) != 0 {
				t.Error("a program that is executed inherits hot calls")
			}
		})
	}
}

// TestFamilyBounds: children cannot make their parent remember without end.
func TestFamilyBounds(t *testing.T) {
	f := newFamily()
	for n := range rewriteAfter + 1 {
		for a := range uint64(countMax) + 10 {
			f.trapped(a, 39)
		}
		if len(f.traps) != countMax {
			t.Fatalf("round %d: %d sites", n, len(f.traps))
		}
	}
	if len(f.hot) != countMax || len(f.since(countMax)) != 0 {
		t.Errorf("%d hot calls", len(f.hot))
	}
}
