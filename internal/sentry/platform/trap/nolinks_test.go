package trap

import (
	"strings"
	"testing"

	"coffer/internal/sentry/platform"
	. "coffer/internal/sentry/platform/platformtest"
	"coffer/internal/sentry/platform/stub"

	"golang.org/x/sys/unix"
)

// TestNoLinks has a guest call readlink(2) of paths that are known to be no links: it must go on
// with what is known, and ask where nothing is known any more.
func TestNoLinks(t *testing.T) {
	const other = 2
	p, err := New(stub.WithFetches(map[uint64]platform.Fetch{unix.SYS_READLINK: {Arg: 0, Max: platform.FetchMax}}))
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	// mov %r12,%rax; syscall; then the same with a call that asks always, whose third argument is
	// the result of the first: mov %rax,%rdx; mov $2,%eax; syscall; jmp back
	g, c := rewritable(t, p, Asm(pad, "\x4c\x89\xe0", Syscall, "\x48\x89\xc2\xb8\x02\x00\x00\x00", Syscall, "\x48\x89\xda\x90\x90\xeb\xe7"))
	defer g.Done()
	keeper := platform.Context(c).(platform.NoLinkKeeper)
	epoch := keeper.Epoch()
	readlink := func(path string) (asked bool, result int64) {
		t.Helper()
		if _, err := g.AS.CopyOut(DataAddr, append([]byte(path), 0)); err != nil {
			t.Fatal(err)
		}
		r := c.Regs()
		r.R12, r.Rdi, r.Rsi, r.Rbx, r.Rdx = unix.SYS_READLINK, DataAddr, DataAddr+2048, 100, 100
		if ev := c.Switch(); ev.Kind != platform.EventSyscall {
			t.Fatalf("event %v", ev)
		}
		if c.Regs().Orig_rax == unix.SYS_READLINK {
			asked = true
			c.Regs().Rax = 7
			g.Syscall(other)
		}
		result = int64(c.Regs().Rdx)
		c.Regs().Rax = 0
		return asked, result
	}
	want := func(path string, asked bool, result int64) {
		t.Helper()
		if a, r := readlink(path); a != asked || r != result {
			t.Errorf("readlink of %q: asked %v, %d, want %v, %d", path, a, r, asked, result)
		}
	}
	keep := func(path string, errno unix.Errno) {
		for range 10 {
			keeper.KeepNoLink(path, errno, epoch.Load())
		}
	}
	for n := 0; n == 0 || c.Trapped(); n++ {
		if n == 100 {
			t.Skip("this host's CPU does not let calls be rewritten")
		}
		readlink("/")
	}
	long := "/" + strings.Repeat("n", 110)
	for path, errno := range map[string]unix.Errno{"/usr": unix.EINVAL, "/no": unix.ENOENT, long: unix.ENOENT} {
		want(path, true, 7)
		keep(path, errno)
		want(path, false, -int64(errno))
		want(path+"x", true, 7)
		want(path[:len(path)-1], true, 7)
	}
	if n := keeper.Kept(); n != 3 {
		t.Errorf("%d calls were answered", n)
	}
	epoch.Add(1)
	want("/usr", true, 7)
	keep(long+"x", unix.ENOENT)
	want(long+"x", true, 7)
	keep("/usr", unix.EINVAL)
	c.BeginDebug()
	want("/usr", true, 7)
}
