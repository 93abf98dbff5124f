package rootfs

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSplitData(t *testing.T) {
	for in, want := range map[string][]string{
		"":                             nil,
		",,":                           nil,
		"size=1":                       {"size=1"},
		"a,b=c,":                       {"a", "b=c"},
		`context="u:r:t:s0:c1,c2",x=1`: {`context="u:r:t:s0:c1,c2"`, "x=1"},
		`open="a,b`:                    {`open="a,b`},
	} {
		if got := splitData(in); !reflect.DeepEqual(got, want) {
			t.Errorf("%q is split into %q, want %q", in, got, want)
		}
	}
}

// TestMountOptions compares the options with the table of runtime-spec.
func TestMountOptions(t *testing.T) {
	const must = `async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev rdiratime relatime remount rexec rnoatime rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap`
	list := MountOptions()
	if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
		t.Errorf("the list is not sorted, or has an option twice: %q", list)
	}
	for name := range strings.FieldsSeq(must) {
		if !slices.Contains(list, name) {
			t.Errorf("option %s is not listed", name)
		}
		if o := parseOptions([]string{name}); o.data != nil {
			t.Errorf("option %s is passed to the file system", name)
		}
	}
}

// FuzzParseOptions checks what holds of all options: what goes to the kernel
// is consistent, and nothing is lost.
func FuzzParseOptions(f *testing.F) {
	for _, seed := range []string{"", "ro", "rbind,rro\nnosuid", "noatime\nrelatime\nratime", "mode=755,size=1k", `context="a,b"`, "rr\nrrw\nr\nro", strings.Join(MountOptions(), "\n")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list := strings.Split(text, "\n")
		o := parseOptions(list)
		for _, a := range [][2]uint64{{o.set, o.clear}, {o.recursiveSet, o.recursiveClear}} {
			// mount_setattr(2) wants the whole mask cleared if a way of updating
			// times is set, and nothing else both set and cleared.
			if a[0]&unix.MOUNT_ATTR__ATIME != 0 && a[1]&unix.MOUNT_ATTR__ATIME != unix.MOUNT_ATTR__ATIME {
				t.Errorf("%q sets %#x and clears %#x", list, a[0], a[1])
			}
			if a[0]&a[1]&^unix.MOUNT_ATTR__ATIME != 0 {
				t.Errorf("%q sets and clears %#x", list, a[0]&a[1])
			}
		}
		if o.recursive && !o.bind || o.idmapRecursive && !o.idmap {
			t.Errorf("%q is recursive without being: %+v", list, o)
		}
		known := MountOptions()
		for _, name := range list {
			if slices.Contains(known, name) || name == "" || strings.HasPrefix(name, "x-") || strings.HasPrefix(name, "X-") {
				continue
			}
			for _, d := range splitData(name) {
				if !slices.Contains(o.data, d) {
					t.Errorf("%q loses %q", list, d)
				}
			}
		}
	})
}

// FuzzParseMounts reads what the kernel writes, and a container has a hand in:
// names of directories.
func FuzzParseMounts(f *testing.F) {
	f.Add([]byte("36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue\n"), []byte("4:memory:/a\n0::/\n"))
	f.Add([]byte("36 35 98:0 / /a\\040b\\ rw - cgroup x y cpu,memory\n"), []byte("x"))
	f.Fuzz(func(t *testing.T, mountinfo, cgroups []byte) {
		mounts, err := parseMounts(mountinfo)
		if err != nil {
			return
		}
		list, err := parseHierarchies(cgroups, mounts)
		if err != nil {
			return
		}
		for _, h := range list {
			if len(h.controllers) == 0 || !isBelow(h.dir, hostCgroups) {
				t.Errorf("%+v is outside of %s", h, hostCgroups)
			}
		}
	})
}
