package kernel

import (
	"testing"

	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

// TestSignalsWhileForking sends signals to a process that is in the middle of fork(2): its
// child is to get those that are for several processes.
func TestSignalsWhileForking(t *testing.T) {
	const stop, cont, usr1, term = unix.SIGSTOP, unix.SIGCONT, unix.SIGUSR1, unix.SIGTERM
	for _, tt := range []struct {
		name    string
		one     bool
		host    bool
		ignores bool // SIGCONT, as by default
		blocked abi.SignalSet
		send    []unix.Signal
		want    abi.SignalSet
	}{
		{name: "for the group", send: []unix.Signal{usr1}, want: abi.SetOf(usr1)},
		{name: "blocked", blocked: abi.SetOf(term), send: []unix.Signal{term}, want: abi.SetOf(term)},
		{name: "for the parent alone", one: true, send: []unix.Signal{usr1}},
		{name: "ignored", send: []unix.Signal{unix.SIGCHLD}},
		{name: "stopped and continued", send: []unix.Signal{stop, cont}, want: abi.SetOf(cont)},
		{name: "stopped and continued, which is ignored", ignores: true, send: []unix.Signal{stop, cont}},
		{name: "for the control group", host: true, send: []unix.Signal{usr1, stop}, want: abi.SetOf(usr1, stop)},
		{name: "continued and stopped", send: []unix.Signal{cont, stop}, want: abi.SetOf(stop)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := newFakeTask(t, Config{}).k
			c := k.NewCgroup()
			task := placed(t, k, nil, c)
			g := task.group
			for _, sig := range []unix.Signal{usr1, cont} {
				if sig != cont || !tt.ignores {
					g.SetAction(int32(sig), abi.Sigaction{Handler: 0x1000})
				}
			}
			task.SetSignalMask(tt.blocked)
			var missed, over abi.SignalSet
			if !g.beginFork(task, &missed) || !g.beginFork(task, &over) {
				t.Fatal("a signal is pending before")
			}
			g.endFork(&over)
			for _, sig := range tt.send {
				switch {
				case tt.one:
					g.Signal(KernelSignal(sig))
				case tt.host:
					c.SignalFromHost(int32(sig))
				default:
					g.ProcessGroup().Signal(KernelSignal(sig))
				}
			}
			g.endFork(&missed)
			if missed != tt.want || over != 0 || len(g.forking) != 0 {
				t.Errorf("missed %#x, want %#x; %#x after its end", missed, tt.want, over)
			}
			if tt.want != 0 && tt.blocked == 0 && g.beginFork(task, &missed) {
				t.Error("a fork begins before the signal is handled")
			}
		})
	}
}

// TestSignalInstead has one of a group with too many signals pending be sent another one, and
// only that one.
func TestSignalInstead(t *testing.T) {
	const sig = abi.SIGRTMIN + 1
	first := newFakeTask(t, Config{})
	full := child(t, first)
	for _, task := range []*Task{first, full} {
		for _, s := range []int32{sig, int32(unix.SIGIO)} {
			task.group.SetAction(s, abi.Sigaction{Handler: 0x1000})
		}
	}
	full.group.limits.store(limitSigPending, RLimit{})
	first.group.ProcessGroup().SignalFor(first, &abi.Siginfo{Signo: sig, Code: abi.POLL_IN}, KernelSignal(unix.SIGIO))
	for _, c := range []struct {
		task *Task
		want int32
	}{{first, sig}, {full, int32(unix.SIGIO)}} {
		if got := c.task.group.pending.set; got != abi.SetOf(unix.Signal(c.want)) {
			t.Errorf("%#x is pending, not %d alone", got, c.want)
		}
	}
}
