package kernel

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"coffer/internal/oci"
	"coffer/internal/sentry/boot"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

func pointer[T any](v T) *T { return &v }

func TestTranslateResources(t *testing.T) {
	var r boot.Resources
	for _, tt := range []struct {
		name string
		in   *specs.LinuxResources
		want boot.Resources
	}{
		{"none", nil, boot.Resources{}},
		{"all", &specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: pointer(int64(100)), Swap: pointer(int64(150)), Reservation: pointer(int64(50))},
			CPU:    &specs.LinuxCPU{Quota: pointer(int64(7)), Period: pointer(uint64(9)), Shares: pointer(uint64(1024)), Cpus: "1,3"},
			Pids:   &specs.LinuxPids{Limit: pointer(int64(5))},
		}, boot.Resources{Memory: 100, MemorySwap: 150, Reservation: 50, Quota: 7, Period: 9, Weight: 39, CPUs: []uint64{10}, Tasks: 5}},
		{"what is not named stays", &specs.LinuxResources{CPU: &specs.LinuxCPU{Quota: pointer(int64(8))}},
			boot.Resources{Memory: 100, MemorySwap: 150, Reservation: 50, Quota: 8, Period: 9, Weight: 39, CPUs: []uint64{10}, Tasks: 5}},
		{"no limits any more", &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: pointer(int64(-1)), Swap: pointer(int64(0))}, Pids: &specs.LinuxPids{Limit: pointer(int64(-1))}},
			boot.Resources{Reservation: 50, Quota: 8, Period: 9, Weight: 39, CPUs: []uint64{10}}},
	} {
		change, err := translateResources(tt.in)
		if err != nil {
			t.Fatal(err)
		}
		if r.Change(change); !reflect.DeepEqual(r, tt.want) {
			t.Errorf("%s: %+v, want %+v", tt.name, r, tt.want)
		}
	}
	for _, tt := range []struct{ shares, weight uint64 }{{0, 1}, {2, 1}, {1024, 39}, {262144, 10000}, {1 << 40, 10000}} {
		if got := weightOf(tt.shares); got != tt.weight {
			t.Errorf("%d shares are the weight %d, want %d", tt.shares, got, tt.weight)
		}
	}
}

func TestHostResources(t *testing.T) {
	r := &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: pointer(int64(10))}}
	if got := *(wall{}).HostResources(r).Pids.Limit; got != boot.HostTasks(10) || got <= 10 {
		t.Errorf("the host's limit of tasks is %d", got)
	}
	if *r.Pids.Limit != 10 {
		t.Error("the spec was changed")
	}
	for _, r := range []*specs.LinuxResources{nil, {}, {Pids: &specs.LinuxPids{Limit: pointer(int64(-1))}}} {
		if got := (wall{}).HostResources(r); got != r {
			t.Errorf("%+v became %+v", r, got)
		}
	}
}

