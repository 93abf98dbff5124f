package procfs

import (
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"coffer/internal/sentry/abi"
	"coffer/internal/sentry/auth"
	"coffer/internal/sentry/fs/epoll"
	"coffer/internal/sentry/fs/genfs"
	"coffer/internal/sentry/fs/inotify"
	"coffer/internal/sentry/kernel"
	"coffer/internal/sentry/mm"
	"coffer/internal/sentry/vfs"

	"golang.org/x/sys/unix"
)

// values are the settings that can be written, by the inode of their file.
type values struct {
	mu sync.Mutex
	m  map[uint64]string
}

// get returns a setting, set changes it by f.
func (v *values) get(ino uint64, initial string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if s, ok := v.m[ino]; ok {
		return s
	}
	return initial
}

func (v *values) set(ino uint64, s string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.m == nil {
		v.m = map[uint64]string{}
	}
	v.m[ino] = s
}

// addSysctl fills /proc/sys. Values that can be written are kept and shown
// again, which is what programs check; only the names, the pattern of core
// dumps and those of the network act.
func (fs *FS) addSysctl(sys *genfs.Dir) {
	k := sys.AddDir("kernel")
	k.AddText("ostype", abi.OSType+"\n")
	k.AddText("osrelease", abi.OSRelease+"\n")
	k.AddText("version", abi.OSVersion+"\n")
	fs.addName(k, "hostname", (*kernel.UTSNamespace).Hostname, (*kernel.UTSNamespace).SetHostname)
	fs.addName(k, "domainname", (*kernel.UTSNamespace).Domainname, (*kernel.UTSNamespace).SetDomainname)
	k.AddText("pid_max", strconv.Itoa(kernel.PIDMax)+"\n")
	k.AddText("threads-max", strconv.Itoa(fs.k.MaxTasks())+"\n")
	k.AddText("cap_last_cap", strconv.Itoa(unix.CAP_LAST_CAP)+"\n")
	k.AddText("ngroups_max", "65536\n")
	k.AddText("overflowuid", "65534\n")
	k.AddText("overflowgid", "65534\n")
	k.AddText("tainted", "0\n")
	for _, v := range []struct{ name, value string }{
		{"core_pipe_limit", "0"}, {"randomize_va_space", "2"},
		{"printk", "4\t4\t1\t7"}, {"kptr_restrict", "1"}, {"dmesg_restrict", "1"}, {"perf_event_paranoid", "3"},
		{"panic", "0"}, {"panic_on_oops", "0"}, {"sysrq", "0"}, {"sched_autogroup_enabled", "0"},
		{"msgmax", "8192"}, {"msgmnb", "16384"}, {"msgmni", "32000"}, {"sem", "32000\t1024000000\t500\t32000"},
		{"shmall", "18446744073692774399"}, {"shmmax", "18446744073692774399"}, {"shmmni", "4096"},
		{"unprivileged_bpf_disabled", "2"}, {"io_uring_disabled", "2"}, {"numa_balancing", "0"}, {"nmi_watchdog", "0"},
		{"unprivileged_userns_clone", "1"},
	} {
		fs.addValue(k, v.name, v.value)
	}
	fs.addCorePattern(k)
	r := k.AddDir("random")
	r.AddText("boot_id", fs.bootID+"\n")
	r.AddFile("uuid", func(_ vfs.Caller, b []byte) ([]byte, error) { return append(b, newUUID()+"\n"...), nil })
	r.AddText("entropy_avail", "256\n")
	r.AddText("poolsize", "256\n")
	fs.addValue(r, "write_wakeup_threshold", "256")
	fs.addValue(r, "urandom_min_reseed_secs", "60")
	pty := k.AddDir("pty")
	pty.AddText("max", "4096\n")
	pty.AddText("nr", "0\n")
	seccomp := k.AddDir("seccomp")
	seccomp.AddText("actions_avail", seccompActions+"\n")
	fs.addValue(seccomp, "actions_logged", strings.TrimSuffix(seccompActions, " allow"))
	yama := k.AddDir("yama")
	fs.addValue(yama, "ptrace_scope", "0")

	m := sys.AddDir("vm")
	for _, v := range []struct{ name, value string }{
		{"overcommit_memory", "0"}, {"overcommit_ratio", "50"}, {"overcommit_kbytes", "0"},
		{"max_map_count", strconv.Itoa(mm.MaxMaps)}, {"mmap_min_addr", fs.minAddr()}, {"swappiness", "60"},
		{"dirty_ratio", "20"}, {"dirty_background_ratio", "10"}, {"vfs_cache_pressure", "100"}, {"drop_caches", "0"},
		{"nr_hugepages", "0"}, {"nr_overcommit_hugepages", "0"}, {"min_free_kbytes", "67584"}, {"panic_on_oom", "0"},
		{"oom_kill_allocating_task", "0"}, {"zone_reclaim_mode", "0"}, {"compact_memory", "0"}, {"legacy_va_layout", "0"},
		{"unprivileged_userfaultfd", "0"}, {"memfd_noexec", "0"},
	} {
		fs.addValue(m, v.name, v.value)
	}

	f := sys.AddDir("fs")
	for _, v := range []struct{ name, value string }{
		{"nr_open", "1048576"}, {"pipe-max-size", "1048576"},
		{"pipe-user-pages-soft", "16384"}, {"pipe-user-pages-hard", "0"}, {"lease-break-time", "45"},
		{"aio-max-nr", "65536"}, {"aio-nr", "0"}, {"protected_hardlinks", "0"}, {"protected_symlinks", "0"},
		{"protected_fifos", "0"}, {"protected_regular", "0"}, {"suid_dumpable", "0"}, {"mount-max", strconv.Itoa(vfs.MaxMounts)},
	} {
		fs.addValue(f, v.name, v.value)
	}
	f.AddFile("file-max", func(_ vfs.Caller, b []byte) ([]byte, error) {
		_, most := vfs.OpenFiles()
		return append(strconv.AppendInt(b, most, 10), '\n'), nil
	})
	f.AddFile("file-nr", func(_ vfs.Caller, b []byte) ([]byte, error) {
		open, most := vfs.OpenFiles()
		return fmt.Appendf(b, "%d\t0\t%d\n", open, most), nil
	})
	f.AddText("inode-nr", "0\t0\n")
	f.AddText("inode-state", "0\t0\t0\t0\t0\t0\t0\n")
	f.AddText("dentry-state", "0\t0\t45\t0\t0\t0\n")
	i := f.AddDir("inotify")
	fs.addValue(i, "max_user_instances", strconv.Itoa(inotify.MaxInstances))
	fs.addValue(i, "max_user_watches", strconv.Itoa(inotify.MaxWatches))
	fs.addValue(i, "max_queued_events", strconv.Itoa(inotify.MaxQueued))
	e := f.AddDir("epoll")
	fs.addValue(e, "max_user_watches", strconv.Itoa(epoll.MaxWatches))
	q := f.AddDir("mqueue")
	for _, v := range []struct{ name, value string }{
		{"msg_max", "10"}, {"msgsize_max", "8192"}, {"queues_max", "256"}, {"msg_default", "10"}, {"msgsize_default", "8192"},
	} {
		fs.addValue(q, v.name, v.value)
	}

	fs.addNetSysctls(sys.AddDir("net"))

	u := sys.AddDir("user")
	for _, name := range []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "uts"} {
		u.AddText("max_"+name+"_namespaces", strconv.Itoa(kernel.MaxNamespaces)+"\n")
	}
	u.AddText("max_user_namespaces", strconv.Itoa(auth.MaxUserNamespaces)+"\n")
	sys.AddDir("debug")
	sys.AddDir("dev")
}

