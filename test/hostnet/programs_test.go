package hostnet

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// programs are servers and clients that run in two sandboxes on one network. Server goes on
// in the background of a shell in a directory of its own, until Ready succeeds there and then
// until the shell ends. Client prints Want; its $S is the server's name or address. /k has
// keys for ssh.
var programs = []struct {
	name                        string
	needs                       []string
	server, ready, client, want string
}{
	{"ping", []string{"ping"}, "sleep 1000", "true",
		`ping -c 2 -i 0.2 -q $S | grep -o '2 received'`, "2 received\n"},
	{"nc", []string{"nc"}, `while nc -l -N 7 <big; do :; done`, "grep -q ' 00000000:0007' /proc/net/tcp",
		`nc -d $S 7 | wc -c`, "3000000\n"},
	{"nginx and curl", []string{"nginx", "curl", "wrk"}, `
printf 'daemon off; pid pid; error_log stderr; user root; events {} http { access_log off; client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path e; scgi_temp_path f; server { listen 80; root %s; } }' "$PWD" >conf
exec nginx -e stderr -p "$PWD" -c "$PWD/conf"`, "curl -sSo /dev/null http://127.0.0.1/big",
		`curl -sS http://$S/big | wc -c; curl -sS --range 0-9 http://$S/big http://$S/big | wc -c; wrk -t 1 -c 4 -d 1 http://$S/big | grep -c Requests/sec`,
		"3000000\n20\n1\n"},
	{"redis", []string{"redis-server", "redis-cli", "redis-benchmark"}, `exec redis-server --bind 0.0.0.0 --protected-mode no --save ''`, "redis-cli ping",
		`redis-cli -h $S set key value; redis-cli -h $S -x set big <big >/dev/null; redis-cli -h $S strlen big; redis-benchmark -h $S -q -n 1000 -t get --csv | cut -d, -f1 | tail -1`,
		"OK\n3000000\n\"GET\"\n"},
	{"iperf3", []string{"iperf3"}, `exec iperf3 -s`, "grep -q :1451 /proc/net/tcp /proc/net/tcp6",
		`iperf3 -c $S -n 4M -J | grep -c '"sum_received"'; iperf3 -c $S -R -n 4M -J | grep -c '"sum_received"'; iperf3 -u -c $S -b 10M -n 1M -J | grep -c '"lost_packets"' | sed 's/^[1-9].*/some/'`,
		"1\n1\nsome\n"},
	{"rsync", []string{"rsync"}, `
printf 'use chroot = no\nuid = root\n[m]\npath = %s\n' "$PWD" >conf
exec rsync --daemon --no-detach --config=conf`, "rsync rsync://127.0.0.1/",
		`mkdir to && rsync -a rsync://$S/m/big to/ && cmp big to/big && echo same`, "same\n"},
	{"ssh, scp and git", []string{"sshd", "ssh", "scp", "git"}, `
echo root:NP:1:::::: >shadow; mount --bind "$PWD/shadow" /etc/shadow # the host's may say that the account is locked
mkdir -p /run/sshd && chmod 755 /run/sshd && cp /k/host /k/key.pub . && chmod 600 host key.pub
git init -q -b main repo && cd repo && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m first && cd ..
git config --global --add safe.directory '*'; ln -s "$PWD" /tmp/server
exec $(which sshd) -D -e -f /dev/null -o Port=22 -o HostKey="$PWD/host" -o AuthorizedKeysFile="$PWD/key.pub" -o StrictModes=no -o PermitRootLogin=yes -o UsePAM=no -o PidFile=none -o Subsystem='sftp internal-sftp'`,
		"grep -q ' 00000000:0016' /proc/net/tcp", `
cp /k/key . && chmod 600 key; o="-i $PWD/key -F /dev/null -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
ssh $o root@$S 'echo hello; exit 3'; echo "status $?"; ssh $o root@$S cat <big | wc -c; scp -q $o root@$S:/tmp/server/big copy && cmp big copy && echo same
GIT_SSH_COMMAND="ssh $o" git clone -q root@$S:/tmp/server/repo && git -C repo log --format=%s`,
		"hello\nstatus 3\n3000000\nsame\nfirst\n"},
	{"PostgreSQL", []string{"psql", "setpriv"}, `
export PATH=$(ls -d /usr/lib/postgresql/*/bin | tail -1):$PATH
chmod 755 . && mkdir pg && chown 65534:65534 pg && cd pg
as() { setpriv --reuid 65534 --regid 65534 --clear-groups "$@"; }
as initdb -A trust -U nobody -N -E UTF8 --no-locale -D data >log && echo 'host all all all trust' >>data/pg_hba.conf
exec setpriv --reuid 65534 --regid 65534 --clear-groups postgres -D data -h 0.0.0.0 -k "$PWD" -c fsync=off -c shared_buffers=16MB`,
		"psql -h 127.0.0.1 -U nobody postgres -c 'select 1'",
		`PATH=$(ls -d /usr/lib/postgresql/*/bin | tail -1):$PATH PGHOST=$S PGUSER=nobody; export PATH PGHOST PGUSER
pgbench -i -q -s 1 postgres >/dev/null 2>&1; pgbench -n -c 4 -t 25 postgres 2>/dev/null | grep -o 'processed: .*'; p="psql -h $S -U nobody -qAt postgres"; $p -c 'select 6*7' -c 'drop table if exists t' -c 'create table t(a int)' 2>/dev/null; seq 1 20000 | $p -c 'copy t from stdin'; $p -c 'select sum(a) from t'; $p -c 'copy t to stdout' | wc -l`,
		"processed: 100/100\n42\n200010000\n20000\n"},
	{"wget and http.server", []string{"wget", "python3"}, `exec python3 -m http.server 80`, "wget -qO /dev/null http://127.0.0.1/big",
		`wget -qO - http://$S/big | wc -c; wget -q http://$S/no; echo "status $?"
python3 -c 'import sys, urllib.request; print(len(urllib.request.urlopen(sys.argv[1]).read()))' http://$S/big`,
		"3000000\nstatus 8\n3000000\n"},
	{"asyncio", []string{"python3"}, `exec python3 -c '
import asyncio
async def serve(r, w):
    while line := await r.readline(): w.write(line.upper()); await w.drain()
    w.close()
async def main():
    async with await asyncio.start_server(serve, "0.0.0.0", 7) as s: await s.serve_forever()
asyncio.run(main())'`, "grep -q ' 00000000:0007' /proc/net/tcp", `python3 -c '
import asyncio, sys
async def client(i):
    r, w = await asyncio.open_connection(sys.argv[1], 7); good = True
    for j in range(10):
        w.write(b"line %d of %d\n" % (j, i)); good &= await r.readline() == b"LINE %d OF %d\n" % (j, i)
    w.write_eof(); good &= await r.read() == b""; w.close(); return good
async def main(): print(sum(await asyncio.gather(*(client(i) for i in range(50)))), "clients")
asyncio.run(main())' $S`,
		"50 clients\n"},
	{"node", []string{"node"}, `exec node -e '
const big = require("fs").readFileSync("big");
require("http").createServer((q, r) => r.end(q.url == "/big" ? big : q.url)).listen(80, "0.0.0.0")'`, "grep -q ' 00000000:0050' /proc/net/tcp", `node -e '
const http = require("http"), agent = new http.Agent({ keepAlive: true, maxSockets: 8 });
const get = (path) => new Promise((ok, no) => http.get({ host: process.argv[1], path, agent }, (r) => { let n = 0; r.on("data", (d) => n += d.length).on("end", () => ok(n)); }).on("error", no));
(async () => {
  console.log(await get("/big"));
  console.log((await Promise.all([...Array(100).keys()].map((i) => get("/" + i)))).reduce((a, b) => a + b)); agent.destroy();
})()' $S`,
		"3000000\n290\n"},
	{"memcached", []string{"memcached", "nc"}, `exec memcached -u nobody -l 0.0.0.0`, "grep -q ' 00000000:2BCB' /proc/net/tcp",
		`{ for i in $(seq 500); do printf 'set k%d 0 0 4\r\n%04d\r\n' $i $i; done; printf 'quit\r\n'; } | nc $S 11211 | grep -c STORED
{ for i in $(seq 500); do printf 'get k%d\r\n' $i; done; printf 'quit\r\n'; } | nc $S 11211 | grep -c '^0[0-9]*.$'`,
		"500\n500\n"},
	{"ip, ss and dig", []string{"ip", "ss", "dig", "nc"}, `exec nc -lk 7`, "grep -q ' 00000000:0007' /proc/net/tcp", `
a=$(getent ahostsv4 $S | head -1 | cut -d ' ' -f 1); dig +short $S. A | sed "s/^$a$/the same/"; dig +short +tcp $S. A | sed "s/^$a$/the same/"; dig +short -x $a
mkfifo end; nc $S 7 <end & exec 9>end; c() { ss -Htn state established "dst $a:7"; }; until c | grep -q .; do sleep 0.1; done; c | wc -l; exec 9>&-
ip route get $a | grep -o 'dev eth0'; ip -br link show eth0 | grep -o ' UP '; ip neigh show $a | grep -o lladdr; ip -s link show eth0 | grep -c -A 1 'RX:'`,
		"the same\nthe same\nsrv.\n1\ndev eth0\n UP \nlladdr\n1\n"},
	{"Go", nil, `exec /guest guest web 80`, "/guest guest browse http://127.0.0.1:80", `/guest guest browse http://$S`, "3000000 bytes\n64 answers\n3000000 bytes taken\n"},
}