// translateMounts of one mount, in a bundle with a directory and a file.
func translateOne(t *testing.T, m specs.Mount) (boot.FileMount, *boot.Files, error) {
	t.Helper()
	bundle := t.TempDir()
	if err := os.Mkdir(filepath.Join(bundle, "dir"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bundle, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var d donation
	t.Cleanup(d.close)
	// Not confined, so that no privileges are needed.
	files := &boot.Files{}
	err := translateMounts([]specs.Mount{m}, bundle, &trees{donation: &d, files: files, shelf: -1})
	if err != nil {
		return boot.FileMount{}, files, err
	}
	return files.Mounts[0], files, nil
}

func TestTranslateMount(t *testing.T) {
	for _, tt := range []struct {
		in    specs.Mount
		want  boot.FileMount
		write bool
		name  string
	}{
		{in: specs.Mount{Destination: "/a/../b", Type: "tmpfs", Source: "t", Options: []string{"nosuid", "noexec", "size=1m", "mode=700", "rshared", "strictatime"}},
			want: boot.FileMount{Field: "mounts[0]", Destination: "/b", Type: "tmpfs", Source: "t", Set: unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_STRICTATIME,
				Propagation: []uint64{unix.MS_SHARED | unix.MS_REC}, Data: "size=1m,mode=700"}},
		{in: specs.Mount{Destination: "d", Type: "bind", Source: "dir", Options: []string{"rbind", "rro"}},
			want: boot.FileMount{Field: "mounts[0]", Destination: "/d", Source: "dir", RecursiveSet: unix.MS_RDONLY}},
		{in: specs.Mount{Destination: "/d", Source: "dir", Options: []string{"bind", "nodev", "rw"}},
			want: boot.FileMount{Field: "mounts[0]", Destination: "/d", Source: "dir", Set: unix.MS_NODEV}, write: true},
		{in: specs.Mount{Destination: "/f", Type: "none", Source: "file", Options: []string{"bind", "ro"}},
			want: boot.FileMount{Field: "mounts[0]", Destination: "/f", Source: "file", File: "file", Set: unix.MS_RDONLY}, name: "file"},
	} {
		got, files, err := translateOne(t, tt.in)
		if err != nil {
			t.Errorf("%+v: %v", tt.in, err)
			continue
		}
		got.Set &^= unix.MS_NOATIME | unix.MS_NODIRATIME // what the source has
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%+v:\n%+v, want\n%+v", tt.in, got, tt.want)
		}
		if got.Type == "" && (len(files.Trees) != 1 || files.Trees[0].Write != tt.write || files.Trees[0].Name != tt.name) {
			t.Errorf("%+v: %+v", tt.in, files.Trees)
		}
	}
	if _, _, err := translateOne(t, specs.Mount{Destination: "/x", Type: "bind", Source: "missing"}); err == nil || !strings.Contains(err.Error(), "mounts[0]") {
		t.Errorf("a missing source: %v", err)
	}
}

func TestCheckNamespaces(t *testing.T) {
	all := func(change func(list []specs.LinuxNamespace) []specs.LinuxNamespace) []specs.LinuxNamespace {
		list := []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.NetworkNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.MountNamespace}}
		return change(list)
	}
	for _, tt := range []struct {
		name    string
		sandbox int
		change  func([]specs.LinuxNamespace) []specs.LinuxNamespace
		ok      bool
	}{
		{"new ones", 0, func(l []specs.LinuxNamespace) []specs.LinuxNamespace { return l }, true},
		{"a network of the host's", 0, func(l []specs.LinuxNamespace) []specs.LinuxNamespace { l[1].Path = "/proc/self/ns/net"; return l }, true},
		{"the host's network", 0, func(l []specs.LinuxNamespace) []specs.LinuxNamespace { return append(l[:1:1], l[2:]...) }, true},
		{"the host's processes", 0, func(l []specs.LinuxNamespace) []specs.LinuxNamespace { return l[1:] }, false},
		{"a namespace of the host's", 0, func(l []specs.LinuxNamespace) []specs.LinuxNamespace { l[2].Path = "/proc/7/ns/ipc"; return l }, false},
		{"that of the sandbox", 7, func(l []specs.LinuxNamespace) []specs.LinuxNamespace { l[2].Path = "/proc/7/ns/ipc"; return l }, true},
		{"that of another", 8, func(l []specs.LinuxNamespace) []specs.LinuxNamespace { l[2].Path = "/proc/7/ns/ipc"; return l }, false},
		{"another kind of the sandbox's", 7, func(l []specs.LinuxNamespace) []specs.LinuxNamespace { l[2].Path = "/proc/7/ns/uts"; return l }, false},
	} {
		if err := checkNamespaces(all(tt.change), tt.sandbox); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// FuzzCheck: whatever a configuration holds that oci.Check lets pass, it is
// translated or refused.
func FuzzCheck(f *testing.F) {
	seed, err := json.Marshal(oci.Template(false))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add([]byte(`{"ociVersion":"1.0.0","root":{"path":"r"},"process":{"cwd":"/","args":["x"],"scheduler":{"policy":"SCHED_ISO"},"rlimits":[{"type":"x"}]},"linux":{"seccomp":{"defaultAction":"SCMP_ACT_NOTIFY"},"devices":[{"type":"c","path":"/x","major":-1}],"resources":{"cpu":{"cpus":"9-1"}}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		spec := new(specs.Spec)
		if json.Unmarshal(data, spec) != nil || oci.Check(spec) != nil || checkSpec(spec, 0) != nil {
			return
		}
		if _, err := translateProcess(spec.Process, spec.Linux); err != nil {
			t.Errorf("it was checked, and cannot be translated: %v", err)
		}
		if spec.Linux != nil {
			translateDevices(spec.Linux.Devices)
			translateSysctls(spec.Linux.Sysctl)
		}
	})
}
