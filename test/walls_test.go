package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// start starts a sandbox that says "up" once its program and two children wait
// for what never comes, and returns its sentry's process ID. More files are inherited, from descriptor 3 on.
func start(t *testing.T, w []string, stderr *bytes.Buffer, more ...*os.File) (cmd *exec.Cmd, sentry string) {
	t.Helper()
	args := append(append([]string{}, w...), "--", "sh", "-c", "exec 3<&0; (read x <&3) & (read x <&3) & echo up; read x")
	cmd = exec.Command(coffer(t), args...)
	cmd.Dir, cmd.Stderr, cmd.ExtraFiles, cmd.WaitDelay = "/", stderr, more, 10*time.Second
	if _, err := cmd.StdinPipe(); err != nil { // stays open
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	var b [3]byte
	if _, err := out.Read(b[:]); err != nil {
		t.Fatalf("the program did not start: %v\n%s", err, stderr)
	}
	sentries := children(fmt.Sprint(cmd.Process.Pid))
	if len(sentries) != 1 {
		t.Fatalf("coffer has %d children, want the sentry alone", len(sentries))
	}
	return cmd, sentries[0]
}

// children are a process's.
func children(pid string) (found []string) {
	lists, _ := filepath.Glob("/proc/" + pid + "/task/*/children")
	for _, l := range lists {
		b, _ := os.ReadFile(l)
		found = append(found, strings.Fields(string(b))...)
	}
	return found
}

func contents(pid, file string) string {
	b, _ := os.ReadFile("/proc/" + pid + "/" + file)
	return strings.TrimSpace(string(b))
}

// field returns a line of /proc/PID/status or limits, without its name.
func field(t *testing.T, pid, file, name string) string {
	t.Helper()
	b, err := os.ReadFile("/proc/" + pid + "/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strings.Join(strings.Fields(rest), " ")
		}
	}
	t.Fatalf("/proc/%s/%s has no %q", pid, file, name)
	return ""
}

// TestWallsFromOutside looks at a sentry and its stubs as the host sees them.
func TestWallsFromOutside(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to look into the sentry")
	}
	for _, w := range kernelWalls {
		t.Run(w.name, func(t *testing.T) {
			inherited, err := os.Open("/etc/shadow")
			if err != nil {
				t.Fatal(err)
			}
			defer inherited.Close()
			var stderr bytes.Buffer
			_, sentry := start(t, w.args, &stderr, inherited)
			stubs := children(sentry)
			if len(stubs) < 3 {
				t.Fatalf("%d stubs, want at least those of three processes", len(stubs))
			}
			own, _ := os.Readlink("/proc/self/ns/user")
			for i, pid := range append([]string{sentry}, stubs...) {
				for file, fields := range map[string]map[string]string{
					"status": {"CapInh:": "0000000000000000", "CapAmb:": "0000000000000000", "NoNewPrivs:": "1", "Seccomp:": "2"},
					"limits": {"Max core file size": "0 0 bytes"},
				} {
					for name, want := range fields {
						if got := field(t, pid, file, name); got != want {
							t.Errorf("process %d: %s is %q, want %q", i, name, got, want)
						}
					}
				}
				if entries, err := os.ReadDir("/proc/" + pid + "/root/"); err != nil || len(entries) != 0 {
					t.Errorf("process %d: its root has %v, %v", i, entries, err)
				}
				for _, ns := range []string{"user", "pid", "mnt", "net", "ipc", "uts"} {
					theirs, err := os.Readlink("/proc/" + pid + "/ns/" + ns)
					ours, _ := os.Readlink("/proc/self/ns/" + ns)
					if err != nil || theirs == ours {
						t.Errorf("process %d is in the host's %s namespace (%v; %s)", i, ns, err, own)
					}
				}
				if score, want := contents(pid, "oom_score_adj"), map[bool]string{true: "800", false: "1000"}[i == 0]; score != want {
					t.Errorf("process %d: its OOM score is raised by %s, want %s", i, score, want)
				}
				if i == 0 {
					// CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, KILL, SYS_PTRACE
					if caps := field(t, pid, "status", "CapPrm:"); caps != "000000000088003f" {
						t.Errorf("the sentry's capabilities are %s", caps)
					}
					fds, _ := filepath.Glob("/proc/" + pid + "/fd/*")
					for _, fd := range fds {
						if target, _ := os.Readlink(fd); target == "/etc/shadow" {
							t.Error("the sentry has a descriptor that was coffer's own")
						}
					}
					continue
				}
				if caps := field(t, pid, "status", "CapPrm:"); caps != "0000000000000000" {
					t.Errorf("stub %d has capabilities: %s", i, caps)
				}
				if uid := field(t, pid, "status", "Uid:"); uid != "65534 65534 65534 65534" {
					t.Errorf("stub %d has user IDs %s", i, uid)
				}
				if field(t, pid, "limits", "Max processes") == field(t, "self", "limits", "Max processes") {
					t.Errorf("stub %d may make as many processes as we", i)
				}
				fds, err := os.ReadDir("/proc/" + pid + "/fd")
				for n := 0; n < 1000 && len(fds) > 1; n++ { // it may be being made
					time.Sleep(20 * time.Millisecond)
					fds, err = os.ReadDir("/proc/" + pid + "/fd")
				}
				if err != nil || len(fds) != 1 {
					t.Errorf("stub %d has descriptors %v (%v), want the sentry's socket alone", i, fds, err)
				}
			}
		})
	}
}

