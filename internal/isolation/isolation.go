// Package isolation says what every wall around a container can do, so that
// the lifecycle above needs to know none of them.
//
// A wall's methods are called from processes of coffer that live as long as
// one command: whatever must last longer lies in the container's own
// directory or is found again from its first process. The caller holds the
// container's lock and has checked that its state allows the call.
package isolation

import (
	"os"

	"coffer/internal/hostcgroup"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Level names a wall.
type Level string

// The walls, the weakest first.
const (
	// LevelProcess is the host's own kernel: namespaces, cgroups, pivot_root(2).
	LevelProcess Level = "process"
	// LevelKernel is a kernel of our own in user space.
	LevelKernel Level = "kernel"
)

// Levels lists them all, the weakest first.
var Levels = []Level{LevelProcess, LevelKernel}

// Wall makes containers behind one kind of wall.
type Wall interface {
	// Check says what of a request this host or this wall cannot honour, by
	// the name of the spec's field. Nothing has been made yet.
	Check(*Request) error
	// HostResources says which limits the host's cgroup of a container is to have,
	// of those that its spec or an update asks for; what it leaves out or widens
	// the wall enforces by itself. The argument may be nil, and is not changed.
	HostResources(*specs.LinuxResources) *specs.LinuxResources
	// Create makes a container up to its program, which waits for Start. The
	// process is a child of the caller, and its wait status is the program's
	// (128+n if a wall that cannot show signal n otherwise). If it fails,
	// nothing of the container is left.
	Create(*Request) (PID, error)
	// Start lets the program run, and returns when it does.
	Start(*Container) error
	// Started reports whether the program of a living container has been let
	// run: the truth, even if the process that called Start was killed in it.
	Started(*Container) (bool, error)
	// Signal sends a signal to the first process, or to all of them.
	Signal(c *Container, sig unix.Signal, all bool) error
	// Exec runs another program in the container. The process is a child of
	// the caller; its wait status is the program's, as in Create.
	Exec(*Container, *Exec) (PID, error)
	// Processes lists what runs in the container.
	Processes(*Container) ([]Process, error)
	// CheckPause says why freezing a container's cgroup on the host would not
	// pause it.
	CheckPause(*Container) error
	// Usage measures what a living container uses of what its cgroup on the host
	// does not tell; nil if the cgroup tells all.
	Usage(*Container) (*Usage, error)
	// Update tells a living container of changed limits, which its cgroup on the
	// host has already.
	Update(*Container, *specs.LinuxResources) error
	// Destroy ends what still runs and removes all that the wall has made. It
	// may be called again after a failure, and for what Create left unfinished.
	Destroy(*Container) error
}

// Request is a container to be made.
type Request struct {
	ID string
	// Bundle is the bundle's absolute path.
	Bundle string
	// Spec has passed oci.Check. The wall must not change it.
	Spec *specs.Spec
	// StateDir is the container's own directory, mode 0700, for sockets and
	// the like; it goes after Destroy.
	StateDir string
	// Cgroup exists, with its limits set and nothing in it. It may be nil
	// where a rootless caller has none.
	Cgroup *hostcgroup.Cgroup
	Streams
	NoPivot      bool
	NoNewKeyring bool
	// Reap has process 1 be an init of Coffer's that passes signals on to the program
	// and reaps what is orphaned. The kernel wall takes no notice of it.
	Reap bool
	// UserCwd has the program's user enter the working directory, as chdir(2) does. Else
	// root may do it in its place. The kernel wall takes no notice of it.
	UserCwd bool
	// Intercept is how the kernel wall intercepts system calls; empty for the
	// default.
	Intercept string
	// Created is called once the container's namespaces are there and before
	// its root is changed, with the first process: it runs the hooks of the
	// runtime's own namespaces (prestart, createRuntime). An error ends Create.
	Created func(PID) error
	// State returns what hooks read from standard input, for those that the
	// wall runs in the container's namespaces (createContainer, startContainer).
	State func(status specs.ContainerState, pid int) *specs.State
}

// Streams are a program's open files.
type Streams struct {
	Stdio [3]*os.File // if there is no terminal
	// ConsoleSocket takes the terminal's master as SCM_RIGHTS, with its name
	// as the message; nil if the process has no terminal.
	ConsoleSocket *os.File
	// Extra become descriptors 3 and up.
	Extra []*os.File
}

// Container is a container that a Wall made, perhaps in another process.
type Container struct {
	ID     string
	Bundle string
	// Spec decodes the configuration that the container was made with, which
	// takes longer than much of what is asked of a wall.
	Spec func() (*specs.Spec, error)
	// Hooks are those of the configuration; nil if there are none.
	Hooks    *specs.Hooks
	StateDir string
	Init     PID
	Cgroup   *hostcgroup.Cgroup
	State    func(status specs.ContainerState, pid int) *specs.State
}

// Known is the Spec of a Container for whom it is decoded already.
func Known(s *specs.Spec) func() (*specs.Spec, error) {
	return func() (*specs.Spec, error) { return s, nil }
}

// Exec is another program to run in a container.
type Exec struct {
	Process *specs.Process
	Streams
	// Cgroup is a path below the container's own cgroup, or empty.
	Cgroup string
}

// PID is a process of the host's that stays the same one: numbers are used
// again.
type PID struct {
	PID int `json:"pid"`
	// Started is when it started, in clock ticks after boot (field 22 of
	// proc_pid_stat(5)).
	Started uint64 `json:"started"`
}

// Usage is what a container uses.
type Usage struct {
	// Tasks counts the container's own threads.
	Tasks uint64
	// Shares says that the host's cgroup holds nothing that the container uses,
	// since others share what it runs in: then these tell.
	Shares bool
	// CPUUser and CPUSystem are processor time in nanoseconds.
	CPUUser, CPUSystem uint64
	// Memory is in bytes.
	Memory uint64
	// Interfaces are those of its network that lead out of it, where the wall counts what crosses them.
	Interfaces []Interface
}

// Interface is what has crossed a network interface, as the container sees it.
type Interface struct {
	Name                          string
	RxBytes, RxPackets, RxDropped uint64
	TxBytes, TxPackets, TxDropped uint64
}

// Process is one process in a container.
type Process struct {
	// PID is its number on the host (process wall) or in the container
	// (kernel wall).
	PID     int    `json:"pid"`
	PPID    int    `json:"ppid"`
	UID     uint32 `json:"uid"`
	Threads int    `json:"threads"`
	// CPU is the processor time in nanoseconds.
	CPU     uint64 `json:"cpu"`
	Command string `json:"command"`
}

// ProgramError is a program that cannot be run for a reason of its own, be it
// the first of a container or another one.
type ProgramError struct {
	// Code is the exit code that says so: 127 for a program that is not there,
	// 126 for one that cannot be executed.
	Code int
	Err  error
}

func (e *ProgramError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *ProgramError) Unwrap() error { return e.Err }
