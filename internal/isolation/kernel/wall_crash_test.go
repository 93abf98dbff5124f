package kernel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"coffer/internal/isolation"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// The tests of this file kill those who use the wall, anywhere in the middle.

// commandRole is the argument with which the test binary is a command of a
// runtime: the next one is what it is to do, as JSON.
const commandRole = "command"

// command is what a runtime's command does.
type command struct {
	Dir  string
	Spec *specs.Spec
	// Die has it killed when the runtime's hooks are due.
	Die bool
	// Exec has it run a program in the container, rather than make and start it.
	Exec bool
}

func (c *command) run() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	streams := isolation.Streams{Stdio: [3]*os.File{null, null, null}}
	it := &isolation.Container{ID: filepath.Base(c.Dir), Spec: isolation.Known(c.Spec), StateDir: c.Dir}
	if c.Exec {
		_, err := New().Exec(it, &isolation.Exec{Process: c.Spec.Process, Streams: streams})
		return err
	}
	it.Init, err = New().Create(&isolation.Request{
		ID: it.ID, Bundle: c.Dir, Spec: c.Spec, StateDir: c.Dir, Streams: streams,
		Created: func(isolation.PID) error {
			if c.Die {
				return unix.Kill(os.Getpid(), unix.SIGKILL)
			}
			return nil
		},
	})
	if err != nil {
		return err
	}
	return New().Start(it)
}

