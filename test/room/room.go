// Package room runs a program again in mount, PID and cgroup namespaces of its
// own below one cgroup, and a network namespace if it asks for one. Tests of
// container runtimes run so: what they leave behind is seen exactly, whatever
// else happens on the host, and all of it goes in the end, also after a
// failure; and what they do to devices like /dev/null does not stay either.
package room

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Options are what a room is like.
type Options struct {
	// Tmp is an empty directory, which becomes the room's own, in memory, as
	// /run does. It must be there before.
	Tmp string
	// Network asks for a network namespace, with the loopback device up.
	Network bool
	// Discard are directories of the host that can be written in the room, and
	// keep nothing of it.
	Discard []string
	// HideV2 asks for no hierarchy of version 2 beside those of version 1.
	HideV2 bool
}

// Roles in which the program runs itself: one joins the room's cgroups, so
// that the next one's cgroup namespace begins there, which as the room's first
// process mounts what it has of its own, and reaps what nobody waits for.
const (
	roleJoin = "join-room"
	roleInit = "room-init"
)

// ErrForbidden says that the host lets this process make no such room: it is in a
// container itself, perhaps.
var ErrForbidden = errors.New("making namespaces and cgroups is not permitted here")

// codeForbidden is the exit code by which a role says so.
const codeForbidden = 77

// Main takes over if the program runs in one of the package's roles. It comes
// first in the program.
func Main() {
	if len(os.Args) < 4 || os.Args[1] != roleJoin && os.Args[1] != roleInit {
		return
	}
	var p plan
	err := json.Unmarshal([]byte(os.Args[2]), &p)
	code := 1
	switch {
	case err != nil:
	case os.Args[1] == roleJoin:
		code, err = join(&p)
	default:
		code, err = beInit(&p)
	}
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		code = codeForbidden
	case err != nil:
		fmt.Fprintln(os.Stderr, "making a room for the test:", err)
	}
	os.Exit(code)
}

// plan is what the roles are told.
type plan struct {
	Options
	Cgroups []string
	Args    []string
}

// Run runs this program again in a room of its own with the given arguments,
// and returns its exit code. The program is not the room's first process, which
// waits for it, and for all whose parents have ended.
func Run(o Options, args ...string) (code int, err error) {
	p := plan{Options: o, Args: args}
	p.Cgroups, err = makeCgroups(fmt.Sprintf("coffer-room-%d", os.Getpid()))
	defer func() {
		for _, dir := range p.Cgroups {
			err = errors.Join(err, removeCgroup(dir))
		}
	}()
	if err == nil {
		code, err = again(roleJoin, &p, 0)
	}
	if code == codeForbidden || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		return 0, ErrForbidden
	}
	return code, err
}

// again runs this program in a role, and returns its exit code.
func again(role string, p *plan, cloneflags uintptr) (code int, err error) {
	b, err := json.Marshal(p)
	if err != nil {
		return 0, err
	}
	cmd := exec.Command("/proc/self/exe", role, string(b), "-")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: cloneflags, Pdeathsig: syscall.SIGKILL}
	return exitCode(cmd, cmd.Run())
}

// exitCode tells a command's exit code from the failure to run it.
func exitCode(cmd *exec.Cmd, err error) (int, error) {
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 1, err
	}
	return cmd.ProcessState.ExitCode(), nil
}

func join(p *plan) (code int, err error) {
	for _, dir := range p.Cgroups {
		if err := os.WriteFile(dir+"/cgroup.procs", []byte("0"), 0); err != nil {
			return 1, fmt.Errorf("entering its cgroup: %w", err)
		}
	}
	flags := uintptr(unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWCGROUP)
	if p.Network {
		flags |= unix.CLONE_NEWNET
	}
	return again(roleInit, p, flags)
}

// beInit furnishes the room, runs the program in it, and reaps.
func beInit(p *plan) (code int, err error) {
	if err := furnish(p); err != nil {
		return 1, err
	}
	self, err := os.Executable()
	if err != nil {
		return 1, err
	}
	// Standard input is the host's /dev/null so far.
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 1, err
	}
	child, err := os.StartProcess(self, append([]string{self}, p.Args...), &os.ProcAttr{Files: []*os.File{null, os.Stdout, os.Stderr}})
	if err != nil {
		return 1, err
	}
	for {
		var status unix.WaitStatus
		switch pid, err := unix.Wait4(-1, &status, 0, nil); {
		case err == unix.EINTR:
		case err != nil:
			return 1, fmt.Errorf("waiting for it: %w", err)
		case pid == child.Pid && status.Exited():
			return status.ExitStatus(), nil
		case pid == child.Pid:
			return 1, fmt.Errorf("it was ended by %v", status.Signal())
		}
	}
}

// furnish makes what a room has of its own.
func furnish(p *plan) error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keeping mounts from the host: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting its own /proc: %w", err)
	}
	if err := remountCgroups(!p.HideV2); err != nil {
		return err
	}
	for _, dir := range []string{"/run", p.Tmp} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
			return fmt.Errorf("mounting its own %s: %w", dir, err)
		}
	}
	if err := ownDevices(); err != nil {
		return err
	}
	for _, dir := range p.Discard {
		layers := filepath.Join(p.Tmp, ".discarded", dir)
		options := "lowerdir=" + dir
		for _, layer := range []string{"upperdir", "workdir"} {
			if err := os.MkdirAll(filepath.Join(layers, layer), 0o755); err != nil {
				return err
			}
			options += "," + layer + "=" + filepath.Join(layers, layer)
		}
		if err := unix.Mount("overlay", dir, "overlay", 0, options); err != nil {
			return fmt.Errorf("mounting a layer over %s that goes with it: %w", dir, err)
		}
	}
	if !p.Network {
		return nil
	}
	return raiseLoopback()
}

// ownDevices puts devices of the room's own over those of the host's that
// everybody has open: crun gives /dev/null to the user of a container of which
// that is a standard stream, and it would stay that user's on the host.
func ownDevices() error {
	const dir = "/run/devices"
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=755"); err != nil {
		return fmt.Errorf("mounting a file system for its own devices: %w", err)
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom"} {
		host, own := "/dev/"+name, dir+"/"+name
		var st unix.Stat_t
		if err := unix.Stat(host, &st); err != nil {
			return fmt.Errorf("looking at %s: %w", host, err)
		}
		if err := unix.Mknod(own, unix.S_IFCHR, int(st.Rdev)); err != nil {
			return fmt.Errorf("making its own %s: %w", host, err)
		}
		// The umask counts for mknod(2), and not for chmod(2).
		if err := unix.Chmod(own, 0o666); err != nil {
			return err
		}
		if err := unix.Mount(own, host, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("putting its own %s over the host's: %w", host, err)
		}
	}
	// What is bound stays.
	if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
		return err
	}
	return os.Remove(dir)
}

// raiseLoopback sets the loopback device up, by netdevice(7).
func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("setting its loopback device up: %w", err)
	}
	return nil
}

// KillOthers ends every process in the room but its first and the caller, and
// waits until they are reaped.
func KillOthers() {
	for others := Others(); len(others) > 0; others = Others() {
		for _, pid := range others {
			unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(time.Millisecond)
	}
}

// Others lists the room's processes but its first and the caller. Zombies are
// among them.
func Others() []int {
	entries, _ := os.ReadDir("/proc")
	var pids []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && pid != 1 && pid != os.Getpid() {
			pids = append(pids, pid)
		}
	}
	return pids
}
