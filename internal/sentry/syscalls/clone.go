package syscalls

import (
	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/mm"

	"golang.org/x/sys/unix"
)

const cloneCaveat = "CLONE_PTRACE, CLONE_IO and CLONE_SYSVSEM change nothing"

func cloneRows() []Row {
	return []Row{
		partial(unix.SYS_CLONE, "clone", sysClone, cloneCaveat,
			PF("flags", Flags, cloneFlags), P("stack", Addr), P("parent_tid", OutTID), P("child_tid", Addr), P("tls", Addr)),
		full(unix.SYS_FORK, "fork", sysFork),
		full(unix.SYS_VFORK, "vfork", sysVfork),
		partial(unix.SYS_CLONE3, "clone3", sysClone3, cloneCaveat+"; CLONE_INTO_CGROUP is EINVAL",
			P("cl_args", CloneArgs), P("size", Unsigned)),
	}
}

var cloneFlags = &FlagSet{
	Mask: 0xff,
	Names: []FlagName{
		{unix.CLONE_VM, "CLONE_VM"}, {unix.CLONE_FS, "CLONE_FS"}, {unix.CLONE_FILES, "CLONE_FILES"},
		{unix.CLONE_SIGHAND, "CLONE_SIGHAND"}, {unix.CLONE_PIDFD, "CLONE_PIDFD"}, {unix.CLONE_PTRACE, "CLONE_PTRACE"},
		{unix.CLONE_VFORK, "CLONE_VFORK"}, {unix.CLONE_PARENT, "CLONE_PARENT"}, {unix.CLONE_THREAD, "CLONE_THREAD"},
		{unix.CLONE_NEWNS, "CLONE_NEWNS"}, {unix.CLONE_SYSVSEM, "CLONE_SYSVSEM"}, {unix.CLONE_SETTLS, "CLONE_SETTLS"},
		{unix.CLONE_PARENT_SETTID, "CLONE_PARENT_SETTID"}, {unix.CLONE_CHILD_CLEARTID, "CLONE_CHILD_CLEARTID"},
		{unix.CLONE_DETACHED, "CLONE_DETACHED"}, {unix.CLONE_UNTRACED, "CLONE_UNTRACED"},
		{unix.CLONE_CHILD_SETTID, "CLONE_CHILD_SETTID"}, {unix.CLONE_NEWCGROUP, "CLONE_NEWCGROUP"},
		{unix.CLONE_NEWUTS, "CLONE_NEWUTS"}, {unix.CLONE_NEWIPC, "CLONE_NEWIPC"}, {unix.CLONE_NEWUSER, "CLONE_NEWUSER"},
		{unix.CLONE_NEWPID, "CLONE_NEWPID"}, {unix.CLONE_NEWNET, "CLONE_NEWNET"}, {unix.CLONE_IO, "CLONE_IO"},
	},
	Values: []FlagName{{uint64(unix.SIGCHLD), "SIGCHLD"}},
}

const (
	namespaceFlags = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
		unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
	// legacyFlags are those that clone(2) can take beside the exit signal.
	legacyFlags = 0xffffffff &^ 0xff
	// clone3Flags are all that clone3(2) knows.
	clone3Flags = legacyFlags&^unix.CLONE_DETACHED | unix.CLONE_NEWTIME | unix.CLONE_CLEAR_SIGHAND | unix.CLONE_INTO_CGROUP
)

func sysClone(t *kernel.Task, a kernel.Args) (uintptr, error) {
	flags := a[0] & 0xffffffff
	c := kernel.CloneArgs{
		Flags:      flags & legacyFlags,
		ExitSignal: int32(flags & 0xff),
		Stack:      a[1],
		ParentTID:  a[2],
		PIDFD:      a[2],
		ChildTID:   a[3],
		TLS:        a[4],
	}
	if c.Flags&unix.CLONE_PIDFD != 0 && c.Flags&(unix.CLONE_PARENT_SETTID|unix.CLONE_DETACHED) != 0 {
		return 0, unix.EINVAL
	}
	return clone(t, &c)
}

