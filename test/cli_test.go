package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestDo tells what `coffer do` promises: exit codes, flags, errors that name
// their cure.
func TestDo(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, mode os.FileMode, data string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(data), mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write("plain", 0o644, "text")
	write("lines", 0o644, "123\n")
	write("junk", 0o755, "\x7fELF and no more")
	write("script", 0o755, "#!/no/such/interpreter\n")
	write("itanium", 0o755, "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x32\x00\x01\x00\x00\x00"+strings.Repeat("\x00", 100))
	if err := os.Mkdir(filepath.Join(dir, "closed"), 0o700); err != nil {
		t.Fatal(err)
	}
	mask := syscall.Umask(0)
	syscall.Umask(mask)
	umask := fmt.Sprintf("%04o\n", mask)
	bind := "--bind=" + dir + ":/b"
	for _, c := range []struct {
		name   string
		args   []string
		stdin  string
		code   int
		stdout string // must be equal
		stderr string // must be contained
	}{
		{name: "status", args: []string{"--", "sh", "-c", "exit 42"}, code: 42},
		{name: "signal", args: []string{"--", "sh", "-c", "kill -TERM $$"}, code: 128 + 15},
		{name: "stdin and stdout", args: []string{"--", "cat"}, stdin: "through\n", stdout: "through\n"},
		{name: "large stdin", args: []string{"--", "wc", "-c"}, stdin: strings.Repeat("x", 300000), stdout: "300000\n"},
		{name: "polled stdin", args: []string{"--", "python3", "-c", "import select; p = select.poll(); p.register(0, 1); p.poll(); p.register(1, 4); p.register(2, 4); print([(f, e & 5) for f, e in sorted(p.poll())])"},
			stdin: "x", stdout: "[(0, 1), (1, 4), (2, 4)]\n"},
		{name: "selected stdin", args: []string{"--", "bash", "-c", "read -t 60 x; echo $x"}, stdin: "line\n", stdout: "line\n"},
		{name: "not found", args: []string{"--", "no-such-program"}, code: 127, stderr: "not found in the sandbox's PATH"},
		{name: "bound to where it cannot be", args: []string{"--bind", "/etc:/etc/passwd/x", "--", "true"}, code: 125, stderr: "not a directory (name another place in the sandbox with --bind)"},
		{name: "not found by path", args: []string{"--", "/no/such"}, code: 127, stderr: "no such file"},
		{name: "not executable", args: []string{bind, "--", "/b/plain"}, code: 126, stderr: "not executable"},
		{name: "a directory", args: []string{"--", "/etc"}, code: 126, stderr: "cannot be run"},
		{name: "truncated ELF", args: []string{bind, "--", "/b/junk"}, code: 126, stderr: "neither an x86-64 Linux program"},
		{name: "wrong architecture", args: []string{bind, "--", "/b/itanium"}, code: 126, stderr: "neither an x86-64 Linux program"},
		{name: "missing interpreter", args: []string{bind, "--", "/b/script"}, code: 127, stderr: "interpreter"},
		{name: "not found by a long name", args: []string{"--", strings.Repeat("x", 100000)}, code: 126, stderr: "xxxx"},
		{name: "no command", args: nil, code: 125, stderr: "no command is given"},
		{name: "unknown flag", args: []string{"--colour", "--", "true"}, code: 125, stderr: "--help"},
		{name: "bad platform", args: []string{"--intercept", "magic", "--", "true"}, code: 125, stderr: "trap, ptrace"},
		{name: "missing bind", args: []string{"--bind", "/no/such", "--", "true"}, code: 125, stderr: "it must exist on the host"},
		{name: "bad memory", args: []string{"--memory", "lots", "--", "true"}, code: 125, stderr: "512M"},
		{name: "bad user", args: []string{"--user", "nemo", "--", "true"}, code: 125, stderr: "no user \"nemo\""},
		{name: "bad rootfs", args: []string{"--rootfs", "/etc/passwd", "--", "true"}, code: 125, stderr: "not a directory"},
		{name: "bad cwd", args: []string{"--cwd", "/no/such", "--", "true"}, code: 125, stderr: "--cwd"},
		{name: "cwd that the user may not enter", args: []string{bind, "--cwd", "/b/closed", "--user", "1234", "--", "pwd"}, code: 125, stderr: "/b/closed cannot be entered in the sandbox (permission denied)"},
		{name: "cwd that is a file", args: []string{bind, "--cwd", "/b/plain", "--", "pwd"}, code: 125, stderr: "not a directory"},
		{name: "empty isolation", args: []string{"--isolation=", "--", "true"}, code: 125, stderr: "--isolation has an empty value"},
		{name: "bad filter", args: []string{"--trace", "--trace-filter", "opne", "--", "true"}, code: 125, stderr: "open"},
		{name: "filter without trace", args: []string{"--trace-filter", "open", "--", "true"}, code: 125, stderr: "needs --trace"},
		{name: "empty memory", args: []string{"--memory", "", "--", "true"}, code: 125, stderr: "--memory has an empty value"},
		{name: "empty user", args: []string{"--user=", "--", "true"}, code: 125, stderr: "--user has an empty value"},
		{name: "no user", args: []string{"--user", "4294967295", "--", "true"}, code: 125, stderr: "not a user or group ID"},
		{name: "empty command", args: []string{"--", ""}, code: 127, stderr: "empty word"},
		{name: "missing interpreter in PATH", args: []string{bind, "--env", "PATH=/b", "--", "script"}, code: 127, stderr: "interpreter is missing"},
		{name: "full trace", args: []string{"--trace=/dev/full", "--", "true"}, stderr: "the trace is incomplete"},
		{name: "stats", args: []string{"--stats", "--", "true"}, stderr: "coffer: "},
		{name: "trace of results", args: []string{bind, "--trace", "--trace-filter", "read", "--", "sh", "-c", "read x </b/lines"}, stderr: `"3", 1) = 1`},
		{name: "host name", args: []string{"--hostname", "box", "--", "uname", "-n"}, stdout: "box\n"},
		{name: "kernel", args: []string{"--", "uname", "-sm"}, stdout: "Linux x86_64\n"},
		{name: "environment", args: []string{"--env", "X=a b", "--", "sh", "-c", "echo \"$X\""}, stdout: "a b\n"},
		{name: "cwd", args: []string{"--cwd", "/usr/bin", "--", "pwd"}, stdout: "/usr/bin\n"},
		{name: "cwd in the environment", args: []string{"--cwd", "/usr/bin", "--", "printenv", "PWD"}, stdout: "/usr/bin\n"},
		{name: "PWD of the user's", args: []string{"--cwd", "/usr/bin", "--env", "PWD=/x", "--", "printenv", "PWD"}, stdout: "/x\n"},
		{name: "user", args: []string{"--user", "1234:55", "--", "sh", "-c", "id -u; id -g"}, stdout: "1234\n55\n"},
		{name: "umask", args: []string{"--", "sh", "-c", "umask"}, stdout: umask},
		{name: "pid 1", args: []string{"--", "sh", "-c", "echo $$"}, stdout: "1\n"},
		{name: "own processes", args: []string{"--", "sh", "-c", "set -- /proc/[0-9]*; echo $#"}, stdout: "1\n"},
		{name: "writes stay inside", args: []string{"--", "sh", "-c", "echo new >/etc/coffer-test && cat /etc/coffer-test && rm /etc/passwd && test ! -e /etc/passwd"}, stdout: "new\n"},
		{name: "read-only bind", args: []string{bind, "--", "sh", "-c", "cat /b/plain; echo x >/b/plain"}, code: 2, stdout: "text", stderr: "Read-only file system"},
		{name: "file bind", args: []string{"--bind", dir + "/plain:/tmp/there", "--", "cat", "/tmp/there"}, stdout: "text"},
		{name: "no network", args: []string{"--network", "none", "--", "python3", "-c", "import socket; socket.create_connection(('192.0.2.1', 1), 5)"}, code: 1, stderr: "Network is unreachable"},
		{name: "the default network", args: []string{"--", "sh", "-c", "ls /sys/class/net; cat /etc/resolv.conf | grep nameserver"}, stdout: "eth0\nlo\nnameserver 10.0.2.3\n"},
		{name: "unknown network", args: []string{"--network", "nowhere", "--", "true"}, code: 125, stderr: "coffer network create nowhere"},
		{name: "bad port", args: []string{"-p", "90-80", "--", "true"}, code: 125, stderr: "the range 90-80 ends before it begins"},
		{name: "bad rate", args: []string{"--net-rate", "fast", "--", "true"}, code: 125, stderr: "--net-rate \"fast\""},
		{name: "bad server", args: []string{"--dns", "name", "--", "true"}, code: 125, stderr: "--dns \"name\""},
		{name: "bad rules", args: []string{"--egress", "a:b:c", "--", "true"}, code: 125, stderr: "--egress"},
		{name: "empty network", args: []string{"--network", "", "--", "true"}, code: 125, stderr: "--network has an empty value"},
		{name: "flags that do not go together", args: []string{"--network", "none", "-p", "80", "--", "true"}, code: 125, stderr: "--network user or bridge"},
		{name: "end of options", args: []string{"--", "echo", "--trace", "-x"}, stdout: "--trace -x\n"},
	} {
		for _, w := range kernelWalls {
			t.Run(c.name+"/"+w.name, func(t *testing.T) {
				argv := append(append([]string{coffer(t)}, w.args...), c.args...)
				r := run(t, patience, "/", c.stdin, argv...)
				if r.code != c.code || r.stdout != c.stdout && c.code < 125 || !strings.Contains(r.stderr, c.stderr) {
					t.Errorf("exit status %d, want %d; output %q, want %q; errors:\n%s\nwant %q", r.code, c.code, r.stdout, c.stdout, r.stderr, c.stderr)
				}
				if c.code == 125 && strings.Contains(r.stderr, "goroutine ") {
					t.Errorf("an error shows a stack trace:\n%s", r.stderr)
				}
			})
		}
	}
	if _, err := os.Stat("/etc/coffer-test"); err == nil {
		t.Error("a sandbox wrote to the host's /etc")
	}
}

