package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// egressOutside are servers at several addresses, in a network namespace of their own:
// names, web sites with and without TLS, and one that speaks first.
const egressOutside = `
import http.server, os, socket, ssl, struct, sys, threading
dir = sys.argv[1]
NAMES = {"good.test": "198.51.100.1", "a.sub.test": "198.51.100.1", "other.test": "198.51.100.2",
    "meta.test": "169.254.169.254", "host.test": "198.51.100.254", "loop.test": "127.0.0.1"}
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("198.51.100.53", 53))
asked = open(dir + "/asked", "w", buffering=1)
def names():
    while True:
        q, a = u.recvfrom(4096); i, labels = 12, []
        while q[i]: labels.append(q[i+1:i+1+q[i]].decode()); i += 1 + q[i]
        name, kind = ".".join(labels).lower(), struct.unpack("!H", q[i+1:i+3])[0]; asked.write(name + "\n")
        ip = NAMES.get(name); rr = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + socket.inet_aton(ip) if ip and kind == 1 else b""
        u.sendto(q[:2] + struct.pack("!HHHHH", 0x8180 if ip else 0x8183, 1, 1 if rr else 0, 0, 0) + q[12:i+5] + rr, a)
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *a): pass
    def do_GET(self):
        b = ("this is " + self.headers.get("Host", "nobody") + "\n").encode(); self.send_response(200)
        self.send_header("Content-Length", str(len(b))); self.end_headers(); self.wfile.write(b)
class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *a): pass
servers = []
for ip in ("198.51.100.1", "198.51.100.2"):
    servers.append(Server((ip, 80), Handler)); s = Server((ip, 443), Handler)
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain(dir + "/cert", dir + "/key")
    c.set_ecdh_curve("prime256v1") # so that it asks most clients for a second ClientHello
    s.socket = c.wrap_socket(s.socket, server_side=True, do_handshake_on_connect=False); servers.append(s)
mail = socket.create_server(("198.51.100.1", 25))
def greet():
    while True:
        c, _ = mail.accept(); c.sendall(b"220 hello\r\n"); c.sendall(b"got " + c.recv(100)); c.close()
for t in [names, greet] + [s.serve_forever for s in servers]: threading.Thread(target=t, daemon=True).start()
open(dir + "/ready", "w").close(); threading.Event().wait()
`

// egressScript runs in network, mount and PID namespaces of its own.
const egressScript = `
set -eu
coffer=$1 d=$2 case=$3; cd $d; export PATH=$PATH:/usr/sbin:/sbin; unset http_proxy https_proxy
unshare --net sleep 100000 & outside=$!
until [ "$(readlink /proc/$outside/ns/net)" != "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
at() { nsenter --net=/proc/$outside/ns/net "$@"; }
ip link set lo up; ip link add here type veth peer name there netns $outside
ip addr add 198.51.100.254/24 dev here; ip link set here up; at ip link set lo up
for i in 1 2 53; do at ip addr add 198.51.100.$i/24 dev there; done; at ip link set there up
at python3 outside.py $d & until [ -e ready ]; do sleep 0.05; done
network=user; sandbox() { $coffer do --network $network --dns 198.51.100.53 --cwd $d --bind $d "$@"; }
. ./$case
`

// egressClient says in a line how each of its arguments fares: an address to connect to,
// "udp" and one to send to, "joined" and one that datagrams are connected to before, or a
// name to look up.
const egressClient = `
import errno, os, socket, sys
def show(what, f):
    try: r = f()
    except OSError as e: r = errno.errorcode.get(e.errno, type(e).__name__)
    print(what, r, flush=True)
def connect(host, port):
    # A timeout would have it poll, and an ICMP error wakes a poll of Linux's (6.18) a moment before SO_ERROR has it.
    s = socket.socket(); s.connect((host, port)); return "connected"
def send(host, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b"x", (host, port)); return "sent"
def joined(host, port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect((host, port)); s.getsockname()
    try: s.send(b"x")
    except PermissionError: return "connected, EACCES"
    return "connected, sent"
for a in sys.argv[1:]:
    if a == "wait": print("waiting", flush=True); sys.stdin.readline(); continue
    how = connect
    for prefix, f in ("udp:", send), ("joined:", joined):
        if a.startswith(prefix): how, a = f, a.removeprefix(prefix)
    host, _, port = a.partition(":")
    if not port: show(a, lambda: socket.getaddrinfo(host, 80) and "found")
    else: show(how.__name__ + " " + a if how != connect else a, lambda: how(host, int(port)))
`

