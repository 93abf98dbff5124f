package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// userOutside are servers outside: names, and one that sends, receives or echoes.
const userOutside = `
import hashlib, os, resource, socket, struct, sys, threading
dir = sys.argv[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (2048, 2048))
data = open(dir + "/data", "rb").read()
def serve(c):
    what = c.recv(1)
    if what == b"D": c.sendall(data)
    elif what == b"U":
        h = hashlib.sha256()
        while b := c.recv(1 << 18): h.update(b)
        c.sendall(h.hexdigest().encode())
    elif what == b"R":
        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        while b := c.recv(1 << 16): c.sendall(b)
    c.close()
def accept(host, family):
    l = socket.socket(family, socket.SOCK_STREAM); l.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); l.bind((host, 9000)); l.listen(1000)
    while True: threading.Thread(target=serve, args=(l.accept()[0],), daemon=True).start()
def answer(q):
    i, labels = 12, []
    while q[i]: labels.append(q[i+1:i+1+q[i]]); i += 1 + q[i]
    known = b".".join(labels).lower() == b"outside.test" and q[i+2] == 1
    rr = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton("198.51.100.1") if known else b""
    return q[:2] + struct.pack("!HHHHH", 0x8180, 1, 1 if rr else 0, 0, 0) + q[12:i+5] + rr
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("198.51.100.53", 53))
def datagrams():
    while True: q, a = u.recvfrom(4096); u.sendto(answer(q), a)
t = socket.create_server(("198.51.100.53", 53))
def streams():
    while True:
        c, _ = t.accept(); n, = struct.unpack("!H", c.recv(2, socket.MSG_WAITALL)); r = answer(c.recv(n, socket.MSG_WAITALL))
        c.sendall(struct.pack("!H", len(r)) + r); c.close()
e = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); e.bind(("198.51.100.1", 9000))
def echo():
    while True: b, a = e.recvfrom(65536); e.sendto(b, a)
for f in (datagrams, streams, echo): threading.Thread(target=f, daemon=True).start()
threading.Thread(target=accept, args=("198.51.100.1", socket.AF_INET), daemon=True).start()
threading.Thread(target=accept, args=("127.0.0.1", socket.AF_INET), daemon=True).start()
open(dir + "/ready", "w").close(); threading.Event().wait()
`

// userClient does what its arguments say, inside.
const userClient = `
import errno, hashlib, os, socket, sys, time
def connect(to):
    # It waits in connect: an ICMP error wakes a poll of Linux's (6.18) a moment before SO_ERROR has it.
    host, _, port = to.rpartition(":"); s = socket.create_connection((host, int(port)), None); s.settimeout(60); return s
OUT = "198.51.100.1:9000"
data = open("data", "rb").read(); want = hashlib.sha256(data).hexdigest()
def name(f, *a):
    try: return f(*a) or "ok"
    except OSError as e: return errno.errorcode.get(e.errno, type(e).__name__)
def down():
    s = connect(OUT); s.sendall(b"D"); h = hashlib.sha256()
    while b := s.recv(1 << 18): h.update(b)
    assert h.hexdigest() == want
def up():
    s = connect(OUT); s.sendall(b"U" + data); s.shutdown(socket.SHUT_WR); assert s.recv(64, socket.MSG_WAITALL).decode() == want
def many():
    l = [connect(OUT) for _ in range(300)]
    for i, s in enumerate(l): s.sendall(b"E%d" % i); s.shutdown(socket.SHUT_WR)
    for i, s in enumerate(l): assert s.recv(10, socket.MSG_WAITALL) == b"%d" % i; s.close()
def reset():
    s = connect(OUT); s.sendall(b"R"); s.recv(1)
def datagram():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(60); s.connect(("198.51.100.1", 9000))
    for n in (1, 1472, 9000, 60000): s.send(data[:n]); assert s.recv(65536) == data[:n]
def refused():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(60); s.connect(("198.51.100.1", 1)); s.send(b"x"); s.recv(1)
def wait():
    s = connect(OUT); s.sendall(b"Ex"); s.recv(1); s.settimeout(int(os.environ.get("PATIENCE", "60"))); print("waiting", flush=True); sys.stdin.readline()
    # What is sent meets with the end of the connection, sooner or later.
    while True: s.sendall(b"x"); s.recv(1); time.sleep(0.05)
def lookup(n): return socket.gethostbyname(n)
for a in sys.argv[1:]:
    if a.startswith("to:"): print(a, name(lambda: connect(a[3:]) and None), flush=True)
    elif a.startswith("name:"): print(a, name(lookup, a[5:]), flush=True)
    else:
        r = name(globals()[a]); print(a, "broken" if a == "wait" and r in ("EPIPE", "ECONNRESET", "ECONNABORTED") else r, flush=True)
`