func TestWritableBind(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "old"), []byte("old"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := run(t, patience, "/", "", coffer(t), "do", "--bind", dir+":/b:rw", "--cwd", "/b", "--", "sh", "-c",
		"echo new >new && mkdir d && mv old d/moved && ln -s d/moved link && chmod 600 new")
	if r.code != 0 {
		t.Fatalf("exit status %d: %s", r.code, r.stderr)
	}
	got, err := os.ReadFile(filepath.Join(dir, "link"))
	if err != nil || string(got) != "old" {
		t.Errorf("the moved file holds %q, %v", got, err)
	}
	if st, err := os.Stat(filepath.Join(dir, "new")); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the new file: %v, %v", st, err)
	}
}

// TestEscapes tries to leave a bind by links and "..".
func TestEscapes(t *testing.T) {
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("s3cret"), 0o644); err != nil {
		t.Fatal(err)
	}
	inside := t.TempDir()
	for link, target := range map[string]string{"abs": outside, "rel": "../" + filepath.Base(outside), "up": ".."} {
		if err := os.Symlink(target, filepath.Join(inside, link)); err != nil {
			t.Fatal(err)
		}
	}
	r := run(t, patience, "/", "", coffer(t), "do", "--bind", inside+":/b:rw", "--cwd", "/b", "--", "sh", "-c",
		"for p in abs rel up/*; do cat $p/secret; done; ls up; cat /b/../../../../tmp/*/*/secret; true")
	if strings.Contains(r.stdout, "s3cret") {
		t.Errorf("the sandbox read a file outside of its bind:\n%s", r.stdout)
	}
}

