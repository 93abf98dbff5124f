package mountoption

import (
	"reflect"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParse(t *testing.T) {
	const rdonly, nosuid, atime = unix.MOUNT_ATTR_RDONLY, unix.MOUNT_ATTR_NOSUID, unix.MOUNT_ATTR__ATIME
	for _, tt := range []struct {
		name string
		in   []string
		want Options
	}{
		{"none", nil, Options{}},
		{"later holds", []string{"ro", "rw", "nosuid"}, Options{Attributes: Attributes{Set: nosuid, Clear: rdonly}}},
		{"recursive attributes", []string{"rro", "rsuid"}, Options{Attributes: Attributes{RecursiveSet: rdonly, RecursiveClear: nosuid}}},
		{"times", []string{"noatime", "rrelatime"}, Options{Attributes: Attributes{
			Set: unix.MOUNT_ATTR_NOATIME, Clear: atime, RecursiveClear: atime}}},
		{"bind", []string{"bind", "rbind"}, Options{Bind: true, Recursive: true}},
		{"propagation in order", []string{"rslave", "shared"}, Options{Attributes: Attributes{
			Propagation: []uint{unix.MS_SLAVE | unix.MS_REC, unix.MS_SHARED}}}},
		{"data", []string{"size=1m,mode=700", `context="a,b",x`, "tmpcopyup", "x-mine"}, Options{
			CopyUp: true, Data: []string{"size=1m", "mode=700", `context="a,b"`, "x"}}},
		{"of the file system", []string{"sync", "nomand", "ridmap"}, Options{Super: unix.MS_SYNCHRONOUS, IDMap: true, IDMapRecursive: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Parse(tt.in); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%q: %+v, not %+v", tt.in, got, tt.want)
			}
		})
	}
	if f, ok := Propagation("rshared"); !ok || f != unix.MS_SHARED|unix.MS_REC {
		t.Errorf("rshared: %#x, %t", f, ok)
	}
}