// shell is a command line of coffer do that runs a script in a directory in memory with a
// file of 3,000,000 bytes.
func shell(t *testing.T, wall []string, keys, flags, script string) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(append([]string{"do", "--cwd", "/", "--bind", keys + ":/k", "--bind", self + ":/guest"}, wall...), strings.Fields(flags)...)
	return append(args, "--", "sh", "-c", prepare+script)
}

const prepare = `export PATH=$PATH:/usr/sbin:/sbin HOME=/tmp; unset http_proxy https_proxy TMPDIR; d=$(mktemp -d) && cd $d && yes | head -c 3000000 >big
`

// wallsOfPrograms are those that a server has, each with its flags, and those of its clients.
// On the slower platform a server has such a client alone.
var wallsOfPrograms = []struct {
	name    string
	flags   []string
	clients []string
}{
	{"trap", []string{"--isolation", "kernel"}, []string{"trap", "process"}},
	{"process", []string{"--isolation", "process"}, []string{"trap", "process"}},
	{"ptrace", []string{"--isolation", "kernel", "--intercept", "ptrace"}, []string{"ptrace"}},
}

// TestPrograms: network programs work between two sandboxes on a network, whichever walls
// these have.
func TestPrograms(t *testing.T) {
	need(t, "ip", "ssh-keygen")
	keys := t.TempDir()
	for _, k := range []string{"host", "key"} {
		must(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(keys, k))
	}
	if err := os.Chmod(keys, 0o755); err != nil {
		t.Fatal(err)
	}
	flags := make(map[string][]string)
	for _, w := range wallsOfPrograms {
		flags[w.name] = w.flags
	}
	for _, w := range wallsOfPrograms {
		t.Run(w.name, func(t *testing.T) {
			clean(t)
			must(t, binary(t), "network", "create", "lan")
			t.Cleanup(func() { must(t, binary(t), "network", "rm", "lan") })
			for _, p := range programs {
				t.Run(p.name, func(t *testing.T) {
					need(t, p.needs...)
					server := "(" + p.server + "\n) >log 2>&1 &\nn=0; until { " + p.ready + "; } >/dev/null 2>&1; do n=$((n+1)); test $n -lt 600 || { tail log; exit; }; sleep 0.1; done; echo ready $(hostname -I); read end; kill $!"
					s := startCommand(t, exec.Command(binary(t), shell(t, w.flags, keys, "--network lan --hostname srv", server)...))
					for _, client := range w.clients {
						r := coffer(t, shell(t, flags[client], keys, "--network lan", "S=srv\n"+p.client)...)
						if r.stdout != p.want {
							t.Errorf("client behind %s: output %q, want %q; exit status %d, %s", client, r.stdout, p.want, r.code, r.stderr)
						}
					}
					s.stop()
				})
			}
		})
	}
}