func TestTrace(t *testing.T) {
	r := run(t, patience, "/", "", coffer(t), "do", "--trace", "--trace-filter", "openat,@process,!execve", "--", "cat", "/etc/hostname", "/no/such")
	for _, want := range []string{`openat(AT_FDCWD, "/etc/hostname", O_RDONLY`, "ENOENT", "exit_group(1)"} {
		if !strings.Contains(r.stderr, want) {
			t.Errorf("the trace lacks %q:\n%s", want, r.stderr)
		}
	}
	if strings.Contains(r.stderr, "mmap(") {
		t.Errorf("the filter lets mmap pass:\n%s", r.stderr)
	}
	file := filepath.Join(t.TempDir(), "trace.jsonl")
	run(t, patience, "/", "", coffer(t), "do", "--trace="+file, "--", "true")
	data, err := os.ReadFile(file)
	if err != nil || len(data) == 0 {
		t.Fatalf("no trace in %s: %v", file, err)
	}
	for line := range bytes.Lines(data) {
		if !json.Valid(line) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

func TestCheck(t *testing.T) {
	r := run(t, patience, "/", "", coffer(t), "check", "--format", "json")
	var rows []struct {
		Isolation, Intercept, Reason string
		Works                        bool
	}
	if err := json.Unmarshal([]byte(r.stdout), &rows); err != nil || r.code != 0 {
		t.Fatalf("exit status %d, %v:\n%s%s", r.code, err, r.stdout, r.stderr)
	}
	for _, row := range rows {
		if row.Isolation == "kernel" && (row.Intercept == "trap" || row.Intercept == "ptrace") && !row.Works {
			t.Errorf("%s does not work: %s", row.Intercept, row.Reason)
		}
		if !row.Works && row.Reason == "" {
			t.Errorf("%s %s does not work, and nothing says why", row.Isolation, row.Intercept)
		}
	}
	if r := run(t, patience, "/", "", coffer(t), "check", "--format", "xml"); r.code != 125 {
		t.Errorf("a bad format exits with %d", r.code)
	}
}

// TestMemoryLimit has a guest take more than it may: it dies, the sandbox's
// other processes don't.
func TestMemoryLimit(t *testing.T) {
	script := `
mkfifo /tmp/ready /tmp/end
python3 -c 'x = bytearray(40 << 20); open("/tmp/ready", "w").close(); open("/tmp/end").close()' &
cat /tmp/ready
python3 -c 'x = bytearray(600 << 20)'; echo "hog $?"
: >/tmp/end; wait $!; echo "modest $?"
cat /proc/meminfo | head -1 | tr -s ' '`
	for _, w := range kernelWalls {
		t.Run(w.name, func(t *testing.T) {
			argv := append(append([]string{coffer(t)}, w.args...), "--memory", "200M", "--", "sh", "-c", script)
			r := run(t, 2*time.Minute, "/", "", argv...)
			if r.code == 125 && strings.Contains(r.stderr, "cgroup") {
				t.Skip("no memory cgroup can be made here: " + r.stderr)
			}
			if r.stdout != "hog 137\nmodest 0\nMemTotal: 204800 kB\n" || r.code != 0 {
				t.Errorf("exit status %d, output %q, errors:\n%s", r.code, r.stdout, tail(r.stderr))
			}
		})
	}
}

// sentries lists the host's processes that run as a sentry or stub of the
// binary under test, or as a keeper.
func sentries() (found []string) {
	exe, err := filepath.Abs("../bin/coffer")
	if err != nil {
		return nil // its tests say so
	}
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		if target, err := os.Readlink(p + "/exe"); err == nil && strings.HasPrefix(target, exe) {
			cmd, _ := os.ReadFile(p + "/cmdline")
			found = append(found, filepath.Base(p)+" "+strings.ReplaceAll(string(cmd), "\x00", " "))
		}
	}
	return found
}

// sentriesAtStart are those that tests have left which were killed, until their time is over.
var sentriesAtStart = sentries()

// mountsNow are those of the host's mounts that bear coffer's name, a line
// each: others come and go with other programs.
func mountsNow() (found []string) {
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, "coffer") {
			found = append(found, line)
		}
	}
	return found
}

