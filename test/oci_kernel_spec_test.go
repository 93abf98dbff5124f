package test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A spec means the same behind both walls: each case runs a script and expects
// the same words of it.

// specCase is a spec and what a program finds in it.
type specCase struct {
	name string
	// change makes the spec; dir is the bundle's directory.
	change func(s *specs.Spec, dir string)
	script string
	// want is what the script writes, code how it ends; refused are words that an
	// error has.
	want    string
	code    int
	refused []string
	// only is the wall that the case is for; empty is both.
	only string
	// after looks at the bundle when the container has gone.
	after func(t *testing.T, dir string)
}

// applets are the programs that scripts use.
var applets = []string{"cut", "df", "env", "grep", "head", "id", "ln", "ls", "mkdir", "mkfifo", "mknod", "mount", "nproc", "pwd",
	"rm", "sort", "stat", "tail", "touch", "tr", "umount", "uname", "wc", "chmod", "cp", "dd", "true", "readlink", "chown"}

func (c *specCase) run(t *testing.T, isolation string) {
	r := newKernelRuntime(t)
	dir := r.bundle("b", func(s *specs.Spec) {
		s.Process.NoNewPrivileges = false
		if c.change != nil {
			c.change(s, filepath.Join(r.bundles, "b"))
		}
	}, "sh", "-c", c.script)
	for _, a := range applets {
		if err := os.Symlink("busybox", filepath.Join(dir, "rootfs/bin", a)); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
	got := run(t, 2*time.Minute, dir, "", r.program, "--root", r.root, "--isolation", isolation, "run", "--bundle", dir, r.id("spec"))
	switch {
	case got.code != c.code || got.stdout != c.want:
		t.Errorf("it ended with %d, not %d, and wrote\n%s\nnot\n%s\nerrors: %s", got.code, c.code, got.stdout, c.want, tail(got.stderr))
	case c.refused != nil:
		for _, word := range c.refused {
			if !strings.Contains(got.stderr, word) {
				t.Errorf("the error does not have %q: %s", word, got.stderr)
			}
		}
	}
	if left := r.list(); len(left) > 0 {
		t.Errorf("left: %q", left)
	}
	if c.after != nil {
		c.after(t, dir)
	}
}

// write puts a file into a bundle.
func write(dir, name, text string) {
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		panic(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		panic(err)
	}
}

func fileIn(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

func addMount(s *specs.Spec, destination, kind, source string, options ...string) {
	s.Mounts = append(s.Mounts, specs.Mount{Destination: destination, Type: kind, Source: source, Options: options})
}

// capabilities gives a process some in all sets but the ambient one.
func capabilities(s *specs.Spec, names ...string) {
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: names, Effective: names, Permitted: names}
}

const capLines = "grep Cap /proc/self/status | tr -d '\\t'"

var specCases = []specCase{
	{name: "user and groups", change: func(s *specs.Spec, _ string) {
		mask := uint32(0o77)
		s.Process.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{5, 7}, Umask: &mask}
		s.Process.Cwd = "/made/here"
	}, script: "id; umask; pwd; ls -ld /made/here | cut -c1-10", want: "uid=1000 gid=1001 groups=5,7\n0077\n/made/here\ndrwxr-xr-x\n"},
	{name: "capabilities of root", change: func(s *specs.Spec, _ string) { capabilities(s, "CAP_KILL", "CAP_CHOWN") },
		script: capLines, want: "CapInh:0000000000000000\nCapPrm:0000000000000021\nCapEff:0000000000000021\nCapBnd:0000000000000021\nCapAmb:0000000000000000\n"},
	{name: "capabilities of a user", change: func(s *specs.Spec, _ string) {
		s.Process.User.UID = 7
		capabilities(s, "CAP_KILL", "CAP_CHOWN")
		s.Process.Capabilities.Inheritable = []string{"CAP_KILL"}
		s.Process.Capabilities.Ambient = []string{"CAP_KILL"}
	}, script: capLines, want: "CapInh:0000000000000020\nCapPrm:0000000000000020\nCapEff:0000000000000020\nCapBnd:0000000000000021\nCapAmb:0000000000000020\n"},
	{name: "limits and scores", change: func(s *specs.Spec, _ string) {
		score := 300
		s.Process.OOMScoreAdj = &score
		s.Process.NoNewPrivileges = true
		s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 99, Soft: 55}, {Type: "RLIMIT_CORE", Hard: 8192, Soft: 4096}}
	}, script: "grep -e 'open files' -e 'core file' /proc/self/limits | tr -s ' '; cat /proc/self/oom_score_adj; grep NoNew /proc/self/status | tr -d '\\t'",
		want: "Max core file size 4096 8192 bytes \nMax open files 55 99 files \n300\nNoNewPrivs:1\n"},
	{name: "names", change: func(s *specs.Spec, _ string) { s.Hostname, s.Domainname = "inner", "realm" },
		script: "hostname; cat /proc/sys/kernel/domainname; uname -n", want: "inner\nrealm\ninner\n"},
	{name: "environment", change: func(s *specs.Spec, _ string) { s.Process.Env = append(s.Process.Env, "A=1", "B=") },
		script: "echo $A ${B-unset} ${HOME-unset}; env | grep -c -e ^A= -e ^B= -e ^PATH=", want: "1 /\n3\n"},
	{name: "devices", script: "cd /dev; for d in null zero full random urandom tty; do stat -c '%n %t:%T %a %u' $d; done; ls -l fd stdin ptmx | cut -d' ' -f9- | tr -s ' ' | grep -o '[a-z]* -> .*'; dd if=/dev/zero bs=5 count=1 2>/dev/null | wc -c; echo x >/dev/null && echo null; (echo x >/dev/full) 2>/dev/null || echo full",
		want: "null 1:3 666 0\nzero 1:5 666 0\nfull 1:7 666 0\nrandom 1:8 666 0\nurandom 1:9 666 0\ntty 5:0 666 0\nfd -> /proc/self/fd\nptmx -> pts/ptmx\nstdin -> /proc/self/fd/0\n5\nnull\nfull\n"},
	{name: "devices of the spec", change: func(s *specs.Spec, _ string) {
		mode, id := os.FileMode(0o640), uint32(9)
		s.Linux.Devices = []specs.LinuxDevice{
			{Path: "/dev/nothing", Type: "c", Major: 1, Minor: 3, FileMode: &mode, UID: &id, GID: &id},
			{Path: "/dev/sub/pipe", Type: "p", FileMode: &mode},
			{Path: "/dev/null", Type: "c", Major: 1, Minor: 3},
		}
		null := []int64{1, 3}
		s.Linux.Resources.Devices = append(s.Linux.Resources.Devices,
			specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &null[0], Minor: &null[1], Access: "rwm"})
	}, script: "stat -c '%F %t:%T %a %u:%g' /dev/nothing; stat -c '%F %a' /dev/sub/pipe; echo x > /dev/null && echo taken",
		want: "character special file 1:3 640 9:9\nfifo 640\ntaken\n"},
	{name: "bind mounts", change: func(s *specs.Spec, dir string) {
		write(dir, "src/f", "f\n")
		write(dir, "src/sub/g", "g\n")
		write(dir, "one", "one\n")
		addMount(s, "/rw", "bind", "src", "rbind", "rw")
		addMount(s, "/ro", "none", "src", "rbind", "ro")
		addMount(s, "/etc/one", "bind", "one", "bind", "ro")
		addMount(s, "/etc/deep/two", "bind", "one", "bind")
	}, script: "cat /rw/f /ro/sub/g /etc/one; echo new > /rw/n; (echo x > /ro/n) 2>/dev/null || echo ro; (echo x > /etc/one) 2>/dev/null || echo ro; echo two > /etc/deep/two; cat /etc/one",
		want: "f\ng\none\nro\nro\ntwo\n",
		after: func(t *testing.T, dir string) {
			if got := fileIn(t, dir, "src/n") + fileIn(t, dir, "one"); got != "new\ntwo\n" {
				t.Errorf("the host's files hold %q", got)
			}
			if _, err := os.Stat(filepath.Join(dir, "rootfs/etc/deep/two")); err != nil {
				t.Errorf("the place of a mount was not made: %v", err)
			}
		}},
	{name: "options of mounts", change: func(s *specs.Spec, dir string) {
		write(dir, "src/run", "#!/bin/sh\necho ran\n")
		os.Chmod(filepath.Join(dir, "src/run"), 0o755)
		capabilities(s, "CAP_MKNOD", "CAP_SYS_ADMIN")
		addMount(s, "/noexec", "bind", "src", "bind", "noexec")
		addMount(s, "/exec", "bind", "src", "bind", "nosuid", "nodev")
		addMount(s, "/mem", "tmpfs", "memory", "nodev", "nosuid", "mode=751", "size=64k", "uid=3", "gid=4")
		addMount(s, "/quiet", "tmpfs", "tmpfs", "ro", "noatime")
		addMount(s, "/quiet/in", "tmpfs", "tmpfs", "strictatime")
	}, script: "/exec/run; (/noexec/run) 2>/dev/null || echo noexec; stat -c '%a %u:%g' /mem; df -k /mem | tail -1 | tr -s ' ' | cut -d' ' -f2; touch /quiet/in/x; (touch /quiet/x) 2>/dev/null || echo ro; grep -e ' /mem' -e quiet /proc/self/mountinfo | cut -d' ' -f5,6",
		want: "ran\nnoexec\n751 3:4\n64\nro\n/mem rw,nosuid,nodev,relatime\n/quiet ro,noatime\n/quiet/in rw\n"},
	{name: "modes below tmpfs", change: func(s *specs.Spec, dir string) {
		os.MkdirAll(filepath.Join(dir, "rootfs/was"), 0o755)
		os.Chmod(filepath.Join(dir, "rootfs/was"), 0o711)
		addMount(s, "/was", "tmpfs", "tmpfs")
		addMount(s, "/was/not", "tmpfs", "tmpfs")
	}, script: "stat -c %a /was /was/not", want: "711\n755\n", only: "process"},
	{name: "tmpcopyup", change: func(s *specs.Spec, dir string) {
		write(dir, "rootfs/was/f", "f\n")
		write(dir, "rootfs/was/sub/g", "g\n")
		os.Chmod(filepath.Join(dir, "rootfs/was/f"), 0o600)
		os.Symlink("f", filepath.Join(dir, "rootfs/was/link"))
		addMount(s, "/was", "tmpfs", "tmpfs", "tmpcopyup")
	}, script: "cat /was/link /was/sub/g; stat -c %a /was/f; echo x > /was/f",
		want: "f\ng\n600\n",
		after: func(t *testing.T, dir string) {
			if got := fileIn(t, dir, "rootfs/was/f"); got != "f\n" {
				t.Errorf("the host's file holds %q", got)
			}
		}},
	{name: "links on the way", change: func(s *specs.Spec, dir string) {
		os.MkdirAll(filepath.Join(dir, "rootfs/var"), 0o755)
		os.Symlink("/run", filepath.Join(dir, "rootfs/var/run"))
		os.Symlink("../../../../outside", filepath.Join(dir, "rootfs/out"))
		addMount(s, "/var/run/x", "tmpfs", "tmpfs")
		addMount(s, "/out/y", "tmpfs", "tmpfs")
	}, script: "grep -e ' /run' -e ' /outside' /proc/self/mountinfo | cut -d' ' -f5", want: "/run/x\n/outside/y\n",
		after: func(t *testing.T, dir string) {
			if _, err := os.Stat(filepath.Join(dir, "../outside")); err == nil {
				t.Error("a link led out of the root")
			}
		}},
	{name: "read-only root", change: func(s *specs.Spec, dir string) {
		s.Root.Readonly = true
		addMount(s, "/not/there", "tmpfs", "tmpfs")
	}, script: "(touch /x) 2>/dev/null || echo ro; touch /not/there/x && echo rw; (mkdir /not/here) 2>/dev/null || echo ro", want: "ro\nrw\nro\n"},
	{name: "read-only root without mounts", change: func(s *specs.Spec, dir string) {
		s.Root.Readonly = true
		s.Mounts = nil
	}, script: "echo x > /dev/null && stat -c '%n %t:%T' /dev/null; (touch /x /dev/x) 2>/dev/null || echo ro", want: "/dev/null 1:3\nro\n"},
	{name: "written root", script: "echo hi > /f; ln -s f /l; chmod 4711 /f; chown 3:4 /f; mkfifo /p; stat -c '%a %u:%g' /f", want: "711 3:4\n",
		change: func(s *specs.Spec, _ string) { capabilities(s, "CAP_CHOWN", "CAP_FSETID") },
		after: func(t *testing.T, dir string) {
			// chown has taken the bit that chmod had set.
			if st, err := os.Lstat(filepath.Join(dir, "rootfs/l")); err != nil || st.Mode()&os.ModeSymlink == 0 {
				t.Errorf("%v, %v", st, err)
			}
			if got := fileIn(t, dir, "rootfs/f"); got != "hi\n" {
				t.Errorf("the host's file holds %q", got)
			}
		}},
	{name: "masked and read-only paths", change: func(s *specs.Spec, dir string) {
		write(dir, "rootfs/secret/f", "f")
		write(dir, "rootfs/file", "f")
		write(dir, "rootfs/kept/f", "f")
		s.Linux.MaskedPaths = append(s.Linux.MaskedPaths, "/secret", "/file", "/missing")
		s.Linux.ReadonlyPaths = append(s.Linux.ReadonlyPaths, "/kept", "/missing")
	}, script: "ls /secret; cat /file; cat /kept/f; echo; (echo x > /kept/f) 2>/dev/null || echo ro; (touch /secret/x) 2>/dev/null || echo ro; (echo x > /proc/sys/kernel/domainname) 2>/dev/null || echo ro",
		want: "f\nro\nro\nro\n"},
	{name: "user namespace", change: func(s *specs.Spec, dir string) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		s.Linux.UIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 1000}}
		s.Linux.GIDMappings = []specs.LinuxIDMapping{{ContainerID: 0, HostID: 200000, Size: 1000}}
		for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
			os.Chmod(d, 0o755)
		}
		write(dir, "rootfs/own", "own")
		os.Chown(filepath.Join(dir, "rootfs/own"), 100005, 200005)
		os.Chown(filepath.Join(dir, "rootfs"), 100000, 200000)
	}, script: "id; tr -s ' ' < /proc/self/uid_map; stat -c %u:%g /own / /bin; touch /mine; echo x > /dev/null && echo null; stat -c %u /dev",
		want: "uid=0 gid=0\n 0 100000 1000\n5:5\n0:0\n65534:65534\nnull\n0\n",
		after: func(t *testing.T, dir string) {
			var st unix.Stat_t
			if err := unix.Stat(filepath.Join(dir, "rootfs/mine"), &st); err != nil || st.Uid != 100000 || st.Gid != 200000 {
				t.Errorf("a file made by the container's root is %d:%d's on the host, %v", st.Uid, st.Gid, err)
			}
		}},
	{name: "sysctls", change: func(s *specs.Spec, _ string) {
		s.Linux.Sysctl = map[string]string{"kernel.shmmni": "1234", "kernel.domainname": "dom", "net.ipv4.ip_forward": "1",
			"net/ipv4/ip_local_port_range": "30000 30100", "net.ipv6.conf.lo.disable_ipv6": "1"}
	}, script: "cd /proc/sys && cat kernel/shmmni kernel/domainname net/ipv4/ip_forward net/ipv4/ip_local_port_range net/ipv6/conf/lo/disable_ipv6",
		want: "1234\ndom\n1\n30000\t30100\n1\n"},
	{name: "time namespace", change: func(s *specs.Spec, _ string) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
		s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 50000000}}
	}, script: "test $(cut -d. -f1 /proc/uptime) -ge 50000000 && echo later; tail -1 /proc/self/timens_offsets | tr -s ' '", want: "later\nboottime 50000000 0\n"},
	{name: "seccomp", change: func(s *specs.Spec, _ string) {
		errno := uint(95)
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86_64},
			Syscalls: []specs.LinuxSyscall{
				{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno, ErrnoRet: &errno},
				{Names: []string{"umask"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 0, Value: 0o77, Op: specs.OpEqualTo}}},
			}}
	}, script: "mkdir /x 2>&1; grep -i '^seccomp:' /proc/self/status | tr -d '\\t'; sh -c 'mkdir /y' 2>&1", want: "mkdir: can't create directory '/x': Operation not supported\nSeccomp:2\nmkdir: can't create directory '/y': Operation not supported\n", code: 1},
	{name: "limits under a filter that refuses them", change: func(s *specs.Spec, _ string) {
		s.Process.NoNewPrivileges = false
		s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: 199, Soft: 155}, {Type: "RLIMIT_CPU", Hard: 90, Soft: 80}}
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"prlimit64"}, Action: specs.ActErrno}}}
	}, script: "grep -E 'open files|cpu time' /proc/self/limits | tr -s ' '", want: "Max cpu time 80 90 seconds \nMax open files 155 199 files \n"},
	{name: "personality and priorities", change: func(s *specs.Spec, _ string) {
		s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32}
		s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 6}
		s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: 5}
	}, script: "cut -d' ' -f19,41 /proc/self/stat; uname -m", want: "5 3\ni686\n"},
	{name: "message queues", script: "ls /dev/mqueue; touch /dev/mqueue/q && cat /dev/mqueue/q | cut -c1-7", want: "QSIZE:0\n"},
	{name: "overlay", change: func(s *specs.Spec, dir string) {
		write(dir, "low/f", "low\n")
		write(dir, "low/g", "low\n")
		for _, d := range []string{"up", "work"} {
			os.Mkdir(filepath.Join(dir, d), 0o755)
		}
		addMount(s, "/over", "overlay", "overlay", "lowerdir="+dir+"/low,upperdir="+dir+"/up,workdir="+dir+"/work")
	}, script: "cat /over/f; echo new > /over/f; rm /over/g; cat /over/f; ls /over", want: "low\nnew\nf\n",
		after: func(t *testing.T, dir string) {
			if got := fileIn(t, dir, "low/f") + fileIn(t, dir, "up/f"); got != "low\nnew\n" {
				t.Errorf("the layers hold %q", got)
			}
		}},

	// What the container is told of its limits.
	{name: "limits shown", only: "kernel", change: func(s *specs.Spec, _ string) {
		memory, both, low, quota, pids := int64(128<<20), int64(192<<20), int64(64<<20), int64(50000), int64(9)
		shares, period := uint64(512), uint64(100000)
		s.Linux.Resources = &specs.LinuxResources{
			Memory: &specs.LinuxMemory{Limit: &memory, Swap: &both, Reservation: &low},
			CPU:    &specs.LinuxCPU{Quota: &quota, Period: &period, Shares: &shares, Cpus: "0"},
			Pids:   &specs.LinuxPids{Limit: &pids},
		}
	}, script: "cd /sys/fs/cgroup; cat memory.max memory.swap.max memory.low cpu.max cpu.weight pids.max cpuset.cpus.effective; grep MemTotal /proc/meminfo | tr -s ' '; nproc; grep -c processor /proc/cpuinfo; cat /proc/self/cgroup; grep -e memory -e '^cpu.' /proc/cgroups | tr '\t' ' '",
		want: "134217728\n67108864\n67108864\n50000 100000\n20\n9\n0\nMemTotal: 131072 kB\n1\n1\n0::/\ncpuset 0 1 1\ncpu 0 1 1\ncpuacct 0 1 1\nmemory 0 1 1\n"},
	{name: "limit of threads", code: 2, change: func(s *specs.Spec, _ string) {
		pids := int64(20)
		s.Linux.Resources.Pids = &specs.LinuxPids{Limit: &pids}
	}, script: "i=0; while [ $i -lt 30 ]; do sleep 100 & i=$((i+1)); done", refused: []string{"can't fork: Resource temporarily unavailable"}},
	// Who else than the greediest program goes is the host's choice.
	{name: "memory runs out", only: "kernel", code: 137, change: func(s *specs.Spec, _ string) {
		memory := int64(64 << 20)
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &memory, Swap: &memory}
	}, script: "exec dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null"},

	// Hooks.
	{name: "startContainer hook", change: func(s *specs.Spec, _ string) {
		s.Process.User.UID = 12
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/shared", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=1777"}})
		s.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/sh",
			Args: []string{"sh", "-c", "/bin/busybox grep -o '\"status\":\"[a-z]*\"' > /shared/state; /bin/busybox id -u >> /shared/state; echo $X >> /shared/state"}, Env: []string{"X=y"}}}}
	}, script: "cat /shared/state", want: "\"status\":\"created\"\n12\ny\n", only: "kernel"},
	{name: "hook that fails", code: 1, only: "kernel", change: func(s *specs.Spec, _ string) {
		s.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo no way >&2; exit 3"}}}}
	}, script: "echo never", refused: []string{"hooks.startContainer[0]", "code 3", "no way"}},
	{name: "hook that hangs", code: 1, only: "kernel", change: func(s *specs.Spec, _ string) {
		second := 1
		s.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/sleep", Args: []string{"sleep", "1000"}, Timeout: &second}}}
	}, script: "echo never", refused: []string{"hooks.startContainer[0]", "timeout"}},

	// What the wall refuses.
	{name: "unknown file system", code: 1, only: "kernel", script: "echo never", refused: []string{"mounts[7].type", "squashfs"},
		change: func(s *specs.Spec, _ string) { addMount(s, "/x", "squashfs", "image") }},
	{name: "option of proc", code: 1, only: "kernel", script: "echo never", refused: []string{"mounts[0].options", "hidepid=2"},
		change: func(s *specs.Spec, _ string) { s.Mounts[0].Options = []string{"hidepid=2"} }},
	{name: "device of the host", code: 1, only: "kernel", script: "echo never", refused: []string{"linux.devices[0]", "/dev/kvm"},
		change: func(s *specs.Spec, _ string) {
			s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/kvm", Type: "c", Major: 10, Minor: 232}}
		}},
	{name: "socket of the host", code: 1, only: "kernel", script: "echo never", refused: []string{"mounts[7]", "a pipe"},
		change: func(s *specs.Spec, dir string) {
			os.MkdirAll(dir, 0o755)
			mkfifo(filepath.Join(dir, "pipe"))
			addMount(s, "/pipe", "bind", "pipe", "bind")
		}},
	{name: "no such source", code: 1, script: "echo never", refused: []string{"mounts[7]", "/no/such/source", "must exist on the host"},
		change: func(s *specs.Spec, _ string) { addMount(s, "/x", "bind", "/no/such/source", "bind") }},
	{name: "namespace of the host", code: 1, only: "kernel", script: "echo never", refused: []string{"linux.namespaces[0].path", "/proc/1/ns/pid"},
		change: func(s *specs.Spec, _ string) { s.Linux.Namespaces[0].Path = "/proc/1/ns/pid" }},
	{name: "no namespace", code: 1, only: "kernel", script: "echo never", refused: []string{"linux.namespaces", "ipc"},
		change: func(s *specs.Spec, _ string) {
			s.Linux.Namespaces = []specs.LinuxNamespace{{Type: specs.PIDNamespace}, {Type: specs.UTSNamespace}, {Type: specs.MountNamespace}}
		}},
	{name: "unknown setting", code: 1, only: "kernel", script: "echo never", refused: []string{"linux.sysctl[kernel.nope]"},
		change: func(s *specs.Spec, _ string) { s.Linux.Sysctl = map[string]string{"kernel.nope": "1"} }},
	{name: "network setting that does nothing", code: 1, only: "kernel", script: "echo never", refused: []string{"linux.sysctl[net.ipv4.conf.all.rp_filter]", "does not take"},
		change: func(s *specs.Spec, _ string) { s.Linux.Sysctl = map[string]string{"net.ipv4.conf.all.rp_filter": "1"} }},
	{name: "listener", code: 1, only: "kernel", script: "echo never", refused: []string{"linux.seccomp", "SCMP_ACT_NOTIFY"},
		change: func(s *specs.Spec, _ string) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mkdir"}, Action: specs.ActNotify}}}
		}},
	{name: "too little memory", code: 1, only: "kernel", script: "echo never", refused: []string{"linux.resources.memory.limit", "32 MiB"},
		change: func(s *specs.Spec, _ string) {
			memory := int64(4 << 20)
			s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &memory}
		}},
}

