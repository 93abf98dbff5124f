package rootfs

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// newUser is newAll, and a user namespace that owns them all.
const newUser = newAll | unix.CLONE_NEWUSER

// inUserNamespace adds a user namespace to a spec.
func inUserNamespace(spec *specs.Spec) *specs.Spec {
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	return spec
}

// TestUserNamespace makes the usual root file system as the root of a user
// namespace, who finds all by itself: the host's devices are bound.
func TestUserNamespace(t *testing.T) {
	bothWays(t, newUser, func(t *testing.T) {
		bundle := newBundle(t)
		spec := defaultPaths(inUserNamespace(newSpec(defaultMounts()...)))
		spec.Root.Readonly = true
		spec.Linux.MaskedPaths = append(spec.Linux.MaskedPaths, "/proc/cmdline", "/proc/devices", "/proc/tty")
		enter(t, bundle, spec)
		if got := mountAt(t, "/dev/null").kind; got != "devtmpfs" {
			t.Errorf("/dev/null is of a %s", got)
		}
		makeText(t, "/dev/null", "x")
		if got := fileText(t, "/proc/devices"); got != "" {
			t.Errorf("the masked /proc/devices has %q", got)
		}
		if got := names(t, "/proc/tty"); got != "" {
			t.Errorf("the masked /proc/tty has %q", got)
		}
	})
}

// TestHostNetwork asks for sysfs in a user namespace that shares the host's
// network namespace, which the host refuses.
func TestHostNetwork(t *testing.T) {
	bothWays(t, unix.CLONE_NEWUSER|unix.CLONE_NEWIPC, func(t *testing.T) {
		bundle := newBundle(t)
		spec := inUserNamespace(newSpec(
			specs.Mount{Destination: "/proc", Type: "proc", Source: "proc"},
			specs.Mount{Destination: "/sys", Type: "sysfs", Source: "sysfs"}))
		if strings.HasSuffix(t.Name(), "names") {
			// mount(2) could not make all below it read-only, and less is no way out.
			_, err := Prepare(&Config{Spec: spec, Bundle: bundle})
			wantError(t, err, `mounts[1] "/sys"`, "mount_setattr")
			return
		}
		enter(t, bundle, spec)
		if got := mountAt(t, "/sys").describe(); !strings.HasPrefix(got, "sysfs ro,nosuid,nodev,noexec,") {
			t.Errorf("/sys is %s", got)
		}
	})
}

// TestLockedAttributes binds, in a user namespace, what the host has mounted
// nosuid: it stays so, and to ask for anything else is an error.
func TestLockedAttributes(t *testing.T) {
	for _, by := range []string{"descriptors", "names"} {
		t.Run(by, func(t *testing.T) {
			if os.Getenv(insideEnv) == t.Name() {
				bindLocked(t, by, os.Getenv("LOCKED"))
				return
			}
			if os.Getuid() != 0 {
				t.Skip("making mounts needs root")
			}
			inNewMounts(t, func() {
				dir := openDir(t)
				if err := errors.Join(
					unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""),
					unix.Mount("x", dir, "tmpfs", unix.MS_NOSUID, ""),
					os.Mkdir(dir+"/below", 0o755),
					unix.Mount("x", dir+"/below", "tmpfs", unix.MS_NODEV, ""),
				); err != nil {
					t.Error(err)
					return
				}
				t.Setenv("LOCKED", dir)
				holder, userns := newUserNamespace(t)
				defer holder()
				spec := inUserNamespace(newSpec(lockedMounts(dir)...))
				spec.Root.Path = dir // which stays here
				sources, err := OpenSources(spec, "/", userns)
				if err != nil {
					t.Error(err)
					return
				}
				defer closeSources(sources)
				runInside(t, userAttr(newUser), sources[1], sources[2])
			})
		})
	}
}

