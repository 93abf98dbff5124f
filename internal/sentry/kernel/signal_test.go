package kernel

import (
	"testing"
	"time"

	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

const rtmin = abi.SIGRTMIN + 2

// queued sends a real-time signal with a value.
func queued(t *Task, sig int32, value uint64) error {
	info := &abi.Siginfo{Signo: sig, Code: abi.SI_QUEUE}
	info.SetValue(value)
	return t.group.Signal(info)
}

func TestPendingSignals(t *testing.T) {
	task := newFakeTask(t, Config{})
	task.SetSignalMask(^abi.SignalSet(0))
	task.group.limits.Set(limitSigPending, RLimit{5, 5}, true)

	// Standard signals merge; the lowest number comes first.
	for range 3 {
		task.group.Signal(KernelSignal(unix.SIGUSR2))
		task.Signal(KernelSignal(unix.SIGUSR1))
	}
	for v := range uint64(3) {
		if err := queued(task, rtmin, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := queued(task, rtmin, 9); err != unix.EAGAIN {
		t.Errorf("beyond RLIMIT_SIGPENDING: %v, want EAGAIN", err)
	}
	want := []struct {
		sig   int32
		value uint64
	}{{int32(unix.SIGUSR1), 0}, {int32(unix.SIGUSR2), 0}, {rtmin, 0}, {rtmin, 1}, {rtmin, 2}}
	for _, w := range want {
		info, ok := task.TakeSignal(^abi.SignalSet(0))
		if !ok || info.Signo != w.sig || w.sig == rtmin && info.Value() != w.value {
			t.Errorf("took signal %d with value %d (%v), want %v", info.Signo, info.Value(), ok, w)
		}
	}
	if _, ok := task.TakeSignal(^abi.SignalSet(0)); ok {
		t.Error("a signal is left")
	}
	if n := task.user.signals.Used(); n != 0 {
		t.Errorf("%d siginfos are still counted", n)
	}
}

func TestWhatIsDropped(t *testing.T) {
	tests := []struct {
		name    string
		protect bool
		block   unix.Signal
		ignore  unix.Signal
		send    unix.Signal
		pending bool
		ends    bool
	}{
		{name: "ignored by default", send: unix.SIGCHLD},
		{name: "ignored by default but blocked", block: unix.SIGCHLD, send: unix.SIGCHLD, pending: true},
		{name: "ignored", ignore: unix.SIGTERM, send: unix.SIGTERM},
		{name: "fatal", send: unix.SIGTERM, ends: true},
		{name: "fatal but blocked", block: unix.SIGTERM, send: unix.SIGTERM, pending: true},
		{name: "kill", send: unix.SIGKILL, ends: true, pending: true},
		{name: "protected from TERM", protect: true, send: unix.SIGTERM},
		{name: "protected from KILL", protect: true, send: unix.SIGKILL},
		{name: "protected from STOP", protect: true, send: unix.SIGSTOP},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			task := newFakeTask(t, Config{ProtectInit: tt.protect})
			if tt.block != 0 {
				task.SetSignalMask(abi.SetOf(tt.block))
			}
			if tt.ignore != 0 {
				task.group.SetAction(int32(tt.ignore), abi.Sigaction{Handler: abi.SIG_IGN})
			}
			task.group.Signal(KernelSignal(tt.send))
			if got := task.PendingSignals().Has(int32(tt.send)); got != tt.pending && !tt.ends {
				t.Errorf("pending is %v", got)
			}
			if task.killed != tt.ends {
				t.Errorf("ends is %v", task.killed)
			}
		})
	}
}

func TestStopAndContinueCancelEachOther(t *testing.T) {
	task := newFakeTask(t, Config{})
	task.SetSignalMask(abi.SetOf(unix.SIGTSTP, unix.SIGCONT))
	task.group.Signal(KernelSignal(unix.SIGTSTP))
	task.group.SetAction(int32(unix.SIGCONT), abi.Sigaction{Handler: 0x1000})
	task.group.Signal(KernelSignal(unix.SIGCONT))
	if p := task.PendingSignals(); p != abi.SetOf(unix.SIGCONT) {
		t.Errorf("after SIGCONT pending is %#x", p)
	}
	task.group.Signal(KernelSignal(unix.SIGTTIN))
	if p := task.PendingSignals(); p != abi.SetOf(unix.SIGTTIN) {
		t.Errorf("after SIGTTIN pending is %#x", p)
	}
}

func TestRestart(t *testing.T) {
	const rip, call = 0x1002, 35
	tests := []struct {
		name     string
		errno    unix.Errno
		handler  bool
		flags    uint64
		rax, rip uint64
	}{
		{"SYS without handler", abi.ERESTARTSYS, false, 0, call, rip - 2},
		{"SYS with handler", abi.ERESTARTSYS, true, 0, negative(unix.EINTR), rip},
		{"SYS with SA_RESTART", abi.ERESTARTSYS, true, abi.SA_RESTART, call, rip - 2},
		{"NOHAND without handler", abi.ERESTARTNOHAND, false, 0, call, rip - 2},
		{"NOHAND with SA_RESTART", abi.ERESTARTNOHAND, true, abi.SA_RESTART, negative(unix.EINTR), rip},
		{"NOINTR with handler", abi.ERESTARTNOINTR, true, 0, call, rip - 2},
		{"BLOCK without handler", abi.ERESTARTRESTARTBLOCK, false, 0, sysRestart, rip - 2},
		{"BLOCK with SA_RESTART", abi.ERESTARTRESTARTBLOCK, true, abi.SA_RESTART, negative(unix.EINTR), rip},
		{"none", 0, false, 0, 7, rip},
	}
	task := newFakeTask(t, Config{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := task.ctx.Regs()
			r.Orig_rax, r.Rax, r.Rip = call, 7, rip
			task.restart = tt.errno
			var act *abi.Sigaction
			if tt.handler {
				act = &abi.Sigaction{Flags: tt.flags}
			}
			task.finishCall(act)
			if r.Rax != tt.rax || r.Rip != tt.rip {
				t.Errorf("rax %#x, rip %#x; want %#x, %#x", r.Rax, r.Rip, tt.rax, tt.rip)
			}
		})
	}
}

func TestBlock(t *testing.T) {
	task := newFakeTask(t, Config{})
	task.work.Store(false)
	if err := task.Block(nil, time.Now().Add(time.Millisecond)); err != unix.ETIMEDOUT {
		t.Errorf("deadline: %v", err)
	}
	ch := make(chan struct{}, 1)
	ch <- struct{}{}
	if err := task.Block(ch, time.Time{}); err != nil {
		t.Errorf("ready channel: %v", err)
	}
	task.group.SetAction(int32(unix.SIGUSR1), abi.Sigaction{Handler: 0x1000})
	go task.group.Signal(KernelSignal(unix.SIGUSR1))
	if err := task.Block(nil, time.Time{}); err != abi.ERESTARTSYS {
		t.Errorf("signal: %v", err)
	}
}

func BenchmarkSendAndTake(b *testing.B) {
	task := newFakeTask(b, Config{})
	task.SetSignalMask(abi.SetOf(unix.SIGUSR1))
	info := KernelSignal(unix.SIGUSR1)
	for b.Loop() {
		task.Signal(info)
		task.TakeSignal(^abi.SignalSet(0))
	}
}