// mountsAtStart are the host's mounts before any test.
var mountsAtStart = mountsNow()

// nothingLeft checks that no process, mount or cgroup of Coffer's is there.
func nothingLeft(t testing.TB) {
	t.Helper()
	for _, c := range []struct {
		what string
		look func() []string
	}{
		{"processes", func() []string { return missingFrom(sentriesAtStart, sentries()) }},
		{"mounts", func() []string { return missingFrom(mountsAtStart, mountsNow()) }},
		{"files", func() []string { return missingFrom(filesAtStart, filesOfCoffer()) }},
	} {
		left := c.look()
		for until := time.Now().Add(patience); len(left) > 0 && time.Now().Before(until); left = c.look() {
			time.Sleep(50 * time.Millisecond) // the host's clean-up takes its time
		}
		if len(left) > 0 {
			t.Errorf("%s are left:\n%s", c.what, strings.Join(left, "\n"))
		}
	}
}

// missingFrom returns what of all is not in some.
func missingFrom(some, all []string) (missing []string) {
	for _, s := range all {
		if !slices.Contains(some, s) {
			missing = append(missing, s)
		}
	}
	return missing
}

// filesOfCoffer are the files and cgroups that bear coffer's name. The directory
// of the containers' state is not among them, what is in it is: it stays, as runc's.
func filesOfCoffer() (found []string) {
	for _, pattern := range []string{"/tmp/coffer*", "/run/coffer/*", "/run/coffer?*", "/dev/shm/coffer*"} {
		m, _ := filepath.Glob(pattern)
		found = append(found, m...)
	}
	// A sandbox's cgroup is below that of who started it.
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && strings.HasPrefix(d.Name(), "coffer-") {
			found = append(found, path)
		}
		return nil // cgroups come and go
	})
	return found
}

