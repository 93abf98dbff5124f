package kernel

import (
	"math"
	"testing"
	"time"

	"coffer/internal/sentry/abi"

	"golang.org/x/sys/unix"
)

// timedTask is a task with all signals blocked, so that they stay pending.
func timedTask(t *testing.T) *Task {
	_, tasks := futexThreads(t, 1)
	task := tasks[0]
	task.SetSignalMask(^abi.SignalSet(0))
	t.Cleanup(task.group.ExitTimers)
	return task
}

// await waits until a signal is pending.
func await(t *Task, sig unix.Signal) {
	for !t.PendingSignals().Has(int32(sig)) {
		time.Sleep(time.Millisecond)
	}
}

func TestNextExpiry(t *testing.T) {
	tests := []struct {
		at, interval, now, next time.Duration
		missed                  int64
	}{
		{10, 5, 9, 10, 0},
		{10, 5, 10, 15, 0},
		{10, 5, 14, 15, 0},
		{10, 5, 15, 20, 1},
		{10, 5, 31, 35, 4},
		{0, 1, math.MaxInt64 - 1, math.MaxInt64, math.MaxInt64 - 1},
		{math.MaxInt64 - 1, math.MaxInt64, math.MaxInt64, math.MaxInt64, 0},
	}
	for _, tt := range tests {
		next, missed := nextExpiry(tt.at, tt.interval, tt.now)
		if next != tt.next || missed != tt.missed {
			t.Errorf("nextExpiry(%d, %d, %d) = %d, %d; want %d, %d", tt.at, tt.interval, tt.now, next, missed, tt.next, tt.missed)
		}
	}
}

func TestSaturation(t *testing.T) {
	const most, least = math.MaxInt64, math.MinInt64
	tests := []struct{ a, b, sum, difference time.Duration }{
		{1, 2, 3, -1},
		{most, 1, most, most - 1},
		{least, 1, least + 1, least},
		{least, -1, least, least + 1},
		{5, 0, 5, 5},
		{0, least, least, most},
	}
	for _, tt := range tests {
		if got := satAdd(tt.a, tt.b); got != tt.sum {
			t.Errorf("satAdd(%d, %d) = %d, want %d", tt.a, tt.b, got, tt.sum)
		}
		if got := satSub(tt.a, tt.b); got != tt.difference {
			t.Errorf("satSub(%d, %d) = %d, want %d", tt.a, tt.b, got, tt.difference)
		}
	}
}

func TestIntervalTimer(t *testing.T) {
	task := timedTask(t)
	g := task.group
	hour := TimerValue{Left: time.Hour, Interval: time.Minute}
	if old := g.SetIntervalTimer(unix.ITIMER_REAL, hour); old != (TimerValue{}) {
		t.Errorf("former state is %v", old)
	}
	v := g.IntervalTimer(unix.ITIMER_REAL)
	if v.Left <= 59*time.Minute || v.Left > time.Hour || v.Interval != time.Minute {
		t.Errorf("state is %v", v)
	}
	if old := g.SetIntervalTimer(unix.ITIMER_REAL, TimerValue{Left: 1}); old.Interval != time.Minute {
		t.Errorf("former state is %v", old)
	}
	await(task, unix.SIGALRM)
	if v := g.IntervalTimer(unix.ITIMER_REAL); v.Left != 0 {
		t.Errorf("after it expired: %v", v)
	}
	// A periodic one runs on.
	for range 3 {
		g.SetIntervalTimer(unix.ITIMER_REAL, TimerValue{Left: 1, Interval: time.Millisecond})
		task.TakeSignal(abi.SetOf(unix.SIGALRM))
		await(task, unix.SIGALRM)
	}
}

func TestProcessorTimers(t *testing.T) {
	task := timedTask(t)
	g := task.group
	g.SetIntervalTimer(unix.ITIMER_PROF, TimerValue{Left: 5 * time.Millisecond})
	g.SetIntervalTimer(unix.ITIMER_VIRTUAL, TimerValue{Left: 5 * time.Millisecond})
	// No guest code runs here: give the task user time by hand.
	task.clock.pause(task, modeBlocked)
	task.clock.user.Add(int64(10 * time.Millisecond))
	await(task, unix.SIGPROF)
	await(task, unix.SIGVTALRM)
}

func TestCPULimit(t *testing.T) {
	task := timedTask(t)
	g := task.group
	task.clock.pause(task, modeBlocked)
	if _, err := g.limits.Set(unix.RLIMIT_CPU, RLimit{1, 3}, false); err != nil {
		t.Fatal(err)
	}
	g.CPULimitChanged()
	task.clock.user.Add(int64(1100 * time.Millisecond))
	await(task, unix.SIGXCPU)
	task.clock.user.Add(int64(2 * time.Second))
	for !task.Interrupted() { // SIGKILL can't be blocked
		time.Sleep(time.Millisecond)
	}
}

