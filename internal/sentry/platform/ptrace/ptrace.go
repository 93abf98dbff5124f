// Package ptrace is the platform for hosts that allow nothing else: the
// sentry traces its stubs and steps from system call to system call by
// PTRACE_SYSEMU.
//
// A tracee obeys only the thread that seized it. So a context is seized by its
// first Switch, whose goroutine keeps its thread from then on; until then, and
// for good if it never runs guest code, it works over shared memory, as the
// trap platform's do. The first thread of each process is never traced: it
// forks off the process's guest threads, and runs what others than a context's
// own goroutine need done. So the reaper of stubs, who waits for first threads,
// never gets to see a tracer's stop.
package ptrace

import (
	"fmt"

	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/platform/stub"
)

// Name is the platform's name.
const Name = "ptrace"

type ptrace struct{ stubs *stub.Stubs }

// New starts the platform.
func New(options ...stub.Option) (platform.Platform, error) {
	s, err := stub.New(append(options, stub.WithDeathWatch())...)
	if err != nil {
		return nil, err
	}
	p := &ptrace{s}
	if err := p.try(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// try traces a thread that is then given up: a host that forbids it says so
// here, and not when the first program is to run.
func (p *ptrace) try() error {
	first, err := p.stubs.NewThread()
	if err != nil {
		return fmt.Errorf("making a stub process to trace: %w", err)
	}
	_, c, err := firstContext(first)
	if err != nil {
		return fmt.Errorf("making a stub thread to trace: %w", err)
	}
	defer c.Release()
	if err := c.(*context).seize(); err != nil {
		return fmt.Errorf("tracing a stub thread: %w", err)
	}
	return nil
}

func (*ptrace) Name() string              { return Name }
func (p *ptrace) Limits() platform.Limits { return p.stubs.Limits() }
func (p *ptrace) Close()                  { p.stubs.Close() }

func (p *ptrace) NewAddressSpace() (platform.AddressSpace, platform.Context, error) {
	t, err := p.stubs.NewThread()
	if err != nil {
		return nil, nil, err
	}
	return firstContext(t)
}

// firstContext makes the first guest thread of a process.
func firstContext(first *stub.Thread) (platform.AddressSpace, platform.Context, error) {
	t, err := first.Clone()
	if err != nil {
		first.Release()
		return nil, nil, err
	}
	first.MoveRseq(t)
	first.Park()
	return t.AddressSpace(), newContext(t), nil
}
