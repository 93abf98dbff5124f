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
		`p="psql -h $S -U nobody -qAt postgres"; $p -c 'select 6*7' -c 'drop table if exists t' -c 'create table t(a int)' 2>/dev/null; seq 1 20000 | $p -c 'copy t from stdin'; $p -c 'select sum(a) from t'; $p -c 'copy t to stdout' | wc -l`,
		"42\n200010000\n20000\n"},
}

// shell is a command line of coffer do that runs a script in a directory in memory with a
// file of 3,000,000 bytes.
func shell(t *testing.T, wall, keys, flags, script string) []string {
	args := append([]string{"do", "--isolation", wall, "--cwd", "/", "--bind", keys + ":/k"}, strings.Fields(flags)...)
	return append(args, "--", "sh", "-c", prepare+script)
}

const prepare = `export PATH=$PATH:/usr/sbin:/sbin HOME=/tmp; unset http_proxy https_proxy TMPDIR; d=$(mktemp -d) && cd $d && yes | head -c 3000000 >big
`

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
	eachWall(t, func(t *testing.T, wall string) {
		must(t, binary(t), "network", "create", "lan")
		t.Cleanup(func() { must(t, binary(t), "network", "rm", "lan") })
		for _, p := range programs {
			t.Run(p.name, func(t *testing.T) {
				need(t, p.needs...)
				server := "(" + p.server + "\n) >log 2>&1 &\nn=0; until { " + p.ready + "; } >/dev/null 2>&1; do n=$((n+1)); test $n -lt 600 || { tail log; exit; }; sleep 0.1; done; echo ready $(hostname -I); read end; kill $!"
				s := startCommand(t, exec.Command(binary(t), shell(t, wall, keys, "--network lan --hostname srv", server)...))
				for _, other := range walls {
					r := coffer(t, shell(t, other, keys, "--network lan", "S=srv\n"+p.client)...)
					if r.stdout != p.want {
						t.Errorf("isolation %s: output %q, want %q; exit status %d, %s", other, r.stdout, p.want, r.code, r.stderr)
					}
				}
				s.stop()
			})
		}
	})
}
