package test

import (
	"os"
	"strings"
	"testing"
)

// networkPrelude has what the scripts share. A server is waited for by asking it
// again and again: a busy host may start it late.
const networkPrelude = `
await() { local i; for i in $(seq 1200); do "$@" >/dev/null 2>&1 && return; sleep 0.05; done; echo "in vain: $*"; return 1; }
port() { (exec 3<>/dev/tcp/127.0.0.1/$1) 2>/dev/null; }
send() { await sh -c 'printf "%s\n" "$0" | '"$over"' nc "$@"' "$@"; }
says() { grep -q -- "$1" "$2"; }
ip link set lo up
export PATH=$PATH:/usr/sbin:/sbin HOME=$d
unset http_proxy https_proxy HTTP_PROXY HTTPS_PROXY no_proxy NO_PROXY
`

// networkPrograms talk over the loopback interface of one namespace.
var networkPrograms = []program{
	{"nc", []string{"nc"}, `
nc -l 127.0.0.1 5000 >tcp & send "over tcp" -N 127.0.0.1 5000; wait; cat tcp
nc -6 -l ::1 5000 >tcp6 & send "over tcp6" -6 -N ::1 5000; wait; cat tcp6
nc -l -U sock >unix & send "over unix" -U -N sock; wait; cat unix
nc -u -l -W 1 127.0.0.1 5001 >udp & await sh -c "echo over udp | nc -u -w 1 127.0.0.1 5001; grep -q over udp"; wait; cat udp
nc -z 127.0.0.1 5002; echo "nobody there: $?"
nc -v -z 127.0.0.1 5002 2>&1 | sed 's/ (tcp).*failed/ failed/'
seq 300000 >big; nc -l 127.0.0.1 5003 <big >back & await sh -c "nc -N 127.0.0.1 5003 <big >there"; wait; cmp big there; cmp big back; wc -c <back`},

	{"bash-dev-tcp", []string{"nc"}, `
nc -l 127.0.0.1 5000 >got <<<"a line" & await port 5000; wait; cat got
nc -l 127.0.0.1 5001 >got <<<"another line" & open() { exec 3<>/dev/tcp/127.0.0.1/5001; }; await open
read -r l <&3; echo "$l"; echo answer >&3; exec 3>&-; wait; cat got
(exec 3<>/dev/tcp/127.0.0.1/5002) 2>&1 | sed 's/.*tcp/tcp/'`},

	{"curl-wget-python3", []string{"curl", "wget", "python3"}, `
mkdir www; seq 200000 >www/big; echo hello >www/small
python3 -m http.server --bind 127.0.0.1 --directory www 8000 >/dev/null 2>log & await port 8000
curl -sS http://127.0.0.1:8000/small; curl -sS http://localhost:8000/small
curl -sS http://127.0.0.1:8000/big | cmp - www/big && echo same
curl -sS -w '%{http_code} %{size_download} %{num_connects}\n' -o /dev/null http://127.0.0.1:8000/missing -o /dev/null http://127.0.0.1:8000/small
curl -sS -I http://127.0.0.1:8000/small | grep -i content-length
wget -q -O - http://127.0.0.1:8000/small; wget -q -O w http://127.0.0.1:8000/big && cmp w www/big && echo same
wget -q http://127.0.0.1:8000/missing; echo "missing: $?"; wget -q -t 1 http://127.0.0.1:8001/; echo "nobody there: $?"
curl -s http://127.0.0.1:8001/; echo "nobody there: $?"
curl -sS --parallel --parallel-immediate $(for i in $(seq 20); do echo "-o p$i http://127.0.0.1:8000/big"; done) 2>/dev/null; cat p* | wc -c
grep -c 'GET /small' log; kill %1; wait
python3 -m http.server --bind ::1 --directory www 8000 >/dev/null 2>log & await nc -z ::1 8000; curl -sS 'http://[::1]:8000/small'`},

	{"python3-clients", []string{"python3"}, `
cat >t.py <<'X'
import asyncio, http.client, http.server, json, os, select, selectors, socket, socketserver, struct, threading, urllib.request, xmlrpc.client, xmlrpc.server
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *a): pass
    def do_GET(self):
        body = json.dumps({"path": self.path, "agent": self.headers["X-Agent"]}).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def do_POST(self):
        n = int(self.headers["Content-Length"]); got = 0
        while got < n: got += len(self.rfile.read(min(65536, n - got)))
        self.send_response(201); self.send_header("Transfer-Encoding", "chunked"); self.end_headers()
        for part in (str(got).encode(), b" bytes"): self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
        self.wfile.write(b"0\r\n\r\n")
httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler); port = httpd.server_address[1]
threading.Thread(target=httpd.serve_forever, daemon=True).start()
c = http.client.HTTPConnection("127.0.0.1", port)
for i in range(3):
    c.request("GET", f"/{i}", headers={"X-Agent": "client"}); r = c.getresponse(); print(r.status, r.read().decode())
c.request("POST", "/", body=b"x" * 3000000); r = c.getresponse(); print(r.status, r.read().decode()); c.close()
print(urllib.request.urlopen(f"http://localhost:{port}/u").read().decode())
try: urllib.request.urlopen("http://127.0.0.1:1/")
except urllib.error.URLError as e: print(e.reason)
httpd.shutdown()

async def main():
    async def serve(reader, writer):
        while line := await reader.readline(): writer.write(line.upper()); await writer.drain()
        writer.close()
    server = await asyncio.start_server(serve, "127.0.0.1", 0); addr = server.sockets[0].getsockname()
    async def client(i):
        r, w = await asyncio.open_connection(*addr); out = []
        for j in range(20):
            w.write(b"line %d of %d\n" % (j, i)); out.append(await r.readline())
        w.write_eof(); rest = await r.read(); w.close(); await w.wait_closed()
        return len(set(out)) == 20 and rest == b"" and out[3] == b"LINE 3 OF %d\n" % i
    print(sum(await asyncio.gather(*(client(i) for i in range(200)))), "clients")
    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, t): self.t = t
        def datagram_received(self, data, a): self.t.sendto(data[::-1], a)
    loop = asyncio.get_running_loop(); t, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setblocking(False); s.connect(t.get_extra_info("sockname"))
    await loop.sock_sendall(s, b"drawer"); print(await loop.sock_recv(s, 100)); t.close(); s.close()
    try: await asyncio.open_connection("127.0.0.1", 1)
    except OSError as e: print(e.errno)
    try: await asyncio.wait_for(loop.sock_accept(server.sockets[0]._sock if hasattr(server.sockets[0], "_sock") else socket.socket()), 0.01)
    except (asyncio.TimeoutError, OSError, ValueError, TypeError): print("nobody came")
    server.close()
asyncio.run(main())

l = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True); p = l.getsockname()[1]
a = socket.create_connection(("127.0.0.1", p)); b, peer = l.accept(); print(peer[0]); b.close()
a.settimeout(60); print(a.recv(1)); a.close()
a = socket.create_connection(("::1", p)); b, peer = l.accept(); print(peer[0])
b.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); b.close()
try: a.recv(1)
except ConnectionResetError: print("reset")
print([x[4][0] for x in socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)], socket.getservbyname("https"), socket.gethostbyname("localhost"))
print(socket.if_nameindex(), socket.if_nametoindex("lo"), socket.has_dualstack_ipv6())
r = xmlrpc.server.SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False); r.register_function(pow)
threading.Thread(target=r.serve_forever, daemon=True).start(); print(xmlrpc.client.ServerProxy("http://127.0.0.1:%d" % r.server_address[1]).pow(2, 10))
f = open("f", "wb"); f.write(os.urandom(1 << 20)); f.close()
l = socket.create_server(("127.0.0.1", 0)); a = socket.create_connection(l.getsockname()); b, _ = l.accept(); got = bytearray()
def drain():
    while d := b.recv(65536): got.extend(d)
th = threading.Thread(target=drain); th.start(); print(a.sendfile(open("f", "rb"))); a.shutdown(socket.SHUT_WR); th.join(); print(got == open("f", "rb").read())
os._exit(3)
X
python3 t.py; echo "status $?"`},

	{"dig", []string{"dig", "python3"}, `
cat >dns.py <<'X'
import socket, struct, threading
ZONE = {("a.test.", 1): [socket.inet_aton("192.0.2.1"), socket.inet_aton("192.0.2.2")], ("a.test.", 28): [socket.inet_pton(socket.AF_INET6, "2001:db8::1")],
    ("t.test.", 16): [b"\x05hello"], ("big.test.", 16): [bytes([200]) + b"%03d" % i + b"x" * 197 for i in range(20)]}
def answer(q, udp):
    i, labels = 12, []
    while q[i]: labels.append(q[i+1:i+1+q[i]]); i += 1 + q[i]
    qtype, = struct.unpack("!H", q[i+1:i+3]); name = b".".join(labels).decode().lower() + "."; question = q[12:i+5]
    rr = ZONE.get((name, qtype), []); known = any(n == name for n, _ in ZONE); tc = udp and sum(map(len, rr)) > 400
    flags = 0x8480 | (0x200 if tc else 0) | (0 if known else 3)
    body = b"" if tc else b"".join(b"\xc0\x0c" + struct.pack("!HHIH", qtype, 1, 60, len(d)) + d for d in rr)
    return q[:2] + struct.pack("!HHHHH", flags, 1, 0 if tc else len(rr), 0, 0) + question + body
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("127.0.0.1", 5353)); t = socket.create_server(("127.0.0.1", 5353))
def tcp():
    while True:
        c, _ = t.accept()
        with c:
            while n := c.recv(2, socket.MSG_WAITALL): r = answer(c.recv(struct.unpack("!H", n)[0], socket.MSG_WAITALL), False); c.sendall(struct.pack("!H", len(r)) + r)
threading.Thread(target=tcp, daemon=True).start()
print("ready", flush=True)
while True: q, a = u.recvfrom(4096); u.sendto(answer(q, True), a)
X
python3 dns.py >dns.log & await says ready dns.log
dig='dig @127.0.0.1 -p 5353 +tries=20 +time=10'
$dig +short a.test A; $dig +short a.test AAAA; $dig +tcp +short a.test A; $dig +short t.test TXT
$dig +short big.test TXT | wc -c; $dig +short +ignore big.test TXT | wc -c
$dig no.test | grep -o 'status: [A-Z]*'; $dig +noall +answer a.test A
dig @127.0.0.1 -p 5354 +tries=1 +time=30 a.test >log 2>&1; echo "status $?"; grep -c refused log | sed 's/^[1-9].*/refused/'`},

	{"ping", []string{"ping"}, `
quiet() { sed -E 's/time[= ][0-9.]+ ?ms/time/; s/^rtt.*/rtt/; s/ttl=[0-9]+/ttl/; /^$/d'; }
ping -c 3 -i 0.01 127.0.0.1 | quiet; ping -6 -c 2 -i 0.01 -q ::1 | quiet; ping -c 1 -s 3000 127.0.0.1 | quiet; ping -4 -c 1 -q localhost | quiet
ping -c 2 -i 0.01 -p deadbeef -q 127.0.0.5 | quiet; ping -c 1 -t 5 -q 127.0.0.1 | quiet
ping -c 1 -W 1 192.0.2.1 >log 2>&1; echo "status $?"; cat log`},

	{"ip", []string{"ip", "tc"}, `
ip -o link show lo | sed 's/qdisc [a-z]*/qdisc/; s/qlen [0-9]*//'; ip -br addr show lo; ip -o -4 addr show dev lo; ip -o -6 addr show dev lo
ip route show; ip route show table local type local | sort; ip rule show
ip addr add 10.9.0.1/32 dev lo; ip addr add 2001:db8::1/64 dev lo nodad; ip -br addr show lo; ip addr add 10.9.0.1/32 dev lo; echo "again: $?"
ip route get 127.0.0.1 | head -1 | sed 's/ uid.*//; s/ *$//'; ip route get 192.0.2.1; echo "no route: $?"
ip route add 10.8.0.0/16 via 10.9.0.2 dev lo; ip route add 10.7.0.0/16 dev lo metric 7; ip route show; ip route del 10.8.0.0/16; ip route del 10.8.0.0/16; echo "not there: $?"
{ ip route get 192.0.2.1; ip route add 10.7.0.0/16 dev lo metric 7; ip route del 10.99.0.0/16; ip route change 10.99.0.0/16 dev lo; } 2>&1
ip neigh show proxy; tc class show dev lo; tc filter show dev lo; echo "status $?"
ip addr del 10.9.0.1/32 dev lo; ip addr del 10.9.0.1/32 dev lo; echo "not there: $?"; ip -br addr show lo
ip link set lo down; ip -br link show lo | sed 's/ *$//'; ip -br -4 addr show lo; ping -c 1 -W 1 127.0.0.1 >/dev/null 2>&1; echo "down: $?"
ip link set lo up; ip link set lo mtu 1500; ip -o link show lo | grep -o 'mtu [0-9]*'; ip link show nope; echo "status $?"; ip link set nope up; echo "status $?"
ip neigh show; ip -j addr show lo | tr -d ' \n' | grep -o '"local":"[^"]*"'; ip maddr show dev lo >/dev/null; echo "maddr $?"; ip monitor link & sleep 0.01; kill %1; wait`},

	{"ip-netns", []string{"ip", "bridge", "nc", "nsenter", "ping"}, `
mkdir -p /run/netns; mount -t tmpfs none /run/netns
quiet() { sed -E 's/time[= ][0-9.]+ ?ms/time/; s/^rtt.*/rtt/; /^$/d'; }
at() { local n=$1; shift; nsenter --net=/run/netns/$n "$@"; }; ip netns add left; ip netns add right; ip netns list | sed 's/ (id.*//' | sort
ip link add l0 type veth peer name r0; ip link set l0 netns left; ip link set r0 netns right
at left ip addr add 10.5.0.1/24 dev l0; at right ip addr add 10.5.0.2/24 dev r0; at left ip link set l0 up; at right ip link set r0 up
isup() { at $1 ip -br link show $2 | grep -q ' UP '; }; await isup left l0; at left ip -br addr show l0 | sed 's/@if[0-9]*//; s/fe80[^ ]*//; s/ *$//'; at left ip route
at left ping -c 2 -i 0.01 -q 10.5.0.2 | quiet
at right nc -l 10.5.0.2 5000 >got & over="nsenter --net=/run/netns/left" send across -N 10.5.0.2 5000; wait; cat got
ip netns add middle; at middle ip link add br0 type bridge; at middle ip link set br0 up
for n in left right; do ip link add $n type veth peer name p-$n; ip link set $n netns middle; ip link set p-$n netns $n; at middle ip link set $n master br0 up; at $n ip link set p-$n up; done
at left ip addr add 10.6.0.1/24 dev p-left; at right ip addr add 10.6.0.2/24 dev p-right; at left ping -c 1 -W 30 -q 10.6.0.2 | quiet
at middle bridge fdb show br br0 | grep 'master br0 *$' | sed 's/.*dev/dev/; s/ *$//' | sort -u; at middle bridge fdb show dev left | grep -c 'master br0 permanent'
at middle ip -br link show master br0 | sed 's/@.*//' | sort
at left ip link del l0; at right ip -br link show r0; ip netns del left; ip netns del right; ip netns del middle; ip netns list`},

	{"ss", []string{"ss", "nc", "python3"}, `
cat >s.py <<'X'
import socket, sys
l = socket.create_server(("127.0.0.1", 5000), backlog=7); l6 = socket.create_server(("::1", 5001), family=socket.AF_INET6)
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("127.0.0.1", 5002))
c = socket.socket(); c.bind(("127.0.0.1", 5003)); c.connect(("127.0.0.1", 5000)); s, _ = l.accept(); c.send(b"12345")
d = socket.socket(); d.bind(("127.0.0.1", 5004)); d.connect(("127.0.0.1", 5000)); e, _ = l.accept(); d.shutdown(socket.SHUT_WR)
x = socket.socket(socket.AF_UNIX); x.bind("x.sock"); x.listen()
e.recv(1); print("ready", flush=True); sys.stdin.read()
X
mkfifo p; python3 s.py <p >log & exec 9>p; await says ready log
columns() { sed -E 's/ +/ /g; s/ $//' | sort; }
ss -Htln | columns; ss -Hltn 'sport = :5000' | columns; ss -Huan | columns; ss -Htn | columns; ss -Htn state close-wait | columns; ss -Htn 'dport = :5000' | columns
ss -Hxl | grep -c x.sock; ss -Htlnp | grep -o 'python3",pid' | sort | uniq -c | columns; ss -Htnei 'sport = :5003' | grep -o -e 'ino:' -e 'cubic\|reno' -e 'mss:' | head -4 | sort >info; grep -c . info
exec 9>&-; wait; ss -Htln; cut -c 1-30 /proc/net/tcp | head -1; awk 'NR > 1 { print $2, $3, $4 }' /proc/net/tcp | grep -v '06$' | sort | head -3`},

	{"nginx", []string{"nginx", "curl"}, `
mkdir -p www logs; seq 700000 >www/big; echo index >www/index.html
cat >nginx.conf <<X
worker_processes 2; pid $d/pid; error_log $d/logs/error.log; daemon on; user root;
events { worker_connections 512; }
http { access_log $d/logs/access.log; sendfile on; tcp_nopush on; keepalive_timeout 60; client_body_temp_path $d/a; proxy_temp_path $d/b; fastcgi_temp_path $d/c; uwsgi_temp_path $d/e; scgi_temp_path $d/f; gzip on; gzip_types text/plain; default_type text/plain;
 server { listen 127.0.0.1:8080 reuseport; listen [::1]:8080; root $d/www; location /proxy/ { proxy_pass http://127.0.0.1:8081/; } location /unix/ { proxy_pass http://unix:$d/sock:/; } }
 server { listen 127.0.0.1:8081; listen unix:$d/sock; location / { return 200 "upstream \$request_uri\n"; } } }
X
nginx -q -p $d -c $d/nginx.conf 2>err || cat err; await port 8080
curl -sS http://127.0.0.1:8080/ 'http://[::1]:8080/' http://127.0.0.1:8080/proxy/x http://127.0.0.1:8080/unix/y
curl -sS http://127.0.0.1:8080/big | cmp - www/big && echo same; curl -sS -H 'Accept-Encoding: gzip' http://127.0.0.1:8080/big | gzip -dc | cmp - www/big && echo gzip
curl -sS -r 100-109 http://127.0.0.1:8080/big | od -c | head -1; curl -sS -o /dev/null -w '%{http_code}\n' http://127.0.0.1:8080/nope
for i in $(seq 100); do echo "url=http://127.0.0.1:8080/proxy/$i"; done >urls; curl -sS -K urls | sort | uniq | wc -l
for i in 1 2 3 4; do curl -sS -K urls >o$i & done; wait; cat o? | wc -l; curl -sS --limit-rate 40M http://127.0.0.1:8080/big | wc -c
nginx -s reload -p $d -c $d/nginx.conf 2>/dev/null; await curl -sS http://127.0.0.1:8080/; curl -sS http://127.0.0.1:8080/
nginx -s quit -p $d -c $d/nginx.conf 2>/dev/null; await test ! -e pid; curl -s http://127.0.0.1:8080/; echo "gone: $?"; cat logs/error.log | grep -v -e notice -e nope; grep -c 'proxy/7 ' logs/access.log`},

	{"redis", []string{"redis-server", "redis-cli"}, `
redis-server --bind 127.0.0.1 --port 6379 --repl-diskless-sync-delay 0 --unixsocket $d/sock --save '' --daemonize no --logfile log & await redis-cli ping
redis-cli set k v; redis-cli get k; redis-cli -s sock incr n; redis-cli lpush l a b c; redis-cli lrange l 0 -1
for i in $(seq 500); do echo "SET key$i value$i"; done | redis-cli | sort | uniq -c | sed 's/^ *//'; redis-cli dbsize
redis-cli eval 'local s = 0; for i = 1, 100 do s = s + i end return s' 0
redis-cli --csv subscribe ch >sub & sub=$!; await sh -c '[ "$(redis-cli publish ch hello)" = 1 ]'; await says hello sub; kill $sub; tail -1 sub
(redis-cli blpop queue 0 >popped) & await sh -c 'redis-cli client list | grep -q cmd=blpop'; redis-cli rpush queue job; await says job popped; cat popped
redis-cli config set appendonly yes; redis-cli set persisted 1; redis-cli bgsave >/dev/null; await sh -c 'redis-cli info persistence | grep -q rdb_bgsave_in_progress:0'; redis-cli lastsave >/dev/null && echo saved
mkdir replica; redis-server --bind 127.0.0.1 --port 6380 --save '' --dir replica --logfile "" --replicaof 127.0.0.1 6379 >replica.log & await sh -c 'redis-cli -p 6380 info replication | grep -q master_link_status:up'
redis-cli -p 6380 get key77; printf 'set later yes\nwait 1 60000\n' | redis-cli; redis-cli -p 6380 get later; redis-cli -p 6380 shutdown nosave; redis-cli shutdown nosave; wait; redis-cli ping 2>&1 | head -1`},

	{"postgresql", []string{"psql", "setpriv"}, `
export PATH=$(ls -d /usr/lib/postgresql/*/bin | tail -1):$PATH PGHOST=127.0.0.1 PGUSER=nobody PGDATABASE=postgres
chmod 755 $d; mkdir pg; chown 65534:65534 pg; as() { (cd pg && setpriv --reuid 65534 --regid 65534 --clear-groups "$@"); }
as initdb -A trust -U nobody -N -E UTF8 --no-locale -D data >log 2>&1 || tail log
as postgres -D data -h 127.0.0.1 -k $d/pg -c fsync=off -c shared_buffers=16MB >pg.log 2>&1 & await psql -c 'select 1'
psql -At -c 'select 6*7' -c 'create table t(a int primary key, b text)' -c "insert into t select i, repeat('x', i) from generate_series(1, 1000) i" -c 'select count(*), sum(length(b)) from t'
psql -At -h $d/pg -c 'select inet_client_addr() is null'; psql -At -c 'select inet_client_addr(), inet_server_port()'
seq 1 5 | sed 's/$/\tcopied/' | psql -At -c 'create table c(a int, b text)' -c 'copy c from stdin' -c 'select sum(a), max(b) from c'; psql -At -c 'copy t to stdout' | wc -c
psql -q -c 'create table acc(n int)' -c 'insert into acc values (0)'; for i in 1 2 3 4 5 6; do psql -q -c 'update acc set n = n + 1' & done; for j in $(jobs -p | tail -n +2); do wait $j; done; psql -At -c 'select n from acc'
psql -At -c 'listen x' -c 'notify x' -c 'select 1' | sed 's/PID [0-9]*/PID/'; psql -At -c 'select 1/0' 2>&1; echo "status $?"
pgbench -i -q -s 1 >/dev/null 2>&1; pgbench -n -c 4 -j 2 -t 50 2>/dev/null | grep -e processed -e failed; psql -At -c 'select count(*) from pgbench_history' -c 'select sum(abalance) = sum(bbalance) from (select sum(abalance) abalance from pgbench_accounts) x, (select sum(bbalance) bbalance from pgbench_branches) y'
as pg_ctl -D data -m fast -w stop >/dev/null && echo stopped; wait; psql -c 'select 1' 2>&1 | grep -o refused`},

	{"memcached", []string{"memcached", "nc"}, `
memcached -u nobody -l 127.0.0.1 -p 11211 -U 11211 -s '' 2>log & memcached -u nobody -l 127.0.0.1 -p 11211 -m 32 -t 2 2>>log & await port 11211
ask() { printf "$1" | nc -N 127.0.0.1 11211 | tr -d '\r'; }
ask 'set k 0 0 5\r\nhello\r\nget k\r\nincr n 1\r\nset n 0 0 1\r\n7\r\nincr n 5\r\ndelete k\r\nget k\r\nquit\r\n'
{ for i in $(seq 2000); do printf 'set k%d 0 0 4\r\n%04d\r\n' $i $i; done; printf 'quit\r\n'; } | nc 127.0.0.1 11211 | sort | uniq -c | tr -d '\r' | sed 's/^ *//'
{ for i in $(seq 2000); do printf 'get k%d\r\n' $i; done; printf 'quit\r\n'; } | nc 127.0.0.1 11211 | cksum; ask 'stats\r\nquit\r\n' | grep -e curr_items -e threads`},

	{"node", []string{"node"}, `
cat >t.js <<'X'
const http = require('http'), net = require('net'), dgram = require('dgram'), dns = require('dns'), os = require('os'), crypto = require('crypto'), cluster = require('cluster');
const get = (o) => new Promise((ok, no) => http.get(o, (r) => { let n = 0; r.on('data', (d) => n += d.length).on('end', () => ok([r.statusCode, n])); }).on('error', no));
(async () => {
  const big = crypto.randomBytes(3 << 20);
  const server = http.createServer((q, r) => {
    if (q.url === '/big') return r.end(big);
    if (q.method === 'POST') { const h = crypto.createHash('sha256'); q.on('data', (d) => h.update(d)).on('end', () => r.end(h.digest('hex'))); return; }
    r.end('hello ' + q.url); }).listen(0, '127.0.0.1');
  await new Promise((ok) => server.on('listening', ok)); const port = server.address().port, agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
  console.log(await get({ port, host: '127.0.0.1', path: '/x' }), await get({ port, host: 'localhost', family: 4, path: '/big', agent }));
  const all = await Promise.all([...Array(200).keys()].map((i) => get({ port, host: '127.0.0.1', path: '/' + i, agent }))); console.log(all.length, all.every(([s]) => s === 200));
  const posted = await new Promise((ok) => { const q = http.request({ port, host: '127.0.0.1', method: 'POST' }, (r) => { let s = ''; r.on('data', (d) => s += d).on('end', () => ok(s)); }); q.end(big); });
  console.log(posted === crypto.createHash('sha256').update(big).digest('hex')); agent.destroy(); server.close();
  const echo = net.createServer({ allowHalfOpen: true }, (c) => c.pipe(c)).listen(0, '::1'); await new Promise((ok) => echo.on('listening', ok));
  const back = await new Promise((ok) => { const c = net.connect(echo.address().port, '::1'); let n = 0; c.on('data', (d) => n += d.length).on('end', () => ok(n)); c.end(big); }); console.log(back === big.length); echo.close();
  const u = dgram.createSocket('udp4'); await new Promise((ok) => u.bind(0, '127.0.0.1', ok)); const got = new Promise((ok) => u.on('message', (m, r) => ok([m.toString(), r.address]))); u.send('datagram', u.address().port, '127.0.0.1'); console.log(await got); u.close();
  await get({ port: 1, host: '127.0.0.1' }).catch((e) => console.log(e.code, e.syscall));
  console.log(Object.keys(os.networkInterfaces()), os.networkInterfaces().lo.map((a) => a.cidr).sort()); dns.lookup('localhost', 4, (e, a) => console.log(e, a));
})();
X
node t.js; echo "status $?"`},

	{"openssh", []string{"sshd", "ssh", "rsync", "git", "nc"}, `
mkdir -p /run/sshd 2>/dev/null; chmod 755 /run/sshd; for k in host key; do ssh-keygen -q -t ed25519 -N '' -f $k; done; cp key.pub authorized; chmod 600 authorized
cat >sshd_config <<X
Port 2222
ListenAddress 127.0.0.1
HostKey $d/host
AuthorizedKeysFile $d/authorized
PidFile $d/sshd.pid
UsePAM no
StrictModes no
PrintLastLog no
PermitRootLogin yes
PasswordAuthentication no
PermitUserEnvironment no
AcceptEnv A
MaxStartups 100
# Where bash is not the outermost shell it reads no ~/.bashrc, which may take seconds, or talk.
SetEnv SHLVL=2
Subsystem sftp internal-sftp
X
cat >ssh_config <<X
Host *
 Port 2222
 User root
 HostName 127.0.0.1
 IdentityFile $d/key
 IdentitiesOnly yes
 UserKnownHostsFile $d/known
 StrictHostKeyChecking accept-new
 LogLevel ERROR
 BatchMode yes
X
$(command -v sshd) -f $d/sshd_config -E $d/sshd.log; await port 2222; s="ssh -F $d/ssh_config"
$s host 'echo out; echo err >&2; exit 3' 2>&1; echo "status $?"; echo piped | $s host 'tr a-z A-Z'; A=sent $s -o SendEnv=A host 'echo $A'
seq 100000 | $s host 'cat | cksum'; $s host "cat /dev/zero | head -c 1000000" | wc -c; $s -tt host 'tty >/dev/null && echo a terminal; stty size' </dev/null | tr -d '\r'; ssh -F none -o BatchMode=yes -o UserKnownHostsFile=$d/known -p 2222 root@127.0.0.1 true 2>/dev/null; echo "no key: $?"
mkdir tree; for i in 1 2 3; do seq $((i * 1000)) >tree/f$i; done; scp -q -F ssh_config -r tree host:$d/copied && diff -r tree copied && echo scp
echo "get $d/tree/f3 fetched" | sftp -q -F ssh_config -b - host >/dev/null && cmp tree/f3 fetched && echo sftp
export RSYNC_RSH="$s"; rsync -a tree/ host:$d/synced/ && diff -r tree synced && echo rsync; echo more >>tree/f2; rsync -ai --no-t -c tree/ host:$d/synced/ | cut -c 1-3,12-
export GIT_SSH_COMMAND="$s" GIT_CONFIG_GLOBAL=$d/gitconfig; git config --global user.email t@example.com; git config --global user.name t; git config --global init.defaultBranch main; git config --global safe.directory '*'
git init -q r; (cd r; seq 5000 >f; git add f; git commit -q -m one); git clone -q host:$d/r c && diff r/f c/f && echo cloned; git init -q --bare b; (cd c; echo more >>f; git commit -q -am two; git push -q host:$d/b main); git --git-dir b log --format=%s
nc -l 127.0.0.1 7000 >through & n=$!; await grep -q :1B58 /proc/net/tcp; $s -N -L 127.0.0.1:7001:127.0.0.1:7000 host & f=$!; send forwarded -N 127.0.0.1 7001; wait $n; cat through; kill $f; wait $f
$s -M -S $d/ctl -f -N host; for i in 1 2 3; do $s -S $d/ctl host "echo shared $i" & done | sort; wait; $s -S $d/ctl -O exit host 2>/dev/null; for i in $(seq 4); do $s host "echo at once $i" & done | sort; kill $(cat sshd.pid)`},

	{"rsync-daemon", []string{"rsync"}, `
mkdir -p src/sub; for i in $(seq 40); do seq $((i * 100)) >src/f$i; done; ln -s f1 src/l; seq 200000 >src/sub/big
printf 'port = 8730\naddress = 127.0.0.1\nuse chroot = no\nmunge symlinks = no\nuid = 0\ngid = 0\nlog file = %s/log\n[m]\npath = %s/src\nread only = yes\n[w]\npath = %s/dst\nread only = no\n' $d $d $d >conf; mkdir dst
rsync --daemon --no-detach --config=conf & await rsync rsync://127.0.0.1:8730/
rsync rsync://127.0.0.1:8730/ | sed 's/[ \t]*$//'; rsync -a rsync://127.0.0.1:8730/m/ got/ && diff -r src got && echo fetched; rsync -az src/ rsync://127.0.0.1:8730/w/ && diff -r src dst && echo sent
echo x >>src/sub/big; rsync -a --stats --no-whole-file src/ rsync://127.0.0.1:8730/w/ | grep 'files transferred'; diff -r src dst && echo same; rsync -a src/f1 rsync://127.0.0.1:8730/m/ 2>&1 | grep -o 'read only'; kill %1`},

	{"tcpdump", []string{"tcpdump", "ping", "nc"}, `
tcpdump -i lo -nn -U -c 4 -w icmp.pcap icmp 2>log & await says listening log; ping -c 2 -i 0.01 -q -s 40 127.0.0.1 >/dev/null; wait; tcpdump -nn -t -r icmp.pcap 2>/dev/null | sed 's/id [0-9]*, //'
tcpdump -i lo -nn -U -w tcp.pcap 'port 5000' 2>log2 & t=$!; await says listening log2; nc -l 127.0.0.1 5000 >got & n=$!; send tcp -N 127.0.0.1 5000; wait $n; cat got
nc -u -l -W 1 127.0.0.1 5000 >got & n=$!; await sh -c "echo captured | nc -u -w 1 127.0.0.1 5000; grep -q captured got"; wait $n; await sh -c 'tcpdump -nn -t -A -r tcp.pcap udp 2>/dev/null | grep -q captured'
await sh -c 'tcpdump -nn -r tcp.pcap "tcp[tcpflags] & tcp-fin != 0" 2>/dev/null | wc -l | grep -q "[2-9]"'; kill $t; wait $t; tcpdump -nn -t -A -r tcp.pcap udp 2>/dev/null | grep -a -q captured && echo captured
tcpdump -nn -r tcp.pcap 'tcp[tcpflags] & (tcp-syn|tcp-ack) == (tcp-syn|tcp-ack)' 2>/dev/null | head -1 | wc -l; tcpdump -D | grep -o '[0-9]\.lo ' | cut -d. -f2; tcpdump -i nope 2>&1 | grep -o 'No such device' | head -1`},

	{"iperf3", []string{"iperf3", "python3"}, `
cat >j.py <<'X'
import json, sys
r = json.load(sys.stdin); e = r["end"]
print(r.get("error"), len(e["streams"]), *sys.argv[1:], *(e[s]["bytes"] >= n for s, n in (("sum_sent", 1 if "--bidir" in sys.argv else 20 << 20), ("sum_received", 1)) if s in e), e.get("sum", {}).get("packets", 0) > 0)
X
# Client and server of version 3.12 wait for each other now and then, natively too.
iperf3 -s -B 127.0.0.1 -p 5201 >/dev/null & server=$!
measure() { await sh -c 'timeout 30 iperf3 -c 127.0.0.1 -p 5201 -J "$@" >j && grep -q -e lost_packets -e sum_received j' sh "$@"; python3 j.py "$@" <j; }
measure -n 20M; measure -n 20M -R; measure -n 20M -P 4; measure -n 20M --bidir; measure -u -b 20M -t 1 -l 1000; measure -n 20M -Z -l 16K -N; measure -n 20M -M 1000 -w 64K; kill $server`},

	{"load", []string{"wrk", "nginx", "redis-server", "redis-benchmark"}, `
mkdir www; echo index >www/index.html; cat >nginx.conf <<X
worker_processes 2; pid $d/pid; error_log $d/error.log; user root; events { worker_connections 512; }
http { access_log off; client_body_temp_path $d/a; proxy_temp_path $d/b; fastcgi_temp_path $d/c; uwsgi_temp_path $d/e; scgi_temp_path $d/f; server { listen 127.0.0.1:8080; root $d/www; } }
X
nginx -q -p $d -c $d/nginx.conf 2>/dev/null; await port 8080
wrk -t 2 -c 64 -d 1 --timeout 60 http://127.0.0.1:8080/ >o; grep -e 'connections' -e 'Socket errors' -e 'Non-2xx' o; awk '/requests in/ { print ($1 > 0) }' o
wrk -t 2 -c 16 -d 1 --timeout 60 -H 'Connection: close' http://127.0.0.1:8080/ >o; grep -e 'Non-2xx' o; awk '/requests in/ { print ($1 > 0) }' o; cat error.log; kill $(cat pid)
redis-server --bind 127.0.0.1 --save '' --logfile log & await redis-cli ping; redis-benchmark -q -n 2000 -c 50 -t set,get,lpush,mset --csv | cut -d, -f1; redis-benchmark -q -n 20000 -P 32 -c 10 -t set,get --csv | cut -d, -f1; redis-cli shutdown nosave`},
}

// TestNetworkPrograms runs them natively in a network namespace of their own.
func TestNetworkPrograms(t *testing.T) {
	for _, p := range networkPrograms {
		p.script = networkPrelude + p.script
		t.Run(p.name, func(t *testing.T) { p.testBeside(t, inNamespaces(), walls[1:], "--network", "none") })
	}
}

// inNamespaces is what runs a command natively in a network namespace, whose lo is down,
// and a PID namespace that takes its servers along when it ends.
func inNamespaces() []string {
	argv := strings.Fields("unshare --net --pid --fork --kill-child --mount-proc")
	if os.Geteuid() != 0 {
		argv = append(argv, "--map-root-user")
	}
	return argv
}