// TestSentryCrash has the sentry fail as if it had a bug.
func TestSentryCrash(t *testing.T) {
	for _, w := range kernelWalls {
		t.Run(w.name, func(t *testing.T) {
			var stderr bytes.Buffer
			cmd, sentry := start(t, w.args, &stderr)
			var pid int
			fmt.Sscan(sentry, &pid)
			if err := syscall.Kill(pid, syscall.SIGABRT); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != 125 {
				t.Errorf("exit status %d, want 125", code)
			}
			if !strings.Contains(stderr.String(), "coffer: the sentry ended before its program did") || !strings.Contains(stderr.String(), "bug in Coffer") {
				t.Errorf("errors:\n%s", tail(stderr.String()))
			}
			nothingLeft(t)
		})
	}
}

// TestUnprivileged runs coffer as a user who is not root.
func TestUnprivileged(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the other tests run without privileges already")
	}
	dir, err := os.MkdirTemp("", "unprivileged")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	data, err := os.ReadFile(coffer(t))
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "coffer")
	if err := os.WriteFile(exe, data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(file, 1234, 1234); err != nil {
		t.Fatal(err)
	}
	for _, w := range kernelWalls {
		t.Run(w.name, func(t *testing.T) {
			args := append(append([]string{}, w.args...), "--bind", file+":/bound:rw", "--",
				"sh", "-c", "id -u; cat /etc/shadow; echo >>/bound; (exit 3) & wait $!; exit $?")
			cmd := exec.Command(exe, args...)
			cmd.Dir, cmd.WaitDelay = "/", 10*time.Second
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1234, Gid: 1234}}
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
			defer timer.Stop()
			cmd.Run()
			if strings.Contains(errs.String(), "refuses to create the sentry's namespaces") {
				t.Skip(errs.String())
			}
			if out.String() != "1234\n" || cmd.ProcessState.ExitCode() != 3 || !strings.Contains(errs.String(), "Permission denied") {
				t.Errorf("exit status %d, output %q, errors:\n%s", cmd.ProcessState.ExitCode(), &out, &errs)
			}
		})
	}
}

// TestUmask checks that coffer's own umask does not meet the guest's.
func TestUmask(t *testing.T) {
	dir := t.TempDir()
	r := run(t, patience, "/", "", "sh", "-c", `umask 077; exec "$0" do --bind "$1":/b:rw -- sh -c "umask 0; echo >/b/file; mkdir /b/dir"`, coffer(t), dir)
	if r.code != 0 {
		t.Fatalf("exit status %d: %s", r.code, r.stderr)
	}
	for name, want := range map[string]os.FileMode{"file": 0o666, "dir": 0o777} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want mode %v", name, st, err, want)
		}
	}
}

// TestCoarseClocks asks for what takes calls to the host that nothing else
// makes: without a rule for each, the sentry ends.
func TestCoarseClocks(t *testing.T) {
	script := "import time; print(time.clock_getres(6) > 0, time.clock_gettime(5) > 0)"
	r := run(t, patience, "/", "", coffer(t), "do", "--", "python3", "-c", script)
	if r.stdout != "True True\n" {
		t.Errorf("exit status %d, output %q, errors:\n%s", r.code, r.stdout, tail(r.stderr))
	}
}
