package devfs

import (
	"bytes"
	"testing"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func open(t *testing.T, minor uint32) vfs.File {
	t.Helper()
	f, err := vfs.OpenDevice(nil, unix.S_IFCHR, majorMemory, minor, unix.O_RDWR)
	if err != nil {
		t.Fatalf("open 1:%d: %v", minor, err)
	}
	return f
}

func TestMemoryDevices(t *testing.T) {
	const pattern = 0xaa
	for _, tt := range []struct {
		name     string
		minor    uint32
		read     int
		zero     bool
		writeErr error
	}{
		{"null", 3, 0, false, nil},
		{"zero", 5, 64, true, nil},
		{"full", 7, 64, true, unix.ENOSPC},
		{"random", 8, 64, false, nil},
		{"urandom", 9, 64, false, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := open(t, tt.minor)
			b := bytes.Repeat([]byte{pattern}, 64)
			n, err := f.Read(nil, b, 12345)
			if n != tt.read || err != nil {
				t.Errorf("read %d, %v", n, err)
			}
			if got := bytes.Equal(b, make([]byte, 64)); got != tt.zero {
				t.Errorf("all zero: %t", got)
			}
			if n > 0 && bytes.Equal(b, bytes.Repeat([]byte{pattern}, 64)) {
				t.Error("nothing was read")
			}
			n, _, err = f.Write(nil, b, 0, 0)
			if err != tt.writeErr || err == nil && n != 64 {
				t.Errorf("write %d, %v", n, err)
			}
			if off, err := f.Seek(0, 1<<40, 7); off != 0 || err != nil {
				t.Errorf("seek %d, %v", off, err)
			}
		})
	}
	if _, err := vfs.OpenDevice(nil, unix.S_IFCHR, majorMemory, 1, 0); err != unix.ENXIO {
		t.Errorf("/dev/mem: %v", err)
	}
}

// recorder is a directory that notes what is made in it.
type recorder struct {
	vfs.NoInode
	made map[string]uint32
}

func (r *recorder) Attr() (vfs.Attr, error) { return vfs.Attr{Mode: unix.S_IFDIR | 0o755}, nil }
func (r *recorder) Mknod(_ vfs.Owner, name string, mode, major, minor uint32) (vfs.Inode, error) {
	r.made[name] = major<<8 | minor
	return r, nil
}
func (r *recorder) Symlink(_ vfs.Owner, name, target string) (vfs.Inode, error) {
	r.made[name] = 0
	return r, nil
}
func (r *recorder) Mkdir(_ vfs.Owner, name string, mode uint32) (vfs.Inode, error) {
	r.made[name] = 0
	return r, nil
}

func TestPopulate(t *testing.T) {
	r := &recorder{made: map[string]uint32{}}
	if err := Populate(r); err != nil {
		t.Fatal(err)
	}
	for name, dev := range map[string]uint32{"null": 0x103, "zero": 0x105, "full": 0x107, "random": 0x108,
		"urandom": 0x109, "tty": 0x500, "console": 0x501, "ptmx": 0x502, "net": 0, "tun": 10<<8 | 200, "fd": 0, "stdin": 0, "pts": 0, "shm": 0} {
		if got, ok := r.made[name]; !ok || got != dev {
			t.Errorf("%s: made %t, device %#x", name, ok, got)
		}
	}
}
