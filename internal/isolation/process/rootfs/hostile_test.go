package rootfs

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// link makes a symbolic link in a test's tree.
func link(t testing.TB, target, name string) {
	t.Helper()
	if err := os.Symlink(target, name); err != nil {
		t.Fatal(err)
	}
}

// TestLinksStayInside makes mounts at destinations with links that would lead
// out of the root, were they followed from the host's.
func TestLinksStayInside(t *testing.T) {
	rows := []struct {
		name   string
		links  map[string]string // in the root file system: where from, where to
		dest   string
		inside string // where it must be mounted
	}{
		{"absolute", map[string]string{"data": "/etc"}, "/data", "/etc"},
		{"relative", map[string]string{"data": "../../../../../../etc"}, "/data", "/etc"},
		{"in the middle", map[string]string{"a": "/"}, "/a/a/a/etc/data", "/etc/data"},
		{"chain", map[string]string{"a": "b/x", "b": "/../c/../c"}, "/a/data", "/c/x/data"},
		{"dots", nil, "/../../x/../data/./", "/data"},
		{"relative destination", nil, "data/x", "/data/x"},
		{"dangling", map[string]string{"var": "/run/var"}, "/var/lib", "/run/var/lib"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			bothWays(t, 0, func(t *testing.T) {
				bundle := newBundle(t)
				for from, to := range row.links {
					link(t, to, filepath.Join(bundle, "rootfs", from))
				}
				enter(t, bundle, newSpec(
					specs.Mount{Destination: "/proc", Type: "proc", Source: "proc"},
					specs.Mount{Destination: row.dest, Type: "tmpfs", Source: "marked"}))
				if got := mountAt(t, row.inside).kind; got != "tmpfs" {
					t.Errorf("%s is %s", row.inside, got)
				}
			})
		})
	}
}

