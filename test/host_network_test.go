package test

import (
	"strings"
	"testing"
	"time"
)

// TestHostNetwork: with --network host the sandbox's sockets are those of the network
// that coffer runs in, here a namespace of the test's own, and it changes nothing there.
func TestHostNetwork(t *testing.T) {
	needs(t, "unshare", "ip", "nc", "python3")
	script := `
ip link set lo up
ip link add outside type veth peer name other && ip addr add 192.0.2.1/24 dev outside && ip link set outside up
box() { "$COFFER" do --network host -- "$@"; }
await() { for i in $(seq 1200); do "$@" >/dev/null 2>&1 && return; sleep 0.05; done; echo "in vain: $*"; }
box nc -l 192.0.2.1 5000 >in & await sh -c 'echo from the host | nc -N 192.0.2.1 5000'; wait; cat in
nc -l 127.0.0.1 5001 >in & await box sh -c 'echo from the sandbox | nc -N 127.0.0.1 5001'; wait; cat in
box nc -u -l -W 1 127.0.0.1 5002 >in & await sh -c 'echo a datagram | nc -u -w 1 127.0.0.1 5002; grep -q datagram in'; wait; cat in
box python3 -c '
import os, select, socket
a, b = socket.create_server(("127.0.0.1", 0)), socket.socket()
b.setblocking(False)
print("connecting:", os.strerror(b.connect_ex(a.getsockname())))
c, peer = a.accept()
print(peer == b.getsockname(), select.select([], [b], [], 60)[1] == [b], b.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
c.sendall(b"x" * 100000)
c.close()
b.setblocking(True)
print(sum(iter(lambda: len(b.recv(65536)), 0)))
print(sorted(n for _, n in socket.if_nameindex()))
try: socket.create_connection(("127.0.0.1", 1))
except OSError as e: print(e.strerror)
try: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
except OSError as e: print(e.strerror)
b = socket.create_server(("127.0.0.1", 0)); b.settimeout(0.01)
try: b.accept()
except TimeoutError: print("nobody came")
'
box ip -br addr show dev outside | sed 's/ \+/ /g; s/ fe80.*//; s/ $//'
box ip link set outside down 2>&1 | grep -o 'not permitted'
box ip link add d0 type dummy 2>&1 | grep -o 'not permitted'
ip -br link show dev outside | grep -c UP`
	want := `from the host
from the sandbox
a datagram
connecting: Operation now in progress
True True 0
100000
['lo', 'other', 'outside']
Connection refused
Operation not permitted
nobody came
outside@other LOWERLAYERDOWN 192.0.2.1/24
not permitted
not permitted
1
`
	for _, intercept := range []string{"trap", "ptrace"} {
		t.Run(intercept, func(t *testing.T) {
			argv := append(inNamespaces(), "env", "COFFER="+coffer(t), "bash", "-c", strings.ReplaceAll(script, "do --network", "do --intercept "+intercept+" --network"))
			r := run(t, 5*time.Minute, t.TempDir(), "", argv...)
			if r.stdout != want {
				t.Errorf("it printed\n%s\nand not\n%s\n%s", r.stdout, want, r.stderr)
			}
		})
	}
}

// TestHostNetworkGuests: tests of guest programs that are about receiving hold with --network host too, in a network of
// the test's own.
func TestHostNetworkGuests(t *testing.T) {
	needs(t, "unshare", "ip")
	bin := guestDir(t)
	for _, of := range []struct{ name, tests string }{
		{"bulk", "file_ends_streams"}, {"inet_details", "buffers_that_cannot_be_written"}, {"inet_tcp", "sizes_and_ioctls"},
		{"inet_udp", "longer_than_the_room"},
	} {
		t.Run(of.name, func(t *testing.T) {
			out := buildGuest(t, bin, of.name)
			argv := append(inNamespaces(), "sh", "-c", `ip link set lo up && exec "$@"`, "sh", coffer(t), "do", "--network", "host",
				"--cwd", "/", "--bind", out+":/guest-test", "--", "/guest-test", of.tests)
			report(t, run(t, 10*time.Minute, "/", "", argv...))
		})
	}
}
