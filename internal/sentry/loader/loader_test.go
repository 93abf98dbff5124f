package loader

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"testing"

	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/mm/mmtest"

	"golang.org/x/sys/unix"
)

// load maps an image into a new fake address space.
func loadImage(t *testing.T, i *Image, noRandomize bool) (*mm.MemoryManager, *mmtest.Context, Program) {
	t.Helper()
	s := mmtest.NewSpace()
	ctx := s.NewContext()
	m := mm.New(s, mmtest.Limits, i.args.Limits, noRandomize)
	p, err := i.Load(m, ctx, Identity{Creds: root.cred})
	if err != nil {
		t.Fatal(err)
	}
	return m, ctx, p
}

// stackView reads an initial stack as a program would.
type stackView struct {
	argv, envv []string
	aux        map[uint64]uint64
	argvAddrs  []uint64
}

func readStack(t *testing.T, ctx *mmtest.Context, sp uint64) stackView {
	t.Helper()
	if sp%16 != 0 {
		t.Errorf("the stack pointer is %#x", sp)
	}
	word := func() uint64 {
		var b [8]byte
		if _, err := ctx.CopyIn(sp, b[:]); err != nil {
			t.Fatal(err)
		}
		sp += 8
		return binary.LittleEndian.Uint64(b[:])
	}
	str := func(addr uint64) string {
		var out []byte
		for {
			var b [1]byte
			if _, err := ctx.CopyIn(addr+uint64(len(out)), b[:]); err != nil {
				t.Fatal(err)
			}
			if b[0] == 0 {
				return string(out)
			}
			out = append(out, b[0])
		}
	}
	v := stackView{aux: map[uint64]uint64{}}
	argc := word()
	for range argc {
		a := word()
		v.argvAddrs = append(v.argvAddrs, a)
		v.argv = append(v.argv, str(a))
	}
	if word() != 0 {
		t.Error("argv does not end")
	}
	for a := word(); a != 0; a = word() {
		v.envv = append(v.envv, str(a))
	}
	for tag := word(); tag != 0; tag = word() {
		v.aux[tag] = word()
	}
	return v
}

func TestLoadStatic(t *testing.T) {
	w := newWorld(t)
	w.write("/prog", simple().build(), 0o755)
	i, err := w.open("/prog", []string{"prog", "one two", ""}, []string{"A=1", "B="})
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	m, ctx, p := loadImage(t, i, false)
	if p.Entry != 0x401000 || p.Comm != "prog" {
		t.Errorf("program is %+v", p)
	}
	v := readStack(t, ctx, p.Stack)
	if !slices.Equal(v.argv, []string{"prog", "one two", ""}) || !slices.Equal(v.envv, []string{"A=1", "B="}) {
		t.Errorf("argv %q, envv %q", v.argv, v.envv)
	}
	for tag, want := range map[uint64]uint64{
		atEntry: 0x401000, atPHDR: 0x400040, atPHNum: 2, atPHEnt: 56, atBase: 0, atPageSize: 4096, atSecure: 0,
		atSysinfoEhdr: mmtest.Limits.VDSO, atClockTick: 100,
	} {
		if v.aux[tag] != want {
			t.Errorf("auxv entry %d is %#x, want %#x", tag, v.aux[tag], want)
		}
	}
	if v.aux[atHWCap2]&hwcap2FSGSBase != 0 {
		t.Error("AT_HWCAP2 offers FSGSBASE")
	}
	for _, tag := range []uint64{atRandom, atExecFn, atPlatform, atHWCap, atMinSigStkSz} {
		if v.aux[tag] == 0 {
			t.Errorf("auxv entry %d is missing", tag)
		}
	}
	info := m.Info()
	args := make([]byte, info.ArgEnd-info.ArgStart)
	envs := make([]byte, info.EnvEnd-info.EnvStart)
	ctx.CopyIn(info.ArgStart, args)
	ctx.CopyIn(info.EnvStart, envs)
	if string(args) != "prog\x00one two\x00\x00" || string(envs) != "A=1\x00B=\x00" {
		t.Errorf("cmdline %q, environ %q", args, envs)
	}

	// The file's contents, the cleared end of its last page, the bss.
	var b [0x120]byte
	if _, err := ctx.CopyIn(0x403000, b[:]); err != nil {
		t.Fatal(err)
	}
	if b[0x10] != 0xAA || b[0x10f] != 0xAA || b[0x110] != 0 || b[0x11f] != 0 {
		t.Errorf("data begins %x and ends %x", b[0x10:0x14], b[0x10c:0x114])
	}
	if _, err := ctx.CopyOut(0x405000, make([]byte, 16)); err != nil {
		t.Errorf("the bss: %v", err)
	}
	if _, err := ctx.CopyOut(0x401000, make([]byte, 1)); err == nil {
		t.Error("the text can be written")
	}
	if brk := m.Brk(ctx, 0, false); brk < 0x406000 || brk%4096 != 0 || brk > 0x406000+heapSpan {
		t.Errorf("the heap starts at %#x", brk)
	}
	maps := string(m.Maps(nil))
	for _, want := range []string{"[stack]", "[vdso]", "r-xp 00000000", "rw-p 00002000"} {
		if !strings.Contains(maps, want) {
			t.Errorf("maps lacks %q:\n%s", want, maps)
		}
	}
	if exe := m.Exe(); exe == nil {
		t.Error("no exe")
	} else {
		exe.DecRef()
	}
	m.DecRef()
}

