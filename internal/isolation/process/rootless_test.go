package process

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestRootless: a user without privileges makes a container, as its root.
func TestRootless(t *testing.T) {
	const user = 1000
	spec := withUserNamespace(shell(bundle(t), "id; cat /proc/self/uid_map /proc/self/gid_map /proc/self/setgroups"))
	spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: user, Size: 1}}
	spec.Linux.GIDMappings = spec.Linux.UIDMappings
	dir, err := os.MkdirTemp("", "coffer-rootless")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	config := filepath.Join(dir, "config")
	b, err := json.Marshal(spec)
	if err == nil {
		err = os.WriteFile(config, b, 0o644)
	}
	if err == nil {
		err = os.Chown(dir, user, user)
	}
	if err != nil {
		t.Fatal(err)
	}
	// By the link, since users may not search the directory of the test binary.
	cmd := exec.Command("/proc/self/exe", creatorRole, config, "start")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	out, err := cmd.CombinedOutput()
	const want = creatorRuns + "uid=0(root) gid=0\n         0       1000          1\n         0       1000          1\ndeny\n"
	if err != nil || string(out) != want {
		t.Errorf("%v: %q, want %q", err, out, want)
	}
}