var filesAtStart = filesOfCoffer()

// TestSoak runs 200 programs one after the other and 32 at once.
func TestSoak(t *testing.T) {
	for i := range 200 {
		r := run(t, patience, "/", "", coffer(t), "do", "--", "sh", "-c", "echo $0", strconv.Itoa(i))
		if r.code != 0 || r.stdout != fmt.Sprintln(i) {
			t.Fatalf("run %d: exit status %d, output %q, errors:\n%s", i, r.code, r.stdout, r.stderr)
		}
	}
	var wg sync.WaitGroup
	for i := range 32 {
		wg.Go(func() {
			r := run(t, 3*time.Minute, "/", "", coffer(t), "do", "--", "sh", "-c", "sleep 0.1; exec expr $0 + 1", strconv.Itoa(i))
			if r.code != 0 || r.stdout != fmt.Sprintln(i+1) {
				t.Errorf("sandbox %d: exit status %d, output %q, errors:\n%s", i, r.code, r.stdout, r.stderr)
			}
		})
	}
	wg.Wait()
	nothingLeft(t)
}

// TestKilled ends coffer and the sentry in every way; nothing may be left.
func TestKilled(t *testing.T) {
	for _, w := range kernelWalls {
		for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM, syscall.SIGHUP} {
			t.Run(w.name+"/"+sig.String(), func(t *testing.T) {
				args := append(append([]string{}, w.args...), "--", "sh", "-c", "echo up; sleep 1000 & sleep 1000; sleep 1000")
				cmd := exec.Command(coffer(t), args...)
				cmd.Dir = "/"
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				var b [3]byte
				if _, err := out.Read(b[:]); err != nil {
					t.Errorf("the program did not start: %v", err)
				}
				if err := cmd.Process.Signal(sig); err != nil {
					t.Error(err)
				}
				done := make(chan struct{})
				go func() { cmd.Wait(); close(done) }()
				select {
				case <-done:
				case <-time.After(patience):
					cmd.Process.Kill()
					t.Errorf("%v did not end it", sig)
				}
				if ws := cmd.ProcessState.Sys().(syscall.WaitStatus); sig != syscall.SIGKILL && ws.ExitStatus() != 128+int(sig) {
					t.Errorf("exit status %d, want %d", ws.ExitStatus(), 128+int(sig))
				}
				nothingLeft(t)
			})
		}
	}
}

// TestNohup hangs up on coffer as nohup(1) starts it, which its program must
// not hear of.
func TestNohup(t *testing.T) {
	cmd := exec.Command("sh", "-c", `trap "" HUP; exec "$0" do --cwd / -- sh -c 'echo up; read x; exit 7'`, coffer(t))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer time.AfterFunc(patience, func() { cmd.Process.Kill() }).Stop()
	if _, err := out.Read(make([]byte, 3)); err != nil {
		t.Errorf("the program did not start: %v", err)
	}
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Error(err)
	}
	time.Sleep(100 * time.Millisecond) // time for a wrong end
	if _, err := in.Write([]byte("line\n")); err != nil {
		t.Error(err)
	}
	cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit status %d, want 7", code)
	}
}