// TestRefusedDestinations asks for mounts that must not be made.
func TestRefusedDestinations(t *testing.T) {
	proc := specs.Mount{Destination: "/proc", Type: "proc", Source: "proc"}
	tmpfs := func(dest string) specs.Mount { return specs.Mount{Destination: dest, Type: "tmpfs", Source: "x"} }
	bind := func(source, dest string) specs.Mount {
		return specs.Mount{Destination: dest, Source: source, Options: []string{"rbind"}}
	}
	rows := []struct {
		name   string
		links  map[string]string
		mounts []specs.Mount
		words  []string
	}{
		{"over the root", nil, []specs.Mount{tmpfs("/x/..")}, []string{`mounts[0] "/x/.."`, "root.path"}},
		{"tmpfs on proc", nil, []specs.Mount{tmpfs("/proc")}, []string{`mounts[0] "/proc"`, "only a proc file system"}},
		{"bind on proc", nil, []specs.Mount{proc, bind("source", "/proc")}, []string{"only a proc file system"}},
		{"bind below proc", nil, []specs.Mount{proc, bind("source", "/proc/self/attr")}, []string{`mounts[1] "/proc/self/attr"`, "forge"}},
		{"cgroup below proc", nil, []specs.Mount{proc, {Destination: "/proc/bus", Type: "cgroup"}}, []string{"forge"}},
		{"proc below proc", nil, []specs.Mount{proc, {Destination: "/proc/bus", Type: "proc"}}, []string{"forge"}},
		{"proc by a link", map[string]string{"proc": "/elsewhere"}, []specs.Mount{proc}, []string{`mounts[0] "/proc"`, "link"}},
		{"sysfs by a link", map[string]string{"sys": "/elsewhere"}, []specs.Mount{{Destination: "/sys", Type: "sysfs"}}, []string{`mounts[0] "/sys"`, "link"}},
		{"a link into proc", map[string]string{"data": "/proc/self/attr"}, []specs.Mount{proc, bind("source", "/data")}, []string{`mounts[1] "/data"`, "link leads"}},
		{"a link round in a circle", map[string]string{"a": "b", "b": "a"}, []specs.Mount{tmpfs("/a")}, []string{`mounts[0] "/a"`, "circle"}},
		{"long chain of missing", map[string]string{"a": "b/c", "b": "a/c"}, []specs.Mount{tmpfs("/a")}, []string{"circle"}},
		{"no source", nil, []specs.Mount{bind("missing", "/data")}, []string{`mounts[0] "/data"`, "/missing", "must exist on the host"}},
		{"directory on a file", nil, []specs.Mount{bind("source", "/file")}, []string{"finding the destination: a directory cannot be mounted on what is none"}},
		{"file on a directory", nil, []specs.Mount{bind("rootfs/file", "/directory")}, []string{"it is a directory, but what is mounted is none"}},
		{"below a file", nil, []specs.Mount{tmpfs("/file/x")}, []string{"not a directory"}},
		{"no type", nil, []specs.Mount{{Destination: "/x", Source: "x"}}, []string{"has no type"}},
		{"unknown type", nil, []specs.Mount{{Destination: "/x", Source: "x", Type: "nonesuch"}}, []string{`mounts[0] "/x"`, "nonesuch", "/proc/filesystems"}},
		{"unknown option", nil, []specs.Mount{{Destination: "/x", Source: "x", Type: "tmpfs", Options: []string{"nonesuch=1"}}}, []string{`option "nonesuch=1"`, "tmpfs: Unknown parameter"}},
		{"wrong value", nil, []specs.Mount{{Destination: "/x", Source: "x", Type: "tmpfs", Options: []string{"size=many"}}}, []string{`option "size=many"`}},
		{"tmpcopyup of proc", nil, []specs.Mount{{Destination: "/x", Type: "sysfs", Options: []string{"tmpcopyup"}}}, []string{"tmpcopyup", "tmpfs"}},
		{"idmap of tmpfs", nil, []specs.Mount{{Destination: "/x", Type: "tmpfs", Options: []string{"idmap"}}}, []string{"only a new bind mount"}},
		{"mapped tmpfs", nil, []specs.Mount{{Destination: "/x", Type: "tmpfs", GIDMappings: []specs.LinuxIDMapping{{Size: 1}}}}, []string{"only a new bind mount"}},
		{"bind of nothing", nil, []specs.Mount{bind("", "/data")}, []string{"has no source"}},
		{"remount of nothing", nil, []specs.Mount{{Destination: "/x", Options: []string{"bind", "remount", "ro"}}}, []string{"finding what to remount"}},
		{"remount by a link", map[string]string{"l": "y"}, []specs.Mount{tmpfs("/y"), {Destination: "/l", Type: "tmpfs", Options: []string{"remount", "ro"}}}, []string{`mounts[1] "/l"`, "no symbolic link"}},
		{"remount of no mount", map[string]string{"l": "x"}, []specs.Mount{tmpfs("/y"), {Destination: "/directory", Options: []string{"bind", "remount", "ro"}}}, []string{"nothing is mounted there"}},
		{"below read-only", nil, []specs.Mount{{Destination: "/m", Source: "source", Options: []string{"rbind", "ro"}}, tmpfs("/m/x")}, []string{`mounts[1] "/m/x"`, "is read-only"}},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if !inside(t, 0) {
				return
			}
			bundle := newBundle(t)
			root := bundle + "/rootfs"
			makeDirs(t, bundle+"/source", root+"/directory")
			makeText(t, root+"/file", "")
			for from, to := range row.links {
				link(t, to, filepath.Join(root, from))
			}
			_, err := Prepare(&Config{Spec: newSpec(row.mounts...), Bundle: bundle})
			wantError(t, err, row.words...)
		})
	}
}

