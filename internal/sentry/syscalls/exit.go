package syscalls

import (
	"coffer/internal/sentry/kernel"

	"golang.org/x/sys/unix"
)

func exitRows() []Row {
	return []Row{
		full(unix.SYS_EXIT, "exit", sysExit, P("status", Dec)),
		full(unix.SYS_EXIT_GROUP, "exit_group", sysExitGroup, P("status", Dec)),
	}
}

func sysExit(t *kernel.Task, a kernel.Args) (uintptr, error) {
	t.Exit(a.Int(0))
	return 0, nil
}

func sysExitGroup(t *kernel.Task, a kernel.Args) (uintptr, error) {
	t.ExitGroup(a.Int(0))
	return 0, nil
}
