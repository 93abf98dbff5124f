package test

import (
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
near('free at first', free('/tmp'), 200)
near('/tmp', fill(os.open('/tmp/a', os.O_CREAT | os.O_WRONLY)), 200)
near('left for others', free('/dev/shm'), 100)
near('/', fill(os.open('/var/a', os.O_CREAT | os.O_WRONLY)), 100)
near('shared', shared(), 300)
for p in '/', '/tmp', '/dev/shm': near('free of ' + p, free(p), 0)
m = os.memfd_create('m')
near('memfd', fill(m), 0)
near('/dev/shm', fill(os.open('/dev/shm/a', os.O_CREAT | os.O_WRONLY)), 0)
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
	for _, w := range walls[1:] {
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