func TestSpec(t *testing.T) {
	for _, isolation := range []string{"process", "kernel"} {
		t.Run(isolation, func(t *testing.T) {
			for i := range specCases {
				c := &specCases[i]
				if c.only != "" && c.only != isolation {
					continue
				}
				t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) { c.run(t, isolation) })
			}
		})
	}
}

func mkfifo(path string) {
	if err := unix.Mkfifo(path, 0o644); err != nil {
		panic(err)
	}
}

// Who enters a container that runs is behind its filter and within its limits, and
// limits change while it runs.
func TestSpecOfExecAndUpdate(t *testing.T) {
	r := newKernelRuntime(t)
	dir := r.bundle("b", func(s *specs.Spec) {
		errno, pids, memory := uint(95), int64(9), int64(256<<20)
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
			{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno, ErrnoRet: &errno}}}
		s.Linux.Resources.Pids = &specs.LinuxPids{Limit: &pids}
		s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &memory}
	}, "sleep", "1000")
	for _, a := range applets {
		if err := os.Symlink("busybox", filepath.Join(dir, "rootfs/bin", a)); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
	id := r.id("entered")
	r.must("create", "--bundle", dir, id)
	r.must("start", id)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"exec", id, "sh", "-c", "grep '^Seccomp:' /proc/self/status | tr -d '\\t'; mkdir /x 2>&1; cd /sys/fs/cgroup; cat pids.max memory.max"},
			"Seccomp:2\nmkdir: can't create directory '/x': Operation not supported\n9\n268435456\n"},
		{[]string{"exec", "--user", "1000:1001", "--cwd", "/bin", "--env", "A=b", id, "sh", "-c", "id; pwd; echo $A $HOME; umask; grep CapEff /proc/self/status | tr -d '\\t'"},
			"uid=1000 gid=1001\n/bin\nb /\n0022\nCapEff:0000000000000000\n"},
		{[]string{"update", "--pids-limit", "30", "--memory", "300000000", id}, ""},
		{[]string{"exec", id, "sh", "-c", "cd /sys/fs/cgroup; cat pids.max memory.max; grep MemTotal /proc/meminfo | tr -s ' '"},
			"30\n300000000\nMemTotal: 292968 kB\n"},
	} {
		if got := r.do(tt.args...); got.code != 0 || got.stdout != tt.want {
			t.Errorf("%q: %d\n%s\nnot\n%s\nerrors: %s", tt.args, got.code, got.stdout, tt.want, got.stderr)
		}
	}
}
