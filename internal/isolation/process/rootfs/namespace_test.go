package rootfs

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"coffer/internal/oci/mountoption"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	unix.Umask(0o022) // modes of what tests make are compared
	m.Run()
}

// insideEnv names the test that this process runs in namespaces of its own.
const insideEnv = "COFFER_TEST_INSIDE"

// inside reports whether the test runs in new namespaces (CLONE_NEW*, always
// with a mount and a PID namespace). If not, it runs the test once more, in a
// process that does, and the caller returns.
func inside(t *testing.T, namespaces uintptr) bool {
	t.Helper()
	if os.Getenv(insideEnv) == t.Name() {
		// Nothing of what is mounted from here on may reach the host.
		if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			t.Fatal(err)
		}
		protectHost(t)
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("making mounts needs root")
	}
	attr := &syscall.SysProcAttr{Cloneflags: namespaces}
	if namespaces&unix.CLONE_NEWUSER != 0 {
		attr = userAttr(namespaces)
	}
	runInside(t, attr)
	return false
}

// protectHost leaves to the test's process, of the host's own files, only
// such as it cannot harm: what is tested keeps a container's paths inside its
// root, and could fail to.
func protectHost(t *testing.T) {
	t.Helper()
	if err := unix.Mount("tmpfs", os.TempDir(), "tmpfs", 0, "mode=777"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"/", "/dev"} {
		fd, err := unix.Open(name, pathFlags, 0)
		if err == nil {
			err = setAttributes(fd, &mountoption.Attributes{Set: unix.MOUNT_ATTR_RDONLY})
			unix.Close(fd)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// userAttr starts a process as root of a user namespace.
func userAttr(namespaces uintptr) *syscall.SysProcAttr {
	ids := []syscall.SysProcIDMap{{HostID: firstID, Size: idCount}}
	return &syscall.SysProcAttr{Cloneflags: namespaces, UidMappings: ids, GidMappings: ids, Credential: &syscall.Credential{}}
}

// firstID and idCount are the host's IDs that tests' user namespaces have.
const firstID, idCount = 100000, 65536

// runInside runs a test again in a process of its own. Descriptor 3 and up
// are files.
func runInside(t *testing.T, attr *syscall.SysProcAttr, files ...*os.File) {
	t.Helper()
	// A test that enters a container cannot remove its files.
	dir, err := os.MkdirTemp("", "rootfs-test")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	// In a user namespace the test's binary may be out of reach by its name.
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	list := "^" + strings.ReplaceAll(regexp.QuoteMeta(t.Name()), "/", "$/^") + "$"
	cmd := exec.Command("/proc/self/fd/"+strconv.Itoa(3+len(files)), "-test.run="+list, "-test.v", "-test.bench=none")
	cmd.Env = append(os.Environ(), insideEnv+"="+t.Name(), "TMPDIR="+dir)
	cmd.ExtraFiles = append(files, self)
	attr.Cloneflags |= unix.CLONE_NEWNS | unix.CLONE_NEWPID
	attr.Pdeathsig = unix.SIGKILL
	cmd.SysProcAttr = attr
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	switch {
	case err != nil:
		t.Errorf("%v:\n%s", err, out)
	case bytes.Contains(out, []byte("--- SKIP")):
		t.Skipf("%s", out)
	case testing.Verbose():
		t.Logf("%s", out)
	}
}

// newBundle makes a bundle with an empty root file system, on a tmpfs of its
// own. It is the caller's mount namespace that it goes with.
func newBundle(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	makeDirs(t, dir+"/rootfs")
	return dir
}

func makeDirs(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if err := os.MkdirAll(name, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

func makeText(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// newSpec is a spec with the given mounts and the namespaces of inside.
func newSpec(mounts ...specs.Mount) *specs.Spec {
	return &specs.Spec{
		Root:   &specs.Root{Path: "rootfs"},
		Mounts: mounts,
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.MountNamespace}, {Type: specs.PIDNamespace},
		}},
	}
}

// defaultMounts is what specs usually ask for.
func defaultMounts() []specs.Mount {
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", "ro"}},
	}
}

// defaultPaths gives a spec the masked and read-only paths that are usual.
func defaultPaths(spec *specs.Spec) *specs.Spec {
	spec.Linux.MaskedPaths = []string{"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"}
	spec.Linux.ReadonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
	return spec
}

// prepare makes a root file system in the bundle, and does not enter it.
func prepare(t testing.TB, bundle string, spec *specs.Spec) *Root {
	t.Helper()
	r, err := Prepare(&Config{Spec: spec, Bundle: bundle})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// enter makes a root file system complete and enters it. The test's process
// stays in it.
func enter(t testing.TB, bundle string, spec *specs.Spec) *Root {
	t.Helper()
	r := prepare(t, bundle, spec)
	if err := r.Enter(); err != nil {
		t.Fatal(err)
	}
	if err := r.Finish(); err != nil {
		t.Fatal(err)
	}
	return r
}

// mountAt returns what is mounted at a point, the topmost.
func mountAt(t testing.TB, point string) mountInfo {
	t.Helper()
	mounts, err := readMounts()
	if err != nil {
		t.Fatal(err)
	}
	for i := len(mounts) - 1; i >= 0; i-- {
		if mounts[i].point == point {
			return mounts[i]
		}
	}
	t.Fatalf("nothing is mounted at %s", point)
	return mountInfo{}
}

// describe shows what a test compares of a mount.
func (m mountInfo) describe() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %s %s", m.kind, m.options, m.super, regexp.MustCompile(`:\d+`).ReplaceAllString(m.tags, "")))
}

// wantError fails the test unless an error says all of words.
func wantError(t testing.TB, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want one that says %q", words)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
}

// refuseMountAPI makes every later open_tree(2), fsopen(2) and mount_setattr(2)
// of the process fail as on a host without them.
func refuseMountAPI(t testing.TB) {
	t.Helper()
	const (
		loadNumber = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		jumpEqual  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		ret        = unix.BPF_RET | unix.BPF_K
	)
	refused := []uint32{unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR}
	filter := []unix.SockFilter{{Code: loadNumber, K: 0}}
	for i, n := range refused {
		filter = append(filter, unix.SockFilter{Code: jumpEqual, K: n, Jt: uint8(len(refused) - i)})
	}
	filter = append(filter,
		unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)})
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	installFilter(t, &prog)
}

// fileText reads a file.
func fileText(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// names lists a directory.
func names(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, filepath.Base(e.Name()))
	}
	return strings.Join(list, " ")
}

// installFilter installs a seccomp filter for all threads.
func installFilter(t testing.TB, prog *unix.SockFprog) {
	t.Helper()
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(prog)))
	if errno != 0 {
		t.Fatalf("seccomp: %v", errno)
	}
}

// inNewMounts runs f on a thread in a mount namespace of its own, a copy of
// the caller's, and waits for it.
func inNewMounts(t testing.TB, f func()) {
	t.Helper()
	done := make(chan bool)
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread ends
		if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}
