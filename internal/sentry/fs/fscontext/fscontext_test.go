package fscontext

import (
	"strings"
	"testing"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// fileSystem is one that is not used.
type fileSystem struct{ vfs.FileSystem }

func (fileSystem) Release() {}

// create makes one, and returns what it was to be made with.
func create(f *Context) (got vfs.MountRequest, kind string, err error) {
	err = f.Create(func(k string, r vfs.MountRequest) (vfs.FileSystem, error) {
		got, kind = r, k
		return fileSystem{}, nil
	})
	return got, kind, err
}

func TestParameters(t *testing.T) {
	f := &Context{kind: "tmpfs"}
	for _, c := range []struct {
		key, value string
		flag       bool
		want       error
	}{
		{"size", "1m", false, nil},
		{"noswap", "", true, nil},
		{"ro", "", true, nil},
		{"rw", "", true, nil},
		{"ro", "", true, nil},
		{"lazytime", "", true, nil},
		{"ro", "yes", false, unix.EINVAL},
		{"source", "a,b=c", false, nil},
		{"source", "again", false, unix.EINVAL},
		{"source", "", true, unix.EINVAL},
		{"size=1m,mode", "0", false, unix.EINVAL},
		{"mode", "755,uid=0", false, unix.EINVAL},
		{"uid=0", "", true, unix.EINVAL},
		{"", "", true, unix.EINVAL},
		{"mode", "a=b", false, nil}, // is for the file system to refuse
		{"long", strings.Repeat("x", maxData), false, unix.EINVAL},
	} {
		if err := f.Set(c.key, c.value, c.flag); err != c.want {
			t.Errorf("%.20s=%.20s: %v, want %v", c.key, c.value, err, c.want)
		}
	}
	got, kind, err := create(f)
	if want := "size=1m,noswap,mode=a=b"; err != nil || kind != "tmpfs" || got.Data != want || got.Source != "a,b=c" || got.Flags != unix.MS_RDONLY|unix.MS_LAZYTIME {
		t.Errorf("made with %+v (%s), %v; want %q", got, kind, err, want)
	}
	if err := f.Set("size", "1m", false); err != unix.EBUSY {
		t.Errorf("a parameter too late: %v", err)
	}
	if _, _, err := create(f); err != unix.EBUSY {
		t.Errorf("made twice: %v", err)
	}
}

// TestLife goes through what comes out of order.
func TestLife(t *testing.T) {
	mount := func(vfs.FileSystem, uint64, string) error { return nil }
	f := &Context{kind: "tmpfs"}
	if err := f.Mount(mount); err != unix.EBUSY {
		t.Errorf("mounted before it is made: %v", err)
	}
	if err := f.Reconfigure(); err != unix.EBUSY {
		t.Errorf("changed though it was not picked: %v", err)
	}
	if err := f.Create(func(string, vfs.MountRequest) (vfs.FileSystem, error) { return nil, unix.ENOMEM }); err != unix.ENOMEM {
		t.Errorf("not made: %v", err)
	}
	if _, _, err := create(f); err != unix.EBUSY {
		t.Errorf("made after a failure: %v", err)
	}
	f = &Context{kind: "tmpfs"}
	if _, _, err := create(f); err != nil {
		t.Fatal(err)
	}
	if err := f.Mount(func(vfs.FileSystem, uint64, string) error { return unix.EPERM }); err != unix.EPERM {
		t.Errorf("mounting that fails: %v", err)
	}
	if err := f.Mount(mount); err != nil {
		t.Errorf("mounting again: %v", err)
	}
	if err := f.Mount(mount); err != unix.EBUSY {
		t.Errorf("mounted twice: %v", err)
	}
	picked := &Context{kind: "tmpfs", picked: true}
	if _, _, err := create(picked); err != unix.EBUSY {
		t.Errorf("made though it was picked: %v", err)
	}
	if err := picked.Reconfigure(); err != nil {
		t.Errorf("no change: %v", err)
	}
	if err := picked.Set("size", "1m", false); err != nil {
		t.Fatal(err)
	}
	if err := picked.Reconfigure(); err != unix.EOPNOTSUPP {
		t.Errorf("a change: %v", err)
	}
}

// FuzzParameters gives strings that a guest made up: what comes out must be the
// parameters that were taken, no more and no others.
func FuzzParameters(f *testing.F) {
	f.Add("size", "1m", false, "source", "none")
	f.Add("ro", "", true, "a,b", "c=d")
	f.Add("", "=", false, "\x00", ",")
	f.Fuzz(func(t *testing.T, key, value string, flag bool, second, its string) {
		c := &Context{kind: "tmpfs"}
		var want []string
		add := func(key, value string, flag bool) {
			if c.Set(key, value, flag) != nil {
				return
			}
			if _, known := flagNames[key]; known || key == "source" {
				return
			}
			if !flag {
				key += "=" + value
			}
			want = append(want, key)
		}
		add(key, value, flag)
		add(second, its, false)
		got, _, err := create(c)
		if err != nil || len(got.Data) > maxData {
			t.Fatalf("%d bytes, %v", len(got.Data), err)
		}
		var parsed []string
		if got.Data != "" {
			parsed = strings.Split(got.Data, ",")
		}
		if len(parsed) != len(want) {
			t.Fatalf("%q became %q", want, parsed)
		}
		for i := range want {
			k, _, _ := strings.Cut(parsed[i], "=")
			if parsed[i] != want[i] || k != key && k != second {
				t.Errorf("%q became %q", want[i], parsed[i])
			}
		}
	})
}