func TestLoadDynamic(t *testing.T) {
	w := newWorld(t)
	interp := elfSpec{typ: typeDyn, entry: 0x1100, size: 0x2000, phdrs: []phdr{
		{ptLoad, flagR | flagX, 0, 0, 0x2000, 0x2000, 0x1000}}}
	w.write("/ld.so", interp.build(), 0o755)
	prog := elfSpec{typ: typeDyn, entry: 0x1200, size: 0x2000, interp: "/ld.so", phdrs: []phdr{
		{ptLoad, flagR | flagX, 0, 0, 0x2000, 0x2000, 0x200000},
		{ptLoad, flagR | flagW, 0, 0x400000, 0, 0x3000, 0x1000},
		{ptGNUStack, flagR | flagW | flagX, 0, 0, 0, 0, 16}}}
	w.write("/prog", prog.build(), 0o755)
	i, err := w.open("prog", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	m, ctx, p := loadImage(t, i, false)
	v := readStack(t, ctx, p.Stack)
	base, bias := v.aux[atBase], v.aux[atEntry]-0x1200
	if base == 0 || p.Entry != base+0x1100 {
		t.Errorf("starts at %#x, the interpreter is at %#x", p.Entry, base)
	}
	if bias%0x200000 != 0 || bias < mmtest.Limits.Max/3 {
		t.Errorf("the program was moved by %#x", bias)
	}
	if !slices.Equal(v.argv, []string{""}) {
		t.Errorf("an empty argv became %q", v.argv)
	}
	if v.aux[atPHDR] != bias+headerSize {
		t.Errorf("AT_PHDR is %#x", v.aux[atPHDR])
	}
	if _, err := ctx.CopyOut(bias+0x402fff, []byte{1}); err != nil {
		t.Errorf("the bss: %v", err)
	}
	if !strings.Contains(string(m.Maps(nil)), "rwxp") {
		t.Error("the stack is not executable")
	}
	_, _, again := loadImage(t, i, false)
	if again.Stack == p.Stack || again.Entry == p.Entry {
		t.Error("two runs have the same layout")
	}
	_, _, a := loadImage(t, i, true)
	_, _, b := loadImage(t, i, true)
	if a.Stack != b.Stack || a.Entry != b.Entry {
		t.Error("two runs without randomization differ")
	}
}

func TestScripts(t *testing.T) {
	w := newWorld(t)
	w.write("/prog", simple().build(), 0o755)
	w.write("/s0", []byte("#!/prog  -x y \n"), 0o755)
	for n := 1; n < 7; n++ {
		w.write("/s"+strconv.Itoa(n), []byte("#!/s"+strconv.Itoa(n-1)+"\n"), 0o755)
	}
	for _, c := range []struct {
		name string
		argv []string
		err  error
	}{
		{"/s0", []string{"/prog", "-x y", "/s0", "arg"}, nil},
		{"/s1", []string{"/prog", "-x y", "/s0", "/s1", "arg"}, nil},
		{"/s4", []string{"/prog", "-x y", "/s0", "/s1", "/s2", "/s3", "/s4", "arg"}, nil},
		{"/s5", nil, unix.ELOOP},
	} {
		i, err := w.open(c.name, []string{"ignored", "arg"}, nil)
		if err != c.err {
			t.Errorf("%s: got %v, want %v", c.name, err, c.err)
		}
		if err != nil {
			continue
		}
		_, ctx, p := loadImage(t, i, true)
		if v := readStack(t, ctx, p.Stack); !slices.Equal(v.argv, c.argv) {
			t.Errorf("%s: argv is %q, want %q", c.name, v.argv, c.argv)
		}
		if p.Comm != c.name[1:] {
			t.Errorf("%s: comm is %q", c.name, p.Comm)
		}
		i.Close()
	}
}

func TestOpenErrors(t *testing.T) {
	w := newWorld(t)
	w.write("/prog", simple().build(), 0o755)
	w.write("/noexec", simple().build(), 0o644)
	w.write("/text", []byte("hello\n"), 0o755)
	w.write("/empty", nil, 0o755)
	w.write("/badscript", []byte("#!/missing\n"), 0o755)
	w.write("/dirscript", []byte("#!/\n"), 0o755)
	dyn := simple()
	dyn.interp = "/missing"
	w.write("/nointerp", dyn.build(), 0o755)
	dyn.interp = "/text"
	w.write("/badinterp", dyn.build(), 0o755)
	dyn.interp = "/noexec"
	w.write("/lockedinterp", dyn.build(), 0o755)
	long := []string{strings.Repeat("x", MaxStringSize)}
	many := slices.Repeat([]string{strings.Repeat("x", 1000)}, 3000)
	for _, c := range []struct {
		name string
		argv []string
		want error
	}{
		{"/prog", nil, nil},
		{"/missing", nil, unix.ENOENT},
		{"/", nil, unix.EACCES},
		{"/noexec", nil, unix.EACCES},
		{"/text", nil, unix.ENOEXEC},
		{"/empty", nil, unix.ENOEXEC},
		{"/badscript", nil, unix.ENOENT},
		{"/dirscript", nil, unix.EACCES},
		{"/nointerp", nil, unix.ENOENT},
		{"/badinterp", nil, unix.ELIBBAD},
		{"/lockedinterp", nil, unix.EACCES},
		{"/prog", long, unix.E2BIG},
		{"/prog", many, unix.E2BIG},
	} {
		i, err := w.open(c.name, c.argv, nil)
		if err != c.want {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		if err == nil {
			i.Close()
		}
	}
}

// TestLoadIsOneBatch checks that a program's image costs one round of host
// operations.
func TestLoadIsOneBatch(t *testing.T) {
	w := newWorld(t)
	w.write("/prog", simple().build(), 0o755)
	i, err := w.open("/prog", []string{"prog"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	_, ctx, _ := loadImage(t, i, true)
	if n := len(ctx.Space.Ops); n != 7 {
		t.Errorf("%d operations for text, data, bss, the anchor, stack, the end of data and the stack's contents", n)
	}
}

// A program's first mapping must have something beside it that shares its page table.
func TestFirstMappingHasNeighbour(t *testing.T) {
	w := newWorld(t)
	w.write("/ld.so", elfSpec{typ: typeDyn, entry: 0x1100, size: 0x2000, phdrs: []phdr{
		{ptLoad, flagR | flagX, 0, 0, 0x2000, 0x2000, 0x1000}}}.build(), 0o755)
	dynamic := simple()
	dynamic.interp = "/ld.so"
	for name, spec := range map[string]elfSpec{"/static": simple(), "/dynamic": dynamic} {
		w.write(name, spec.build(), 0o755)
		i, err := w.open(name, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer i.Close()
		m, ctx, _ := loadImage(t, i, true)
		at, err := m.FindRoom(mm.PageSize, mm.PageSize)
		if err != nil {
			t.Fatal(err)
		}
		const table = 2 << 20 // what the last level of page tables maps
		if next := at + mm.PageSize; next%table == 0 || ctx.Space.Pages[next/mm.PageSize] == nil {
			t.Errorf("%s: %#x is alone:\n%s", name, at, m.Maps(nil))
		}
	}
}

func TestBigArguments(t *testing.T) {
	w := newWorld(t)
	w.write("/prog", simple().build(), 0o755)
	argv := slices.Repeat([]string{strings.Repeat("y", 100_000)}, 15)
	i, err := w.open("/prog", argv, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer i.Close()
	_, ctx, p := loadImage(t, i, true)
	v := readStack(t, ctx, p.Stack)
	if len(v.argv) != 15 || !bytes.Equal([]byte(v.argv[14]), []byte(argv[14])) {
		t.Error("the arguments did not arrive")
	}
}
