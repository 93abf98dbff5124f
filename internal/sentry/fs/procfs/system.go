package procfs

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/fs/genfs"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// newRoot builds /proc's fixed entries.
func newRoot(fs *FS) *root {
	d := genfs.NewRoot(fs.super)
	r := &root{Dir: d, fs: fs}
	self := func(name string, target func(t *kernel.Task) string) {
		d.Add(name, &genfs.Symlink{Super: fs.super, Ino: genfs.Ino(d.Ino, name), Target: func(c vfs.Caller) (string, error) {
			t := taskOf(c)
			if t == nil || t.Kernel() != fs.k || t.TIDIn(fs.pids) == 0 {
				return "", unix.ENOENT
			}
			return target(t), nil
		}})
	}
	self("self", func(t *kernel.Task) string { return strconv.Itoa(int(t.ThreadGroup().IDIn(fs.pids))) })
	self("thread-self", func(t *kernel.Task) string {
		return strconv.Itoa(int(t.ThreadGroup().IDIn(fs.pids))) + "/task/" + strconv.Itoa(int(t.TIDIn(fs.pids)))
	})
	d.AddLink("mounts", "self/mounts")
	d.AddLink("net", "self/net")
	d.AddFile("cpuinfo", func(_ vfs.Caller, b []byte) ([]byte, error) { return append(b, fs.config.CPUInfo...), nil })
	d.AddFile("meminfo", fs.meminfo)
	d.AddFile("stat", fs.stat)
	d.AddFile("uptime", fs.uptime)
	d.AddFile("loadavg", fs.loadavg)
	d.AddFile("filesystems", filesystems)
	d.AddFile("vmstat", fs.vmstat)
	d.AddText("version", fmt.Sprintf("%s version %s (coffer@sandbox) (go) %s\n", abi.OSType, abi.OSRelease, abi.OSVersion))
	d.AddText("cmdline", fs.config.Cmdline+"\n")
	d.AddText("devices", "Character devices:\n  1 mem\n  5 /dev/tty\n  5 /dev/console\n  5 /dev/ptmx\n136 pts\n\nBlock devices:\n")
	d.AddText("swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")
	d.AddText("partitions", "major minor  #blocks  name\n\n")
	d.AddText("diskstats", "")
	d.AddText("modules", "")
	d.AddText("misc", "")
	d.AddText("mdstat", "Personalities : \nunused devices: <none>\n")
	d.AddText("dma", "")
	d.AddText("iomem", "")
	d.AddText("ioports", "")
	d.AddText("locks", "")
	d.AddText("key-users", "")
	d.AddText("keys", "")
	d.AddText("buddyinfo", "")
	d.AddText("zoneinfo", "")
	d.AddText("cgroups", cgroupControllers())
	d.AddText("consoles", "")
	d.AddText("interrupts", "      "+strings.Join(cpuNames(), "       ")+"\n")
	d.AddText("softirqs", "                    "+strings.Join(cpuNames(), "       ")+"\n")
	d.AddDir("bus")
	d.AddDir("driver")
	d.AddDir("irq")
	d.AddDir("tty").AddText("drivers", "/dev/tty             /dev/tty        5       0 system:/dev/tty\n"+
		"/dev/console         /dev/console    5       1 system:console\n"+
		"/dev/ptmx            /dev/ptmx       5       2 system\n"+
		"pty_slave            /dev/pts      136 0-1048575 pty:slave\n")
	d.AddDir("fs")
	d.AddDir("sysvipc")
	sys := d.AddDir("sys")
	fs.sysctlSuper = *d.Super
	fs.sysctlSuper.Flat = &genfs.Flat{Last: genfs.FarOffset}
	sys.Super = &fs.sysctlSuper
	fs.addSysctl(sys)
	return r
}

func cpuNames() (names []string) {
	genfs.Bitmap(kernel.CPUs()).Each(func(n int) { names = append(names, "CPU"+strconv.Itoa(n)) })
	return names
}

// cpuCount is how many processors there are.
func cpuCount() int { return max(1, genfs.Bitmap(kernel.CPUs()).Count()) }

// totals sums up the processor time of all processes.
func (fs *FS) totals() (user, system time.Duration, running, blocked, threads int) {
	for _, g := range fs.k.ThreadGroups() {
		u, s := g.CPUTime()
		cu, cs := g.ChildCPUTime()
		user, system = user+u, system+s
		if g == fs.k.Init() {
			// What ended was waited for in the end; most of it by PID 1.
			user, system = user+cu, system+cs
		}
		for _, t := range g.Tasks() {
			threads++
			switch t.State() {
			case 'R':
				running++
			case 'D':
				blocked++
			}
		}
	}
	return
}

