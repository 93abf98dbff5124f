package test

import "testing"

// routingPrelude makes three neighbours that all have 10.9.0.1 and fd09::1, and say who they are there, with the address
// of who asks: g1 and g2 are on the link of c1, and g3 is on that of c2.
const routingPrelude = networkPrelude + `
mkdir -p /run/netns; mount -t tmpfs none /run/netns
at() { local n=$1; shift; nsenter --net=/run/netns/$n "$@"; }
for n in sw g1 g2 g3; do ip netns add $n; at $n ip link set lo up; done; at sw ip link add br0 type bridge; at sw ip link set br0 up
for n in g1 g2; do ip link add p-$n type veth peer name e; ip link set p-$n netns sw; ip link set e netns $n; at sw ip link set p-$n master br0 up; at $n ip link set e up; done
ip link add c1 type veth peer name p-c1; ip link set p-c1 netns sw; at sw ip link set p-c1 master br0 up; ip link add c2 type veth peer name e; ip link set e netns g3; at g3 ip link set e up
ip addr add 10.1.0.1/24 dev c1; ip addr add 10.1.0.9/24 dev c1; ip addr add 10.2.0.1/24 dev c2; ip addr add fd01::1/64 dev c1 nodad; ip addr add fd02::1/64 dev c2 nodad; ip link set c1 up; ip link set c2 up
at g1 ip addr add 10.1.0.251/24 dev e; at g1 ip addr add fd01::251/64 dev e nodad
at g2 ip addr add 10.1.0.252/24 dev e; at g2 ip addr add fd01::252/64 dev e nodad
at g3 ip addr add 10.2.0.253/24 dev e; at g3 ip addr add fd02::253/64 dev e nodad; at g3 ip route add 10.1.0.0/24 dev e; at g3 ip -6 route add fd01::/64 dev e
cat >server.py <<'X'
import socket, sys, threading
name = sys.argv[1].encode()
def tcp(l):
    while True:
        c, a = l.accept(); c.sendall(name + b" " + a[0].encode()); c.close()
def udp(u):
    while True:
        d, a = u.recvfrom(100); u.sendto(name + b" " + a[0].encode(), a)
for port in 7, 8:
    for f, any in (socket.AF_INET, "10.9.0.1"), (socket.AF_INET6, "fd09::1"):
        threading.Thread(target=tcp, args=(socket.create_server((any, port), family=f),)).start()
        u = socket.socket(f, socket.SOCK_DGRAM); u.bind((any, port)); threading.Thread(target=udp, args=(u,)).start()
print("ready", flush=True)
X
for n in g1 g2 g3; do at $n ip addr add 10.9.0.1/32 dev e; at $n ip addr add fd09::1/128 dev e nodad; at $n python3 server.py $n >log-$n & done
cat >ask.py <<'X'
import errno, os, socket, sys
def ask(what, six=False, mark=0, source=None, uid=0, port=7, device=None, flags="tuc", tos=0, to=None, size=1):
    f, to, level = (socket.AF_INET6, to or "fd09::1", 41) if six else (socket.AF_INET, to or "10.9.0.1", 0)
    out = []
    for kind in flags:
        if uid: os.seteuid(uid)
        s = socket.socket(f, socket.SOCK_STREAM if kind == "t" else socket.SOCK_DGRAM)
        if uid: os.seteuid(0)
        s.settimeout(20)
        try:
            if mark: s.setsockopt(socket.SOL_SOCKET, 36, mark)
            if device: s.setsockopt(socket.SOL_SOCKET, 25, device.encode())
            if tos: s.setsockopt(level, 67 if six else 1, tos)
            if source: s.bind((source, 0))
            if kind == "u": s.sendto(b"x" * size, (to, port))
            else:
                s.connect((to, port))
                if kind == "c": s.send(b"x" * size)
            out.append(s.recv(100).decode())
        except OSError as e: out.append(errno.errorcode[e.errno] if e.errno else type(e).__name__)
        s.close()
    print(what + ":", ", ".join(out), flush=True)
X
py() { python3 -c "from ask import *
$1"; }
`

