package rootfs

import (
	"os"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// newAll is the namespaces, beside those of inside, that a usual spec asks
// for.
const newAll = unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS

// bothWays runs a test where the host has the new mount system calls, and
// where it has not.
func bothWays(t *testing.T, namespaces uintptr, test func(t *testing.T)) {
	t.Run("descriptors", func(t *testing.T) {
		if inside(t, namespaces) {
			test(t)
		}
	})
	t.Run("names", func(t *testing.T) {
		if inside(t, namespaces) {
			refuseMountAPI(t)
			test(t)
		}
	})
}

// TestDefault makes the root file system of a usual spec and looks at all of
// it from within.
func TestDefault(t *testing.T) {
	bothWays(t, newAll, func(t *testing.T) {
		bundle := newBundle(t)
		spec := defaultPaths(newSpec(defaultMounts()...))
		spec.Root.Readonly = true
		spec.Linux.MaskedPaths = append(spec.Linux.MaskedPaths, "/proc/cmdline", "/proc/devices", "/proc/driver", "/proc/tty")
		enter(t, bundle, spec)
		mounts := map[string]string{
			"/":             "tmpfs ro,relatime",
			"/proc":         "proc rw,nosuid,nodev,noexec,relatime",
			"/dev":          "tmpfs rw,nosuid rw,size=65536k,mode=755",
			"/dev/pts":      "devpts rw,nosuid,noexec,relatime rw,gid=5,mode=620,ptmxmode=666",
			"/dev/shm":      "tmpfs rw,nosuid,nodev,noexec,relatime rw,size=65536k",
			"/dev/mqueue":   "mqueue rw,nosuid,nodev,noexec,relatime",
			"/sys":          "sysfs ro,nosuid,nodev,noexec,relatime",
			"/proc/sys":     "proc ro,nosuid,nodev,noexec,relatime",
			"/proc/cmdline": "tmpfs rw,nosuid rw,size=65536k", // where /dev/null is
			"/proc/devices": "tmpfs rw,nosuid rw,size=65536k", "/proc/driver": "tmpfs ro", "/proc/tty": "tmpfs ro",
			"/sys/fs/cgroup": "",
		}
		for point, want := range mounts {
			got := mountAt(t, point).describe()
			if !strings.HasPrefix(got, want) {
				t.Errorf("%s is %s, want %s", point, got, want)
			}
		}
		if got, want := names(t, "/"), "dev proc sys"; got != want {
			t.Errorf("/ has %s, want %s", got, want)
		}
		if got, want := names(t, "/dev"), "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero"; got != want {
			t.Errorf("/dev has %s, want %s", got, want)
		}
		if err := os.Mkdir("/x", 0o755); err == nil || !strings.Contains(err.Error(), "read-only") {
			t.Errorf("making a directory in the read-only root: %v", err)
		}
		for _, name := range []string{"/proc/cmdline", "/proc/devices"} {
			if got := fileText(t, name); got != "" {
				t.Errorf("the masked %s has %q", name, got)
			}
		}
		for _, dir := range []string{"/proc/driver", "/proc/tty"} {
			if got := names(t, dir); got != "" {
				t.Errorf("the masked %s has %s", dir, got)
			}
		}
		if err := os.WriteFile("/proc/sys/kernel/domainname", []byte("x"), 0); err == nil {
			t.Error("the read-only /proc/sys/kernel/domainname is written")
		}
		if err := os.WriteFile("/dev/null", []byte("x"), 0); err != nil {
			t.Error(err)
		}
		if got, err := os.Readlink("/dev/ptmx"); err != nil || got != "pts/ptmx" {
			t.Errorf("/dev/ptmx leads to %q, %v", got, err)
		}
	})
}

// TestNoPivot enters the root without pivot_root(2): nothing of the host's is
// in sight, no proc file system either that a nested container could mount.
func TestNoPivot(t *testing.T) {
	bothWays(t, newAll, func(t *testing.T) {
		bundle := newBundle(t)
		old, err := unix.Open("/", pathFlags, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(old)
		cfg := &Config{Spec: newSpec(defaultMounts()...), Bundle: bundle, NoPivot: true}
		r, err := Prepare(cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if err := r.Enter(); err != nil {
			t.Fatal(err)
		}
		if err := r.Finish(); err != nil {
			t.Fatal(err)
		}
		if got, want := names(t, "/"), "dev proc sys"; got != want {
			t.Errorf("/ has %s, want %s", got, want)
		}
		for _, name := range []string{"proc", "sys"} {
			fd, err := unix.Openat(old, name, pathFlags, 0)
			if err != nil {
				t.Fatal(err)
			}
			if on, err := isOn(fd, unix.TMPFS_MAGIC); err != nil || !on {
				t.Errorf("the host's /%s is not covered: %v", name, err)
			}
			unix.Close(fd)
		}
	})
}

// TestPropagation checks each rootfsPropagation, and that nothing that is
// mounted in the container's namespace comes to the host's.
func TestPropagation(t *testing.T) {
	for value, want := range map[string]string{"": "master", "slave": "master", "private": "", "unbindable": "unbindable", "shared": "shared", "rshared": "shared", "rslave": "master"} {
		t.Run("value "+value, func(t *testing.T) {
			if !inside(t, newAll) {
				return
			}
			bundle := newBundle(t)
			// As on most hosts.
			if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
				t.Fatal(err)
			}
			before := fileText(t, "/proc/thread-self/mountinfo")
			inNewMounts(t, func() {
				spec := newSpec(defaultMounts()...)
				spec.Linux.RootfsPropagation = value
				enter(t, bundle, spec)
				if got := mountAt(t, "/").tags; !strings.HasPrefix(got, want) || want == "" && got != "" {
					t.Errorf("the root is %q, want %q", got, want)
				}
			})
			if after := fileText(t, "/proc/thread-self/mountinfo"); after != before {
				t.Errorf("the host's mounts were\n%sand are\n%s", before, after)
			}
		})
	}
}

// TestBare makes the root file system of a spec that asks for nothing.
func TestBare(t *testing.T) {
	bothWays(t, newAll, func(t *testing.T) {
		enter(t, newBundle(t), &specs.Spec{Root: &specs.Root{Path: "rootfs"}})
		if got, want := names(t, "/dev"), "full null ptmx random tty urandom zero"; got != want {
			t.Errorf("/dev has %s, want %s", got, want)
		}
	})
}
