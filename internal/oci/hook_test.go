package oci

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func shell(script string) specs.Hook {
	return specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", script}}
}

func TestHooks(t *testing.T) {
	t.Setenv("COFFER_TEST_LEAK", "of coffer's own environment")
	out := filepath.Join(t.TempDir(), "out")
	state := &specs.State{Version: "1.0.0", ID: "c1", Status: specs.StateCreating, Pid: 12, Bundle: "/b"}
	first := shell("cat > " + out + "; echo \" $HOME $COFFER_TEST_LEAK $0\" >> " + out)
	first.Env = []string{"HOME=/h"}
	if err := RunHooks([]specs.Hook{first, shell("echo second >> " + out)}, state, Prestart); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	text, rest, _ := strings.Cut(string(got), " ")
	var back specs.State
	if err := json.Unmarshal([]byte(text), &back); err != nil || back.ID != "c1" || back.Pid != 12 || back.Status != specs.StateCreating {
		t.Errorf("the state on standard input: %q, %v", text, err)
	}
	if want := "/h  sh\nsecond\n"; rest != want {
		t.Errorf("variables and order: %q, want %q", rest, want)
	}
}

func TestHookFails(t *testing.T) {
	out := filepath.Join(t.TempDir(), "out")
	one := 1
	data := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(data, []byte("no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	slow := shell("echo at it; sleep 1000 & sleep 1000")
	slow.Timeout = &one
	for _, c := range []struct {
		name string
		bad  specs.Hook
		want []string
	}{
		{"status", shell("echo why >&2; exit 3"), []string{"error running createRuntime hook #1 (/bin/sh): exit status 3, output: why"}},
		{"missing", specs.Hook{Path: "/nowhere/hook"}, []string{"error running createRuntime hook #1 (/nowhere/hook): ", "no such file", "correct the path"}},
		{"no program", specs.Hook{Path: data}, []string{"exec format error: it is no program for this machine"}},
		{"too long", specs.Hook{Path: "/bin/true", Env: []string{"A=" + strings.Repeat("x", 1<<18)}}, []string{"argument list too long: its args and env are too long"}},
		{"time-out", slow, []string{"did not end within its timeout of 1 s, and was killed", "at it"}},
		{"much output", shell("i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done; exit 1"), []string{"output: ...", "1999"}},
	} {
		os.Remove(out)
		err := RunHooks([]specs.Hook{shell("true"), c.bad, shell("touch " + out)}, &specs.State{}, CreateRuntime)
		if err == nil {
			t.Errorf("%s: no error", c.name)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want one with %q", c.name, err, want)
			}
		}
		if len(err.Error()) > maxHookOutput+1024 {
			t.Errorf("%s: the error has %d bytes", c.name, len(err.Error()))
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: the hook after it ran", c.name)
		}
	}
	for errno, want := range map[unix.Errno]string{unix.EAGAIN: "no more processes", unix.ENOMEM: "no memory", unix.EMFILE: "open files"} {
		if got := explainStart(os.NewSyscallError("fork", errno)); !strings.Contains(got, want) || strings.Contains(got, "path") {
			t.Errorf("%v: %q", errno, got)
		}
	}
	failed := RunEveryHook([]specs.Hook{shell("exit 1"), shell("touch " + out), shell("exit 2")}, &specs.State{}, Poststop)
	if len(failed) != 2 || !strings.Contains(failed[1].Error(), "poststop hook #2") {
		t.Errorf("all hooks: %v", failed)
	}
	if _, err := os.Stat(out); err != nil {
		t.Error("the hook after one that failed did not run")
	}
}

// TestHookLeavesProcess: one that holds the hook's output does not hold up coffer.
func TestHookLeavesProcess(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	h := shell("exec 3>&1; (exec sleep 1000 >&3) & echo $! > " + pid)
	if err := RunHooks([]specs.Hook{h}, &specs.State{}, Poststart); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(pid)
	if err != nil {
		t.Fatal(err)
	}
	kill := shell("kill -9 " + strings.TrimSpace(string(b)))
	if err := RunHooks([]specs.Hook{kill}, &specs.State{}, Poststop); err != nil {
		t.Errorf("the process that was left behind: %v", err)
	}
}
