// Package sysfs is a view of /sys as far as programs read it to learn of the
// machine: processors, memory nodes, huge pages, control group limits and the
// interfaces of the network namespace of who looks. There are no other devices
// in a sandbox, and nothing can be changed.
package sysfs

import (
	"fmt"
	"math/bits"
	"strconv"

	"coffer/internal/sentry/fs/genfs"
	"coffer/internal/sentry/vfs"
)

// Numbers for statfs(2).
const (
	magic        = 0x62656572
	cgroup2Magic = 0x63677270
)

// Config is what /sys tells of the machine.
type Config struct {
	// CPUs is the set of processors, 64 a word (kernel.CPUs).
	CPUs []uint64
	// Memory returns the memory in bytes: all of it, and what is free.
	Memory func() (total, free uint64)
	// Caches describe the first processor's caches; they may be empty.
	Caches []Cache
}

// Cache is one cache of a processor.
type Cache struct {
	Level, LineSize, Ways, Sets int
	// Type is "Data", "Instruction" or "Unified".
	Type string
	// Size is in bytes.
	Size int
	// Shared says that all processors share it.
	Shared bool
}

// FS is the file system.
type FS struct {
	name  string
	magic int64
	root  *genfs.Dir
}

// Name implements vfs.FileSystem.
func (fs *FS) Name() string { return fs.name }

// Root implements vfs.FileSystem.
func (fs *FS) Root() vfs.Inode { return fs.root }

// StatFS implements vfs.FileSystem.
func (fs *FS) StatFS() (vfs.StatFS, error) {
	return vfs.StatFS{Type: fs.magic, BlockSize: genfs.Blksize, FragSize: genfs.Blksize, NameLen: 255}, nil
}

// Release implements vfs.FileSystem.
func (fs *FS) Release() {}

// New returns the file system. /sys/fs/cgroup is an empty directory, for
// NewCgroup to be mounted on.
func New(c Config) *FS {
	super := genfs.NewSuper(vfs.AnonymousDevice())
	super.Flat = &genfs.Flat{Size: genfs.Blksize, Last: genfs.NearOffset}
	root := genfs.NewRoot(super)
	fs := &FS{name: "sysfs", magic: magic, root: root}
	root.AddDir("block")
	bus := root.AddDir("bus")
	bus.AddDir("cpu")
	bus.AddDir("pci").AddDir("devices")
	bus.AddDir("usb").AddDir("devices")
	class := root.AddDir("class")
	for _, name := range []string{"block", "drm", "mem", "misc", "tty"} {
		class.AddDir(name)
	}
	dev := root.AddDir("dev")
	dev.AddDir("block")
	dev.AddDir("char")
	devices := root.AddDir("devices")
	addNet(class, devices)
	system := devices.AddDir("system")
	addCPUs(system.AddDir("cpu"), c)
	addNodes(system.AddDir("node"), c)
	root.AddDir("firmware")
	fsDir := root.AddDir("fs")
	fsDir.AddDir("cgroup")
	addKernel(root.AddDir("kernel"))
	root.AddDir("module")
	root.AddDir("power")
	return fs
}

func addKernel(k *genfs.Dir) {
	k.AddText("uevent_seqnum", "0\n")
	k.AddText("profiling", "0\n")
	k.AddText("fscaps", "1\n")
	k.AddText("address_bits", "64\n")
	k.AddText("cpu_byteorder", "little\n")
	m := k.AddDir("mm")
	thp := m.AddDir("transparent_hugepage")
	thp.AddText("enabled", "always madvise [never]\n")
	thp.AddText("defrag", "always defer defer+madvise madvise [never]\n")
	thp.AddText("shmem_enabled", "always within_size advise [never] deny force\n")
	thp.AddText("use_zero_page", "1\n")
	thp.AddText("hpage_pmd_size", "2097152\n")
	h := m.AddDir("hugepages").AddDir("hugepages-2048kB")
	for _, name := range []string{"nr_hugepages", "free_hugepages", "resv_hugepages", "surplus_hugepages", "nr_overcommit_hugepages"} {
		h.AddText(name, "0\n")
	}
	m.AddDir("ksm").AddText("run", "0\n")
	k.AddDir("debug")
	k.AddDir("security")
	k.AddDir("tracing")
}

