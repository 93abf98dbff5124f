package boot

import (
	"cmp"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"coffer/internal/sentry/fs/devpts"
	"coffer/internal/sentry/fs/procfs"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/network"
	"coffer/internal/sentry/platform"
	"coffer/internal/sentry/platform/ptrace"
	"coffer/internal/sentry/platform/stub"
	"coffer/internal/sentry/platform/trap"
	"coffer/internal/sentry/shmem"
	"coffer/internal/sentry/syscalls"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// platforms are the ways to run guest code, the default first.
var platforms = []struct {
	name string
	new  func(...stub.Option) (platform.Platform, error)
}{
	{trap.Name, trap.New},
	{ptrace.Name, ptrace.New},
}

// Platforms names the ways to intercept system calls, the default first.
func Platforms() []string {
	var names []string
	for _, p := range platforms {
		names = append(names, p.name)
	}
	return names
}

// sandbox is a booted kernel and what belongs to it.
type sandbox struct {
	kernel    *kernel.Kernel
	platform  platform.Platform
	proc      *procfs.FS
	pts       *devpts.FS
	terminals terminals
	// network is the first container's.
	network *network.Namespace
	// limit is Sandbox.Memory.
	limit int64
	// advice is Sandbox.Advice.
	advice Advice
	// first is the process with which all ends.
	first *process
	// server is nil in a sandbox that ends with its starter.
	server *server
}

// boot puts the walls around this process and assembles a kernel in it. On
// return the first program is loaded and nothing of it has run. refusal is what
// the seccomp filter answers to calls that are not in its table.
func boot(box *Sandbox, refusal uint32) (_ *sandbox, err error) {
	unix.Umask(0) // hostfs gives files the modes that guests ask for
	root := mapsOthers()
	oom, err := os.OpenFile("/proc/self/oom_score_adj", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("opening the sentry's OOM score: %w", err)
	}
	defer oom.Close()
	cpuInfo, err := procfs.HostCPUInfo(kernel.CPUs())
	if err != nil {
		return nil, err
	}
	tasks := maxTasks(box.Memory, hostLimit("pid_max"), hostLimit("threads-max"))
	proc, err := raiseWalls(box, root)
	if err != nil {
		return nil, err
	}
	if err := limitProcesses(tasks); err != nil {
		return nil, err
	}
	s := &sandbox{advice: box.Advice}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	table := syscalls.New()
	options := append(stubIdentity(root), stub.WithProc(proc), stub.WithFetches(table.Fetches()))
	if s.platform, err = startPlatform(box.Intercept, oom, options...); err != nil {
		return nil, err
	}
	if err := settle(root); err != nil {
		return nil, err
	}
	if box.Trace != nil {
		if err := startTrace(table, box.Trace); err != nil {
			return nil, err
		}
	}
	if s.network, err = box.network(); err != nil {
		return nil, err
	}
	s.kernel = kernel.New(kernel.Config{
		Platform: s.platform, Syscalls: table, MaxTasks: tasks, Network: s.network,
		Hostname: box.Hostname, Domainname: cmp.Or(box.Domainname, "(none)"),
		// A program behind a wall that others use must not notice which one.
		ProtectInit: box.Server != nil,
		CallsTraced: box.Trace != nil,
	})
	s.limit = box.Memory
	s.kernel.SetMemoryLimit(uint64(box.Memory))
	memory := s.kernel.MemoryInfo().Total
	shmem.Sandbox.SetLimit(shmem.Share(memory))
	shmem.Buffers.SetLimit(shmem.BufferShare(memory))
	vfs.SetMaxFiles(vfs.MaxFilesFor(memory))
	if box.Memory > 0 {
		// Collect garbage the harder the more of the limit the sentry takes.
		debug.SetMemoryLimit(box.Memory / 2)
	}
	s.pts = devpts.New(s.kernel)
	s.proc = procfs.New(procfs.Config{Kernel: s.kernel, CPUInfo: cpuInfo, Cmdline: "coffer"})
	s.addFileSystems()
	if err := s.loadFirst(box); err != nil {
		return nil, err
	}
	if err := installFilter(hostCalls(box.needs()), refusal); err != nil {
		return nil, err
	}
	return s, nil
}

// loadFirst makes the first process and loads its program.
func (s *sandbox) loadFirst(box *Sandbox) (err error) {
	if box.Server != nil {
		if s.server, err = newServer(s, box.Server.Listener); err != nil {
			return err
		}
		c, err := s.newContainer(&box.Container, true)
		if err != nil {
			return err
		}
		s.first, s.server.first, s.server.containers[c.id] = c.init, c, c
		return nil
	}
	mounts, err := s.files(&box.Container)
	if err != nil {
		return err
	}
	s.first, err = s.newProcess(&box.Process, place{mounts: mounts})
	return err
}

// raiseWalls takes the host's files and most privileges away, and returns the
// view of the stubs that processView makes. What starting them needs is left.
func raiseWalls(box *Sandbox, root bool) (proc int, err error) {
	if proc, err = processView(); err != nil {
		return -1, err
	}
	if err := privateMounts(); err != nil {
		return -1, err
	}
	if err := confineTrees(box); err != nil {
		return -1, err
	}
	if err := emptyRoot(); err != nil {
		return -1, err
	}
	if err := lowerLimit(unix.RLIMIT_CORE, 0); err != nil {
		return -1, err
	}
	return proc, dropPrivileges(root)
}

// settle gives up what only starting the stubs needed. From here on nobody
// else can look into the sentry, not even another process of the same user.
func settle(root bool) error {
	if root {
		if err := capset(sentryCaps...); err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("hiding the sentry's memory: %w", err)
	}
	return nil
}

// hostLimit reads a number of the host's from /proc/sys/kernel; what cannot be
// read limits nothing.
func hostLimit(name string) int {
	b, err := os.ReadFile("/proc/sys/kernel/" + name)
	if err != nil {
		return math.MaxInt
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return math.MaxInt
	}
	return n
}

// How readily the host ends a process when memory runs out, from 0 to 1000
// (proc_pid_oom_score_adj(5)). Stubs are the first to go: then a guest program
// dies, and not its kernel. But what fills memory may be files in memory,
// which belong to no process; so the sentry comes next, before any process of
// the host that has nothing to do with it.
const (
	stubOOMScore   = 1000
	sentryOOMScore = 800
)

// startPlatform starts the platform.
func startPlatform(name string, oom *os.File, options ...stub.Option) (platform.Platform, error) {
	for _, p := range platforms {
		if p.name != name {
			continue
		}
		if err := setOOMScore(oom, stubOOMScore); err != nil {
			return nil, fmt.Errorf("setting the stubs' OOM score: %w", err)
		}
		pl, err := p.new(options...)
		if err != nil {
			return nil, fmt.Errorf("this host cannot intercept system calls by %s: %w", name, err)
		}
		if err := setOOMScore(oom, sentryOOMScore); err != nil {
			pl.Close()
			return nil, fmt.Errorf("setting the sentry's OOM score: %w", err)
		}
		return pl, nil
	}
	return nil, fmt.Errorf("there is no way to intercept system calls that is called %q", name)
}

// startTrace has each system call written down.
func startTrace(table *syscalls.Table, t *Trace) error {
	filter, err := table.NewFilter(t.Filter)
	if err != nil {
		return err
	}
	opt := syscalls.TraceOptions{Filter: filter}
	if t.JSON {
		opt.Format = syscalls.TraceJSON
	}
	table.SetTracer(syscalls.NewTracer(&traceFile{f: os.NewFile(uintptr(t.FD), "trace")}, opt))
	return nil
}

// traceFile says once, on coffer's standard error, that it cannot be written.
// The Tracer makes one Write at a time.
type traceFile struct {
	f      *os.File
	failed bool
}

func (t *traceFile) Write(line []byte) (int, error) {
	n, err := t.f.Write(line)
	if err != nil && !t.failed {
		t.failed = true
		fmt.Fprintln(os.Stderr, "coffer: the trace is incomplete:", err)
	}
	return n, err
}

// CheckTraceFilter tells what is wrong with a trace filter.
func CheckTraceFilter(expr string) error {
	_, err := syscalls.New().NewFilter(expr)
	return err
}

// lastFrames is how long what programs have sent may take to leave after them.
const lastFrames = 3 * time.Second

func (s *sandbox) close() {
	if s.first != nil {
		s.first.terminal.close()
	}
	if s.network != nil {
		s.network.Close(lastFrames)
	}
	if s.platform != nil {
		s.platform.Close()
	}
}