// lockedMounts is, after /proc, a bind mount of all and one of the top alone,
// which init cannot make since it would uncover what is below.
func lockedMounts(source string) []specs.Mount {
	return []specs.Mount{
		{Destination: "/proc", Type: "proc"},
		{Destination: "/all", Source: source, Options: []string{"rbind", "ro"}},
		{Destination: "/top", Source: source, Options: []string{"bind", "ro"}},
	}
}

// bindLocked is what TestLockedAttributes does in the user namespace.
func bindLocked(t *testing.T, by, source string) {
	donated := map[int]*os.File{1: os.NewFile(3, "all"), 2: os.NewFile(4, "top")}
	inside(t, newUser)
	if by == "names" {
		refuseMountAPI(t)
		donated = nil
	}
	bundle := newBundle(t)
	_, err := Prepare(&Config{Bundle: bundle, Spec: inUserNamespace(newSpec(
		specs.Mount{Destination: "/m", Source: source, Options: []string{"rbind", "suid"}}))})
	wantError(t, err, `mounts[0] "/m"`, "locked")
	_, err = Prepare(&Config{Bundle: bundle, Spec: inUserNamespace(newSpec(lockedMounts(source)[2]))})
	wantError(t, err, `mounts[0] "/top"`, "bind it with rbind")
	spec := inUserNamespace(newSpec(lockedMounts(source)...))
	if donated == nil {
		spec.Mounts = spec.Mounts[:2]
	}
	r, err := Prepare(&Config{Bundle: bundle, Spec: spec, Sources: donated})
	if err == nil {
		err = errors.Join(r.Enter(), r.Finish())
		r.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range spec.Mounts[1:] {
		if got := mountAt(t, m.Destination).describe(); !strings.HasPrefix(got, "tmpfs ro,nosuid,") {
			t.Errorf("%s is %s", m.Destination, got)
		}
	}
	if got := mountAt(t, "/all/below").describe(); !strings.HasPrefix(got, "tmpfs rw,nodev,") {
		t.Errorf("/all/below is %s", got)
	}
	// This is what the container could do, if it had the right.
	if err := unix.Mount("", "/all", "", unix.MS_REMOUNT|unix.MS_BIND, ""); err != unix.EPERM {
		t.Errorf("lifting nosuid of /all: %v", err)
	}
}

// openDir makes a directory that everybody may enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rootfs-test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestDonatedSources makes, in a user namespace, mounts of what only the
// parent can reach: it lies below a directory of mode 0700.
func TestDonatedSources(t *testing.T) {
	t.Run("pivot", func(t *testing.T) { testDonated(t, false) })
	t.Run("no pivot", func(t *testing.T) { testDonated(t, true) })
}

func testDonated(t *testing.T, noPivot bool) {
	if os.Getenv(insideEnv) == t.Name() {
		spec := donatedSpec()
		files := map[int]*os.File{}
		for i, key := range donatedKeys {
			files[key] = os.NewFile(uintptr(3+i), "donated")
		}
		if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(os.Getenv("BUNDLE")); err == nil {
			t.Error("the bundle is in reach, so nothing is tested")
		}
		r, err := Prepare(&Config{Spec: spec, Bundle: os.Getenv("BUNDLE"), Sources: files, NoPivot: noPivot})
		if noPivot {
			// Mounted over /, it could not be told from the old root by paths.
			wantError(t, err, "root.path", "may not go there")
			return
		}
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
		for name, want := range map[string]string{"/root-file": "root", "/data/file": "data", "/mapped/file": "data", "/own/file": "data"} {
			if got := fileText(t, name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		for name, want := range map[string]uint32{"/data/file": overflowID, "/mapped/file": 7, "/own/file": 5} {
			var st unix.Stat_t
			if err := unix.Stat(name, &st); err != nil || st.Uid != want || st.Gid != want {
				t.Errorf("%s is of user %d and group %d, %v; want %d", name, st.Uid, st.Gid, err, want)
			}
		}
		if got := mountAt(t, "/data").describe(); !strings.Contains(got, " ro,") || !strings.HasSuffix(got, "master") && strings.Contains(got, "shared") {
			t.Errorf("/data is %s", got)
		}
		return
	}
	if os.Getuid() != 0 {
		t.Skip("making mounts needs root")
	}
	inNewMounts(t, func() {
		// As on most hosts.
		if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
			t.Error(err)
			return
		}
		donate(t)
	})
}

// overflowID is how IDs that are not mapped look.
const overflowID = 65534

// donatedKeys is the order in which the sources are donated.
var donatedKeys = []int{RootSource, 1, 2, 3}

func donatedSpec() *specs.Spec {
	one := []specs.LinuxIDMapping{{ContainerID: 5, HostID: firstID + 7, Size: 1}}
	spec := inUserNamespace(newSpec(
		specs.Mount{Destination: "/proc", Type: "proc", Source: "proc"},
		specs.Mount{Destination: "/data", Source: "data", Options: []string{"bind", "ro"}},
		specs.Mount{Destination: "/mapped", Source: "data", Options: []string{"bind", "idmap"}, UIDMappings: one, GIDMappings: one},
		specs.Mount{Destination: "/own", Source: "data", Options: []string{"rbind", "ridmap"}}))
	return spec
}

// donate is the parent's part of TestDonatedSources.
func donate(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=755"); err != nil {
		t.Error(err)
		return
	}
	bundle := dir + "/private/bundle"
	makeDirs(t, bundle+"/rootfs", bundle+"/data")
	makeText(t, bundle+"/rootfs/root-file", "root")
	makeText(t, bundle+"/data/file", "data")
	// Init's root must be able to make the places for mounts.
	for name, id := range map[string]int{bundle + "/rootfs": firstID, bundle + "/data": firstID, bundle + "/data/file": 5} {
		if err := os.Chown(name, id, id); err != nil {
			t.Error(err)
		}
	}
	if err := os.Chmod(dir+"/private", 0o700); err != nil {
		t.Error(err)
	}
	holder, userns := newUserNamespace(t)
	defer holder()
	sources, err := OpenSources(donatedSpec(), bundle, userns)
	if err != nil {
		t.Error(err)
		return
	}
	defer closeSources(sources)
	var files []*os.File
	for _, key := range donatedKeys {
		if sources[key] == nil {
			t.Errorf("there is no source %d", key)
			return
		}
		files = append(files, sources[key])
	}
	if len(sources) != len(donatedKeys) {
		t.Errorf("there are %d sources, want %d", len(sources), len(donatedKeys))
	}
	t.Setenv("BUNDLE", bundle)
	runInside(t, userAttr(newUser), files...)
}

// newUserNamespace makes a user namespace like those of inside.
func newUserNamespace(t *testing.T) (stop func(), userns *os.File) {
	cmd := exec.Command("/bin/cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = userAttr(unix.CLONE_NEWUSER)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	userns, err = os.Open("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/ns/user")
	if err != nil {
		t.Error(err)
	}
	return func() { userns.Close(); in.Close(); cmd.Wait() }, userns
}

// TestRootless asks for sources without privileges: init helps itself then,
// but for mappings, which only the host's root can give.
func TestRootless(t *testing.T) {
	if os.Getenv(insideEnv) == "" {
		if os.Getuid() != 0 {
			t.Skip("becoming another user needs root")
		}
		runInside(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: overflowID, Gid: overflowID}})
		return
	}
	userns, err := os.Open("/proc/self/ns/user")
	if err != nil {
		t.Fatal(err)
	}
	defer userns.Close()
	bundle := t.TempDir()
	makeDirs(t, bundle+"/rootfs", bundle+"/data")
	bind := specs.Mount{Destination: "/data", Source: "data", Options: []string{"rbind"}}
	files, err := OpenSources(newSpec(bind), bundle, userns)
	if err != nil || len(files) != 0 {
		t.Errorf("sources are %v, %v", files, err)
	}
	bind.Options = append(bind.Options, "idmap")
	_, err = OpenSources(newSpec(bind), bundle, userns)
	wantError(t, err, `mounts[0] "/data"`, "operation not permitted", "must be root")
}
