package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"coffer/internal/bpf"
	"coffer/internal/hostnet/netdev"
	"coffer/internal/isolation"
	"coffer/internal/isolation/process/rootfs"
	"coffer/internal/seccomp/profile"
	"coffer/internal/seccomp/sysno"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Create makes a container up to its program, which waits for Start.
func (wall) Create(r *isolation.Request) (pid isolation.PID, err error) {
	// Init is to die if this thread does, as long as it isn't complete.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	program, err := compile(r.Spec, r.Spec.Process)
	if err != nil {
		return pid, err
	}
	fresh, join, err := namespaces(r.Spec)
	if err != nil {
		return pid, err
	}
	defer closeJoined(join)
	start, err := bindStart(r.StateDir)
	if err != nil {
		return pid, err
	}
	defer start.Close()
	files := []*os.File{start}
	made := false
	if usesHostMounts(r.Spec) {
		fresh |= unix.CLONE_NEWNS
		h, err := openHostMounts(r.StateDir)
		defer h.close()
		if err != nil {
			return pid, errors.Join(err, releaseMounts(r.StateDir))
		}
		defer func() {
			if !made {
				releaseMounts(r.StateDir) // Destroy tries again
			}
		}()
		files = append(files, h.namespace, h.place)
	}

	l := launch{
		todo: instructions{
			ID: r.ID, Bundle: r.Bundle, Spec: sent(r.Spec), Filter: newFilter(program),
			NoPivot: r.NoPivot, NoNewKeyring: r.NoNewKeyring, Reap: r.Reap, UserCwd: r.UserCwd, Rootless: oneGroup(r.Spec),
		},
		files:    files,
		streams:  &r.Streams,
		terminal: r.Spec.Process.Terminal,
		cgroup:   r.Cgroup,
		spawning: spawning{fresh: fresh, join: join},
	}
	if fresh&(unix.CLONE_NEWUSER|unix.CLONE_NEWTIME) != 0 {
		l.atGate = func(pid int) error {
			if fresh&unix.CLONE_NEWUSER != 0 {
				if err := writeIDMaps(pid, r.Spec.Linux); err != nil {
					return err
				}
			}
			return writeTimeOffsets(pid, r.Spec.Linux.TimeOffsets)
		}
	}
	// Until the program is all that is left to be run, init needs more.
	if tightPids(r.Spec, r.Cgroup) != nil {
		if err := setPids(r.Cgroup, initTasks); err != nil {
			return pid, err
		}
	}
	talk, err := l.start()
	if err != nil {
		return pid, err
	}
	defer talk.close()
	talk.id, talk.spec, talk.state, talk.status = r.ID, isolation.Known(r.Spec), r.State, specs.StateCreating
	if pid, err = isolation.FindPID(talk.pid); err == nil {
		talk.init = pid
		err = createTalk{talk, r}.run()
	}
	if err != nil {
		return isolation.PID{}, talk.explain(err)
	}
	made = true
	return pid, nil
}

// createTalk is the caller's side while init makes a container.
type createTalk struct {
	*conversation
	request *isolation.Request
}

func (t createTalk) run() error {
	if err := t.provide(); err != nil {
		return err
	}
	for {
		r, files, err := t.listen()
		if err != nil {
			return err
		}
		err = t.do(r, files)
		closeAll(files)
		if err != nil || r.Say == sayCreated {
			return err
		}
	}
}

// do does what init waits for.
func (t createTalk) do(r report, files []*os.File) error {
	switch r.Say {
	case sayPrepared:
		if err := t.request.Created(t.init); err != nil {
			return err
		}
		return t.answer(word{State: t.state(specs.StateCreating, t.pid)})
	case sayReady:
		return t.ready(t.request.ConsoleSocket, settings(t.id, t.request.Spec, false), files)
	case sayFiltered:
		return t.sendListener(files)
	case sayCreated:
		if limit := tightPids(t.request.Spec, t.request.Cgroup); limit != nil {
			if err := setPids(t.request.Cgroup, *limit); err != nil {
				return err
			}
		}
		return t.release()
	}
	return t.unexpected(r)
}

// provide gives the container what only the caller can: the host's network
// devices, and sources of mounts.
func (t createTalk) provide() error {
	if devices := t.request.Spec.Linux.NetDevices; len(devices) > 0 {
		netns, err := os.Open("/proc/" + strconv.Itoa(t.pid) + "/ns/net")
		if err != nil {
			return fmt.Errorf("linux.netDevices: opening the container's network namespace: %w", err)
		}
		err = netdev.Move(devices, netns)
		netns.Close()
		if err != nil {
			return err
		}
	}
	var userns *os.File
	if hasNamespace(t.request.Spec, specs.UserNamespace) {
		var err error
		if userns, err = os.Open("/proc/" + strconv.Itoa(t.pid) + "/ns/user"); err != nil {
			return fmt.Errorf("opening the container's user namespace: %w", err)
		}
		defer userns.Close()
	}
	sources, err := rootfs.OpenSources(t.request.Spec, t.request.Bundle, userns)
	if err != nil {
		return err
	}
	var w word
	var files []*os.File
	for key, f := range sources {
		w.Sources, files = append(w.Sources, key), append(files, f)
	}
	defer closeAll(files)
	return t.answer(w, files...)
}

// compile makes the filter for a process of a container.
func compile(spec *specs.Spec, process *specs.Process) (*profile.Program, error) {
	if spec.Linux == nil {
		return nil, nil
	}
	program, err := profile.Compile(spec.Linux.Seccomp)
	if err == nil && program != nil {
		err = startable(program, process.NoNewPrivileges)
	}
	return program, err
}

// startable refuses a filter under which init cannot become the program. Such a one would
// end init before it can say why; or, by SCMP_ACT_KILL, only the thread that makes the call,
// while the others wait for ever. late says that the filter comes last, but for the report of
// its listener.
func startable(program *profile.Program, late bool) error {
	filter, err := bpf.New(program.Filter)
	if err != nil {
		return fmt.Errorf("linux.seccomp: checking the filter: %w", err)
	}
	calls := []string{"execve"}
	if !late || program.Notify {
		calls = append(calls, "futex", "sendmsg", "recvmsg")
	}
	for _, name := range calls {
		number, _ := sysno.Find(name).Number(sysno.AMD64)
		result, ok := filter.Constant(int32(number), sysno.AMD64.Audit())
		if !ok {
			continue // it depends on arguments
		}
		switch result & unix.SECCOMP_RET_ACTION_FULL {
		case unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_LOG, unix.SECCOMP_RET_USER_NOTIF:
			continue
		}
		cure := fmt.Sprintf("give %s the action %s", name, specs.ActAllow)
		if name != "execve" && !program.Notify {
			cure += ", or set process.noNewPrivileges, with which the filter comes later"
		}
		return fmt.Errorf("linux.seccomp refuses %s(2), which it takes to start the program: %s", name, cure)
	}
	return nil
}

// procPath is the path of a file of a process.
func procPath(pid int, name string) string {
	return filepath.Join("/proc", strconv.Itoa(pid), name)
}
