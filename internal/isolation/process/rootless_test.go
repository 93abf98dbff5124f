package process

import (
	"encoding/json"
	"fmt"
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
	config := specFor(t, spec, user)
	// By the link, since users may not search the directory of the test binary.
	cmd := exec.Command("/proc/self/exe", creatorRole, config, "start")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
	out, err := cmd.CombinedOutput()
	const want = creatorRuns + "uid=0(root) gid=0\n         0       1000          1\n         0       1000          1\ndeny\n"
	if err != nil || string(out) != want {
		t.Errorf("%v: %q, want %q", err, out, want)
	}
}

// specFor writes a spec to a file in a directory of a user's.
func specFor(t *testing.T, spec *specs.Spec, user int) (config string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "coffer-rootless")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	config = filepath.Join(dir, "config")
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
	return config
}

// TestSubordinateIDs: a user whom /etc/subuid and /etc/subgid give IDs makes a
// container with these, by newuidmap(1) and newgidmap(1).
func TestSubordinateIDs(t *testing.T) {
	const user = 65534
	spec := withUserNamespace(shell(bundle(t), "cat /proc/self/uid_map /proc/self/gid_map; id -G"))
	spec.Process.User.AdditionalGids = []uint32{7}
	for _, program := range []string{"newuidmap", "newgidmap", "unshare", "setpriv"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("there is no ", program)
		}
	}
	if st, err := os.Stat(os.DevNull); err != nil || st.Mode().Perm()&0o006 != 0o006 {
		t.Skip("users can't open /dev/null here, which it takes to run programs as one")
	}
	spec.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: user, Size: 1}, {ContainerID: 1, HostID: 200000, Size: 1000}}
	spec.Linux.GIDMappings = spec.Linux.UIDMappings
	config := specFor(t, spec, user)
	list := filepath.Join(filepath.Dir(config), "subid")
	if err := os.WriteFile(list, fmt.Appendf(nil, "%d:200000:1000\n", user), 0o644); err != nil {
		t.Fatal(err)
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	// The host's own lists stay as they are.
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "/bin/sh", "-c",
		`mount --bind "$1" /etc/subuid && mount --bind "$1" /etc/subgid && exec setpriv --reuid "$2" --regid "$2" --clear-groups /proc/self/fd/3 "$3" "$4" start`,
		"sh", list, fmt.Sprint(user), creatorRole, config)
	cmd.ExtraFiles = []*os.File{self}
	out, err := cmd.CombinedOutput()
	const maps = "         0      65534          1\n         1     200000       1000\n"
	if want := creatorRuns + maps + maps + "0 7\n"; err != nil || string(out) != want {
		t.Errorf("%v: %q, want %q", err, out, want)
	}
}
