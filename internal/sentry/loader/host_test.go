package loader

import (
	"testing"

	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/platform/trap"
)

// TestRunOnHost loads a program into a real stub and runs it up to its first
// system call, whose arguments show what it found.
func TestRunOnHost(t *testing.T) {
	p, err := trap.New()
	if err != nil {
		t.Skip("no trap platform here:", err)
	}
	defer p.Close()
	w := newWorld(t)
	prog := simple()
	prog.phdrs[0].fileSize, prog.phdrs[0].memSize = 0x1000, 0x1000
	prog.phdrs[0].addr, prog.phdrs[0].offset = 0x401000, 0x1000
	file := prog.build()
	copy(file[0x1000:], []byte{
		0x48, 0x8b, 0x3c, 0x24, // mov (%rsp),%rdi: argc
		0x48, 0x8b, 0x74, 0x24, 0x08, // mov 8(%rsp),%rsi: argv[0]
		0x0f, 0xb6, 0x36, // movzbl (%rsi),%esi
		0x48, 0x8b, 0x14, 0x25, 0x08, 0x31, 0x40, 0x00, // mov 0x403108,%rdx: the end of the data
		0x4c, 0x8b, 0x14, 0x25, 0x10, 0x31, 0x40, 0x00, // mov 0x403110,%r10: the bss
		0xb8, 0x27, 0x00, 0x00, 0x00, // mov $39,%eax
		0x0f, 0x05, // syscall
	})
	w.write("/prog", file, 0o755)
	i, err := w.open("/prog", []string{"prog", "x"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	m, ctx, _, err := mm.Exec(p, nil, nil, i.args.Limits, false)
	if err != nil {
		t.Fatal(err)
	}
	defer ctx.Release()
	defer m.DecRef()
	loaded, err := i.Load(m, ctx, Identity{Creds: root.cred})
	if err != nil {
		t.Fatal(err)
	}
	r := ctx.Regs()
	r.Rip, r.Rsp = loaded.Entry, loaded.Stack
	ev := ctx.Switch()
	if ev.Kind != platform.EventSyscall || r.Orig_rax != 39 {
		t.Fatalf("event %+v at %#x", ev, r.Rip)
	}
	if r.Rdi != 2 || r.Rsi != 'p' || r.Rdx != 0xAAAAAAAAAAAAAAAA || r.R10 != 0 {
		t.Errorf("argc %d, argv[0][0] %c, data %#x, bss %#x", r.Rdi, rune(r.Rsi), r.Rdx, r.R10)
	}
}