// egressHellos sends a second ClientHello, for which the server asks, with the name of its second argument.
const egressHellos = `
import socket, ssl, sys
def hello(name, curve=None):
    c = ssl.create_default_context(); c.check_hostname = False; c.verify_mode = ssl.CERT_NONE
    if curve: c.set_ecdh_curve(curve)
    out = ssl.MemoryBIO(); s = c.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    try: s.do_handshake()
    except ssl.SSLWantReadError: return out.read()
s = socket.create_connection((sys.argv[1], 443)); s.sendall(hello(sys.argv[1])); s.recv(5000)
s.sendall(hello(sys.argv[2], "prime256v1"))
try: print("second hello:", "answered" if s.recv(1) else "ended")
except OSError as e: print("second hello:", type(e).__name__)
`

// egressFrames sends SYNs as frames of its own, about which the sandbox asks nobody, and
// says what comes back: flags of TCP, or an ICMP error's type and code.
const egressFrames = `
import socket, struct, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind(("eth0", 0)); s.settimeout(60)
own, gateway = bytes.fromhex("02c0ffe20015"), bytes.fromhex("02c0ffe20002")
def checksum(b):
    t = sum(struct.unpack("!%dH" % (len(b) // 2), b)); t = (t >> 16) + (t & 0xffff); return ~(t + (t >> 16)) & 0xffff
for to in sys.argv[1:]:
    src, dst = socket.inet_aton("10.0.2.15"), socket.inet_aton(to)
    tcp = struct.pack("!HHIIBBHHH", 5555, 80, 1, 0, 5 << 4, 2, 65535, 0, 0)
    tcp = tcp[:16] + struct.pack("!H", checksum(src + dst + struct.pack("!BBH", 0, 6, 20) + tcp)) + tcp[18:]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 40, 1, 0, 64, 6, 0, src, dst); ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    s.send(gateway + own + b"\x08\0" + ip + tcp)
    while True:
        f = s.recv(2000)
        if f[:6] != own or f[12:14] != b"\x08\0": continue
        if f[23] == 6 and f[26:30] == dst: print(to, "TCP %#x" % f[47]); break
        if f[23] == 1 and f[58:62] == dst: print(to, "ICMP", f[34], f[35]); break
`

const egressRules = `'good.test:80,443,25, *.sub.test:443, meta.test:80, host.test:80, loop.test:80, 198.51.100.2:443'`

