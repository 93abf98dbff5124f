package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// descendants are this process's. It is the reaper of those whose parents have
// ended, so whatever a wall leaves behind is found among its children.
type descendants struct {
	mu sync.Mutex
	// started are the children that exec.Cmd waits for.
	started map[int]bool
	guard   *guard
}

// adopt makes this process the reaper of its descendants.
func adopt() (*descendants, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("becoming the reaper of what sandboxes leave: %w", err)
	}
	g, err := newGuard()
	if err != nil {
		return nil, err
	}
	return &descendants{started: make(map[int]bool), guard: g}, nil
}

// start starts cmd in a process group of its own, so that a ^C is ours alone to act on.
func (d *descendants) start(cmd *exec.Cmd) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	d.started[cmd.Process.Pid] = true
	return d.guard.watch(slices.Collect(maps.Keys(d.started)))
}

// wait waits for a command that was started.
func (d *descendants) wait(cmd *exec.Cmd) error {
	err := cmd.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.started, cmd.Process.Pid)
	return errors.Join(err, d.guard.watch(slices.Collect(maps.Keys(d.started))))
}

// leaveMax is how long what a sandbox leaves has to end by itself.
const leaveMax = 3 * time.Second

// settle waits until nothing is left but what was started, and kills what
// doesn't end by itself.
func (d *descendants) settle() {
	for deadline := time.Now().Add(leaveMax); ; time.Sleep(2 * time.Millisecond) {
		left := d.orphans()
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			if time.Now().After(deadline) {
				unix.Kill(pid, unix.SIGKILL)
			}
			unix.Wait4(pid, nil, unix.WNOHANG, nil)
		}
	}
}

// killAll ends every descendant.
func (d *descendants) killAll() {
	for _, pid := range d.tree([]int{d.guard.cmd.Process.Pid}) {
		unix.Kill(pid, unix.SIGKILL)
	}
	d.settle()
}

// orphans are this process's children that it did not start.
func (d *descendants) orphans() []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []int
	for _, p := range processes() {
		if p.parent == os.Getpid() && !d.started[p.pid] && p.pid != d.guard.cmd.Process.Pid {
			list = append(list, p.pid)
		}
	}
	return list
}

// tree lists all descendants but those in except and theirs.
func (d *descendants) tree(except []int) []int {
	children := map[int][]int{}
	for _, p := range processes() {
		children[p.parent] = append(children[p.parent], p.pid)
	}
	var list []int
	var walk func(int)
	walk = func(pid int) {
		for _, child := range children[pid] {
			if !slices.Contains(except, child) {
				list = append(list, child)
				walk(child)
			}
		}
	}
	walk(os.Getpid())
	return list
}

// children lists the descendants that were started, and the guard, as what tree is not to
// count among what will be.
func (d *descendants) children() []int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append(slices.Collect(maps.Keys(d.started)), d.guard.cmd.Process.Pid)
}

type processStat struct{ pid, parent int }

// processes lists the host's processes.
func processes() []processStat {
	paths, _ := filepath.Glob("/proc/[0-9]*/stat")
	list := make([]processStat, 0, len(paths))
	for _, path := range paths {
		if b, err := os.ReadFile(path); err == nil {
			if p, ok := parseStat(string(b)); ok {
				list = append(list, p)
			}
		}
	}
	return list
}

// parseStat reads a line of /proc/PID/stat (proc_pid_stat(5)). The name in it
// may hold anything, parentheses too.
func parseStat(line string) (processStat, bool) {
	first, _, _ := strings.Cut(line, " ")
	fields := strings.Fields(line[strings.LastIndexByte(line, ')')+1:])
	if len(fields) < 2 {
		return processStat{}, false
	}
	pid, err1 := strconv.Atoi(first)
	parent, err2 := strconv.Atoi(fields[1])
	return processStat{pid, parent}, err1 == nil && err2 == nil
}

// memory is the proportional set size of the processes, in bytes: pages that
// several processes share count to each with its share.
func memory(pids []int) (float64, error) {
	sum := 0.0
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			if !exists(fmt.Sprintf("/proc/%d", pid)) {
				continue // it has ended meanwhile
			}
			return 0, fmt.Errorf("reading a process's memory: %w", err)
		}
		sum += parsePSS(string(b))
	}
	return sum, nil
}

// parsePSS finds the Pss line of /proc/PID/smaps_rollup (proc_pid_smaps(5)).
// A process that has ended but for its zombie has none.
func parsePSS(rollup string) float64 {
	for line := range strings.Lines(rollup) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kib, _ := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			return kib * 1024
		}
	}
	return 0
}

// processorTime is what all threads of the processes have taken so far. It is
// in /proc/PID/task/TID/schedstat to the nanosecond.
func processorTime(pids []int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
		for _, path := range paths {
			if b, err := os.ReadFile(path); err == nil {
				first, _, _ := strings.Cut(string(b), " ")
				ns, err := strconv.ParseInt(first, 10, 64)
				if err != nil {
					return 0, fmt.Errorf("%s: %w", path, err)
				}
				sum += time.Duration(ns)
			}
		}
	}
	return sum, nil
}
