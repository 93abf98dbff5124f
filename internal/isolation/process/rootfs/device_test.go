package rootfs

import (
	"errors"
	"os"
	"strconv"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// TestDevices makes devices, new ones and such as are there already.
func TestDevices(t *testing.T) {
	bothWays(t, newAll, func(t *testing.T) {
		mode, odd := os.FileMode(0o640), os.FileMode(0o4711)
		uid, gid := uint32(3), uint32(4)
		bundle := newBundle(t)
		root := bundle + "/rootfs"
		makeDirs(t, root+"/there")
		if err := unix.Mknod(root+"/there/zero", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))); err != nil {
			t.Fatal(err)
		}
		spec := newSpec(defaultMounts()...)
		spec.Linux.Devices = []specs.LinuxDevice{
			{Path: "/dev/null", Type: "c", Major: 1, Minor: 3, FileMode: &mode}, // instead of the default
			{Path: "/there/zero", Type: "c", Major: 1, Minor: 5, FileMode: &odd, UID: &uid, GID: &gid},
			{Path: "/dev/deep/in/block", Type: "b", Major: 7, Minor: 300, FileMode: &mode, GID: &gid},
			{Path: "/dev/unbuffered", Type: "u", Major: 4, Minor: 1},
			{Path: "/fifo", Type: "p", UID: &uid},
		}
		enter(t, bundle, spec)
		for name, want := range map[string]struct {
			mode, uid, gid uint32
			major, minor   uint32
		}{
			"/dev/null":          {unix.S_IFCHR | 0o640, 0, 0, 1, 3},
			"/dev/full":          {unix.S_IFCHR | 0o666, 0, 0, 1, 7},
			"/dev/tty":           {unix.S_IFCHR | 0o666, 0, 0, 5, 0},
			"/there/zero":        {unix.S_IFCHR | 0o4711, 3, 4, 1, 5},
			"/dev/deep/in/block": {unix.S_IFBLK | 0o640, 0, 4, 7, 300},
			"/dev/unbuffered":    {unix.S_IFCHR | 0o666, 0, 0, 4, 1},
			"/fifo":              {unix.S_IFIFO | 0o666, 3, 0, 0, 0},
		} {
			var st unix.Stat_t
			if err := unix.Stat(name, &st); err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if st.Mode != want.mode || st.Uid != want.uid || st.Gid != want.gid || st.Rdev != unix.Mkdev(want.major, want.minor) {
				t.Errorf("%s has mode %#o, user %d, group %d, number %#x; want %+v", name, st.Mode, st.Uid, st.Gid, st.Rdev, want)
			}
		}
	})
}

// TestBoundDevice asks for a device where a mount shows one of the host's, which
// stays as it is there.
func TestBoundDevice(t *testing.T) {
	bothWays(t, newAll, func(t *testing.T) {
		bundle := newBundle(t)
		if err := unix.Mknod(bundle+"/zero", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))); err != nil {
			t.Fatal(err)
		}
		uid := uint32(3)
		spec := newSpec(append(defaultMounts(), specs.Mount{Destination: "/dev/bound", Source: "zero", Options: []string{"bind"}})...)
		spec.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/bound", Type: "c", Major: 1, Minor: 5, UID: &uid}}
		enter(t, bundle, spec)
		var st unix.Stat_t
		if err := unix.Stat("/dev/bound", &st); err != nil || st.Uid != 0 || st.Mode&0o7777 != 0o600 {
			t.Errorf("it belongs to %d and has mode %#o (%v)", st.Uid, st.Mode, err)
		}
	})
}

// TestImageDevices makes the default devices where an image without a tmpfs
// on /dev has plain files in their places, and a ptmx of its own.
func TestImageDevices(t *testing.T) {
	bothWays(t, newAll, func(t *testing.T) {
		bundle := newBundle(t)
		dev := bundle + "/rootfs/dev"
		makeDirs(t, dev+"/pts")
		makeText(t, dev+"/null", "")
		link(t, "/elsewhere", dev+"/stdin")
		if err := unix.Mknod(dev+"/ptmx", unix.S_IFCHR|0o666, int(unix.Mkdev(5, 2))); err != nil {
			t.Fatal(err)
		}
		enter(t, bundle, newSpec(specs.Mount{Destination: "/proc", Type: "proc"}))
		makeText(t, "/dev/null", "text")
		if got := fileText(t, "/dev/null"); got != "" {
			t.Errorf("/dev/null has %q", got)
		}
		for name, want := range map[string]string{"/dev/ptmx": "pts/ptmx", "/dev/stdin": "/elsewhere", "/dev/stdout": "/proc/self/fd/1"} {
			if got, err := os.Readlink(name); err != nil || got != want {
				t.Errorf("%s leads to %q, %v; want %q", name, got, err, want)
			}
		}
	})
}