// stat renders /proc/stat. Idle time is what is left of the time since boot.
func (fs *FS) stat(c vfs.Caller, b []byte) ([]byte, error) {
	user, system, running, blocked, _ := fs.totals()
	cpus := cpuCount()
	up := time.Since(fs.k.BootTime())
	idle := max(0, up*time.Duration(cpus)-user-system)
	row := func(name string, part int) {
		b = append(b, name...)
		for _, v := range [...]time.Duration{user, 0, system, idle} {
			b = strconv.AppendInt(append(b, ' '), ticks(v/time.Duration(part)), 10)
		}
		b = append(b, " 0 0 0 0 0 0\n"...)
	}
	row("cpu ", 1)
	genfs.Bitmap(kernel.CPUs()).Each(func(n int) { row("cpu"+strconv.Itoa(n), cpus) })
	return fmt.Appendf(b, "intr 0\nctxt 0\nbtime %d\nprocesses %d\nprocs_running %d\nprocs_blocked %d\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n",
		fs.k.BootTime().Add(-bootOffset(c)).Unix(), fs.k.Forks(), running, blocked), nil
}

func (fs *FS) uptime(c vfs.Caller, b []byte) ([]byte, error) {
	user, system, _, _, _ := fs.totals()
	up := time.Since(fs.k.BootTime())
	idle := max(0, up*time.Duration(cpuCount())-user-system)
	return fmt.Appendf(b, "%.2f %.2f\n", (up + bootOffset(c)).Seconds(), idle.Seconds()), nil
}

func (fs *FS) loadavg(_ vfs.Caller, b []byte) ([]byte, error) {
	_, _, running, blocked, threads := fs.totals()
	l := fs.load.update(time.Now(), running+blocked)
	return fmt.Appendf(b, "%.2f %.2f %.2f %d/%d %d\n", l[0], l[1], l[2], running, threads, fs.pids.LastPID()), nil
}

// filesystems lists what mount(2) knows.
func filesystems(_ vfs.Caller, b []byte) ([]byte, error) {
	for _, t := range vfs.FileSystemTypes() {
		if !t.Device {
			b = append(b, "nodev"...)
		}
		b = append(append(append(b, '\t'), t.Name...), '\n')
	}
	return b, nil
}

// memory is the sandbox's memory: how much there is, how much is not in use,
// what processes take, and what belongs to none of them, in bytes.
func (fs *FS) memory() (total, free, used, shared uint64) {
	anon := fs.k.MemoryUsed()
	i := fs.k.MemoryInfo()
	return i.Total, min(i.Free+i.Buffers, sub(i.Total, anon+i.Shared)), anon, i.Shared
}

func (fs *FS) meminfo(_ vfs.Caller, b []byte) ([]byte, error) {
	total, free, anon, shared := fs.memory()
	for _, v := range [...]struct {
		name  string
		bytes uint64
	}{
		{"MemTotal", total}, {"MemFree", free}, {"MemAvailable", free}, {"Buffers", 0},
		{"Cached", shared}, {"SwapCached", 0}, {"Active", anon}, {"Inactive", 0},
		{"Active(anon)", anon}, {"Inactive(anon)", 0}, {"Active(file)", 0}, {"Inactive(file)", 0},
		{"Unevictable", 0}, {"Mlocked", 0}, {"SwapTotal", 0}, {"SwapFree", 0}, {"Dirty", 0}, {"Writeback", 0},
		{"AnonPages", anon}, {"Mapped", 0}, {"Shmem", shared}, {"KReclaimable", 0}, {"Slab", 0},
		{"SReclaimable", 0}, {"SUnreclaim", 0}, {"KernelStack", 0}, {"PageTables", 0},
		{"CommitLimit", total}, {"Committed_AS", anon}, {"VmallocTotal", 34359738367 << 10},
		{"VmallocUsed", 0}, {"VmallocChunk", 0}, {"AnonHugePages", 0},
	} {
		b = append(append(b, v.name...), ':')
		b = appendRight(b, v.bytes>>10, max(1, 24-len(v.name)-1))
		b = append(b, " kB\n"...)
	}
	return append(b, "HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\nHugePages_Surp:        0\nHugepagesize:       2048 kB\nHugetlb:               0 kB\n"...), nil
}

func (fs *FS) vmstat(_ vfs.Caller, b []byte) ([]byte, error) {
	_, free, anon, shared := fs.memory()
	return fmt.Appendf(b, "nr_free_pages %d\nnr_anon_pages %d\nnr_mapped 0\nnr_file_pages %d\nnr_dirty 0\nnr_writeback 0\nnr_shmem %d\npgpgin 0\npgpgout 0\npswpin 0\npswpout 0\npgfault 0\npgmajfault 0\noom_kill 0\n",
		free/pageSize, anon/pageSize, shared/pageSize, shared/pageSize), nil
}

// cgroupControllers renders /proc/cgroups: the controllers that a control group
// shows, and version 1's name for a part of one, without which the JVM believes
// that there are none. Hierarchy 0 says that they are version 2's.
func cgroupControllers() string {
	s := "#subsys_name\thierarchy\tnum_cgroups\tenabled\n"
	for _, name := range []string{"cpuset", "cpu", "cpuacct", "memory", "pids"} {
		s += name + "\t0\t1\t1\n"
	}
	return s
}