// userScript runs in network, mount and PID namespaces of its own. What is outside
// is on its loopback interface.
const userScript = `
set -eu
coffer=$1 d=$2 case=$3 isolation=$4; cd $d; export PATH=$PATH:/usr/sbin:/sbin; unset http_proxy https_proxy
ip link set lo up; for i in 1 53; do ip addr add 198.51.100.$i/32 dev lo; done
head -c 20000000 /dev/urandom >data
python3 outside.py $d & until [ -e ready ]; do sleep 0.05; done
sandbox() { $coffer do --isolation $isolation --network user --dns 198.51.100.53 --cwd $d --bind $d "$@"; }
find() { for p in /proc/[0-9]*; do case "$(tr '\0' ' ' <$p/cmdline 2>/dev/null)" in $1) echo ${p#/proc/};; esac; done; true; }
helper() { find "coffer gateway*"; }
. ./$case
`

var userCases = []struct{ name, script, want string }{
	{"flows", `sandbox -- python3 client.py down up many reset datagram refused`,
		"down ok\nup ok\nmany ok\nreset ECONNRESET\ndatagram ok\nrefused ECONNREFUSED\n"},

	{"refused", `sandbox -- python3 client.py to:198.51.100.1:1 to:203.0.113.1:9000 to:127.0.0.1:9000 to:10.0.2.2:9000 to:10.0.2.3:9000 to:169.254.169.254:9000`,
		"to:198.51.100.1:1 ECONNREFUSED\nto:203.0.113.1:9000 ENETUNREACH\nto:127.0.0.1:9000 ECONNREFUSED\nto:10.0.2.2:9000 ECONNREFUSED\nto:10.0.2.3:9000 ECONNREFUSED\nto:169.254.169.254:9000 EHOSTUNREACH\n"},

	{"names", `sandbox --add-host db:10.1.2.3 -- sh -c 'python3 client.py name:outside.test name:db to:outside.test:9000; dig +short outside.test db; dig +tcp +short outside.test'`,
		"name:outside.test 198.51.100.1\nname:db 10.1.2.3\nto:outside.test:9000 ok\n198.51.100.1\n10.1.2.3\n198.51.100.1\n"},

	{"published", `
cat >server.py <<X
import socket
t = socket.create_server(("0.0.0.0", 80)); u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("0.0.0.0", 80)); print("listening", flush=True)
for i in range(2): c, a = t.accept(); c.sendall(b"hello " + a[0].encode() + b"\n"); c.close()
b, a = u.recvfrom(100); u.sendto(b"hello " + a[0].encode() + b"\n", a)
X
sandbox -p 8080:80 -p 127.0.0.1:8080:80/udp -- python3 server.py >said & until grep -q listening said; do sleep 0.05; done
nc -w 60 127.0.0.1 8080 </dev/null; nc -s 198.51.100.53 -w 60 198.51.100.1 8080 </dev/null; echo x | nc -u -w 60 -W 1 127.0.0.1 8080; wait %2
sandbox -p 198.51.100.1:9000:80 -- true 2>&1 | sed 's/.*something/something/; s/;.*//'`,
		"hello 10.0.2.2\nhello 198.51.100.53\nhello 10.0.2.2\nsomething listens there already\n"},

	// What was sent last leaves after its sender: what starts the helper, and what the helper has
	// not read by the time that all else has ended.
	{"last", `
cat >last.py <<X
import socket
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("198.51.100.1", 9001)); u.settimeout(60)
t = socket.create_server(("198.51.100.1", 9001)); t.settimeout(60); open("listening", "w").close()
print(u.recv(100).decode(), flush=True)
c, _ = t.accept(); c.settimeout(60); n = 0
while b := c.recv(1 << 16): n += len(b)
print(n)
X
cat >server.py <<X
import os, socket, sys, time
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("0.0.0.0", 80)); print("listening", flush=True)
b, a = u.recvfrom(100); print("asked", flush=True)
while not os.path.exists("go"): time.sleep(0.01)
for i in range(20): u.sendto(b"%d" % i, a)
os.kill(os.getpid(), 9)
X
cat >ask.py <<X
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(60); s.connect(("127.0.0.1", 8080)); s.send(b"x")
print(*[s.recv(100).decode() for _ in range(20)])
X
python3 last.py >said & until [ -e listening ]; do sleep 0.05; done
sandbox -- python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"datagram", ("198.51.100.1", 9001))'
sandbox -- python3 -c 'import socket; socket.create_connection(("198.51.100.1", 9001)).sendall(bytes(300000))'
wait %2; cat said
sandbox -p 127.0.0.1:8080:80/udp -- python3 server.py >asked & until grep -q listening asked; do sleep 0.05; done
python3 ask.py & ask=$!; until grep -q asked asked; do sleep 0.05; done
h=$(helper); kill -STOP $h; touch go; while [ "$(find "python3 server.py ")" ]; do sleep 0.05; done; sleep 0.3; kill -CONT $h
wait $ask; helper`, "datagram\n300000\n0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19\n"},

	// Twice 20 MB at 16 MiB a second. That a rate is kept shows in that they take as long at least.
	{"limited", `
began=$(date +%s%N); sandbox --net-rate 16M --pcap edge -- python3 client.py down up
[ $(($(date +%s%N) - began)) -ge 2200000000 ] && echo limited
python3 -c 'd = open("data", "rb").read(1000); e = open("edge", "rb").read(); print(e[:4].hex(), e.count(d) >= 2, len(e) > 40000000)'`,
		"down ok\nup ok\nlimited\n4d3cb2a1 True True\n"},

	// Segments of which the link makes packets, with more extension headers of IPv6 than the stack leaves room for.
	{"extended", `
cat >six.py <<X
import hashlib, socket
t = socket.create_server(("fd00:53::1", 9001), family=socket.AF_INET6); open("listening", "w").close()
for i in range(3):
    c, _ = t.accept(); h = hashlib.sha256()
    while b := c.recv(1 << 18): h.update(b)
    c.sendall(h.hexdigest().encode()); c.close()
X
cat >up.py <<X
import hashlib, socket
data = open("data", "rb").read(4 << 20)
for n in 64, 256, 1024:
    s = socket.create_connection(("fd00:53::1", 9001))
    o = b"".join(bytes([0x1e, min(n - 4 - i, 253)]).ljust(2 + min(n - 4 - i, 253), b"x") for i in range(0, n - 2, 255))
    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_HOPOPTS, bytes([0, n // 8 - 1]) + o)
    s.sendall(data); s.shutdown(socket.SHUT_WR); print(s.recv(64, socket.MSG_WAITALL).decode() == hashlib.sha256(data).hexdigest())
X
ip addr add fd00:53::1/128 dev lo nodad; ip -6 route add default dev lo
python3 six.py & until [ -e listening ]; do sleep 0.05; done; sandbox -- python3 up.py; wait %2`,
		"True\nTrue\nTrue\n"},

	{"helper-killed", `
[ $isolation = kernel ] || export PATIENCE=2
mkfifo go; sandbox -- python3 client.py wait to:198.51.100.1:9000 <go >said & exec 3>go
until grep -q waiting said; do sleep 0.05; done; kill -9 $(helper); echo >&3; wait %2; cat said`,
		"waiting\nwait broken\nto:198.51.100.1:9000 ENETUNREACH\n"},

	{"sandbox-killed", `
mkfifo go; sandbox -- python3 client.py wait <go >said & exec 3>go
until grep -q waiting said; do sleep 0.05; done; kill -9 $(find "* --network user --dns *"); while [ "$(helper; find "coffer do-keeper*")" ]; do sleep 0.05; done; echo ended`,
		"ended\n"},

	{"unused", `sandbox -- sh -c 'echo nothing is sent'; helper`, "nothing is sent\n"},
}

