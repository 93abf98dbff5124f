package sysfs

import (
	"strings"
	"testing"

	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

func read(t *testing.T, fs *FS, path string) string {
	t.Helper()
	ino := fs.Root()
	for name := range strings.SplitSeq(path, "/") {
		next, err := ino.Lookup(name)
		if err != nil {
			t.Fatalf("%s: %s: %v", path, name, err)
		}
		ino = next
	}
	f, err := ino.Open(nil, unix.O_RDONLY)
	if err != nil {
		t.Fatal(err)
	}
	var b [4096]byte
	n, err := f.Read(nil, b[:], 0)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func TestFiles(t *testing.T) {
	fs := New(Config{
		CPUs: []uint64{0xd}, Caches: DefaultCaches,
		Memory: func() (uint64, uint64) { return 1 << 30, 1 << 29 },
	})
	for path, want := range map[string]string{
		"devices/system/cpu/online":                             "0,2-3\n",
		"devices/system/cpu/cpu3/topology/core_siblings":        "d\n",
		"devices/system/cpu/cpu2/topology/thread_siblings_list": "2\n",
		"devices/system/cpu/cpu0/cache/index0/size":             "32K\n",
		"devices/system/cpu/cpu0/cache/index3/shared_cpu_list":  "0,2-3\n",
		"devices/system/node/online":                            "0\n",
		"devices/system/node/node0/cpulist":                     "0,2-3\n",
		"devices/system/node/node0/meminfo": "Node 0 MemTotal:        1048576 kB\n" +
			"Node 0 MemFree:          524288 kB\nNode 0 MemUsed:          524288 kB\n",
		"kernel/mm/transparent_hugepage/enabled": "always madvise [never]\n",
	} {
		if got := read(t, fs, path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	if _, err := fs.Root().Mkdir(vfs.Owner{}, "x", 0); err != unix.EPERM {
		t.Errorf("mkdir: %v", err)
	}
}

func TestCgroup(t *testing.T) {
	var l Limits
	u := Usage{Memory: 4096, Tasks: 3, User: 5000, System: 2000}
	fs := NewCgroup(func() Limits { return l }, func() Usage { return u })
	for _, tt := range []struct {
		limits Limits
		want   map[string]string
	}{
		{Limits{CPUs: []uint64{3}}, map[string]string{
			"memory.max": "max\n", "cpu.max": "max 100000\n", "pids.max": "max\n", "cpu.weight": "100\n",
			"memory.low": "0\n", "memory.swap.max": "0\n", "cpuset.cpus.effective": "0-1\n",
			"memory.current": "4096\n", "pids.current": "3\n", "cpu.stat": "usage_usec 7\nuser_usec 5\nsystem_usec 2\n",
			"cgroup.controllers": "cpuset cpu memory pids\n",
		}},
		// Limits change while the group is there.
		{Limits{Memory: 1 << 20, Swap: 7, Reservation: 9, Quota: 50000, Period: 20000, Weight: 20, Tasks: 8, CPUs: []uint64{2}}, map[string]string{
			"memory.max": "1048576\n", "cpu.max": "50000 20000\n", "pids.max": "8\n", "cpu.weight": "20\n",
			"memory.low": "9\n", "memory.swap.max": "7\n", "cpuset.cpus": "1\n",
		}},
	} {
		l = tt.limits
		for path, want := range tt.want {
			if got := read(t, fs, path); got != want {
				t.Errorf("%s: %q, want %q", path, got, want)
			}
		}
	}
}
