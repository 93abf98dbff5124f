package trap

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"coffer/internal/sentry/platform"
	. "coffer/internal/sentry/platform/platformtest"

	"golang.org/x/sys/unix"
)

// textAddr is where the tests' files are mapped, and fileOffset the part of them.
const (
	textAddr   = 0x30000000
	fileOffset = 0x1000
)

// textFile makes a file of a page and the code, which was changed long ago.
func textFile(t *testing.T, code []byte) (fd int, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(path, append(make([]byte, fileOffset), code...), 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd, path
}

// imagePlatform makes a platform that believes the times of all files.
func imagePlatform(t *testing.T) *trap {
	t.Helper()
	p := newPlatform(t).(*trap)
	p.texts.keepsTimes = func(int) bool { return true }
	p.texts.age = 0
	return p
}

// mapText maps the file's code in a new guest, and reports where the trampolines
// of an image were asked for.
func mapText(t *testing.T, p platform.Platform, fd int, free bool) (g *Guest, c *context, reserved uint64) {
	t.Helper()
	g = NewGuest(t, p, exit60)
	c = g.Ctx.(*context)
	c.QueueText(platform.Op{Kind: platform.OpMmap, Addr: textAddr, Length: 0x1000, Prot: unix.PROT_READ | unix.PROT_EXEC,
		Flags: unix.MAP_PRIVATE | unix.MAP_FIXED, FD: fd, Offset: fileOffset},
		func(addr, size uint64) bool {
			if size == 0 || addr%0x1000 != 0 || size%0x1000 != 0 || addr+size > textAddr-fileOffset {
				t.Errorf("reserve %#x, %#x", addr, size)
			}
			reserved = addr
			return free
		})
	c.Regs().Rip = textAddr
	return g, c, reserved
}

var exit60 = Asm(MovEAX, 60, Syscall)

// TestImage: what trapped in one guest does not in the next that maps the file,
// be it the first time that this one makes the call.
func TestImage(t *testing.T) {
	for _, tt := range loops {
		t.Run(tt.name, func(t *testing.T) {
			p := imagePlatform(t)
			fd, path := textFile(t, tt.code)
			g, c, reserved := mapText(t, p, fd, true)
			for range 20 {
				g.Syscall(39)
				c.Regs().Rax = 0
			}
			if reserved != 0 {
				t.Error("an image before anything was learned")
			}
			g.Done()

			g, c, reserved = mapText(t, p, fd, true)
			if !tt.evident {
				if g.Syscall(39); !c.Trapped() || reserved != 0 {
					t.Error("an image with what may be no call")
				}
				g.Done()
				return
			}
			r := c.Regs()
			for want := uint64(1); want < 4; want++ {
				g.Syscall(39)
				if c.Trapped() || r.Rbx != want || r.Rip-textAddr > 0x100 || r.Rcx != r.Rip {
					t.Fatalf("call %d: trapped %v, rbx %d, rip %#x, rcx %#x", want, c.Trapped(), r.Rbx, r.Rip, r.Rcx)
				}
				r.Rax = 5
			}
			if reserved == 0 {
				t.Error("no room was asked for")
			}
			// As after a signal's handler that the call was interrupted for.
			back := r.Rip
			c.call.valid = false
			g.Syscall(39)
			if r.Rip != back || r.Rbx != 4 {
				t.Errorf("after a return to behind the call: rip %#x, want %#x, rbx %d", r.Rip, back, r.Rbx)
			}
			// A restart of the call.
			r.Rip -= 2
			r.Rax = 39
			g.Syscall(39)
			if c.Trapped() || r.Rbx != 4 {
				t.Errorf("restarted call: trapped %v, rbx %d", c.Trapped(), r.Rbx)
			}
			r.Rax = 5

			// It reads its code as it is in the file.
			code := make([]byte, len(tt.code))
			if _, err := c.CopyIn(textAddr, code); err != nil || !bytes.Equal(code, tt.code) {
				t.Errorf("read % x, %v", code, err)
			}
			as, forked, err := c.Fork()
			if err != nil {
				t.Fatal(err)
			}
			child := &Guest{TB: t, AS: as, Ctx: forked}
			child.Syscall(39)
			if forked.(*context).Trapped() {
				t.Error("the child traps")
			}
			// Restored in the child, it is not in the parent.
			forked.Unpatch(textAddr, 0x1000)
			forked.Regs().Rax = 0
			child.Syscall(39)
			forked.Regs().Rax = 0
			child.Syscall(39)
			if !forked.(*context).Trapped() {
				t.Error("does not trap though restored")
			}
			child.Done()
			g.Syscall(39)
			if c.Trapped() {
				t.Error("the parent traps")
			}
			g.Done()

			// Where there is no room, the file is mapped.
			g, c, _ = mapText(t, p, fd, false)
			g.Syscall(39)
			if !c.Trapped() {
				t.Error("an image without room for trampolines")
			}
			g.Done()

			// Changed, it is another text.
			os.Chtimes(path, time.Time{}, time.Unix(1, 0))
			g, c, reserved = mapText(t, p, fd, true)
			g.Syscall(39)
			if !c.Trapped() || reserved != 0 {
				t.Error("an image of what the file was")
			}
			g.Done()
		})
	}
}

// TestImageHearsay: nobody can have a call rewritten that is not in the file, or
// in the middle of an instruction.
func TestImageHearsay(t *testing.T) {
	p := imagePlatform(t)
	// mov $0x050f,%ecx as often as it takes to be sure, then a call.
	var code []byte
	for range 20 {
		code = append(code, Asm("\xb9", 0x050f)...)
	}
	real := uint64(len(code)) + 5
	code = append(code, Asm(MovEAX, 39, Syscall, "\xeb\xf7")...)
	calls := map[uint64]uint64{real: 39, 0: 39, 7: 39, uint64(len(code)): 39, 1 << 40: 39}
	for i := range uint64(20) {
		calls[5*i+1] = 39
	}
	im, _ := p.texts.plan(code, fileOffset, calls)
	if len(im.sites) != 1 || im.sites[0].call != textBase+real {
		t.Errorf("%d sites of %v", len(im.sites), slices.Sorted(maps.Keys(calls)))
	}
	// Data that can be decoded, and what unwinders know a return from a signal by.
	for _, tt := range []struct {
		code string
		call uint64
		nr   uint64
	}{
		{"\x58\x76\x47\x05\x7d\xe6\xa2\xbd\x0f\x05\xa6\x19\xfc\x68", 8, 39},
		{"\x01\x00\x00\x00\x0f\x05\x00\x00\x01\x00\x00\x00", 4, 1},
		{"\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05\x0f\x1f\x80\x00\x00\x00\x00", 7, unix.SYS_RT_SIGRETURN},
		{"\x48\xc7\xc0\x0f\x00\x00\x00\x0f\x05\x0f\x1f\x80\x00\x00\x00\x00", 7, 39},
	} {
		code := append([]byte(pad), tt.code...)
		if im, _ := p.texts.plan(code, fileOffset, map[uint64]uint64{uint64(len(pad)) + tt.call: tt.nr}); len(im.sites) != 0 {
			t.Errorf("% x is rewritten", tt.code)
		}
	}
}

// TestImageLater: a file that is too young for an image has one later, though
// nothing else is learned of it.
func TestImageLater(t *testing.T) {
	p := imagePlatform(t)
	p.texts.age = time.Hour
	fd, _ := textFile(t, loops[0].code)
	o := platform.Op{FD: fd, Offset: fileOffset, Length: 0x1000}
	tx := p.texts.at(&o)
	learn := func() {
		for range tx.due {
			tx.learn(uint64(len(pad))+8, 39)
		}
		tx.refresh(&o)
	}
	if learn(); tx.image != nil {
		t.Fatal("an image of a file that was changed right now")
	}
	p.texts.age = 0
	if learn(); tx.image == nil {
		t.Error("no image")
	}
}

// TestImageBounds: neither what is learned nor what is kept grows for ever.
func TestImageBounds(t *testing.T) {
	p := imagePlatform(t)
	x := p.texts
	for i := range 3 * textsMax {
		fd, _ := textFile(t, loops[0].code)
		o := platform.Op{FD: fd, Offset: fileOffset, Length: 0x1000}
		tx := x.at(&o)
		if tx == nil || x.at(&o) != tx {
			t.Fatalf("text %d: %p", i, tx)
		}
		for n := range uint64(2 * sitesMax) {
			tx.learn(n, 39)
		}
		tx.learn(uint64(len(pad))+8, 39)
		if len(tx.calls) > sitesMax {
			t.Fatalf("%d calls", len(tx.calls))
		}
		tx.calls = map[uint64]uint64{uint64(len(pad)) + 8: 39}
		tx.refresh(&o)
		if tx.image == nil {
			t.Fatal("no image")
		}
	}
	if len(x.known) > textsMax || x.bytes != uint64(len(x.known))*0x2000 {
		t.Errorf("%d texts, %d bytes of images", len(x.known), x.bytes)
	}
}

// TestImageLeastUsed: where images take too much, those go that were mapped the
// longest ago, and come back once their calls have trapped again.
func TestImageLeastUsed(t *testing.T) {
	const imageSize = 0x2000 // a page of code, and one of trampolines
	p := imagePlatform(t)
	x := p.texts
	x.max = 2*imageSize + imageSize/2
	var ops [3]platform.Op
	var texts [3]*text
	learn := func(i int) {
		tx := x.at(&ops[i])
		for range tx.due {
			tx.learn(uint64(len(pad))+8, 39)
		}
		tx.refresh(&ops[i])
		texts[i] = tx
	}
	check := func(when string, want ...bool) {
		t.Helper()
		n := uint64(0)
		for i, w := range want {
			if texts[i].hasImage() != w {
				t.Errorf("%s: image of text %d: %v", when, i, !w)
			}
			if w {
				n += imageSize
			}
		}
		if x.bytes != n {
			t.Errorf("%s: %d bytes, want %d", when, x.bytes, n)
		}
	}
	for i := range ops {
		fd, _ := textFile(t, loops[0].code)
		ops[i] = platform.Op{FD: fd, Offset: fileOffset, Length: 0x1000}
	}
	learn(0)
	learn(1)
	check("two", true, true)
	x.at(&ops[0])
	learn(2)
	check("a third", true, false, true)
	learn(1)
	check("the second again", false, true, true)
	// One that is too large alone drives nobody out for good, and is not kept.
	x.max = imageSize / 2
	learn(0)
	check("no room", false, false, false)
}
