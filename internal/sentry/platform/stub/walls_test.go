package stub

import (
	"encoding/binary"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"coffer/internal/sentry/platform"

	"golang.org/x/sys/unix"
)

// The tests of this file make host calls as a guest would that knows all about
// its stub: from its own code, and by jumping into the stub's with a slot of
// its own making.

// callsMax is beyond the last host call that there is.
const callsMax = 480

// sysUprobe is a call that newer hosts let pass every filter, and answer with
// ENXIO unless it is made by a probe.
const sysUprobe = 336

// Where the guest keeps things.
const (
	guestCode = 0x10_0000
	guestSlot = 0x20_0000
	guestData = guestSlot + SlotSize
	marker    = 0x4d41524b // a call's number that says that the guest is back
)

// passing are the calls that the stub's code lets through, with arguments
// that do no harm. Adding to them is a decision about the wall.
var passing = map[uint64][]uint64{
	unix.SYS_FUTEX:             {guestData, 1, 1},
	unix.SYS_MMAP:              {0x40_0000, PageSize, unix.PROT_READ, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS, ^uint64(0), 0},
	unix.SYS_MUNMAP:            {0x40_0000, PageSize},
	unix.SYS_MPROTECT:          {guestData, PageSize, unix.PROT_READ | unix.PROT_WRITE},
	unix.SYS_MREMAP:            {guestData, PageSize, PageSize, 0},
	unix.SYS_MADVISE:           {guestData, PageSize, unix.MADV_NORMAL},
	unix.SYS_MSYNC:             {guestData, PageSize, unix.MS_ASYNC},
	unix.SYS_MLOCK:             {guestData, PageSize},
	unix.SYS_MUNLOCK:           {guestData, PageSize},
	unix.SYS_MINCORE:           {guestData, PageSize, guestData},
	unix.SYS_RECVMSG:           {0, 0, unix.MSG_DONTWAIT},
	unix.SYS_CLOSE:             {77},
	unix.SYS_CLOSE_RANGE:       {1, 0xffffffff, 0},
	unix.SYS_DUP2:              {0, 0},
	unix.SYS_CLONE:             {threadFlags, 8}, // a bad stack kills the thread at once
	unix.SYS_SIGALTSTACK:       {0, 0},
	unix.SYS_ARCH_PRCTL:        {archSetFS, 0},
	sysRseq:                    {0, 0, 0, 0},
	unix.SYS_PRCTL:             {unix.PR_SET_PDEATHSIG, uint64(unix.SIGKILL)},
	unix.SYS_GETPPID:           {},
	unix.SYS_SCHED_SETAFFINITY: {0, 0, 0},
}

// ending are those that pass and end the process.
var ending = map[uint64]bool{unix.SYS_EXIT: true, unix.SYS_EXIT_GROUP: true}

