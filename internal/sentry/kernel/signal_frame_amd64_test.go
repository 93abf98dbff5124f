package kernel

import (
	"testing"

	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

// someRegs fills the registers that a frame keeps.
func someRegs(r *abi.Regs) {
	for i, p := range sigcontextRegs(r) {
		*p = 0x1111 * uint64(i+1)
	}
	r.Rsp = testStack + testStackSize - 4096
	r.Rip, r.Eflags = 0x40_1000, 0x202|flagDF
	r.Cs, r.Ss = userCS, userSS
}

var testAction = abi.Sigaction{Handler: 0x40_2000, Restorer: 0x40_3000, Flags: abi.SA_RESTORER | abi.SA_SIGINFO}

func TestFrameLayout(t *testing.T) {
	task := newFakeTask(t, Config{})
	r := task.ctx.Regs()
	someRegs(r)
	before := *r
	task.trapNo, task.errorCode, task.faultAddr = 14, 6, 0xdead000
	info := &abi.Siginfo{Signo: int32(unix.SIGUSR1), Code: abi.SI_TKILL}
	info.SetPID(77)
	if err := task.pushFrame(info, &testAction, 0xabc); err != nil {
		t.Fatal(err)
	}
	if r.Rip != testAction.Handler || r.Rdi != uint64(unix.SIGUSR1) || r.Rax != 0 || r.Eflags&flagDF != 0 {
		t.Errorf("registers of the handler: %+v", r)
	}
	// The psABI wants rsp+8 aligned where a function begins.
	if (r.Rsp+8)%16 != 0 {
		t.Errorf("stack pointer %#x", r.Rsp)
	}
	word := func(addr uint64) uint64 {
		v, err := task.CopyInUint64(addr)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	uc := r.Rdx
	const mcontext = 40
	for _, w := range []struct {
		name       string
		addr, want uint64
	}{
		{"return address", r.Rsp, testAction.Restorer},
		{"uc_flags", uc, 7},
		{"r8", uc + mcontext, before.R8},
		{"rdi", uc + mcontext + 64, before.Rdi},
		{"rsp", uc + mcontext + 120, before.Rsp},
		{"rip", uc + mcontext + 128, before.Rip},
		{"eflags", uc + mcontext + 136, before.Eflags},
		{"cs, gs, fs, ss", uc + mcontext + 144, userCS | userSS<<48},
		{"err", uc + mcontext + 152, 6},
		{"trapno", uc + mcontext + 160, 14},
		{"oldmask", uc + mcontext + 168, 0xabc},
		{"cr2", uc + mcontext + 176, 0xdead000},
		{"uc_sigmask", uc + 296, 0xabc},
		{"si_signo", r.Rsi, uint64(unix.SIGUSR1)},
		{"si_pid", r.Rsi + 16, 77},
	} {
		if got := word(w.addr); got != w.want {
			t.Errorf("%s is %#x, want %#x", w.name, got, w.want)
		}
	}
	fp := word(uc + mcontext + 184)
	if fp%64 != 0 || fp+testMaxFP > before.Rsp-redZone || fp < r.Rsp+frameSize {
		t.Errorf("extended state at %#x, frame at %#x, interrupted stack pointer %#x", fp, r.Rsp, before.Rsp)
	}

	// The handler returns to the restorer, which makes the call.
	r.Rsp += 8
	rax, err := task.SigReturn()
	if err != nil {
		t.Fatal(err)
	}
	r.Rax = uint64(rax)
	r.Orig_rax, before.Orig_rax = 0, 0
	if *r != before {
		t.Errorf("after the return: %+v\nwant %+v", *r, before)
	}
	if m := task.SignalMask(); m != 0xabc&^unblockable {
		t.Errorf("mask %#x", m)
	}
}

func TestAltStack(t *testing.T) {
	task := newFakeTask(t, Config{})
	r := task.ctx.Regs()
	someRegs(r)
	if _, err := task.SetAltStack(&abi.Stack{Addr: testStack, Size: 100}); err != unix.ENOMEM {
		t.Errorf("small stack: %v", err)
	}
	if _, err := task.SetAltStack(&abi.Stack{Addr: testStack, Size: 1 << 15, Flags: 8}); err != unix.EINVAL {
		t.Errorf("unknown flag: %v", err)
	}
	alt := abi.Stack{Addr: testStack, Size: 16 << 10}
	if _, err := task.SetAltStack(&alt); err != nil {
		t.Fatal(err)
	}
	act := testAction
	act.Flags |= abi.SA_ONSTACK
	info := KernelSignal(unix.SIGUSR1)
	if err := task.pushFrame(info, &act, 0); err != nil {
		t.Fatal(err)
	}
	if r.Rsp < alt.Addr || r.Rsp >= alt.Addr+alt.Size {
		t.Fatalf("frame at %#x, not on the alternate stack", r.Rsp)
	}
	if old, err := task.SetAltStack(&alt); err != unix.EPERM || old.Flags != abi.SS_ONSTACK {
		t.Errorf("change while on it: %v, flags %#x", err, old.Flags)
	}
	// Frames go on until one would leave it.
	n := 0
	for task.pushFrame(info, &act, 0) == nil {
		if n++; n > 10 {
			t.Fatal("frames overflow the alternate stack")
		}
	}
	if n == 0 || r.Rsp < alt.Addr {
		t.Errorf("%d more frames, the last at %#x", n, r.Rsp)
	}
}

// FuzzSigReturn has frames of arbitrary bytes taken back.
func FuzzSigReturn(f *testing.F) {
	f.Add(make([]byte, frameSiginfo), uint64(testStack+8))
	f.Add(make([]byte, 10), uint64(testStack+testStackSize-100))
	f.Add([]byte{}, ^uint64(0))
	f.Fuzz(func(t *testing.T, frame []byte, sp uint64) {
		task := newFakeTask(t, Config{})
		if len(frame) > frameSiginfo {
			frame = frame[:frameSiginfo]
		}
		task.CopyOut(sp-8, frame)
		r := task.ctx.Regs()
		someRegs(r)
		r.Rsp = sp
		before := r.Eflags
		if _, err := task.SigReturn(); err != nil {
			t.Fatal(err)
		}
		if r.Cs != userCS || r.Ss != userSS {
			t.Errorf("segments %#x, %#x", r.Cs, r.Ss)
		}
		if (r.Eflags^before)&^restoreFlags != 0 {
			t.Errorf("flags %#x from %#x", r.Eflags, before)
		}
		if task.SignalMask()&unblockable != 0 {
			t.Error("SIGKILL or SIGSTOP is blocked")
		}
		if r.Rip >= 1<<47 {
			t.Errorf("instruction pointer %#x", r.Rip)
		}
	})
}

func BenchmarkFrame(b *testing.B) {
	task := newFakeTask(b, Config{})
	r := task.ctx.Regs()
	someRegs(r)
	info := KernelSignal(unix.SIGUSR1)
	for b.Loop() {
		if err := task.pushFrame(info, &testAction, 0); err != nil {
			b.Fatal(err)
		}
		r.Rsp += 8
		task.SigReturn()
	}
}