// runCommand is what the test binary does as a command.
func runCommand(doc string) int {
	var c command
	err := json.Unmarshal([]byte(doc), &c)
	if err == nil {
		err = c.run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// begin starts a command.
func (c *command) begin(t *testing.T) *exec.Cmd {
	t.Helper()
	doc, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", commandRole, string(doc))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// left are the processes of this test's binary that play a role.
func left(t testing.TB) []string {
	t.Helper()
	own, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, dir := range all {
		// Those that have ended meanwhile, or are zombies, have none.
		exe, err := os.Readlink(dir + "/exe")
		line, lerr := os.ReadFile(dir + "/cmdline")
		if args := strings.Split(string(line), "\x00"); err == nil && lerr == nil && exe == own && len(args) > 1 && args[0] == "coffer" {
			list = append(list, filepath.Base(dir)+" "+args[1])
		}
	}
	return list
}

// awaitNone waits until nothing plays a role any more. Who has lost its starter
// ends, but nobody can say when.
func awaitNone(t testing.TB) {
	t.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		list := left(t)
		if len(list) == 0 {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("left behind: %q", list)
		}
	}
}

func (p *pod) directory(id string) string {
	dir := filepath.Join(p.root, id)
	if err := os.Mkdir(dir, 0o700); err != nil {
		p.t.Fatal(err)
	}
	return dir
}

// gone destroys what a killed command left, and checks that all is gone.
func (p *pod) gone(dir string, s *specs.Spec) {
	p.t.Helper()
	p.goneOf(&isolation.Container{ID: filepath.Base(dir), Spec: isolation.Known(s), StateDir: dir})
}

func (p *pod) goneOf(c *isolation.Container) {
	p.t.Helper()
	dir := c.StateDir
	for range 2 { // again after it is done
		if err := New().Destroy(c); err != nil {
			p.t.Fatal(err)
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".new") { // the record, half written
			p.t.Errorf("left behind: %s", f.Name())
		}
	}
	awaitNone(p.t)
}

// TestCreatorDies kills who makes a container: before the sentry is told to
// start, and at any other time.
func TestCreatorDies(t *testing.T) {
	p := newPod(t)
	s := spec("sleep", "1000")
	s.Root.Path = p.fs
	dir := p.directory("hooks")
	if err := (&command{Dir: dir, Spec: s, Die: true}).begin(t).Wait(); err == nil {
		t.Error("it was not killed")
	}
	p.gone(dir, s)
	for i := range 30 {
		dir := p.directory(strconv.Itoa(i))
		cmd := (&command{Dir: dir, Spec: s}).begin(t)
		time.Sleep(rand.N(60 * time.Millisecond))
		cmd.Process.Kill()
		cmd.Wait()
		p.gone(dir, s)
	}
}

// TestExecerDies kills who starts a program in a container: either it goes on
// with its attendant, or neither is there.
func TestExecerDies(t *testing.T) {
	p := newPod(t)
	b := p.mustCreate("a", spec("sleep", "1000"))
	b.start()
	s := spec("sleep", "2000")
	for range 30 {
		cmd := (&command{Dir: b.StateDir, Spec: s, Exec: true}).begin(t)
		time.Sleep(rand.N(60 * time.Millisecond))
		cmd.Process.Kill()
		cmd.Wait()
		for { // until both sides agree
			list, err := New().Processes(b.Container)
			if err != nil {
				t.Fatal(err)
			}
			attendants := slices.DeleteFunc(left(t), func(s string) bool { return !strings.HasSuffix(s, AttendantRole) })
			if len(attendants) == len(list)-1 {
				break
			}
		}
		for _, l := range left(t) {
			if number, role, _ := strings.Cut(l, " "); role == AttendantRole {
				n, _ := strconv.Atoi(number)
				unix.Kill(n, unix.SIGKILL)
			}
		}
		for {
			if list, err := New().Processes(b.Container); err != nil || len(list) == 1 {
				break
			}
		}
	}
}

// TestSentryDies kills a sentry: who waits for its processes learns of it.
func TestSentryDies(t *testing.T) {
	p := newPod(t)
	b := p.mustCreate("a", spec("sleep", "1000"))
	b.start()
	pid := b.mustExec("sleep", "2000")
	if err := b.Init.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if w := p.wait(pid); w.ExitStatus() != 128+9 {
		t.Errorf("a program that was started in it ends with %#x", w)
	}
	p.wait(b.Init)
	if _, err := New().Processes(b.Container); err == nil || !strings.Contains(err.Error(), errGone.Error()) {
		t.Errorf("asking a sentry that is dead: %v", err)
	}
	awaitNone(t)
}

// TestDamagedRecord destroys a container whose record says nothing any more.
func TestDamagedRecord(t *testing.T) {
	p := newPod(t)
	b := p.mustCreate("a", spec("sleep", "1000"))
	if err := os.WriteFile(filepath.Join(b.StateDir, recordName), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := New().Start(b.Container); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("start: %v", err)
	}
	p.goneOf(b.Container)
}

// TestHostileSentry has who answers say what no sentry says.
func TestHostileSentry(t *testing.T) {
	for _, c := range []struct{ name, sent, want string }{
		{"nothing", "", errGone.Error()},
		{"no message", "hello", "longer than there can be"},
		{"no JSON", "\x03\x00\x00\x00abc", "not what it should be"},
		{"an error for a terminal", frame(`{"error":"bad \u001b[2J","code":0}`), "bad ?[2J"},
		{"a long error", frame(`{"error":"` + strings.Repeat("x", 1<<20) + `"}`), "xxx"},
		{"endless", "\xff\xff\xff\xff" + strings.Repeat("x", 1<<10), "longer than there can be"},
	} {
		dir := t.TempDir()
		listener, err := makeSocket(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := (&record{}).write(dir); err != nil {
			t.Fatal(err)
		}
		go func() {
			defer listener.Close()
			fds := []unix.PollFd{{Fd: int32(listener.Fd()), Events: unix.POLLIN}}
			for {
				if _, err := unix.Poll(fds, -1); err != unix.EINTR {
					break
				}
			}
			fd, _, err := unix.Accept4(int(listener.Fd()), unix.SOCK_CLOEXEC)
			if err != nil {
				return
			}
			f := os.NewFile(uintptr(fd), "")
			f.Read(make([]byte, 1<<10))
			f.Write([]byte(c.sent))
			f.Close()
		}()
		_, err = New().Processes(&isolation.Container{ID: "a", StateDir: dir})
		if err == nil || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 2*errorMax || bytes.ContainsRune([]byte(err.Error()), 0x1b) {
			t.Errorf("%s: %.200v", c.name, err)
		}
	}
}

func frame(body string) string {
	n := len(body)
	return string([]byte{byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)}) + body
}