func newStubs(t testing.TB) *Stubs {
	t.Helper()
	s, err := New()
	if err != nil {
		t.Skipf("no stub can be started here: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// newGuest returns a thread whose guest has code and room for a slot.
func newGuest(t *testing.T, s *Stubs, code []byte) *Thread {
	t.Helper()
	th, err := s.NewThread()
	if err != nil {
		t.Fatal(err)
	}
	for addr, size := range map[uint64]uint64{guestCode: PageSize, guestSlot: SlotSize + PageSize} {
		th.Queue(platform.Op{
			Kind: platform.OpMmap, Addr: addr, Length: size, FD: -1,
			Prot:  unix.PROT_READ | unix.PROT_WRITE | unix.PROT_EXEC,
			Flags: unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED,
		})
	}
	if err := th.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := th.CopyOut(guestCode, code); err != nil {
		t.Fatal(err)
	}
	return th
}

// switchTo runs the guest until something happens; false if it is gone.
func switchTo(th *Thread) (platform.Event, bool) {
	if !th.StartGuest() {
		return platform.Event{Kind: platform.EventInterrupt}, true
	}
	there := th.RunGuest(th.regs.Rip, false)
	th.StopGuest()
	if !there {
		return platform.Event{}, false
	}
	return th.Event(), true
}

// TestOddTurn has a guest write to the word of the hand-off what the stub never does.
func TestOddTurn(t *testing.T) {
	s := newStubs(t)
	for _, odd := range []uint32{turnErrand, turnSleep | turnErrand, 1 << 31} {
		th := newGuest(t, s, []byte{0xeb, 0xfe}) // jmp .
		th.regs.Rip = guestCode
		go func() {
			for atomic.LoadUint32(&th.page.turn) != turnStub|turnSleep {
				time.Sleep(time.Millisecond)
			}
			atomic.StoreUint32(&th.page.turn, odd)
			futexWake(&th.page.turn)
		}()
		if ev, there := switchTo(th); there {
			t.Errorf("after %#x the guest goes on: %+v", odd, ev)
		}
		th.Release()
	}
}

// TestOddSignal has a guest say that it got a signal that no stub takes, such as none.
func TestOddSignal(t *testing.T) {
	th := newGuest(t, newStubs(t), nil)
	th.page.event = eventSignal
	for _, odd := range []uint32{0, 65, 1 << 31, uint32(unix.SIGKILL), uint32(unix.SIGTERM)} {
		th.page.sig = odd
		if ev := th.Event(); ev.Kind != platform.EventFault || ev.Signal != int32(unix.SIGSEGV) {
			t.Errorf("signal %d is %+v", int32(odd), ev)
		}
	}
}

// TestClaimedPID has a stub claim what another one has forked, before and after that is
// told of it: the first one must not reach its memory.
func TestClaimedPID(t *testing.T) {
	s := newStubs(t)
	fork := func() (*Process, int) {
		th := newGuest(t, s, []byte("secret"))
		p, parcel, err := s.newProcess()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.DecRef)
		defer parcel.close()
		if _, err := p.newThread(); err != nil {
			t.Fatal(err)
		}
		pid, err := th.forkInto(p, parcel, false)
		if err != nil {
			t.Fatal(err)
		}
		return p, pid
	}
	for _, first := range []bool{true, false} {
		p, pid := fork()
		liar, parcel, err := s.newProcess()
		if err != nil {
			t.Fatal(err)
		}
		defer liar.DecRef()
		parcel.close()
		if _, err := liar.newThread(); err != nil {
			t.Fatal(err)
		}
		if !first {
			if err := s.register(p, pid); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.register(liar, pid); (err == nil) != first {
			t.Errorf("claimed first: %v: %v", first, err)
		}
		var b [6]byte
		if first {
			if n, err := liar.CopyIn(guestCode, b[:]); err != unix.EFAULT {
				t.Errorf("the one that claims it reads %q, %v", b[:n], err)
			}
			if err := s.register(p, pid); err != nil {
				t.Errorf("its own parent tells of it: %v", err)
			}
			if !liar.gone.Load() {
				t.Error("the one that claims it is still there")
			}
		}
		if _, err := p.CopyIn(guestCode, b[:]); err != nil || string(b[:]) != "secret" {
			t.Errorf("its own memory is %q, %v", b, err)
		}
	}
}

// callFromStub has the guest make a host call from the stub's own code, and
// returns its result; false if that was the end of the process.
func callFromStub(t *testing.T, s *Stubs, nr uint64, args []uint64) (int64, bool) {
	t.Helper()
	// mov $marker, %eax; syscall; ud2
	code := binary.LittleEndian.AppendUint32([]byte{0xb8}, marker)
	th := newGuest(t, s, append(code, 0x0f, 0x05, 0x0f, 0x0b))
	defer th.Release()
	var slot page
	slot.nops = 1
	slot.ops[0].nr = nr
	copy(slot.ops[0].args[:], args)
	slot.after = afterRun
	slot.gate = guestData // where the other thread sleeps that clone(2) makes
	slot.regs.Rip, slot.regs.Rsp = guestCode, guestSlot+SlotSize-64
	slot.regs.Cs, slot.regs.Ss, slot.regs.Eflags = userCS, userSS, flagsAlways
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(&slot)), unsafe.Sizeof(slot))
	for len(bytes) > 0 {
		n := min(len(bytes), 1024)
		at := guestSlot + uint64(unsafe.Sizeof(slot)) - uint64(len(bytes))
		if _, err := th.CopyOut(at, bytes[:n]); err != nil {
			t.Fatal(err)
		}
		bytes = bytes[n:]
	}
	th.regs.Rip, th.regs.Rbx = s.text+uint64(s.code.run), guestSlot
	th.regs.Rsp = guestSlot + SlotSize - 64
	ev, there := switchTo(th)
	if !there {
		return 0, false
	}
	// After clone(2) two threads come back to the one slot.
	if nr != unix.SYS_CLONE && (ev.Kind != platform.EventSyscall || th.regs.Orig_rax != marker) {
		t.Errorf("host call %d: the guest came back with %+v, RAX %#x", nr, ev, th.regs.Orig_rax)
	}
	var b [8]byte
	at := guestSlot + uint64(unsafe.Offsetof(slot.ops)+unsafe.Offsetof(slot.ops[0].result))
	if _, err := th.CopyIn(at, b[:]); err != nil {
		t.Fatal(err)
	}
	return int64(binary.LittleEndian.Uint64(b[:])), true
}

// TestHostCallsFromTheStub makes every call that there is from the stub's
// code: those that are not listed end the process.
func TestHostCallsFromTheStub(t *testing.T) {
	s := newStubs(t)
	for nr := range uint64(callsMax) {
		args, listed := passing[nr]
		r, passed := callFromStub(t, s, nr, args)
		switch {
		case nr == sysUprobe && passed && r == -int64(unix.ENXIO):
		case passed != listed:
			t.Errorf("host call %d: passed is %v (result %d), want %v", nr, passed, r, listed)
		}
	}
	for nr := range passing {
		if _, passed := callFromStub(t, s, nr|0x4000_0000, passing[nr]); passed {
			t.Errorf("host call %d passes by the x32 ABI", nr)
		}
	}
}

// TestArgumentsFromTheStub makes calls that pass only with certain arguments
// with others.
func TestArgumentsFromTheStub(t *testing.T) {
	s := newStubs(t)
	for _, c := range []struct {
		nr   uint64
		args []uint64
	}{
		{unix.SYS_FUTEX, []uint64{guestData, 3, 1}},       // FUTEX_REQUEUE
		{unix.SYS_FUTEX, []uint64{guestData, 1 | 128, 1}}, // FUTEX_PRIVATE_FLAG
		{unix.SYS_RECVMSG, []uint64{1, 0, 0}},
		{unix.SYS_DUP2, []uint64{0, 1}},
		{unix.SYS_CLONE, []uint64{uint64(unix.SIGCHLD)}},
		{unix.SYS_CLONE, []uint64{forkFlags | unix.CLONE_NEWUSER}},
		{unix.SYS_CLONE, []uint64{forkFlags | unix.CLONE_PTRACE}},
		{unix.SYS_CLONE, []uint64{unix.CLONE_VM | unix.CLONE_VFORK}},
		{unix.SYS_ARCH_PRCTL, []uint64{0x1003, guestData}},
		{unix.SYS_ARCH_PRCTL, []uint64{0x1012, 0}}, // ARCH_SET_CPUID
		{unix.SYS_PRCTL, []uint64{unix.PR_SET_SECCOMP, 0}},
		{unix.SYS_PRCTL, []uint64{unix.PR_SET_DUMPABLE, 0}},
		{unix.SYS_PRCTL, []uint64{unix.PR_SET_SYSCALL_USER_DISPATCH, 0}},
	} {
		if r, passed := callFromStub(t, s, c.nr, c.args); passed {
			t.Errorf("host call %d with %#x passes: %d", c.nr, c.args, r)
		}
	}
}

// TestNumbersAreListed keeps the lists above and the filter's the same.
func TestNumbersAreListed(t *testing.T) {
	n := 0
	for _, c := range allowedCalls {
		nr := uint64(c.nr)
		if _, ok := passing[nr]; !ok && !ending[nr] {
			t.Errorf("the filter lets host call %d pass (%s), which is not listed here", nr, c.reason)
		}
		n++
	}
	if n != len(passing)+len(ending) {
		t.Errorf("the filter lets %d calls pass; %d are listed here", n, len(passing)+len(ending))
	}
}

// TestHostCallsFromTheGuest makes every call from guest code: none gets
// through, each is an event.
func TestHostCallsFromTheGuest(t *testing.T) {
	s := newStubs(t)
	th := newGuest(t, s, []byte{0x0f, 0x05, 0x0f, 0x0b}) // syscall; ud2
	defer th.Release()
	for nr := range uint64(callsMax) {
		th.regs.Rip, th.regs.Rax, th.regs.Rsp = guestCode, nr, guestSlot+SlotSize-64
		th.regs.Rdi, th.regs.Rsi, th.regs.Rdx = 0, guestData, 0
		ev, there := switchTo(th)
		if !there {
			t.Fatalf("host call %d ended the process", nr)
		}
		if nr == sysUprobe && ev.Kind == platform.EventFault && ev.Signal == int32(unix.SIGILL) {
			continue // the host answered; the guest went on to ud2
		}
		if ev.Kind != platform.EventSyscall || th.regs.Orig_rax != nr {
			t.Errorf("host call %d: %+v, RAX %#x", nr, ev, th.regs.Orig_rax)
		}
	}
}
