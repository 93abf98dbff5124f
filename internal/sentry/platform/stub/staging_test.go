package stub

import (
	"bytes"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// room maps size bytes at guestData.
func room(t *testing.T, th *Thread, size uint64) {
	t.Helper()
	th.enter()
	defer th.leave()
	if _, err := th.call(unix.SYS_MMAP, guestData, size, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_FIXED, ^uint64(0), 0); err != nil {
		t.Fatal(err)
	}
}

// TestStaging has threads copy much until they get larger windows, of which there are so many,
// and lose them again when they have not used them for a while.
func TestStaging(t *testing.T) {
	s := newStubs(t)
	s.stagings.tick = time.Hour // only by hand
	data := bytes.Repeat([]byte("abcd"), 25<<10)
	copyMuch := func(th *Thread) {
		for range stagingAfter {
			if err := th.CopyOutLate(guestData, data); err != nil {
				t.Fatal(err)
			}
			th.Settle()
		}
	}
	first, err := s.NewThread()
	if err != nil {
		t.Fatal(err)
	}
	defer first.Release()
	room(t, first, 1<<20)
	threads := []*Thread{first}
	for range stagingCount {
		th, err := first.Clone()
		if err != nil {
			t.Fatal(err)
		}
		defer th.Release()
		threads = append(threads, th)
	}
	staged := func() (n int) {
		for _, th := range threads {
			if th.win.staged != 0 {
				n++
			}
		}
		return n
	}
	for _, th := range threads {
		copyMuch(th)
	}
	if n := staged(); n != stagingCount {
		t.Errorf("%d threads of a process have larger windows, want %d", n, stagingCount)
	}
	s.sweepStagings()
	if n := staged(); n != stagingCount {
		t.Errorf("%d have them after they used them", n)
	}
	if err := first.CopyOutLate(guestData, data); err != nil {
		t.Fatal(err)
	}
	window := first.win.bytes
	s.sweepStagings()
	if n := staged(); n != 1 || first.win.staged == 0 {
		t.Errorf("%d have them where only one was used", n)
	}
	// What is filled there comes after it, if there is room.
	first.FillLate(guestData+uint64(len(data)), stagingSize, func([]byte) int {
		t.Error("more is to be filled than there is room for")
		return 0
	})
	for i, fill := range []string{"", "efg", "", "hi"} {
		at, n := guestData+uint64(len(data)), 5000
		if i == 3 {
			at += 3
		}
		if !first.FillLate(at, n, func(p []byte) int {
			if len(p) != n || cap(p) != n {
				t.Errorf("%d bytes of %d are to be filled, want %d", len(p), cap(p), n)
			}
			return copy(p, fill)
		}) {
			t.Errorf("there is no room for %d bytes", n)
		}
	}
	data = append(bytes.Clone(data), "efghi"...)
	first.Settle()
	if window[0] != 'a' {
		t.Errorf("the window holds %q", window[0])
	}
	s.sweepStagings()
	s.sweepStagings()
	if n := staged(); n != 0 || len(s.stagings.owners) != 0 {
		t.Errorf("%d have them, %d are counted, where none was used", n, len(s.stagings.owners))
	}
	if window[0] != 0 {
		t.Error("what a window held is still there")
	}
	got := make([]byte, len(data))
	if _, err := first.CopyIn(guestData, got); err != nil || !bytes.Equal(got, data) {
		t.Errorf("what was copied is not there: %v", err)
	}

	// Others find no more than a sandbox has, and the dead have none.
	copyMuch(first)
	if !first.proc.Reset() && first.win.staged == 0 {
		t.Error("a thread lost its window")
	}
	var spaces []*Thread
	for range stagingMax + 1 {
		th, err := s.NewThread()
		if err != nil {
			t.Fatal(err)
		}
		room(t, th, 1<<20)
		copyMuch(th)
		spaces = append(spaces, th)
	}
	if n := len(s.stagings.owners); n != stagingMax {
		t.Errorf("the sandbox has %d larger windows, want %d", n, stagingMax)
	}
	for _, th := range spaces {
		th.Release()
	}
	if n := len(s.stagings.owners); n > 1 {
		t.Errorf("%d windows of processes that have ended are counted", n)
	}
}

// TestReset has a process get another program, which must not find what the one before read
// and wrote.
func TestReset(t *testing.T) {
	s := newStubs(t)
	s.stagings.tick = time.Hour
	th, err := s.NewThread()
	if err != nil {
		t.Fatal(err)
	}
	defer th.Release()
	room(t, th, 1<<20)
	secret := bytes.Repeat([]byte("secret"), 20<<10)
	for range stagingAfter {
		for _, n := range []int{100, 10000, len(secret)} {
			if err := th.CopyOutLate(guestData, secret[:n]); err != nil {
				t.Fatal(err)
			}
			th.Settle()
		}
	}
	copy(th.page.fetch[:], secret)
	// The registers of threads, of those that have ended too.
	other, err := th.Clone()
	if err != nil {
		t.Fatal(err)
	}
	windows := [][]byte{th.page.fetch[:], th.slotWindow(), th.win.bytes}
	for _, slot := range []int{th.slot, other.slot} {
		stack := unsafe.Slice((*byte)(th.proc.at(slot, stackOffset)), SlotSize-stackOffset)
		copy(stack, secret)
		regs := unsafe.Slice((*byte)(unsafe.Pointer(&th.proc.pageOf(slot).regs)), unsafe.Sizeof(th.page.regs))
		copy(regs, secret)
		windows = append(windows, stack, regs)
	}
	other.Release()
	for i, w := range windows {
		if !bytes.Contains(w, secret[:100]) {
			t.Errorf("the test has left window %d alone", i)
		}
	}
	if th.win.staged == 0 {
		t.Error("there is no larger window")
	}
	for !th.proc.Reset() { // a busy host lets the other thread end later than it waits
	}
	for i, w := range windows {
		if bytes.ContainsFunc(w, func(r rune) bool { return r != 0 }) {
			t.Errorf("window %d still holds what it did", i)
		}
	}
	if th.win.staged != 0 {
		t.Error("the larger window has stayed")
	}
	got := make([]byte, len(secret))
	if n, err := th.CopyIn(guestData, got); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("copying afterwards: %d, %v", n, err)
	}
}
