package boot

import "testing"

func TestIDMaps(t *testing.T) {
	for _, c := range []struct {
		name, data string
		has        bool
		extents    int
	}{
		{"the host", "         0          0 4294967295\n", true, 1},
		{"unshare -r", "         0       1000          1\n", false, 1},
		{"a rootless container", "         0       1000          1\n         1     100000      65536\n", true, 2},
		{"a range that ends before", "0 100000 65534\n", false, 1},
		{"nothing", "", false, 0},
		{"not a map", "a b c\n1 2\n", false, 0},
	} {
		ids := parseIDMap([]byte(c.data))
		if len(ids) != c.extents || hasID(ids, stubUser) != c.has {
			t.Errorf("%s: %v; has %d: %t", c.name, ids, stubUser, hasID(ids, stubUser))
		}
		for _, m := range ids {
			if m.ContainerID != m.HostID {
				t.Errorf("%s: %v is not mapped to itself", c.name, m)
			}
		}
	}
}
