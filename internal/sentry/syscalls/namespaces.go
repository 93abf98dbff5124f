package syscalls

import (
	"coffer/internal/sentry/fs/nsfs"
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

func namespaceRows() []Row {
	return []Row{
		full(unix.SYS_UNSHARE, "unshare", sysUnshare, PF("flags", Flags, unshareFlags)),
		full(unix.SYS_SETNS, "setns", sysSetns, P("fd", FD), PF("nstype", Flags, unshareFlags)),
	}
}

var unshareFlags = &FlagSet{Names: append([]FlagName{{unix.CLONE_NEWTIME, "CLONE_NEWTIME"}}, cloneFlags.Names...)}

func sysUnshare(t *kernel.Task, a kernel.Args) (uintptr, error) {
	f := a[0]
	const known = unix.CLONE_THREAD | unix.CLONE_FS | unix.CLONE_SIGHAND | unix.CLONE_VM | unix.CLONE_FILES |
		unix.CLONE_SYSVSEM | namespaceFlags | unix.CLONE_NEWTIME
	if f&unix.CLONE_NEWUSER != 0 {
		f |= unix.CLONE_THREAD | unix.CLONE_FS
	}
	if f&unix.CLONE_NEWNS != 0 {
		f |= unix.CLONE_FS
	}
	switch {
	case f&^uint64(known) != 0,
		f&(unix.CLONE_THREAD|unix.CLONE_SIGHAND|unix.CLONE_VM) != 0 && len(t.ThreadGroup().Tasks()) > 1,
		f&unix.CLONE_VM != 0 && t.MM().Users() > 1:
		return 0, unix.EINVAL
	}
	if f&unix.CLONE_FS != 0 && t.FS().Shared() {
		t.SetFS(t.FS().Fork()).DecRef()
	}
	if f&(namespaceFlags|unix.CLONE_NEWTIME) != 0 {
		if err := t.Unshare(f); err != nil {
			return 0, err
		}
	}
	if f&unix.CLONE_FILES != 0 && t.FDs().Shared() {
		old := t.SetFDs(t.FDs().Fork())
		for _, d := range old.DecRef() {
			_ = old.Close(t, d)
		}
	}
	return 0, nil
}

// processNamespaces are the names in /proc/PID/ns of what setns(2) enters with
// a pidfd, by clone(2)'s flags.
var processNamespaces = []struct {
	flag uint64
	name string
}{
	{unix.CLONE_NEWUSER, "user"}, {unix.CLONE_NEWNS, "mnt"}, {unix.CLONE_NEWUTS, "uts"}, {unix.CLONE_NEWIPC, "ipc"},
	{unix.CLONE_NEWPID, "pid"}, {unix.CLONE_NEWCGROUP, "cgroup"}, {unix.CLONE_NEWNET, "net"}, {unix.CLONE_NEWTIME, "time"},
}

func sysSetns(t *kernel.Task, a kernel.Args) (uintptr, error) {
	d, err := t.File(a.Int(0))
	if err != nil {
		return 0, err
	}
	defer d.DecRef()
	kinds := uint64(a.Uint(1))
	if g := kernel.PIDFDGroup(d); g != nil {
		return 0, enterProcess(t, g, kinds)
	}
	ns := nsfs.Of(d)
	if ns == nil || kinds != 0 && kinds != kernel.KindOf(ns) {
		return 0, unix.EINVAL
	}
	return 0, t.Setns([]kernel.Namespace{ns})
}

// enterProcess moves the caller into those namespaces of a process that kinds
// name. EINVAL for others, ESRCH if it has ended, EPERM if the caller may not
// look into it.
func enterProcess(t *kernel.Task, g *kernel.ThreadGroup, kinds uint64) error {
	if kinds == 0 || kinds&^(namespaceFlags|unix.CLONE_NEWTIME) != 0 {
		return unix.EINVAL
	}
	o := g.Representative()
	if o == nil {
		return unix.ESRCH
	}
	if err := t.MayTrace(o); err != nil {
		return err
	}
	var list []kernel.Namespace
	defer func() {
		for _, ns := range list {
			kernel.DropNamespace(ns)
		}
	}()
	for _, n := range processNamespaces {
		if kinds&n.flag == 0 {
			continue
		}
		ns, err := o.InNamespace(n.name)
		if err != nil {
			return unix.ESRCH
		}
		list = append(list, ns)
	}
	return t.Setns(list)
}