// TestBoundDev leaves a /dev that is bound as it is.
func TestBoundDev(t *testing.T) {
	if !inside(t, newAll) {
		return
	}
	bundle := newBundle(t)
	makeDirs(t, bundle+"/dev")
	enter(t, bundle, newSpec(specs.Mount{Destination: "/dev", Source: "dev", Options: []string{"bind"}}))
	if got := names(t, "/dev"); got != "" {
		t.Errorf("/dev has %s", got)
	}
}

// TestReadonlyDev makes /dev and a tmpfs read-only only after all is in them.
func TestReadonlyDev(t *testing.T) {
	bothWays(t, newAll, func(t *testing.T) {
		bundle := newBundle(t)
		mounts := defaultMounts()
		mounts[1].Options = append(mounts[1].Options, "ro")
		mounts = append(mounts,
			specs.Mount{Destination: "/t", Type: "tmpfs", Options: []string{"ro"}},
			specs.Mount{Destination: "/t/below", Type: "tmpfs"})
		enter(t, bundle, newSpec(mounts...))
		for _, dir := range []string{"/dev", "/t"} {
			if err := os.Mkdir(dir+"/x", 0o755); err == nil {
				t.Errorf("%s is not read-only", dir)
			}
		}
		if err := os.Mkdir("/t/below/x", 0o755); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat("/dev/full"); err != nil {
			t.Error(err)
		}
	})
}

// TestConsole opens a terminal in the container and makes it /dev/console.
func TestConsole(t *testing.T) {
	bothWays(t, newAll, func(t *testing.T) {
		r := prepare(t, newBundle(t), newSpec(defaultMounts()...))
		if err := r.Enter(); err != nil {
			t.Fatal(err)
		}
		master, err := r.PTMX()
		if err != nil {
			t.Fatal(err)
		}
		defer master.Close()
		slave := openPeer(t, master)
		defer slave.Close()
		if err := r.Console(slave); err != nil {
			t.Fatal(err)
		}
		if err := r.Finish(); err != nil {
			t.Fatal(err)
		}
		var console, peer unix.Stat_t
		if err := unix.Stat("/dev/console", &console); err != nil {
			t.Fatal(err)
		}
		if err := unix.Fstat(int(slave.Fd()), &peer); err != nil {
			t.Fatal(err)
		}
		if console.Rdev != peer.Rdev || console.Dev != peer.Dev {
			t.Errorf("/dev/console is %#x of %#x, want %#x of %#x", console.Rdev, console.Dev, peer.Rdev, peer.Dev)
		}
		n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat("/dev/pts/" + strconv.Itoa(n)); err != nil {
			t.Error(err)
		}
	})
}

// openPeer opens the slave of a terminal.
func openPeer(t *testing.T, master *os.File) *os.File {
	t.Helper()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	// The flags of open(2) are this ioctl's argument.
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, master.Fd(), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY)
	if errno != 0 {
		t.Fatal(errno)
	}
	return os.NewFile(fd, "peer")
}

// TestForgedConsole has a link, and another file system, where the terminal
// is to be.
func TestForgedConsole(t *testing.T) {
	if !inside(t, newAll) {
		return
	}
	r := prepare(t, newBundle(t), newSpec(defaultMounts()...))
	if err := r.Enter(); err != nil {
		t.Fatal(err)
	}
	master, err := r.PTMX()
	if err != nil {
		t.Fatal(err)
	}
	link(t, "/elsewhere", "/dev/console")
	wantError(t, r.Console(openPeer(t, master)), "/dev/console", "link")
	if err := unix.Mount("x", "/dev/pts", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	_, err = r.PTMX()
	wantError(t, err, "devpts")
	// This one can be opened, and is another instance's.
	makeDirs(t, "/dev/pts/pts")
	if err := errors.Join(
		unix.Mount("x", "/dev/pts/pts", "devpts", 0, ""),
		unix.Mknod("/dev/pts/ptmx", unix.S_IFCHR|0o666, int(unix.Mkdev(5, 2))),
	); err != nil {
		t.Fatal(err)
	}
	_, err = OpenPTMX()
	wantError(t, err, "not in a devpts")
}
