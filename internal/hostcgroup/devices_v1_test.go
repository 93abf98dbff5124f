package hostcgroup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	devices "github.com/opencontainers/cgroups/devices/config"
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func TestListed(t *testing.T) {
	none := &devices.Rule{Type: devices.WildcardDevice}
	all := &devices.Rule{Type: devices.WildcardDevice, Allow: true}
	null := allow(devices.CharDevice, 1, 3, "rwm")
	noNull := null
	noNull.Allow = false
	for name, c := range map[string]struct {
		rules []*devices.Rule
		want  bool
	}{
		"nothing":              {nil, false},
		"all denied":           {[]*devices.Rule{none}, true},
		"a list":               {[]*devices.Rule{none, &null}, true},
		"denied afterwards":    {[]*devices.Rule{none, &null, &noNull}, false},
		"all allowed":          {[]*devices.Rule{all}, false},
		"all but one":          {[]*devices.Rule{all, &noNull}, false},
		"nothing denied first": {[]*devices.Rule{&null}, false},
		"all of them after":    {[]*devices.Rule{none, all}, false},
	} {
		if got := listed(c.rules); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// TestDevicesInOrder: devices.list of cgroup v1 shows the rules as the spec has
// them, before those that are always there.
func TestDevicesInOrder(t *testing.T) {
	number := func(n int64) *int64 { return &n }
	rule := func(kind string, major, minor int64, access string) specs.LinuxDeviceCgroup {
		return specs.LinuxDeviceCgroup{Allow: true, Type: kind, Major: number(major), Minor: number(minor), Access: access}
	}
	c := create(t, &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{
		{Access: "rwm"}, rule("c", 10, 229, "rwm"), rule("b", 8, 20, "rw"), rule("c", 10, 200, "r"),
	}})
	if c.unified() {
		t.Skip("cgroup v2 has no list to read")
	}
	b, err := os.ReadFile(filepath.Join(c.Path("devices"), "devices.list"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "c 10:229 rwm\nb 8:20 rw\nc 10:200 r\n"; !strings.HasPrefix(string(b), want) {
		t.Errorf("devices.list is\n%s", b)
	}
}