// egressCases are scripts that use what egressScript has made.
var egressCases = []struct{ name, script, want string }{
	{"permitted", `
E=` + egressRules + `
sandbox --egress "$E" -- sh -c 'curl -sS http://good.test/; curl -sSk https://good.test/ https://a.sub.test/; curl -sSk https://198.51.100.2/; printf "HELO me\r\n" | nc -w 60 good.test 25 | tr -d "\r"'
sandbox --egress '*' -- curl -sS http://other.test/`,
		"this is good.test\nthis is good.test\nthis is a.sub.test\nthis is 198.51.100.2\n220 hello\ngot HELO me\nthis is other.test\n"},

	{"refused", `
E=` + egressRules + `
sandbox --egress "$E" --egress-log $d/log -- python3 client.py 198.51.100.1:80 good.test:22 198.51.100.2:80 meta.test:80 host.test:80 198.51.100.254:80 other.test udp:198.51.100.1:443 udp:198.51.100.53:53 joined:198.51.100.53:53 joined:10.0.2.3:53 good.test:80
sandbox --egress none -- python3 client.py 198.51.100.1:80 good.test 2>text; sed -n 1p text
grep -c other.test asked || true
ip route add local 203.0.113.0/24 dev lo; sandbox --egress '*' --egress-log $d/other -- python3 client.py 203.0.113.9:80`,
		`198.51.100.1:80 EACCES
good.test:22 EACCES
198.51.100.2:80 EACCES
meta.test:80 EACCES
host.test:80 EACCES
198.51.100.254:80 EACCES
other.test gaierror
send 198.51.100.1:443 EACCES
send 198.51.100.53:53 EACCES
joined 198.51.100.53:53 connected, EACCES
joined 10.0.2.3:53 connected, sent
good.test:80 connected
198.51.100.1:80 EACCES
good.test gaierror
coffer: egress refused: python3 (pid 1) tcp 198.51.100.1:80: no rule permits this address, and no permitted name has resolved to it
0
203.0.113.9:80 EACCES
`},

	{"names-that-differ", `
E=` + egressRules + `
sandbox --egress "$E" --egress-log $d/log -- sh -c '
curl -s -H "Host: other.test" http://good.test/; echo "host: $?"
curl -s http://good.test/ --next -H "Host: other.test" http://good.test/; echo "a later host: $?"
curl -sk --connect-to ::good.test:443 https://other.test/; echo "SNI: $?"
curl -sk --connect-to ::good.test:443 https://198.51.100.1/; echo "no SNI: $?"
python3 hellos.py good.test other.test; python3 hellos.py good.test good.test
curl -s --http2-prior-knowledge http://good.test/ 2>/dev/null >/dev/null && echo HTTP/2; curl -sk https://good.test/'`,
		"host: 56\nthis is good.test\na later host: 56\nSNI: 35\nno SNI: 35\n" +
			"second hello: ConnectionResetError\nsecond hello: answered\nthis is good.test\n"},

	{"own-frames", `
sandbox --egress 198.51.100.2:80 -- python3 frames.py 198.51.100.2 198.51.100.1 198.51.100.254 169.254.169.254`,
		"198.51.100.2 TCP 0x12\n198.51.100.1 ICMP 3 13\n198.51.100.254 ICMP 3 13\n169.254.169.254 ICMP 3 13\n"},

	{"published", `
cat >server.py <<X
import socket
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("0.0.0.0", 7000)); t = socket.create_server(("0.0.0.0", 7000)); print("listening", flush=True)
d, a = u.recvfrom(100); u.sendto(b"datagram " + d, a); c, _ = t.accept(); c.sendall(b"stream " + c.recv(100)); c.close()
try: u.sendto(b"x", (a[0], 7001))
except OSError as e: print(e.errno)
X
sandbox --egress none --egress-log $d/log -p 7000 -p 7000/udp -- python3 server.py >said & until grep -q listening said; do sleep 0.05; done
echo hello | at nc -u -w 60 -W 1 198.51.100.254 7000; echo hello | at nc -w 60 198.51.100.254 7000; wait %3; cat said`,
		"datagram hello\nstream hello\nlistening\n13\n"},

	{"bridge", `
mount -t tmpfs tmpfs /var/lib; network=bridge E=` + egressRules + `
sandbox --egress "$E" -- sh -c 'curl -sS http://good.test/; curl -sk --connect-to ::good.test:443 https://other.test/; echo "SNI: $?"'
sandbox --egress "$E" -- python3 client.py host.test:80 198.51.100.254:80 other.test 198.51.100.2:80
ip route add local 203.0.113.0/24 dev lo; sandbox --egress '*' -- python3 client.py 198.51.100.254:80 10.209.0.1:80 203.0.113.9:80 198.51.100.2:80
ip -br link | wc -l; ls /var/lib/coffer/network/attached`,
		"this is good.test\nSNI: 35\nhost.test:80 EACCES\n198.51.100.254:80 EACCES\nother.test gaierror\n198.51.100.2:80 EACCES\n" +
			"198.51.100.254:80 EACCES\n10.209.0.1:80 EACCES\n203.0.113.9:80 EACCES\n198.51.100.2:80 connected\n2\n"},

	{"process-wall", `
mount -t tmpfs tmpfs /var/lib; inside() { $coffer do --isolation process --network bridge --cwd $d --bind $d "$@"; }
inside --egress 198.51.100.2:80 -- python3 client.py 198.51.100.2:80 198.51.100.1:80 198.51.100.2:443 198.51.100.254:80
inside --egress '198.51.100.0/24:80, 10.209.0.0/16' -- python3 client.py 198.51.100.1:80 198.51.100.254:80 10.209.0.1:80
inside --egress good.test:80 -- true 2>&1 | sed 's/ is by name.*//'
ls /var/lib/coffer/network/attached
inside() { $coffer do --isolation process --network user --dns 198.51.100.53 --cwd $d --bind $d "$@"; }
inside --egress 'good.test:80,443' -- sh -c 'curl -sS http://good.test/; curl -sk --connect-to ::good.test:443 https://other.test/; echo "SNI: $?"; python3 client.py other.test 198.51.100.2:80 198.51.100.254:80' 2>said
grep -c "egress refused: tcp 198.51.100.254:80: " said`,
		"198.51.100.2:80 connected\n198.51.100.1:80 ECONNREFUSED\n198.51.100.2:443 ECONNREFUSED\n198.51.100.254:80 ECONNREFUSED\n" +
			"198.51.100.1:80 connected\n198.51.100.254:80 ECONNREFUSED\n10.209.0.1:80 ECONNREFUSED\ncoffer: --egress: the rule good.test:80\n" +
			"this is good.test\nSNI: 35\nother.test gaierror\n198.51.100.2:80 EHOSTUNREACH\n198.51.100.254:80 EHOSTUNREACH\n1\n"},

	// The second sandbox has the address of the first one, and sends what looks as if it belonged to an exchange of that.
	{"address-again", `
mount -t tmpfs tmpfs /var/lib; inside() { $coffer do --isolation process --network bridge --cwd $d --bind $d "$@"; }
cat >again.py <<X
import socket
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("", 5555)); u.connect(("198.51.100.53", 53)); print(u.getsockname()[0])
try: u.send(b"\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\5again\\4test\\0\\0\\1\\0\\1"); u.recv(100); print("answered")
except OSError: print("refused")
X
inside -- python3 again.py; inside --egress none -- python3 again.py; grep -c again.test asked`,
		"10.209.0.2\nanswered\n10.209.0.2\nrefused\n1\n"},

	{"helper-killed", `
mkfifo go; sandbox --egress 'good.test:80, 198.51.100.2:80' -- python3 client.py good.test:80 wait 198.51.100.2:80 good.test:80 good.test <go >said & exec 3>go
until grep -q waiting said; do sleep 0.05; done
for p in /proc/[0-9]*; do [ "$(tr '\0' ' ' <$p/cmdline 2>/dev/null)" = "coffer gateway " ] && kill -9 ${p#/proc/}; done
echo >&3; wait %3; cat said`,
		"good.test:80 connected\nwaiting\n198.51.100.2:80 EACCES\ngood.test:80 gaierror\ngood.test gaierror\n"},
}

