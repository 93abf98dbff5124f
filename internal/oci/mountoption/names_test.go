package mountoption

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
	list := Names()
	if !slices.IsSorted(list) || len(slices.Compact(slices.Clone(list))) != len(list) {
		t.Errorf("the list is not sorted, or has an option twice: %q", list)
	}
	for name := range strings.FieldsSeq(must) {
		if !slices.Contains(list, name) {
			t.Errorf("option %s is not listed", name)
		}
		if o := Parse([]string{name}); o.Data != nil {
			t.Errorf("option %s is passed to the file system", name)
		}
	}
}

// FuzzParseOptions checks what holds of all options: what goes to the kernel
// is consistent, and nothing is lost.
func FuzzParseOptions(f *testing.F) {
	for _, seed := range []string{"", "ro", "rbind,rro\nnosuid", "noatime\nrelatime\nratime", "mode=755,size=1k", `context="a,b"`, "rr\nrrw\nr\nro", strings.Join(Names(), "\n")} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		list := strings.Split(text, "\n")
		o := Parse(list)
		for _, a := range [][2]uint64{{o.Set, o.Clear}, {o.RecursiveSet, o.RecursiveClear}} {
			// mount_setattr(2) wants the whole mask cleared if a way of updating
			// times is set, and nothing else both set and cleared.
			if a[0]&unix.MOUNT_ATTR__ATIME != 0 && a[1]&unix.MOUNT_ATTR__ATIME != unix.MOUNT_ATTR__ATIME {
				t.Errorf("%q sets %#x and clears %#x", list, a[0], a[1])
			}
			if a[0]&a[1]&^unix.MOUNT_ATTR__ATIME != 0 {
				t.Errorf("%q sets and clears %#x", list, a[0]&a[1])
			}
		}
		if o.Recursive && !o.Bind || o.IDMapRecursive && !o.IDMap {
			t.Errorf("%q is recursive without being: %+v", list, o)
		}
		known := Names()
		for _, name := range list {
			if slices.Contains(known, name) || name == "" || strings.HasPrefix(name, "x-") || strings.HasPrefix(name, "X-") {
				continue
			}
			for _, d := range splitData(name) {
				if !slices.Contains(o.Data, d) {
					t.Errorf("%q loses %q", list, d)
				}
			}
		}
	})
}
