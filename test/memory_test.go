package test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestMemoryOfFiles has a guest fill all file systems in memory, memfds and
// shared memory segments: each has its limit, and the sum has one, beyond which
// programs get an error and nobody is killed.
func TestMemoryOfFiles(t *testing.T) {
	// Three quarters of the limit are for files: 300 MiB. Each file system has
	// half, 200 MiB.
	const limit, script = "400M", `
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
block = b'x' * (1 << 20)
def fill(fd):
    mib = 0
    try:
        while True:
            if os.write(fd, block) < len(block): break
            mib += 1
    except OSError as e:
        assert e.errno == errno.ENOSPC, e
    return mib
def shared():
    for l in open('/proc/meminfo'):
        if l.startswith('Shmem:'): return int(l.split()[1]) // 1024
def free(path):
    s = os.statvfs(path)
    return s.f_bavail * s.f_frsize >> 20
def shmget(mib):
    ctypes.set_errno(0)
    return libc.shmget(0, ctypes.c_size_t(mib << 20), 0o1600), errno.errorcode.get(ctypes.get_errno())
def near(what, got, want):
    if not want - 4 <= got <= want: print(what, got, 'MiB, not', want)
# An inode takes room too: nothing could be created later.
tmp, root, devshm = (os.open(p, os.O_CREAT | os.O_WRONLY) for p in ('/tmp/a', '/var/a', '/dev/shm/a'))
m = os.memfd_create('m')
near('free at first', free('/tmp'), 200)
near('/tmp', fill(tmp), 200)
near('left for others', free('/dev/shm'), 100)
near('/', fill(root), 100)
near('shared', shared(), 300)
for p in '/', '/tmp', '/dev/shm': near('free of ' + p, free(p), 0)
near('memfd', fill(m), 0)
near('/dev/shm', fill(devshm), 0)
print(shmget(50))
os.truncate('/tmp/a', 0)
near('memfd', fill(m), 200)
os.ftruncate(m, 150 << 20)
id, e = shmget(45)
print(id >= 0, e, shmget(45))
libc.shmctl(id, 0, None)
near('removed', shared(), 250)
os.close(m)
near('closed', shared(), 100)
`
	for _, w := range kernelWalls {
		t.Run(w.name, func(t *testing.T) {
			argv := append(append([]string{coffer(t)}, w.args...), "--memory", limit, "--", "python3", "-c", script)
			r := run(t, 3*time.Minute, "/", "", argv...)
			if r.code == 125 && strings.Contains(r.stderr, "cgroup") {
				t.Skip("no memory cgroup can be made here: " + r.stderr)
			}
			if want := "(-1, 'ENOMEM')\nTrue None (-1, 'ENOMEM')\n"; r.code != 0 || r.stdout != want {
				t.Errorf("exit status %d, output:\n%s\nwant:\n%s\nerrors:\n%s", r.code, r.stdout, want, tail(r.stderr))
			}
		})
	}
	nothingLeft(t)
}

// TestKilledEarly kills coffer at moments of its start; no cgroup may be left.
func TestKilledEarly(t *testing.T) {
	var pids []int
	for i := range 40 {
		cmd := exec.Command(coffer(t), "do", "--memory", "100M", "--", "true")
		cmd.Dir = "/"
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pids = append(pids, cmd.Process.Pid)
		time.Sleep(time.Duration(i) * 500 * time.Microsecond)
		cmd.Process.Kill()
		cmd.Wait()
	}
	var left []string
	for until := time.Now().Add(patience); time.Now().Before(until); { // the keepers take their time
		left = nil
		out, _ := exec.Command("find", "/sys/fs/cgroup", "-type", "d", "-name", "coffer-*").Output()
		for _, dir := range strings.Fields(string(out)) {
			for _, pid := range pids {
				if strings.Contains(dir, fmt.Sprintf("/coffer-%d-", pid)) {
					left = append(left, dir)
				}
			}
		}
		if len(left) == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Errorf("cgroups are left: %v", left)
}
