package kernel

import (
	"fmt"
	"testing"

	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/mm/mmtest"
	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// unanswered is a Syscalls without calls.
type unanswered struct{}

func (unanswered) Dispatch(*Task, uint64, Args) (uintptr, error) { return 0, unix.ENOSYS }
func (unanswered) Describe(nr uint64, args Args) string          { return fmt.Sprint(nr, args) }

const (
	testStack     = 0x7000_0000
	testStackSize = 64 << 10
	testMaxFP     = 4096
)

// sized is a fake platform whose extended state has a size.
type sized struct{ mmtest.Platform }

func (sized) Limits() platform.Limits {
	l := mmtest.Limits
	l.FPSize = testMaxFP
	return l
}

// newFakeTask returns a task of a new kernel, with a stack in memory without
// a host; nothing runs it.
func newFakeTask(t testing.TB, c Config) *Task {
	t.Helper()
	c.Platform, c.Syscalls = sized{}, unanswered{}
	return newFakeProcess(t, New(c))
}

func newFakeProcess(t testing.TB, k *Kernel) *Task {
	t.Helper()
	task, err := k.CreateProcess(ProcessConfig{
		Credentials: auth.New(0, 0, nil), FDs: vfs.NewFDTable(),
		FS: NewFSContext(nil, vfs.Path{}, vfs.Path{}, 0o22),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := task.ReplaceMemory(true); err != nil {
		t.Fatal(err)
	}
	space(task).Do(platform.Op{Kind: platform.OpMmap, Addr: testStack, Length: testStackSize, Prot: unix.PROT_READ | unix.PROT_WRITE, FD: -1})
	task.ctx.Regs().Rsp = testStack + testStackSize - 4096
	return task
}

func space(t *Task) *mmtest.Space { return t.ctx.(*mmtest.Context).Space }

// child makes a process of parent that nothing runs.
func child(t testing.TB, parent *Task) *Task {
	t.Helper()
	c := newFakeProcess(t, parent.k)
	k, g := parent.k, c.group
	k.mu.Lock()
	defer k.mu.Unlock()
	g.leaveGroupLocked()
	g.joinGroupLocked(parent.group.pgrp)
	g.parent = parent.group
	parent.group.children[g] = struct{}{}
	return c
}