func addCPUs(d *genfs.Dir, c Config) {
	set := genfs.Bitmap(c.CPUs)
	list := string(set.List(nil)) + "\n"
	for _, name := range []string{"online", "possible", "present"} {
		d.AddText(name, list)
	}
	d.AddText("offline", "\n")
	d.AddText("isolated", "\n")
	d.AddText("kernel_max", strconv.Itoa(max(set.Len(), 64)-1)+"\n")
	d.AddDir("smt").AddText("active", "0\n")
	v := d.AddDir("vulnerabilities")
	for _, name := range []string{"meltdown", "spectre_v1", "spectre_v2", "spec_store_bypass", "l1tf", "mds"} {
		v.AddText(name, "Not affected\n")
	}
	set.Each(func(n int) { addCPU(d.AddDir("cpu"+strconv.Itoa(n)), n, c) })
}

// only is the set of one number.
func only(n int) genfs.Bitmap {
	m := make(genfs.Bitmap, n/64+1)
	m[n/64] = 1 << (n % 64)
	return m
}

// addCPU describes one processor: a core of its own in the one package.
func addCPU(d *genfs.Dir, n int, c Config) {
	all := genfs.Bitmap(c.CPUs)
	size := all.Len()
	own := only(n)
	d.AddText("online", "1\n")
	t := d.AddDir("topology")
	t.AddText("core_id", strconv.Itoa(n)+"\n")
	t.AddText("physical_package_id", "0\n")
	t.AddText("die_id", "0\n")
	t.AddText("cluster_id", "65535\n")
	for _, v := range []struct {
		name string
		set  genfs.Bitmap
	}{
		{"thread_siblings", own}, {"core_cpus", own}, {"core_siblings", all}, {"package_cpus", all}, {"die_cpus", all},
	} {
		t.AddText(v.name, string(v.set.Mask(nil, size))+"\n")
		t.AddText(v.name+"_list", string(v.set.List(nil))+"\n")
	}
	caches := d.AddDir("cache")
	for i, cache := range c.Caches {
		k := caches.AddDir("index" + strconv.Itoa(i))
		set := own
		if cache.Shared {
			set = all
		}
		k.AddText("level", strconv.Itoa(cache.Level)+"\n")
		k.AddText("type", cache.Type+"\n")
		k.AddText("size", strconv.Itoa(cache.Size>>10)+"K\n")
		k.AddText("coherency_line_size", strconv.Itoa(cache.LineSize)+"\n")
		k.AddText("ways_of_associativity", strconv.Itoa(cache.Ways)+"\n")
		k.AddText("number_of_sets", strconv.Itoa(cache.Sets)+"\n")
		k.AddText("id", strconv.Itoa(n)+"\n")
		k.AddText("shared_cpu_map", string(set.Mask(nil, size))+"\n")
		k.AddText("shared_cpu_list", string(set.List(nil))+"\n")
	}
}

// addNodes describes the memory: one node that all processors belong to.
func addNodes(d *genfs.Dir, c Config) {
	for _, name := range []string{"online", "possible", "has_cpu", "has_memory", "has_normal_memory"} {
		d.AddText(name, "0\n")
	}
	n := d.AddDir("node0")
	all := genfs.Bitmap(c.CPUs)
	n.AddText("cpulist", string(all.List(nil))+"\n")
	n.AddText("cpumap", string(all.Mask(nil, all.Len()))+"\n")
	n.AddText("distance", "10\n")
	n.AddText("numastat", "numa_hit 0\nnuma_miss 0\nnuma_foreign 0\ninterleave_hit 0\nlocal_node 0\nother_node 0\n")
	n.AddText("vmstat", "")
	n.AddFile("meminfo", func(_ vfs.Caller, b []byte) ([]byte, error) {
		var total, free uint64
		if c.Memory != nil {
			total, free = c.Memory()
		}
		used := total - min(free, total)
		return fmt.Appendf(b, "Node 0 MemTotal:       %8d kB\nNode 0 MemFree:        %8d kB\nNode 0 MemUsed:        %8d kB\n",
			total>>10, free>>10, used>>10), nil
	})
	all.Each(func(cpu int) {
		n.AddLink("cpu"+strconv.Itoa(cpu), "../../cpu/cpu"+strconv.Itoa(cpu))
	})
}

// DefaultCaches are caches of common sizes, for where the host's are not
// known; programs divide by a cache's size and must not meet 0.
var DefaultCaches = []Cache{
	cache(1, "Data", 32<<10, 8, false),
	cache(1, "Instruction", 32<<10, 8, false),
	cache(2, "Unified", 1<<20, 16, false),
	cache(3, "Unified", 32<<20, 16, true),
}

func cache(level int, kind string, size, ways int, shared bool) Cache {
	const line = 64
	sets := size / (ways * line)
	sets = 1 << (bits.Len(uint(sets)) - 1)
	return Cache{Level: level, Type: kind, Size: size, LineSize: line, Ways: ways, Sets: sets, Shared: shared}
}