func TestPosixTimer(t *testing.T) {
	task := timedTask(t)
	g := task.group
	rt := int32(abi.SIGRTMIN + 3)
	id, err := task.NewPosixTimer(unix.CLOCK_MONOTONIC, &TimerEvent{Notify: SigevSignal, Signo: rt, Value: 77})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := task.SetPosixTimer(id, TimerValue{Left: 1, Interval: 100 * time.Microsecond}, false); err != nil {
		t.Fatal(err)
	}
	await(task, unix.Signal(rt))
	time.Sleep(2 * time.Millisecond) // so that it overruns
	info, ok := task.TakeSignal(abi.SetOf(unix.Signal(rt)))
	if !ok || info.Code != abi.SI_TIMER || info.TimerID() != id || info.Value() != 77 {
		t.Errorf("siginfo: %+v", info)
	}
	if info.Overrun() < 5 {
		t.Errorf("overrun is %d after 20 intervals", info.Overrun())
	}
	if n, _ := g.PosixTimerOverrun(id); n != info.Overrun() {
		t.Errorf("timer_getoverrun says %d, siginfo %d", n, info.Overrun())
	}
	await(task, unix.Signal(rt)) // it runs on
	if _, err := task.SetPosixTimer(id, TimerValue{}, false); err != nil {
		t.Fatal(err)
	}
	if task.PendingSignals() != 0 {
		t.Error("a stopped timer's signal is still pending")
	}
	if v, _ := g.PosixTimer(id); v != (TimerValue{}) {
		t.Errorf("stopped: %v", v)
	}
	if err := g.DeletePosixTimer(id); err != nil {
		t.Error(err)
	}
	if err := g.DeletePosixTimer(id); err != unix.EINVAL {
		t.Errorf("deleted twice: %v", err)
	}
}

func TestPosixTimerAbsolute(t *testing.T) {
	task := timedTask(t)
	id, err := task.NewPosixTimer(unix.CLOCK_REALTIME, nil)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Duration(time.Now().Add(-time.Hour).UnixNano())
	if _, err := task.SetPosixTimer(id, TimerValue{Left: at}, true); err != nil {
		t.Fatal(err)
	}
	await(task, unix.SIGALRM)
	info, _ := task.TakeSignal(abi.SetOf(unix.SIGALRM))
	if info.Value() != uint64(id) {
		t.Errorf("value is %d, want the timer's number %d", info.Value(), id)
	}
}

func TestPosixTimerErrors(t *testing.T) {
	task := timedTask(t)
	tests := []struct {
		name  string
		clock int32
		event *TimerEvent
		want  error
	}{
		{"no such clock", 77, nil, unix.EINVAL},
		{"coarse clock", unix.CLOCK_MONOTONIC_COARSE, nil, unix.EOPNOTSUPP},
		{"no such process's clock", ^int32(4000)<<3 | 2, nil, unix.EINVAL},
		{"no such event", unix.CLOCK_MONOTONIC, &TimerEvent{Notify: 3, Signo: 1}, unix.EINVAL},
		{"no such signal", unix.CLOCK_MONOTONIC, &TimerEvent{Signo: 65}, unix.EINVAL},
		{"no such thread", unix.CLOCK_MONOTONIC, &TimerEvent{Notify: SigevThreadID, Signo: 10, TID: 999}, unix.EINVAL},
		{"own thread", unix.CLOCK_MONOTONIC, &TimerEvent{Notify: SigevThreadID, Signo: 10, TID: task.TID()}, nil},
		{"no event", unix.CLOCK_THREAD_CPUTIME_ID, &TimerEvent{Notify: SigevNone}, nil},
	}
	for _, tt := range tests {
		if _, err := task.NewPosixTimer(tt.clock, tt.event); err != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	task.group.limits.Set(limitSigPending, RLimit{2, 2}, true)
	if _, err := task.NewPosixTimer(unix.CLOCK_MONOTONIC, nil); err != unix.EAGAIN {
		t.Errorf("beyond the limit: %v, want EAGAIN", err)
	}
}

func TestBlockCPU(t *testing.T) {
	task := timedTask(t)
	now, err := task.CPUTimeOf(unix.CLOCK_PROCESS_CPUTIME_ID)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- task.BlockCPU(unix.CLOCK_PROCESS_CPUTIME_ID, now+time.Second) }()
	for task.mode.Load() != modeBlocked {
		time.Sleep(time.Millisecond)
	}
	task.clock.user.Add(int64(2 * time.Second))
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestLimits(t *testing.T) {
	l := NewLimits()
	if _, err := l.Set(unix.RLIMIT_NOFILE, RLimit{100, 200}, false); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		v     RLimit
		raise bool
		want  error
	}{
		{"soft above hard", RLimit{201, 200}, true, unix.EINVAL},
		{"raise the hard", RLimit{1, 201}, false, unix.EPERM},
		{"raise the hard, allowed", RLimit{1, 201}, true, nil},
		{"soft up to the hard", RLimit{201, 201}, false, nil},
	}
	for _, tt := range tests {
		if _, err := l.Set(unix.RLIMIT_NOFILE, tt.v, tt.raise); err != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	c := l.Clone()
	l.Set(unix.RLIMIT_NOFILE, RLimit{3, 3}, false)
	if got := c.Get(unix.RLIMIT_NOFILE); got != (RLimit{201, 201}) {
		t.Errorf("the copy is %v", got)
	}
}

func TestAffinity(t *testing.T) {
	task := timedTask(t)
	if err := task.SetAffinity(make([]uint64, 16)); err != unix.EINVAL {
		t.Errorf("empty set: %v, want EINVAL", err)
	}
	all := make([]uint64, 16)
	for i := range all {
		all[i] = ^uint64(0)
	}
	if err := task.SetAffinity(all); err != nil {
		t.Fatal(err)
	}
	for i, w := range task.Attributes().Affinity {
		if w != CPUs()[i] {
			t.Errorf("word %d is %#x, want %#x", i, w, CPUs()[i])
		}
	}
}