// routingPrograms are about rules, tables and routes.
var routingPrograms = []program{
	{"ip-rule", []string{"ip"}, `
ip link add va type veth peer name vb; ip link set dev va up; ip link set dev vb up; ip addr add 10.1.0.1/24 dev va; ip addr add 2001:db8:1::1/64 dev va nodad
isup() { ip -br link show $1 | grep -q ' UP '; }; await isup va; await isup vb
ip rule; ip -6 rule
t() { echo "\$ $*"; "$@" 2>&1; r=$?; [ $r = 0 ] || echo "= $r"; }
t ip rule add from 10.2.0.0/16 lookup 100
t ip rule add from 10.2.0.0/16 lookup 100
t ip rule add to 10.3.0.1 fwmark 0x10/0xf0 iif lo oif va uidrange 5-10 table 200 pref 100
t ip rule add blackhole from 10.9.9.9 pref 50
t ip rule add prohibit to 10.9.9.8
t ip rule add unreachable to 10.9.9.7 ipproto udp dport 53 sport 1-5
t ip rule add not fwmark 51820 table 51820
t ip rule add table main suppress_prefixlength 0
t ip rule add goto 32766 pref 10
t ip rule add goto 5 pref 11
t ip rule add nop pref 12
t ip rule add iif nope table 7 pref 13
t ip rule add tos 0x10 lookup main pref 14
t ip rule
t ip rule add pref 15
t ip rule add table 0 pref 15
t ip -6 rule add from 2001:db8::/32 lookup 100
t ip -6 rule add prohibit to 2001:db8:9::/48
t ip -6 rule
t ip rule del from 1.2.3.4
t ip rule del pref 50
t ip rule del table 200
t ip rule del goto 32766
t ip rule del pref 0
t ip rule
t ip rule show table 100
t ip rule list pref 100
ip rule flush; ip rule add pref 0 lookup local; ip rule add pref 32766 lookup main; ip rule add pref 32767 lookup default
t ip rule add pref 9 lookup 5
t ip rule add pref 9 lookup 5
t ip rule add pref 9 lookup 5 protocol static
t ip rule add pref 9 lookup 6
t ip rule add uidrange 9-5 lookup 6
t ip rule del uidrange 9-10
t ip rule add from 10.2.0.1/16 lookup 5
t ip rule del pref 9
t ip route add blackhole 10.20.0.0/16
t ip route add unreachable 10.21.0.0/16
t ip route add prohibit 10.22.0.0/16 metric 5
t ip route add throw 10.23.0.0/16
t ip route add throw 10.23.0.0/16
t ip route add blackhole 10.23.0.0/16 dev va
t ip route add blackhole 10.24.0.0/16 via 10.1.0.2
t ip route add default via 10.1.0.2 table 100
t ip route add blackhole default table 101
t ip route add 10.40.0.0/16 nexthop via 10.1.0.3 dev va weight 2 nexthop via 10.1.0.4
t ip route add 10.41.0.0/16 via inet6 2001:db8:1::5 dev va
t ip route
for x in 20 21 22 23; do t ip route get 10.$x.0.1; done
t ip route show table all | grep -v 'table local\|fe80'
t ip -6 route add blackhole 2001:db8:20::/48
t ip -6 route add unreachable 2001:db8:21::/48
t ip -6 route add prohibit 2001:db8:22::/48
t ip -6 route add throw 2001:db8:23::/48
t ip -6 route add throw 2001:db8:23::/48
t ip -6 route add 2001:db8:40::/48 nexthop via 2001:db8:1::3 dev va weight 2 nexthop via 2001:db8:1::4 dev va
t ip -6 route | grep -v fe80
for x in 20 21 22 23; do t ip -6 route get 2001:db8:$x::1; done
t ip rule add fwmark 7 lookup 100
t ip route get 10.50.0.1 mark 7
t ip route get 10.50.0.1
t ip route get 10.1.0.1
t ip route get 10.1.0.9
t ip route get 10.40.0.1 | sed 's/via 10.1.0.[34]/via one/'
t ip route get 10.41.0.1
t ip rule add to 10.60.0.0/16 prohibit
t ip rule add to 10.61.0.0/16 unreachable
t ip rule add to 10.62.0.0/16 blackhole
for x in 60 61 62; do t ip route get 10.$x.0.1; done
t ip -6 rule add to 2001:db8:60::/48 prohibit
t ip -6 rule add to 2001:db8:61::/48 unreachable
t ip -6 rule add to 2001:db8:62::/48 blackhole
for x in 60 61 62; do t ip -6 route get 2001:db8:$x::1; done
t ip route del blackhole 10.20.0.0/16
t ip route del 10.21.0.0/16
t ip route del blackhole 10.22.0.0/16
t ip route flush table 100
t ip route show table 100
t ip -6 route del 2001:db8:20::/48
t ip -6 route del unreachable 2001:db8:21::/48
t ip route show type prohibit
cat /proc/net/route; grep ^20010db8 /proc/net/ipv6_route | cut -d ' ' -f 1-6,9-
t ip -details rule
ip -d route
ip -N -d -6 route | grep -v fe80`},

	{"ip-rule-sockets", []string{"ip", "nsenter", "ping", "python3"}, `
for n in g1 g2 g3; do await says ready log-$n; done
for a in 10.1.0.251 10.1.0.252 10.2.0.253 fd01::251 fd01::252 fd02::253; do await ping -c 1 -W 1 $a; done
py 'ask("no route"); ask("no route", True)'
for r in blackhole unreachable prohibit throw; do ip route add $r 10.9.0.0/24; ip -6 route add $r fd09::/64; R=$r py 'import os; ask(os.environ["R"]); ask(os.environ["R"], True)'; ip route del $r 10.9.0.0/24; ip -6 route del $r fd09::/64; done
ip route add 10.9.0.0/24 via 10.1.0.251; ip -6 route add fd09::/64 via fd01::251; ip route add unreachable 10.9.1.0/24
py 'ask("main"); ask("main", True)'
ip route add default via 10.1.0.252 table 102; ip -6 route add default via fd01::252 table 102; ip route add default via 10.2.0.253 table 103; ip -6 route add default via fd02::253 table 103; ip route add prohibit default table 104
for f in -4 -6; do ip $f rule add fwmark 2/0xff lookup 102; ip $f rule add fwmark 3/0xff lookup 103; ip $f rule add uidrange 1000-1001 lookup 102; ip $f rule add ipproto tcp dport 8 lookup 103; ip $f rule add tos 0x10 lookup 102; ip $f rule add oif c2 lookup 103; done
ip rule add from 10.1.0.9 lookup 102; ip rule add from 10.2.0.1 lookup 103; ip -6 rule add from fd02::1 lookup 103; ip rule add fwmark 4 lookup 104; ip rule add fwmark 5 blackhole; ip rule add fwmark 6 unreachable; ip rule add fwmark 7 prohibit; ip rule add fwmark 8 table 105; ip rule add iif c1 lookup 104
for six in False True; do py 'x = '$six'
ask("main", x); ask("mark 2", x, mark=2); ask("mark 0x103", x, mark=0x103); ask("user", x, uid=1000); ask("no user", x, uid=1002); ask("port", x, port=8); ask("tos", x, tos=0x10)
ask("device", x, device="c2"); ask("other device", x, device="c1"); ask("source", x, source="fd02::1" if x else "10.2.0.1"); ask("source and mark", x, source="fd02::1" if x else "10.2.0.1", mark=3)'; done
py 'ask("second source", source="10.1.0.9"); ask("mark to nothing", mark=8)
for m in 4, 5, 6, 7: ask("mark %d" % m, mark=m)
ask("mapped", True, to="::ffff:10.9.0.1", mark=2); ask("mapped too", True, to="::ffff:10.9.0.1", mark=3)
ask("own address", to="127.0.0.1", mark=5, flags="tc")
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendmsg([b"x"], [(1, 36, (3).to_bytes(4, "little"))], 0, ("10.9.0.1", 7)); print(s.recv(100))
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendmsg([b"x"], [(0, 8, bytes(4) + socket.inet_aton("10.1.0.9") + bytes(4))], 0, ("10.9.0.1", 7)); print(s.recv(100))'
ip route add 10.9.0.1 via 10.1.0.252 src 10.1.0.9 table 106; ip rule add fwmark 9 lookup 106; py 'ask("src of the route", mark=9)'
ping -c 1 -W 20 -m 3 -q 10.9.0.1 | grep received; ping -c 1 -m 5 -q 10.9.0.1 2>&1 | sed "s/^ping: //"
for a in '10.9.0.1' '10.9.0.1 mark 2' '10.9.0.1 mark 3' '10.9.0.1 mark 4' '10.9.0.1 mark 5' '10.9.0.1 mark 6' '10.9.0.1 from 10.1.0.9' '10.9.0.1 uid 1000' '10.9.0.1 ipproto tcp dport 8' '10.9.0.1 tos 0x10' '10.9.0.1 oif c2' 'fd09::1' 'fd09::1 mark 3' '10.9.1.1' '10.1.0.1'; do ip route get $a 2>&1 | head -1; done
ip rule flush; ip -6 rule flush; for f in -4 -6; do ip $f rule add pref 32766 lookup main; done; py 'ask("main again", mark=2); ask("main again", True, mark=2)'
ip rule add pref 100 lookup main suppress_prefixlength 0; ip rule add pref 101 not fwmark 0xca6c lookup 103; ip route add default via 10.1.0.252; ip route del 10.9.0.0/24
py 'ask("like a VPN"); ask("around it", mark=0xca6c); ask("on the link", to="10.1.0.251", port=9, flags="tc")'
ip rule del pref 100; ip rule del pref 101; ip route del default; ip route del unreachable 10.9.1.0/24
ip route add 10.9.0.0/24 nexthop via 10.1.0.251 weight 3 nexthop via 10.1.0.252 nexthop via 10.2.0.253; ip -6 route change fd09::/64 nexthop via fd01::251 nexthop via fd02::253
ip route show 10.9.0.0/24; py 'ask("several hops"); ask("several hops", True)' | sed 's/g[123] [0-9a-f.:]*/one/g'
ip link set c2 down; ip route show 10.9.0.0/24 | sed 's/ *$//'; py 'ask("one link down")' | sed 's/g[12] [0-9a-f.:]*/one of two/g'; ip route del 10.9.0.0/24; ip link set c2 up
ip route add 10.9.0.0/24 via inet6 fd01::252 dev c1; ip route show 10.9.0.0/24; py 'ask("a gateway of IPv6")'; ip route get 10.9.0.1 | head -1; kill $(jobs -p); wait`},

	{"ip-rule-forwarding", []string{"ip", "nsenter", "ping", "python3"}, `
for n in g1 g2 g3; do await says ready log-$n; done
ip netns add cl; ip link add c5 type veth peer name e; ip link set e netns cl; ip addr add 10.5.0.1/24 dev c5; ip addr add fd05::1/64 dev c5 nodad; ip link set c5 up
at cl ip link set lo up; at cl ip addr add 10.5.0.2/24 dev e; at cl ip addr add 10.5.0.3/24 dev e; at cl ip addr add fd05::2/64 dev e nodad; at cl ip link set e up; at cl ip route add default via 10.5.0.1; at cl ip -6 route add default via fd05::1
for n in g1 g2; do at $n ip route add default via 10.1.0.1; at $n ip -6 route add default via fd01::1; done; at g3 ip route add default via 10.2.0.1; at g3 ip -6 route add default via fd02::1
mkdir proc; mount -t proc proc proc && echo 1 >proc/sys/net/ipv4/ip_forward && echo 1 >proc/sys/net/ipv6/conf/all/forwarding || exit 98; umount proc
from() { at cl python3 -c "from ask import *
$1"; }
for a in 10.5.0.1 fd05::1; do await at cl ping -c 1 -W 1 $a; done; for a in 10.1.0.251 10.1.0.252 10.2.0.253 fd01::251 fd01::252 fd02::253; do await ping -c 1 -W 1 $a; done
told() { at cl ping -c 1 -W ${2:-20} $1 2>&1 | grep From | sed 's/.*icmp_seq/icmp_seq/'; }
ip route add 10.9.0.0/24 via 10.1.0.251; ip -6 route add fd09::/64 via fd01::251; from 'ask("main"); ask("main", True)'
for r in blackhole unreachable prohibit; do w=20; [ $r = blackhole ] && w=1; ip route add $r 10.7.0.0/24; ip -6 route add $r fd07::/64; echo "$r:"; told 10.7.0.1 $w; told fd07::1 $w; ip route del $r 10.7.0.0/24; ip -6 route del $r fd07::/64; done; echo "none:"; sleep 2; told 10.7.0.1; told fd07::1
ip route add default via 10.1.0.252 table 102; ip -6 route add default via fd01::252 table 102; ip route add default via 10.2.0.253 table 103; ip -6 route add default via fd02::253 table 103
ip rule add from 10.5.0.3 lookup 103; ip -6 rule add from fd05::/64 to fd09::/64 lookup 103; from 'ask("other source", source="10.5.0.3"); ask("source", source="10.5.0.2"); ask("source", True)'
ip rule add iif c5 pref 10 lookup 102; ip -6 rule add iif c5 pref 10 lookup 102; from 'ask("interface"); ask("interface", True)'; py 'ask("not by it")'
ip rule add from 10.5.0.2 pref 9 prohibit; ip rule add from 10.5.0.3 pref 9 unreachable; ip -6 rule add from fd05::2 pref 9 prohibit; echo "rules:"; sleep 2; told 10.7.0.1; told "-I 10.5.0.3 10.7.0.1"; told fd07::1
ip rule del pref 9; ip rule del pref 9; ip -6 rule del pref 9; ip rule del pref 10; ip route change 10.9.0.0/24 nexthop via 10.1.0.252 nexthop via 10.1.0.251; from 'ask("several hops")' | sed 's/g[12]/one/g'
ip route get 10.9.0.1 from 10.5.0.3 iif c5 | head -1; ip -6 route get fd09::1 from fd05::2 iif c5 | head -1
kill $(jobs -p); wait`},

	{"ip-rule-corners", []string{"ip", "nsenter", "ping", "python3"}, `
for n in g1 g2 g3; do await says ready log-$n; done
for a in 10.1.0.251 10.1.0.252 10.2.0.253 fd01::251 fd01::252 fd02::253; do await ping -c 1 -W 1 $a; done
ip route add default via 10.1.0.252 table 102; ip -6 route add default via fd01::252 table 102; ip route add default via 10.2.0.253 table 103; ip -6 route add default via fd02::253 table 103
for f in -4 -6; do ip $f rule add oif c2 lookup 103; ip $f rule add oif c1 lookup 102; done
py 'for x in False, True: ask("device only", x, device="c2"); ask("other device only", x, device="c1")'
ip route add 10.9.0.0/24 via 10.1.0.251; ip -6 route add fd09::/64 via fd01::251
py 'for x in False, True: ask("device and main", x, device="c1")'
ip route del 10.9.0.0/24; ip -6 route del fd09::/64
for f in -4 -6; do ip $f rule add ipproto udp dport 8 lookup 103; ip $f rule add uidrange 1000-1001 lookup 102; done
py 'for x in False, True: ask("fragments by port", x, port=8, size=4000, flags="uc"); ask("fragments by user", x, uid=1000, size=4000, flags="uc")
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(0, 4, bytes([1, 1, 1, 0])); s.sendto(b"x", ("10.9.0.1", 8)); print("options:", s.recv(100))'
ip rule flush; ip -6 rule flush; for f in -4 -6; do ip $f rule add pref 32766 lookup main; done
ip route add default table 107 nexthop via 10.1.0.252 nexthop via 10.2.0.253; ip rule add fwmark 10 lookup 107
py 'bad = []
for i in range(64):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.setsockopt(socket.SOL_SOCKET, 36, 10)
    try: s.connect(("10.9.0.%d" % (i + 1), 7)); s.send(b"x")
    except OSError as e: bad.append(e)
print("hops of a table:", bad)'
ip rule add from 0.0.0.0/1 to 10.9.0.0/24 lookup 102; py 'ask("half of all sources")'; ip rule del from 0.0.0.0/1 to 10.9.0.0/24
ip -6 route add fd0a::/64 nexthop via fd01::251 nexthop via fd02::253 nexthop via fd01::252; ip -6 route del fd0a::/64 via fd02::253; ip -6 route show fd0a::/64; ip -6 route del fd0a::/64 via fd01::251; ip -6 route show fd0a::/64; ip -6 route del fd0a::/64 via fd01::250 2>&1; ip -6 route del fd0a::/64; ip -6 route show fd0a::/64
kill $(jobs -p); wait`},

	{"ip-rule-forwarding-corners", []string{"ip", "nsenter", "ping", "python3"}, `
for n in g1 g2 g3; do await says ready log-$n; done
ip netns add cl; ip link add c5 type veth peer name e; ip link set e netns cl; ip addr add 10.5.0.1/24 dev c5; ip addr add fd05::1/64 dev c5 nodad; ip link set c5 up
at cl ip link set lo up; at cl ip addr add 10.5.0.2/24 dev e; at cl ip addr add fd05::2/64 dev e nodad; at cl ip link set e up; at cl ip route add default via 10.5.0.1; at cl ip -6 route add default via fd05::1
at g3 ip route add default via 10.2.0.1; at g3 ip -6 route add default via fd02::1
mkdir proc; mount -t proc proc proc && echo 1 >proc/sys/net/ipv4/ip_forward && echo 1 >proc/sys/net/ipv6/conf/all/forwarding || exit 98; umount proc
from() { at cl python3 -c "from ask import *
$1"; }
for a in 10.5.0.1 fd05::1; do await at cl ping -c 1 -W 1 $a; done; for a in 10.2.0.253 fd02::253; do await ping -c 1 -W 1 $a; done
ip route add default via 10.2.0.253 table 103; ip -6 route add default via fd02::253 table 103
ip -6 rule add ipproto udp dport 8 lookup 103; from 'ask("by port", True, port=8, flags="uc")'; ip route add 10.9.0.0/24 via 10.2.0.253
for f in -4 -6; do ip $f rule add iif c5 lookup 103; done
ip link set c1 mtu 1300; for a in 10.9.0.1 fd09::1; do at cl ping -c 1 -W 20 -M do -s 1440 -q $a | grep received; done
ip link set c1 mtu 1500; ip link set c2 mtu 1400; at g3 ip link set e mtu 1400
for a in 10.9.0.1 fd09::1; do at cl ping -c 1 -W 20 -M do -s 1440 $a 2>&1 | grep From; done
kill $(jobs -p); wait`},

	// Datagrams that are too long for a link on their way are cut once a router has said so, but not those of who probes.
	{"path-mtu", []string{"ip", "nsenter", "ping", "python3"}, `
for n in g1 g2 g3; do await says ready log-$n; done
ip netns add cl; ip link add c5 type veth peer name e; ip link set e netns cl; ip addr add 10.5.0.1/24 dev c5; ip addr add fd05::1/64 dev c5 nodad; ip link set c5 up
at cl ip link set lo up; at cl ip addr add 10.5.0.2/24 dev e; at cl ip addr add fd05::2/64 dev e nodad; at cl ip link set e up; at cl ip route add default via 10.5.0.1; at cl ip -6 route add default via fd05::1
at g3 ip route add default via 10.2.0.1; at g3 ip -6 route add default via fd02::1
mkdir proc; mount -t proc proc proc && echo 1 >proc/sys/net/ipv4/ip_forward && echo 1 >proc/sys/net/ipv6/conf/all/forwarding || exit 98; umount proc
for a in 10.5.0.1 fd05::1; do await at cl ping -c 1 -W 1 $a; done; for a in 10.2.0.253 fd02::253; do await ping -c 1 -W 1 $a; done
ip link set c2 mtu 1300; at g3 ip link set e mtu 1300
cat >path.py <<'X'
import socket, struct, sys
f = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.socket(f, socket.SOCK_DGRAM)
if sys.argv[2:]:
    s.bind((sys.argv[1], 9)); print("ready", flush=True)
    while True:
        d, a = s.recvfrom(100000); s.sendto(b"%d" % len(d), a)
level, discover, mtu, errors = (41, 23, 24, 25) if ":" in sys.argv[1] else (0, 10, 14, 11)
to = sys.argv[1], 9
s.settimeout(1)
for i in range(20):
    s.sendto(b"x" * 1400, to)
    try: print("cut", s.recv(100), flush=True); break
    except TimeoutError: pass
s.settimeout(20)
s.sendto(b"x" * 5000, to); print("cut", s.recv(100), flush=True)
c = socket.socket(f, socket.SOCK_DGRAM); c.settimeout(20); c.connect(to); print("mtu", c.getsockopt(level, mtu), flush=True)
c.setsockopt(level, discover, 2)
try: c.send(b"x" * 1400)
except OSError as e: print("whole", e.errno, flush=True)
c.send(b"x" * 1200); print("whole", c.recv(100), flush=True)
s.setsockopt(level, discover, 3); s.setsockopt(level, errors, 1)
s.sendto(b"x" * 1400, to)
try: print(s.recv(100))
except OSError as e:
    d, c, _, a = s.recvmsg(100000, 1000, socket.MSG_ERRQUEUE); print("probe", e.errno, [struct.unpack("IBBBxI", x[2][:12]) for x in c], flush=True)
X
for a in 10.2.0.253 fd02::253; do at g3 python3 path.py $a serve >log-$a & await says ready log-$a; done
for a in 10.2.0.253 fd02::253; do at cl python3 path.py $a; done
kill $(jobs -p); wait`},

	// What comes in fragments goes on, is cut again for a smaller link, and is told of, also if rules say the way.
	{"forwarding-fragments", []string{"ip", "nsenter", "ping", "python3"}, `
for n in g1 g2 g3; do await says ready log-$n; done
ip netns add cl; ip link add c5 type veth peer name e; ip link set e netns cl; ip addr add 10.5.0.1/24 dev c5; ip addr add fd05::1/64 dev c5 nodad; ip link set c5 up
at cl ip link set lo up; at cl ip addr add 10.5.0.2/24 dev e; at cl ip addr add fd05::2/64 dev e nodad; at cl ip link set e up; at cl ip route add default via 10.5.0.1; at cl ip -6 route add default via fd05::1
at g3 ip route add default via 10.2.0.1; at g3 ip -6 route add default via fd02::1
mkdir proc; mount -t proc proc proc && echo 1 >proc/sys/net/ipv4/ip_forward && echo 1 >proc/sys/net/ipv6/conf/all/forwarding || exit 98; for r in 4/icmp_ratelimit 6/icmp/ratelimit; do echo 0 >proc/sys/net/ipv$r; done; umount proc
for a in 10.5.0.1 fd05::1; do await at cl ping -c 1 -W 1 $a; done; for a in 10.2.0.253 fd02::253; do await ping -c 1 -W 1 $a; done
cat >big.py <<'X'
import hashlib, random, socket, struct, sys, threading
def say(what, six, n, hops=0):
    f, to, level = (socket.AF_INET6, "fd02::253", 41) if six else (socket.AF_INET, "10.2.0.253", 0)
    data = random.Random(n).randbytes(n)
    s = socket.socket(f, socket.SOCK_DGRAM); s.settimeout(20)
    s.setsockopt(level, 25 if six else 11, 1)
    s.setsockopt(level, 23 if six else 10, 0)
    if hops: s.setsockopt(level, 16 if six else 2, hops)
    s.sendto(data, (to, 9))
    try: print(what, n, s.recv(100000) == data, flush=True)
    except OSError as e:
        d, c, _, a = s.recvmsg(100000, 1000, socket.MSG_ERRQUEUE)
        print(what, n, e.errno, a[0], data.startswith(d), [struct.unpack("IBBB", x[2][:7]) for x in c], flush=True)
def all(what):
    for n in 100, 1500, 2953, 20000, 65000: say(what, False, n)
    for n in 100, 5000: say(what, False, n, 1)
def six(what):
    for n in 100, 1500, 2953, 20000, 60000: say(what, True, n)
    for n in 100, 5000: say(what, True, n, 1)
if sys.argv[1:]:
    f = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
    s = socket.socket(f, socket.SOCK_DGRAM); s.bind((sys.argv[1], 9)); s.setsockopt(41 if ":" in sys.argv[1] else 0, 23 if ":" in sys.argv[1] else 10, 0); print("ready", flush=True)
    while True:
        d, a = s.recvfrom(100000); s.sendto(d, a)
X
for a in 10.2.0.253 fd02::253; do at g3 python3 big.py $a >log-$a & await says ready log-$a; done
big() { at cl python3 -c "from big import *
$1('$2')"; }
big all plain; big six plain
ip link set c2 mtu 1300; at g3 ip link set e mtu 1300; big all smaller
ip route add 10.2.0.0/24 dev c2 table 109; ip rule add iif c5 to 10.2.0.0/24 lookup 109; big all steered
ip link set c2 mtu 1500; at g3 ip link set e mtu 1500
ip -6 route add fd02::/64 dev c2 table 109; ip -6 rule add iif c5 to fd02::/64 lookup 109; big six steered
kill $(jobs -p); wait`},
}

func TestRoutingPrograms(t *testing.T) {
	for _, p := range routingPrograms {
		prelude := networkPrelude
		if len(p.needs) > 1 {
			prelude = routingPrelude
		}
		p.script = prelude + p.script
		t.Run(p.name, func(t *testing.T) { p.testBeside(t, inNamespaces(), walls[1:], "--network", "none") })
	}
}