func sysFork(t *kernel.Task, _ kernel.Args) (uintptr, error) {
	return clone(t, &kernel.CloneArgs{ExitSignal: int32(unix.SIGCHLD)})
}

func sysVfork(t *kernel.Task, _ kernel.Args) (uintptr, error) {
	return clone(t, &kernel.CloneArgs{Flags: unix.CLONE_VM | unix.CLONE_VFORK, ExitSignal: int32(unix.SIGCHLD)})
}

// clone3Args is struct clone_args, CLONE_ARGS_SIZE_VER2.
type clone3Args struct {
	Flags, PIDFD, ChildTID, ParentTID, ExitSignal, Stack, StackSize, TLS, SetTID, SetTIDSize, Cgroup uint64
}

const (
	// clone3MinSize is CLONE_ARGS_SIZE_VER0.
	clone3MinSize = 64
	// maxSetTID is MAX_PID_NS_LEVEL: how many numbers a task can choose.
	maxSetTID = 32
)

func sysClone3(t *kernel.Task, a kernel.Args) (uintptr, error) {
	var in clone3Args
	switch size := a[1]; {
	case size > mm.PageSize:
		return 0, unix.E2BIG
	case size < clone3MinSize:
		return 0, unix.EINVAL
	default:
		if err := copyInExtensible(t, a[0], size, &in); err != nil {
			return 0, err
		}
	}
	switch {
	case in.SetTIDSize > maxSetTID, (in.SetTID == 0) != (in.SetTIDSize == 0),
		in.ExitSignal > abi.NumSignals, in.Flags&^uint64(clone3Flags) != 0,
		(in.Stack == 0) != (in.StackSize == 0),
		in.Flags&(unix.CLONE_THREAD|unix.CLONE_PARENT) != 0 && in.ExitSignal != 0,
		in.Flags&unix.CLONE_SIGHAND != 0 && in.Flags&unix.CLONE_CLEAR_SIGHAND != 0,
		in.Flags&unix.CLONE_INTO_CGROUP != 0,
		in.Stack+in.StackSize < in.Stack:
		return 0, unix.EINVAL
	}
	tids := make([]int32, in.SetTIDSize)
	for i := range tids {
		tid, err := t.CopyInUint32(in.SetTID + uint64(i)*4)
		if err != nil {
			return 0, err
		}
		tids[i] = int32(tid)
	}
	c := kernel.CloneArgs{
		Flags: in.Flags, PIDFD: in.PIDFD, ChildTID: in.ChildTID, ParentTID: in.ParentTID,
		ExitSignal: int32(in.ExitSignal), TLS: in.TLS, TIDs: tids,
	}
	if in.Stack != 0 {
		c.Stack = in.Stack + in.StackSize
	}
	return clone(t, &c)
}

// clone checks what both calls share: which flags go together.
func clone(t *kernel.Task, c *kernel.CloneArgs) (uintptr, error) {
	f := c.Flags
	switch {
	case c.ExitSignal < 0 || c.ExitSignal > abi.NumSignals,
		f&unix.CLONE_THREAD != 0 && f&unix.CLONE_SIGHAND == 0,
		f&unix.CLONE_SIGHAND != 0 && f&unix.CLONE_VM == 0,
		f&unix.CLONE_NEWNS != 0 && f&unix.CLONE_FS != 0,
		f&unix.CLONE_NEWUSER != 0 && f&unix.CLONE_FS != 0,
		f&unix.CLONE_THREAD != 0 && f&(unix.CLONE_NEWUSER|unix.CLONE_NEWPID|unix.CLONE_PIDFD) != 0,
		f&unix.CLONE_NEWIPC != 0 && f&unix.CLONE_SYSVSEM != 0:
		return 0, unix.EINVAL
	}
	if f&unix.CLONE_THREAD != 0 {
		c.ExitSignal = 0
	}
	// A thread base outside of the user's half would fault in the stub.
	if f&unix.CLONE_SETTLS != 0 && c.TLS >= mm.TaskSize {
		return 0, unix.EPERM
	}
	tid, err := t.Clone(c)
	return uintptr(tid), err
}
