package rootfs

import "testing"

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
