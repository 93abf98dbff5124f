package test

import (
	"strings"
	"testing"
	"time"
)

// TestSandboxFull uses up what a sandbox of little memory may hold for its
// programs: open files, and what pipes, sockets of all families and message queues hold. Programs get errors,
// nobody is killed, and what is given back can be had again.
func TestSandboxFull(t *testing.T) {
	const limit, script = "160M", `
import ctypes, errno, os, resource, socket
name = lambda e: errno.errorcode[e.errno]
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
most = int(open('/proc/sys/fs/file-max').read())
block = bytes(65536)

def until_error(step):
    held = []
    try:
        while True: step(held)
    except OSError as e:
        return held, name(e)

def close(held):
    for f in held: os.close(f)

files, e = until_error(lambda held: held.append(os.open('/dev/null', os.O_RDONLY)))
print('files', e, most - 100 < len(files) <= most)
os.close(files.pop())
count, _, all = map(int, open('/proc/sys/fs/file-nr').read().split())
print('counted', most - 2 <= count <= most, all == most)
print('dup', os.close(os.dup(0)))
close(files)

def pipe(held):
    held += os.pipe2(os.O_NONBLOCK)
    os.write(held[-1], block)
pipes, e = until_error(pipe)
print('pipes', e, len(pipes) < most)
close(pipes)

for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
    def pair(held):
        held += [s.detach() for s in socket.socketpair(socket.AF_UNIX, kind | socket.SOCK_NONBLOCK)]
        s = socket.socket(fileno=os.dup(held[-1]))
        with s:
            try:
                while True: s.send(block)
            except BlockingIOError: pass
    pairs, e = until_error(pair)
    print('sockets', e, len(pairs) < most)
    close(pairs)

def empty(held):
    held += [s.detach() for s in socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)]
    with socket.socket(fileno=os.dup(held[-1])) as s:
        try:
            while True: s.send(b'')
        except BlockingIOError: pass
pairs, e = until_error(empty)
print('empty messages', e)
close(pairs)

libc = ctypes.CDLL(None, use_errno=True)
class Message(ctypes.Structure):
    _fields_ = [('type', ctypes.c_long), ('text', ctypes.c_char * 8192)]
message = Message(1)
def queue(held):
    q = libc.msgget(0, 0o1600)
    if q >= 0: held.append(q)
    if q < 0 or libc.msgsnd(q, ctypes.byref(message), ctypes.c_size_t(8192), 0o4000) < 0:
        raise OSError(ctypes.get_errno(), '')
queues, e = until_error(queue)
print('queues', e)
for q in queues: libc.msgctl(q, 0, None)

inet = socket.AF_INET
listener = socket.create_server(('127.0.0.1', 0), backlog=4096)
def stream(held, accept):
    s = socket.socket()
    held.append(s.detach())
    s = socket.socket(fileno=os.dup(held[-1]))
    with s:
        s.connect(listener.getsockname())
        s.setblocking(False)
        if accept: held.append(listener.accept()[0].detach())
        try:
            while True: s.send(block)
        except BlockingIOError: pass
for accept in True, False:
    streams, e = until_error(lambda held: stream(held, accept))
    print('streams', e, len(streams) < most)
    close(streams)
listener.close()

sender = socket.socket(inet, socket.SOCK_DGRAM)
def datagrams(held):
    s = socket.socket(inet, socket.SOCK_DGRAM)
    s.bind(('127.0.0.1', 0))
    name = s.getsockname()
    held.append(s.detach())
    for _ in range(100): sender.sendto(block[:8000], name)
receivers, e = until_error(datagrams)
print('datagrams', e, len(receivers) < most)
close(receivers)

idle, e = until_error(lambda held: held.append(socket.socket().detach()))
print('idle sockets', e)
close(idle)

r, w = os.pipe()
print('again', os.write(w, block))
a = socket.create_server(('127.0.0.1', 0))
b = socket.create_connection(a.getsockname())
print('and again', b.send(block) > 0)
`
	const want = `files ENFILE True
counted True True
dup None
pipes ENOMEM True
sockets ENOBUFS True
sockets ENOBUFS True
empty messages ENOBUFS
queues ENOMEM
streams ENOBUFS True
streams ENOBUFS True
datagrams ENOBUFS True
idle sockets ENOBUFS
again 65536
and again True
`
	for _, w := range kernelWalls {
		t.Run(w.name, func(t *testing.T) {
			argv := append(append([]string{coffer(t)}, w.args...), "--memory", limit, "--", "python3", "-c", script)
			r := run(t, 3*time.Minute, "/", "", argv...)
			if r.code == 125 && strings.Contains(r.stderr, "cgroup") {
				t.Skip("no memory cgroup can be made here: " + r.stderr)
			}
			if r.code != 0 || r.stdout != want {
				t.Errorf("exit status %d, output:\n%s\nwant:\n%s\nerrors:\n%s", r.code, r.stdout, want, tail(r.stderr))
			}
		})
	}
	nothingLeft(t)
}