// TestEgress has programs behind the kernel wall reach what they may, and nothing else.
// Nothing of it leaves two network namespaces of the test's own.
func TestEgress(t *testing.T) {
	for _, tool := range []string{"python3", "curl", "nc", "ip", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	for _, c := range egressCases {
		t.Run(c.name, func(t *testing.T) {
			if slices.Contains([]string{"bridge", "process-wall", "address-again"}, c.name) && os.Geteuid() != 0 {
				t.Skip("only root can make a bridge")
			}
			if _, err := os.Stat("/dev/net/tun"); c.name == "process-wall" && err != nil {
				t.Skipf("the user network of the process wall is a TAP device: %v", err)
			}
			d := t.TempDir()
			for name, content := range map[string]string{
				"outside.py": egressOutside, "client.py": egressClient, "frames.py": egressFrames, "hellos.py": egressHellos, "script": egressScript, c.name: c.script,
			} {
				if err := os.WriteFile(filepath.Join(d, name), []byte(content), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			r := run(t, time.Minute, d, "", "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key", "-out", "cert", "-subj", "/CN=good.test")
			if r.code != 0 {
				t.Fatalf("making a certificate: %s", r.stderr)
			}
			argv := append(inNamespaces(), "--mount", "bash", filepath.Join(d, "script"), coffer(t), d, c.name)
			r = run(t, 5*time.Minute, d, "", argv...)
			if r.stdout != c.want {
				t.Errorf("it says\n%swant\n%s%s", r.stdout, c.want, r.stderr)
			}
			if c.name == "refused" {
				checkEgressLog(t, filepath.Join(d, "log"))
			}
		})
	}
}

// checkEgressLog compares a log with what the case "refused" does.
func checkEgressLog(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	type entry struct {
		PID      int    `json:"pid"`
		Command  string `json:"command"`
		Protocol string `json:"protocol"`
		Name     string `json:"name"`
		Address  string `json:"address"`
		Port     int    `json:"port"`
		Rule     string `json:"rule"`
	}
	var got []entry
	for line := range strings.Lines(string(b)) {
		var e entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if len(got) == 0 || got[len(got)-1] != e { // a name is looked up more than once
			got = append(got, e)
		}
	}
	python := func(protocol, name, address string, port int, rule string) entry {
		return entry{1, "python3", protocol, name, address, port, rule}
	}
	const good = "good.test:80,443,25"
	want := []entry{
		python("tcp", "", "198.51.100.1", 80, ""), python("tcp", "good.test", "198.51.100.1", 22, good),
		python("tcp", "", "198.51.100.2", 80, "198.51.100.2:443"), python("tcp", "meta.test", "169.254.169.254", 80, "meta.test:80"),
		python("tcp", "host.test", "198.51.100.254", 80, "host.test:80"), python("dns", "other.test", "", 0, ""),
		python("udp", "good.test", "198.51.100.1", 443, good), python("udp", "", "198.51.100.53", 53, ""),
	}
	if !slices.Equal(got, want) {
		t.Errorf("the log is\n%swant %+v", b, want)
	}
}
