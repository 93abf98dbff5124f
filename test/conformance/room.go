package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The suite's programs mount, make cgroups of fixed names, and leave
// containers behind where they fail. So they run in a room of their own:
// mount, PID and cgroup namespaces below one cgroup, which go in the end with
// all that is in them.

// Roles in which this program runs itself: one joins the room's cgroups, so
// that the next one's cgroup namespace begins there.
const (
	roleJoin   = "join-room"
	roleInside = "inside-room"
)

// room is what the programs run in.
type room struct {
	// cgroups are the room's own directories, one in each hierarchy.
	cgroups []string
}

// openRoom makes a room's cgroups.
func openRoom() (*room, error) {
	mounts, err := cgroupMounts()
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("coffer-conformance-%d", os.Getpid())
	r := &room{}
	for _, m := range mounts {
		dir := filepath.Join(m.dir, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			if errors.Is(err, unix.EROFS) {
				continue
			}
			r.close()
			return nil, fmt.Errorf("making a cgroup for the suite to run in: %w", err)
		}
		r.cgroups = append(r.cgroups, dir)
		// A new cpuset of version 1 has no processors, and takes nobody.
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			if b, err := os.ReadFile(filepath.Join(m.dir, file)); err == nil && m.kind == "cgroup" {
				if err := os.WriteFile(filepath.Join(dir, file), b, 0); err != nil {
					r.close()
					return nil, fmt.Errorf("giving the suite's cgroup its processors: %w", err)
				}
			}
		}
	}
	return r, nil
}

// command is this program again, inside the room.
func (r *room) command(args ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, append([]string{roleJoin, strings.Join(r.cgroups, ":")}, args...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd, nil
}

// joinRoom is the role that enters the room's cgroups and then makes its
// namespaces. It returns the exit code of what runs inside.
func joinRoom(cgroups string, args []string) int {
	for dir := range strings.SplitSeq(cgroups, ":") {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0); err != nil {
			fmt.Fprintln(os.Stderr, "conformance: entering the suite's cgroup:", err)
			return 1
		}
	}
	cmd := exec.Command("/proc/self/exe", append([]string{roleInside}, args...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWCGROUP,
		Pdeathsig:  syscall.SIGKILL,
	}
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		fmt.Fprintln(os.Stderr, "conformance: making the suite's namespaces:", err)
		return 1
	}
	return cmd.ProcessState.ExitCode()
}

// furnish makes the mounts of the room, from inside. Mounts stay in the room;
// /proc is that of its processes, cgroups begin at the room's own, and what
// runtimes and the suite write goes to memory. Unless v2 is set, there is no
// hierarchy of version 2 beside those of version 1.
func furnish(tmp string, v2 bool) error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("keeping the suite's mounts from the host: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mounting the suite's own /proc: %w", err)
	}
	mounts, err := cgroupMounts()
	if err != nil {
		return err
	}
	hybrid := slices.ContainsFunc(mounts, func(m cgroupMount) bool { return m.kind == "cgroup" })
	for _, m := range mounts {
		if err := unix.Unmount(m.dir, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmounting %s: %w", m.dir, err)
		}
		if m.kind == "cgroup2" && hybrid && !v2 {
			continue
		}
		if err := unix.Mount(m.kind, m.dir, m.kind, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, m.options); err != nil {
			return fmt.Errorf("mounting the suite's own %s: %w", m.dir, err)
		}
		if m.kind == "cgroup2" && !hybrid {
			// Only a cgroup without processes can hand controllers on.
			leaf := filepath.Join(m.dir, "suite")
			if err := os.Mkdir(leaf, 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte("0"), 0); err != nil {
				return fmt.Errorf("leaving the root of the suite's cgroups to its runtimes: %w", err)
			}
		}
	}
	for _, dir := range []string{"/run", tmp} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
			return fmt.Errorf("mounting the suite's own %s: %w", dir, err)
		}
	}
	return nil
}

// close ends what is left in the room and removes its cgroups.
func (r *room) close() error {
	var errs []error
	for _, dir := range r.cgroups {
		errs = append(errs, removeCgroup(dir))
	}
	return errors.Join(errs...)
}

// removeCgroup removes a cgroup with all below it. Processes have been killed
// with their PID namespace, but leave their cgroups only as they are reaped.
func removeCgroup(dir string) error {
	var dirs []string
	filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	slices.Reverse(dirs)
	for _, d := range dirs {
		var err error
		for range 200 {
			if err = os.Remove(d); !errors.Is(err, unix.EBUSY) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("removing the suite's cgroup: %w", err)
		}
	}
	return nil
}

// cgroupMount is where a hierarchy is mounted.
type cgroupMount struct{ dir, kind, options string }

// cgroupMounts lists the hierarchies that are mounted, by
// /proc/self/mountinfo (proc_pid_mountinfo(5)).
func cgroupMounts() ([]cgroupMount, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []cgroupMount
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		before, after, found := strings.Cut(lines.Text(), " - ")
		head, tail := strings.Fields(before), strings.Fields(after)
		if !found || len(head) < 5 || len(tail) < 3 || !strings.HasPrefix(tail[0], "cgroup") {
			continue
		}
		m := cgroupMount{dir: head[4], kind: tail[0]}
		// Of the file system's own options only those that say which
		// hierarchy it is can be given again.
		if m.kind == "cgroup" {
			var keep []string
			for o := range strings.SplitSeq(tail[2], ",") {
				if o != "rw" && o != "ro" && o != "xattr" && o != "clone_children" && !strings.HasPrefix(o, "release_agent=") {
					keep = append(keep, o)
				}
			}
			m.options = strings.Join(keep, ",")
		}
		list = append(list, m)
	}
	return list, lines.Err()
}

// runProgram runs one program of the suite inside the room, writing what it
// prints to log, and reaps everything that ends meanwhile: containers whose
// runtime has ended are children of the room's first process. It returns the
// program's wait status; a program that takes longer than limit is killed.
func runProgram(path, dir string, env []string, log *os.File, limit time.Duration) (unix.WaitStatus, error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	p, err := os.StartProcess(path, []string{path}, &os.ProcAttr{
		Dir: dir, Env: env, Files: []*os.File{null, log, log},
		Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return 0, err
	}
	kill := time.AfterFunc(limit, func() { unix.Kill(-p.Pid, unix.SIGKILL) })
	defer kill.Stop()
	for {
		var status unix.WaitStatus
		switch pid, err := unix.Wait4(-1, &status, 0, nil); {
		case err == unix.EINTR:
		case err != nil:
			return 0, fmt.Errorf("waiting for %s: %w", path, err)
		case pid == p.Pid:
			return status, nil
		}
	}
}

// killRest ends every process in the room but its first, between two
// programs, and reaps them.
func killRest() {
	for {
		// As process 1 of a PID namespace this reaches all others in it.
		unix.Kill(-1, unix.SIGKILL)
		if _, err := unix.Wait4(-1, nil, 0, nil); err == unix.ECHILD && !others() {
			return
		}
	}
}

// others reports whether the room has processes beside its first.
func others() bool {
	entries, _ := os.ReadDir("/proc")
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		pid, err := strconv.Atoi(e.Name())
		return err == nil && pid != os.Getpid()
	})
}