// TestLabel asks for a label of SELinux where that is off.
func TestLabel(t *testing.T) {
	if !inside(t, 0) {
		return
	}
	if _, err := os.Stat("/sys/fs/selinux/enforce"); err == nil {
		t.Skip("SELinux is on")
	}
	spec := newSpec()
	spec.Linux.MountLabel = "system_u:object_r:container_file_t:s0:c1,c2"
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)
	r, err := Prepare(&Config{Spec: spec, Bundle: newBundle(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if !strings.Contains(log.String(), "linux.mountLabel is left out") {
		t.Errorf("the log says %q", log.String())
	}
}

// TestOverProc covers what may be covered.
func TestOverProc(t *testing.T) {
	bothWays(t, 0, func(t *testing.T) {
		bundle := newBundle(t)
		makeText(t, bundle+"/meminfo", "forged")
		spec := newSpec(
			specs.Mount{Destination: "/proc", Type: "proc", Source: "proc"},
			specs.Mount{Destination: "/proc/meminfo", Source: "meminfo", Options: []string{"bind"}},
			specs.Mount{Destination: "/other", Source: "/proc", Options: []string{"rbind"}})
		enter(t, bundle, spec)
		if got := fileText(t, "/proc/meminfo"); got != "forged" {
			t.Errorf("/proc/meminfo is %q", got)
		}
	})
}

// TestRacingLinks makes mounts while another process keeps exchanging a
// directory on the way for a link that leads out of the root.
func TestRacingLinks(t *testing.T) {
	bothWays(t, 0, func(t *testing.T) {
		bundle := newBundle(t)
		root, outside := bundle+"/rootfs", bundle+"/outside"
		makeDirs(t, root+"/volume/a", outside+"/x/y")
		link(t, outside, root+"/volume/b")
		link(t, "/proc/self/root"+outside, root+"/volume/c")
		var stop atomic.Bool
		done := make(chan bool)
		go func() {
			defer close(done)
			for !stop.Load() {
				for _, other := range []string{"/volume/b", "/volume/c"} {
					unix.Renameat2(unix.AT_FDCWD, root+"/volume/a", unix.AT_FDCWD, root+other, unix.RENAME_EXCHANGE)
				}
			}
		}()
		defer func() { stop.Store(true); <-done }()
		r := prepare(t, bundle, newSpec())
		made := 0
		for i := range 300 {
			m := specs.Mount{Destination: "/volume/a/x/y", Type: "tmpfs", Source: "x"}
			switch i % 3 {
			case 1:
				m = specs.Mount{Destination: "/volume/a/x/y", Source: "outside", Options: []string{"bind"}}
			case 2:
				m.Destination = "/volume/a/new" + strconv.Itoa(i)
			}
			if err := r.mount(0, &m); err == nil {
				made++
			}
		}
		if made == 0 {
			t.Error("no mount was made, so nothing was tested")
		}
		mounts, err := readMounts()
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range mounts {
			if strings.HasPrefix(m.point, outside) {
				t.Fatalf("%s is mounted on, outside of the root", m.point)
			}
		}
		if got := names(t, outside); got != "x" {
			t.Errorf("made in %s, outside of the root: %s", outside, got)
		}
	})
}

// TestForgedDevices asks for devices where an image has something else.
func TestForgedDevices(t *testing.T) {
	device := specs.LinuxDevice{Path: "/devices/d", Type: "c", Major: 1, Minor: 5}
	rows := []struct {
		name string
		make func(t *testing.T, root string)
		word string
	}{
		{"link", func(t *testing.T, root string) { link(t, "/etc/passwd", root+"/devices/d") }, "something else is there"},
		{"file", func(t *testing.T, root string) { makeText(t, root+"/devices/d", "") }, "something else is there"},
		{"other device", func(t *testing.T, root string) { unix.Mknod(root+"/devices/d", unix.S_IFCHR|0o666, 0x103) }, "something else is there"},
		{"forged null", func(t *testing.T, root string) {
			makeDirs(t, root+"/dev")
			link(t, "/proc/self/attr/exec", root+"/dev/null")
		}, "something else is there"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			if !inside(t, 0) {
				return
			}
			bundle := newBundle(t)
			makeDirs(t, bundle+"/rootfs/devices")
			row.make(t, bundle+"/rootfs")
			spec := newSpec()
			spec.Linux.Devices = []specs.LinuxDevice{device}
			_, err := Prepare(&Config{Spec: spec, Bundle: bundle})
			wantError(t, err, row.word)
		})
	}
}

// TestForgedMask replaces /dev/null between the making of the root and the
// masking, as a container that shares the volume could.
func TestForgedMask(t *testing.T) {
	for name, forge := range map[string]func(t *testing.T){
		"link": func(t *testing.T) { link(t, "/proc/self/status", "/dev/null") },
		"file": func(t *testing.T) { makeText(t, "/dev/null", "forged") },
		"none": func(t *testing.T) {},
	} {
		t.Run(name, func(t *testing.T) {
			bothWays(t, newAll, func(t *testing.T) {
				spec := newSpec(defaultMounts()...)
				spec.Linux.MaskedPaths = []string{"/proc/cmdline"}
				r := prepare(t, newBundle(t), spec)
				if err := r.Enter(); err != nil {
					t.Fatal(err)
				}
				if err := os.Remove("/dev/null"); err != nil {
					t.Fatal(err)
				}
				forge(t)
				wantError(t, r.Finish(), `linux.maskedPaths[0] "/proc/cmdline"`, "/dev/null")
			})
		})
	}
}

// TestRenamedProc renames /proc between the making of the root and the masking, as
// a container that shares the root file system could. What is to be masked is there
// all the same.
func TestRenamedProc(t *testing.T) {
	bothWays(t, newAll, func(t *testing.T) {
		bundle := newBundle(t)
		makeDirs(t, bundle+"/rootfs/proc", bundle+"/rootfs/sys")
		rename, renamed := make(chan bool), make(chan error)
		defer close(rename)
		go func() {
			// In a mount namespace of its own: where it is a mount point, a directory
			// can't be renamed. The thread ends with the goroutine.
			runtime.LockOSThread()
			err := unix.Unshare(unix.CLONE_NEWNS)
			renamed <- err
			if !<-rename {
				return
			}
			for _, dir := range []string{"/proc", "/sys"} {
				err = errors.Join(err, os.Rename(bundle+"/rootfs"+dir, bundle+"/rootfs/old"+dir[1:]))
			}
			renamed <- err
		}()
		if err := <-renamed; err != nil {
			t.Fatal(err)
		}
		spec := newSpec(defaultMounts()...)
		spec.Linux.MaskedPaths = []string{"/proc/cmdline", "/sys/kernel"}
		spec.Linux.ReadonlyPaths = []string{"/proc/sys"}
		r := prepare(t, bundle, spec)
		rename <- true
		if err := <-renamed; err != nil {
			t.Fatal(err)
		}
		if err := r.Enter(); err != nil {
			t.Fatal(err)
		}
		err := r.Finish()
		if _, ok := r.mounter.(byName); ok {
			// mount(2) needs a /proc to name descriptors by.
			wantError(t, err, "finding a proc file system")
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := fileText(t, "/oldproc/cmdline"); got != "" {
			t.Errorf("the masked file has %q", got)
		}
		if got := names(t, "/oldsys/kernel"); got != "" {
			t.Errorf("the masked directory has %q", got)
		}
		if err := os.WriteFile("/oldproc/sys/kernel/domainname", []byte("x"), 0); !errors.Is(err, unix.EROFS) {
			t.Errorf("writing to what is read-only: %v", err)
		}
	})
}

// TestReplacedMount finds, instead of what it has mounted by name, something
// else there.
func TestReplacedMount(t *testing.T) {
	dir := t.TempDir()
	open := func() (int, error) { return unix.Open(dir, pathFlags, 0) }
	fd, err := open()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	_, err = mounted(place{fd: fd, again: open})
	wantError(t, err, "replaced")
	root := func() (int, error) { return unix.Open("/", pathFlags, 0) }
	if fd, err = root(); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	_, err = mounted(place{fd: fd, again: root})
	wantError(t, err, "replaced")
}

// TestOpenProc covers files of /proc, and /proc itself, and finds the kernel's
// own nevertheless.
func TestOpenProc(t *testing.T) {
	t.Run("covered", func(t *testing.T) {
		if !inside(t, newAll) {
			return
		}
		forged := t.TempDir() + "/forged"
		makeText(t, forged, "forged")
		for name, point := range map[string]string{"sys/kernel/ostype": "/proc/sys/kernel/ostype", "/proc/self/comm": "/proc/self/comm"} {
			if err := unix.Mount(forged, point, "", unix.MS_BIND, ""); err != nil {
				t.Fatal(err)
			}
			data, err := readProc(name)
			if err != nil || strings.Contains(string(data), "forged") || len(data) == 0 {
				t.Errorf("%s is %q, %v", name, data, err)
			}
		}
		if err := unix.Mount("x", "/proc", "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		makeDirs(t, "/proc/self")
		makeText(t, "/proc/self/status", "forged")
		data, err := readProc("self/status")
		if err != nil || !strings.HasPrefix(string(data), "Name:") {
			t.Errorf("self/status is %q, %v", data, err)
		}
	})
	t.Run("out of it", func(t *testing.T) {
		for _, name := range []string{"self/root/etc/passwd", "/proc/self/fd/0", "self/cwd"} {
			if f, err := OpenProc(name, os.O_RDONLY); err == nil {
				f.Close()
				t.Errorf("%s is opened", name)
			}
		}
		f, err := OpenProc("/proc/../../self/../self/status", os.O_RDONLY)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	})
}