// TestForkBomb ends a sandbox that is full of processes.
func TestForkBomb(t *testing.T) {
	for _, w := range kernelWalls {
		for _, c := range []struct {
			sig  syscall.Signal
			code int
		}{{syscall.SIGTERM, 128 + int(syscall.SIGTERM)}, {syscall.SIGKILL, -1}} {
			t.Run(w.name+"/"+c.sig.String(), func(t *testing.T) {
				args := append(append([]string{}, w.args...), "--memory", "300M", "--", "bash", "-c", "echo up; :(){ :|:& };:; sleep 100")
				cmd := exec.Command(coffer(t), args...)
				cmd.Dir, cmd.WaitDelay = "/", time.Second // whoever is left has the pipes
				var errs bytes.Buffer
				cmd.Stderr = &errs
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				out.Read(make([]byte, 3)) // from here on it ends as it is told to
				time.Sleep(2 * time.Second)
				if err := cmd.Process.Signal(c.sig); err != nil {
					t.Error(err)
				}
				timer := time.AfterFunc(patience, func() {
					t.Errorf("%v did not end it", c.sig)
					cmd.Process.Kill()
				})
				defer timer.Stop()
				cmd.Wait()
				code := cmd.ProcessState.ExitCode()
				if code == 125 && strings.Contains(errs.String(), "cgroup") {
					t.Skip("no memory cgroup can be made here: " + errs.String())
				}
				if code != c.code {
					t.Errorf("exit status %d, want %d; errors:\n%s", code, c.code, tail(errs.String()))
				}
				nothingLeft(t)
			})
		}
	}
}

// TestFullDisk has a guest write all that it can.
func TestFullDisk(t *testing.T) {
	r := run(t, 2*time.Minute, "/", "", coffer(t), "do", "--memory", "400M", "--", "sh", "-c",
		"dd if=/dev/zero of=/big bs=1M count=2000 2>/dev/null; echo full $?; rm -f /big; echo still here")
	if r.code == 125 && strings.Contains(r.stderr, "cgroup") {
		t.Skip("no memory cgroup can be made here: " + r.stderr)
	}
	if !strings.Contains(r.stdout, "still here") {
		t.Errorf("exit status %d, output %q, errors:\n%s", r.code, r.stdout, tail(r.stderr))
	}
	nothingLeft(t)
}

// TestManyFiles has a guest make empty files until it may not: they take
// memory of the sandbox's kernel, which must not run out of it.
func TestManyFiles(t *testing.T) {
	script := `
import errno, os
n = 0
try:
    for n in range(1 << 20):
        if n % 1000 == 0:
            d = '/tmp/%d' % n
            os.mkdir(d)
        os.close(os.open('%s/%d' % (d, n), os.O_CREAT))
except OSError as e:
    print(errno.errorcode[e.errno], n > 10000)
`
	r := run(t, 2*time.Minute, "/", "", coffer(t), "do", "--memory", "200M", "--", "python3", "-c", script)
	if r.code == 125 && strings.Contains(r.stderr, "cgroup") {
		t.Skip("no memory cgroup can be made here: " + r.stderr)
	}
	if r.stdout != "ENOSPC True\n" {
		t.Errorf("exit status %d, output %q, errors:\n%s", r.code, r.stdout, tail(r.stderr))
	}
}

// TestRefusedHost runs coffer where user namespaces are forbidden.
func TestRefusedHost(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to forbid user namespaces")
	}
	cmd := exec.Command("unshare", "--user", "--map-root-user", "sh", "-c", "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$0\" do -- true", coffer(t))
	out, err := cmd.CombinedOutput()
	if ee, ok := err.(*exec.ExitError); !ok || ee.ExitCode() != 125 || !bytes.Contains(out, []byte("max_user_namespaces")) {
		t.Errorf("%v:\n%s", err, out)
	}
}
