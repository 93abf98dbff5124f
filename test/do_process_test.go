package test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestDoProcess tells what `coffer do --isolation process` promises, where that
// is not what the other walls' tests tell of it.
func TestDoProcess(t *testing.T) {
	needsRoot(t, "process")
	null := func() (st unix.Stat_t) {
		if err := unix.Stat("/dev/null", &st); err != nil {
			t.Fatal(err)
		}
		return st
	}
	before := null()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name string, mode os.FileMode, data string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("plain", 0o644, "text\n")
	write("script", 0o755, "#!/no/such/interpreter\n")
	write("secret", 0o600, "for root\n")
	if err := os.Mkdir(filepath.Join(dir, "closed"), 0o700); err != nil {
		t.Fatal(err)
	}
	odd := filepath.Join(dir, "a,b:c")
	if err := os.Mkdir(odd, 0o755); err != nil {
		t.Fatal(err)
	}
	bind := func(how string) string { return "--bind=" + dir + ":/b:" + how }
	for _, c := range []struct {
		name   string
		args   []string
		stdin  string
		code   int
		stdout string // must be equal
		stderr string // must be contained
	}{
		{name: "status", args: []string{"--", "sh", "-c", "exit 42"}, code: 42},
		{name: "signal", args: []string{"--", "sh", "-c", "sh -c 'kill -KILL $$'"}, code: 128 + 9, stderr: "Killed"},
		{name: "stdin and stdout", args: []string{"--", "cat"}, stdin: "through\n", stdout: "through\n"},
		{name: "streams opened again", args: []string{"--", "sh", "-c", "cat /dev/stdin >/dev/stdout; echo e >/dev/stderr"}, stdin: "x\n", stdout: "x\n", stderr: "e\n"},
		{name: "not found", args: []string{"--", "no-such-program"}, code: 127, stderr: "executable file not found in $PATH"},
		{name: "not executable", args: []string{bind("ro"), "--", "/b/plain"}, code: 126, stderr: "permission denied"},
		{name: "a directory", args: []string{"--", "/etc"}, code: 126, stderr: "is a directory, and no program"},
		{name: "missing interpreter", args: []string{bind("ro"), "--", "/b/script"}, code: 127, stderr: "interpreter"},
		{name: "no user", args: []string{"--user", "nemo", "--", "true"}, code: 125, stderr: "no user \"nemo\""},
		{name: "missing bind", args: []string{"--bind", "/no/such", "--", "true"}, code: 125, stderr: "it must exist on the host"},
		{name: "a working directory that the user may not enter", args: []string{bind("ro"), "--cwd", "/b/closed", "--user", "1234", "--", "pwd"}, code: 125, stderr: "name a directory that the program's user may enter"},
		{name: "a working directory that root may enter", args: []string{bind("ro"), "--cwd", "/b/closed", "--", "pwd"}, stdout: "/b/closed\n"},
		{name: "a working directory that is a file", args: []string{bind("ro"), "--cwd", "/b/plain", "--", "pwd"}, code: 125, stderr: "coffer: the working directory (--cwd): chdir"},
		{name: "a tree of its own", args: []string{"--", "sh", "-c", "echo $PPID; hostname; set -- /proc/[0-9]*; echo $#"}, stdout: "1\ncoffer\n2\n"},
		{name: "orphans are reaped", args: []string{"--", "sh", "-c", "(sleep 0.1 &); while set -- /proc/[0-9]*; test $# -gt 2; do :; done; echo done"}, stdout: "done\n"},
		{name: "only the streams are open", args: []string{"--", "sh", "-c", "ls /proc/self/fd"}, stdout: "0\n1\n2\n3\n"}, // 3 is the directory
		{name: "limit of open files", args: []string{"--", "sh", "-c", "ulimit -n"}, stdout: openFiles(t)},
		{name: "no network", args: []string{"--", "sh", "-c", "ls /sys/class/net"}, stdout: "lo\n"},
		{name: "host name", args: []string{"--hostname", "here", "--", "hostname"}, stdout: "here\n"},
		{name: "user", args: []string{"--user", "nobody", "--", "sh", "-c", "id -u; id -g; grep CapEff /proc/self/status"}, stdout: "65534\n65534\nCapEff:\t0000000000000000\n"},
		{name: "a user out of range", args: []string{"--user", "70000", "--", "true"}, code: 125, stderr: "choose another user with --user"},
		{name: "bound to read", args: []string{bind("ro"), "--", "sh", "-c", "cat /b/secret; echo x >/b/plain"}, code: 2, stdout: "for root\n", stderr: "Read-only file system"},
		{name: "bound to write", args: []string{bind("rw"), "--", "sh", "-c", "echo new >/b/new; stat -c %u /b/new"}, stdout: "0\n"},
		{name: "a rootfs with separators in its name", args: []string{"--rootfs", odd, "--", "/no/such"}, code: 127, stderr: "no such file"},
		{name: "bound to where it cannot be", args: []string{"--bind", dir + ":/etc/passwd/x", "--", "true"}, code: 125, stderr: "coffer: --bind " + dir + ":/etc/passwd/x: binding"},
		{name: "no such working directory", args: []string{"--cwd", "/no/such", "--", "pwd"}, code: 125, stderr: "the working directory /no/such is not there in the sandbox"},
		{name: "a working directory made for a bind", args: []string{"--bind", dir + ":/made/b", "--cwd", "/made", "--", "ls"}, stdout: "b\n"},
		{name: "environment", args: []string{"--env", "A=b c", "--", "sh", "-c", `echo "$A"`}, stdout: "b c\n"},
		{name: "trace", args: []string{"--trace", "--", "true"}, code: 125, stderr: "--trace is for isolation kernel"},
		{name: "intercept", args: []string{"--intercept", "ptrace", "--", "true"}, code: 125, stderr: "--intercept is for isolation kernel"},
		{name: "stats", args: []string{"--stats", "--", "true"}, code: 125, stderr: "--stats is for isolation kernel"},
		{name: "memory", args: []string{"--memory", "64M", "--", "sh", "-c", "head -c 200000000 /dev/zero | tail -c 150000000 | wc -c; exit ${PIPESTATUS:-7}"}, code: 7, stdout: "0\n", stderr: "Killed"},

		// What is the host's stays as it is.
		{name: "the host's devices", args: []string{"--", "sh", "-c", "chmod 0 /dev/null /dev/zero || chown 5 /dev/null"}, code: 1, stderr: "not permitted"},
		{name: "the host's settings", args: []string{"--", "sh", "-c", "mount -t proc p /mnt; echo '|/x' >/mnt/sys/kernel/core_pattern"}, code: 2, stderr: "core_pattern"},
		{name: "the host's mounts", args: []string{"--", "mount", "-o", "remount,rw", "/sys"}, code: 32, stderr: "permission denied"},
		{name: "new devices", args: []string{"--", "mknod", "/tmp/sda", "b", "8", "0"}, code: 1, stderr: "not permitted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			argv := append([]string{coffer(t), "do", "--isolation", "process", "--cwd", "/"}, c.args...)
			r := run(t, 5*time.Minute, "/", c.stdin, argv...)
			if r.code != c.code || r.stdout != c.stdout || !strings.Contains(r.stderr, c.stderr) {
				t.Errorf("exit status %d, want %d; output %q, want %q; standard error %q, want %q", r.code, c.code, r.stdout, c.stdout, r.stderr, c.stderr)
			}
		})
	}
	if st, err := os.Stat(filepath.Join(dir, "new")); err != nil {
		t.Error(err)
	} else if uid := st.Sys().(*syscall.Stat_t).Uid; uid != 0 {
		t.Errorf("what the container's root wrote belongs to %d on the host", uid)
	}

	t.Run("changes go", func(t *testing.T) {
		name := fmt.Sprintf("/etc/coffer-test-%d", os.Getpid())
		r := run(t, 5*time.Minute, "/", "", coffer(t), "do", "--isolation", "process", "--", "sh", "-c", "echo x >"+name+" && cat "+name)
		if r.stdout != "x\n" {
			t.Errorf("output %q, %q", r.stdout, r.stderr)
		}
		if _, err := os.Lstat(name); err == nil {
			os.Remove(name)
			t.Errorf("%s is on the host", name)
		}
	})
	t.Run("mounts below the working directory", func(t *testing.T) {
		r := run(t, 5*time.Minute, t.TempDir(), "", "unshare", "--mount", "sh", "-c", `mkdir below && mount -t tmpfs none below && echo deep >below/f &&
			"$0" do --isolation process -- sh -c 'cat below/f; echo changed >below/f; cat below/f' && cat below/f`, coffer(t))
		if r.code != 0 || r.stdout != "deep\nchanged\ndeep\n" {
			t.Errorf("exit status %d, output %q, %q", r.code, r.stdout, r.stderr)
		}
	})
	t.Run("a mount without programs", func(t *testing.T) {
		// The working directory, one below the root, and one that is named.
		r := run(t, 5*time.Minute, "/", "", "unshare", "--mount", "sh", "-c", `mount -t tmpfs -o noexec none /mnt && mkdir /mnt/here && cp /bin/true /mnt/here &&
			cd /mnt/here && "$0" do --isolation process --bind /mnt:/srv -- sh -c './true || /mnt/here/true || /srv/here/true || echo refused'`, coffer(t))
		if r.code != 0 || r.stdout != "refused\n" {
			t.Errorf("exit status %d, output %q, %q", r.code, r.stdout, r.stderr)
		}
	})
	t.Run("mounts below the root", func(t *testing.T) {
		// A file system, a single file, and a mount that another one covers.
		r := run(t, 5*time.Minute, "/", "", "unshare", "--mount", "sh", "-c", `mkdir -p /mnt && mount -t tmpfs none /mnt && mkdir /mnt/covered && mount -t tmpfs none /mnt/covered &&
			mount -t tmpfs none /mnt && echo deep >/mnt/f && echo file >/mnt/g && : >/mnt/h && mount --bind /mnt/g /mnt/h && mkdir /mnt/run && touch /mnt/run/ns && mount --bind /proc/self/ns/uts /mnt/run/ns &&
			cd /mnt && "$0" do --isolation process -- sh -c 'cat f h; echo changed >f; cat f; wc -c <run/ns; echo x 2>/dev/null >h || echo refused' && cat f h`, coffer(t))
		if r.code != 0 || r.stdout != "deep\nfile\nchanged\n0\nrefused\ndeep\nfile\n" {
			t.Errorf("exit status %d, output %q, %q", r.code, r.stdout, r.stderr)
		}
	})
	t.Run("name servers that are mounted", func(t *testing.T) {
		// As an engine does where coffer runs in a container.
		r := run(t, 5*time.Minute, "/", "", "unshare", "--mount", "--net", "sh", "-c", `echo nameserver 192.0.2.53 >"$1" && mount --bind "$1" /etc/resolv.conf &&
			for n in none host; do "$0" do --isolation process --network $n --cwd / -- cat /etc/resolv.conf; done`, coffer(t), filepath.Join(dir, "resolv"))
		if r.stdout != "nameserver 192.0.2.53\nnameserver 192.0.2.53\n" {
			t.Errorf("exit status %d, output %q, %q", r.code, r.stdout, r.stderr)
		}
	})
	t.Run("a mount that would be made on demand", func(t *testing.T) {
		if known, err := os.ReadFile("/proc/filesystems"); err != nil || !strings.Contains(string(known), "\tautofs\n") {
			t.Skip("this host has no autofs")
		}
		// Nobody reads the requests to mount: who makes one waits for ever.
		r := run(t, 5*time.Minute, "/", "", "unshare", "--mount", "sh", "-c", `mount -t tmpfs none /mnt && mkdir /mnt/auto && mkfifo /mnt/requests && exec 7<>/mnt/requests &&
			mount -t autofs none /mnt/auto -o fd=7,pgrp=$$,minproto=5,maxproto=5,direct &&
			exec setsid --fork --wait timeout -s KILL 60 "$0" do --isolation process --cwd / -- ls -d /mnt/auto`, coffer(t))
		if r.code != 0 || r.stdout != "/mnt/auto\n" {
			t.Errorf("exit status %d, output %q, %q", r.code, r.stdout, r.stderr)
		}
	})
	t.Run("another's root", func(t *testing.T) {
		r := run(t, 5*time.Minute, "/", "", "setpriv", "--reuid", "65534", "--clear-groups", anyonesCoffer(t), "do", "--isolation", "process", "--", "true")
		if r.code != 125 || !strings.Contains(r.stderr, "only root") {
			t.Errorf("exit status %d, %q", r.code, r.stderr)
		}
	})
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1} {
		t.Run("ended by "+unix.SignalName(sig), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, coffer(t), "do", "--isolation", "process", "--cwd", "/", "--", "sh", "-c", "echo started; exec sleep 1000")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			out.Read(make([]byte, 100))
			cmd.Process.Signal(sig)
			cmd.Wait()
			if got, want := cmd.ProcessState.ExitCode(), 128+int(sig); got != want {
				t.Errorf("exit status %d, want %d", got, want)
			}
		})
	}
	killed := func(t *testing.T, before func(coffer int)) {
		// Its own pipe tells when the last process that has it is gone.
		read, write, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer read.Close()
		cmd := exec.Command(coffer(t), "do", "--isolation", "process", "--cwd", "/", "--", "sh", "-c", "echo started; sleep 1000 & sleep 1000")
		cmd.Stdout = write
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		write.Close()
		if _, err := read.Read(make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		before(cmd.Process.Pid)
		cmd.Process.Kill()
		cmd.Wait()
		var one [1]byte
		if n, _ := read.Read(one[:]); n != 0 {
			t.Error("it went on")
		}
		id := fmt.Sprintf("do-%d", cmd.Process.Pid)
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			left, err := filepath.Glob("/sys/fs/cgroup/*/" + id)
			if err != nil {
				t.Fatal(err)
			}
			if len(left) == 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("still there: %v", left)
			}
		}
	}
	t.Run("killed", func(t *testing.T) { killed(t, func(int) {}) })
	t.Run("killed after its keeper", func(t *testing.T) {
		killed(t, func(coffer int) {
			keeper := func() int {
				for _, pid := range children(fmt.Sprint(coffer)) {
					if strings.Contains(contents(pid, "cmdline"), "do-keeper") {
						n, _ := strconv.Atoi(pid)
						return n
					}
				}
				return 0
			}
			first := keeper()
			if first == 0 {
				t.Fatal("there is no keeper")
			}
			unix.Kill(first, unix.SIGKILL)
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
				if now := keeper(); now != 0 && now != first {
					return
				}
				if time.Now().After(deadline) {
					t.Fatal("there is no other keeper")
				}
			}
		})
	})
	if after := null(); after.Mode != before.Mode || after.Uid != before.Uid || after.Gid != before.Gid {
		t.Errorf("the host's /dev/null had mode %o and belonged to %d:%d, and now %o, %d:%d", before.Mode, before.Uid, before.Gid, after.Mode, after.Uid, after.Gid)
	}
}

// openFiles is what ulimit -n says on the host.
func openFiles(t *testing.T) string {
	return run(t, time.Minute, "/", "", "sh", "-c", "ulimit -n").stdout
}

// TestOpenToAll has a program of an ordinary user take a low port and a ping socket, as
// Docker's containers let it.
func TestOpenToAll(t *testing.T) {
	const program = `import socket
s = socket.socket(); s.bind(("127.0.0.1", 80)); s.listen()
socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
print(open("/proc/sys/net/ipv4/ip_unprivileged_port_start").read().strip())`
	for _, w := range walls[1:3] {
		t.Run(w.name, func(t *testing.T) {
			needsRoot(t, w.name)
			argv := append([]string{coffer(t)}, w.args...)
			r := run(t, time.Minute, "/", "", append(argv, "--network", "none", "--user", "nobody", "--", "/usr/bin/python3", "-c", program)...)
			if r.stdout != "0\n" {
				t.Errorf("exit status %d, output %q, %q", r.code, r.stdout, r.stderr)
			}
		})
	}
}