// TestUserNetwork has programs behind each wall reach an outside that is the loopback
// interface of a network namespace of the test's own.
func TestUserNetwork(t *testing.T) {
	for _, tool := range []string{"python3", "dig", "nc", "ip"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	for _, isolation := range []string{"kernel", "process"} {
		for _, c := range userCases {
			t.Run(isolation+"/"+c.name, func(t *testing.T) {
				if isolation == "process" {
					if os.Geteuid() != 0 {
						t.Skip("only root has coffer do with the process wall")
					}
					if _, err := os.Stat("/dev/net/tun"); err != nil {
						t.Skipf("this host has no TAP devices: %v", err)
					}
					if c.name == "unused" {
						t.Skip("the host's kernel looks for routers by IPv6 of itself")
					}
				}
				d := t.TempDir()
				for name, content := range map[string]string{"outside.py": userOutside, "client.py": userClient, "script": userScript, c.name: c.script} {
					if err := os.WriteFile(filepath.Join(d, name), []byte(content), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				argv := append(inNamespaces(), "--mount", "bash", filepath.Join(d, "script"), coffer(t), d, c.name, isolation)
				r := run(t, 5*time.Minute, d, "", argv...)
				want := c.want
				if isolation == "process" {
					// The host's kernel keeps connections of an interface that is gone.
					want = strings.ReplaceAll(want, "wait broken", "wait TimeoutError")
				}
				if r.stdout != want {
					t.Errorf("it says\n%swant\n%s%s", r.stdout, want, strings.TrimSpace(r.stderr))
				}
			})
		}
	}
}