// seccompActions are the names of a filter's actions, strictest first.
const seccompActions = "kill_process kill_thread trap errno user_notif trace log allow"

// minAddr is the lowest address that can be mapped.
func (fs *FS) minAddr() string {
	if fs.k.Platform == nil {
		return "65536"
	}
	return strconv.FormatUint(fs.k.Platform.Limits().Min, 10)
}

// addValue adds a value that the administrator may change.
func (fs *FS) addValue(d *genfs.Dir, name, value string) {
	ino := genfs.Ino(d.Ino, name)
	d.Add(name, &genfs.File{
		Super: d.Super, Ino: ino, Perm: 0o644,
		Content: func(_ vfs.Caller, b []byte) ([]byte, error) {
			return append(append(b, fs.values.get(ino, value)...), '\n'), nil
		},
		Store: func(_ vfs.Caller, data []byte) error {
			s := strings.TrimSpace(strings.TrimRight(string(data), "\x00"))
			// A number stays a number.
			if _, err := strconv.ParseUint(value, 10, 64); err == nil {
				if _, err := strconv.ParseInt(s, 0, 64); err != nil {
					return unix.EINVAL
				}
			}
			fs.values.set(ino, s)
			return nil
		},
	})
}

// maxName is __NEW_UTS_LEN.
const maxName = 64

// addName adds the host's or the domain's name, as the reader's UTS namespace has
// it.
func (fs *FS) addName(d *genfs.Dir, name string, get func(*kernel.UTSNamespace) string, set func(*kernel.UTSNamespace, string)) {
	d.Add(name, &genfs.File{
		Super: d.Super, Ino: genfs.Ino(d.Ino, name), Perm: 0o644,
		Content: func(c vfs.Caller, b []byte) ([]byte, error) {
			t := taskOf(c)
			if t == nil {
				return nil, unix.EINVAL
			}
			return append(append(b, get(t.UTS())...), '\n'), nil
		},
		Store: func(c vfs.Caller, data []byte) error {
			t := taskOf(c)
			if t == nil || !t.Credentials().CanIn(t.UTS().Owner(), unix.CAP_SYS_ADMIN) {
				return unix.EPERM
			}
			s, _, _ := strings.Cut(string(data), "\n")
			s, _, _ = strings.Cut(s, "\x00")
			set(t.UTS(), s[:min(len(s), maxName)])
			return nil
		},
	})
}

// newUUID returns a random UUID (version 4).
func newUUID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
