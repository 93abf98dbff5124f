package test

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// program is a real program and what it does. The script runs in a fresh
// directory, by bash, natively and behind each wall, and must print the same
// and end alike.
type program struct {
	name   string
	needs  []string
	script string
}

var programs = []program{
	{"dash", []string{"dash"}, `
cat >s.sh <<'X'
set -eu
i=0; while [ $i -lt 50 ]; do i=$((i+1)); done; echo $i
( exit 3 ) || echo "subshell $?"
echo a b c | while read -r x y; do echo "$y"; done
trap 'echo trapped' TERM; kill -TERM $$; echo after
f() { echo "f $*"; }; f "1 2" 3
sleep 0.01 & wait $!; echo "waited $?"
X
dash s.sh`},
	{"bash", []string{"bash"}, `
declare -A m; m[x]=1; m[y]=2; echo "${!m[@]}" | tr ' ' '\n' | sort
for i in {1..5}; do echo $((i*i)); done | paste -sd+ | bc 2>/dev/null || echo no-bc
diff <(printf 'a\nb\n') <(printf 'a\nc\n'); echo "diff $?"
coproc cat; echo hi >&"${COPROC[1]}"; read -r l <&"${COPROC[0]}"; echo "co $l"; kill $COPROC_PID; wait 2>/dev/null
exec 5<>f; echo data >&5; cat f; [[ abc =~ ^a(.)c$ ]] && echo "${BASH_REMATCH[1]}"
(ulimit -n 64; ulimit -n)
bash -c 'kill -SEGV $$'; echo "status $?"`},
	{"busybox", []string{"busybox"}, `
busybox sh -c 'echo hello | busybox tr a-z A-Z'
busybox seq 1 100 >n; busybox awk '{s+=$1} END {print s}' n
busybox tar cf t.tar n; busybox tar tf t.tar; busybox md5sum n | busybox cut -d' ' -f1
busybox find . -name 'n*'; busybox ps | busybox grep -c busybox | busybox sed 's/^[1-9].*/some/'`},
	{"coreutils", nil, `
seq 1000 | sort -rn | head -3; seq 10 | shuf | sort -n | tail -1
mkdir -p a/b/c; touch a/x; ln -s x a/l; ln a/x a/h; ls -1 a; readlink a/l; stat -c '%h %F' a/x
cp -a a z; diff -r a z && echo same; mv z y; rm -r y; ls
dd if=/dev/zero of=big bs=64k count=40 2>/dev/null; wc -c <big; truncate -s 100 big; stat -c %s big
printf '%s\n' b a c | tee t | sort; cksum t; sha256sum t; od -c t | head -2; split -n 3 t; cat xaa xab xac
timeout 0.1 sleep 5; echo "timeout $?"; echo $(($(nice -n 5 nice) - $(nice))); id -u; env -i A=1 env; date -u -d @0; expr 6 \* 7
chmod 640 t; stat -c %a t; mkfifo p; (echo through >p &) ; cat p; yes | head -2; basename /a/b.c .c; basename "$(realpath a/../a/l)"
df . >/dev/null && echo df; nproc >/dev/null && echo nproc; tac t; comm -12 <(sort t) <(sort t) | wc -l`},
	{"findutils", []string{"find"}, `
mkdir -p d/{1,2,3}/{x,y}; touch d/{1,2,3}/{x,y}/f{1..9}
find d -type f | wc -l; find d -name 'f[5-9]' -delete; find d -type f | sort | xargs -n 5 echo
find d -type d -empty | wc -l; touch -d 2020-01-01 d/1; touch -d 2021-01-01 d/2; find d -maxdepth 1 -newer d/1 -name '[12]'; find d -type f -print0 | xargs -0 -P 4 -n 1 basename | sort | uniq -c`},
	{"grep-sed-gawk", []string{"gawk", "sed", "grep"}, `
seq 100 >n; grep -c 7 n; grep -E '^(1|2)5$' n; sed -n '10,12p;$p' n; sed -i 's/^1$/one/' n; head -1 n
gawk 'BEGIN{srand(1)} {a[$1%7]+=$1} END {for (i=0;i<7;i++) print i, a[i]; "date -u -d @0 +%Y" | getline y; print y}' n
gawk 'BEGIN { cmd="sort"; print "b\na" |& cmd; close(cmd,"to"); while ((cmd |& getline l) > 0) print l }'`},
	{"tar-gzip-xz", []string{"tar", "gzip", "xz"}, `
mkdir d; for i in $(seq 60); do head -c $((i*137)) /dev/zero | tr '\0' "x" >d/f$i; done; ln -s f1 d/l
for c in z J; do tar c${c}f t.tar.$c d; mkdir out$c; tar xf t.tar.$c -C out$c; diff -r d out$c/d && echo same $c; done
gzip -k d/f60; gunzip -t d/f60.gz && echo ok; xz -T2 -k d/f59; xz -dc d/f59.xz | cmp - d/f59 && echo ok`},
	{"gcc-make", []string{"gcc", "make"}, `
cat >main.c <<'X'
#include <stdio.h>
int twice(int); int thrice(int);
int main(void) { printf("%d %d\n", twice(21), thrice(14)); return 3; }
X
echo 'int twice(int x) { return 2 * x; }' >twice.c; echo 'int thrice(int x) { return 3 * x; }' >thrice.c
printf 'prog: main.o twice.o thrice.o\n\tgcc -o $@ $^\nclean:\n\trm -f *.o prog\n' >Makefile
make -s -j2 && ./prog; echo "status $?"; make -s prog && make -s clean; ls
echo 'int main(void) { syntax error' >bad.c; gcc bad.c 2>/dev/null; echo "gcc $?"`},
	{"python3", []string{"python3"}, `
cat >t.py <<'X'
import asyncio, json, os, queue, signal, socket, sqlite3, subprocess, sys, tempfile, threading, time, mmap, select, hashlib
q = queue.Queue(); r = []
def work():
    while (x := q.get()) is not None: r.append(x * x)
ts = [threading.Thread(target=work) for _ in range(4)]
[t.start() for t in ts]; [q.put(i) for i in range(200)]; [q.put(None) for _ in ts]; [t.join() for t in ts]
print(sum(r))
print(subprocess.run(["tr", "a-z", "A-Z"], input=b"piped", capture_output=True).stdout)
p = subprocess.Popen(["sleep", "30"]); p.terminate(); print(p.wait())
async def tick(n):
    await asyncio.sleep(0.01 * n); return n
async def sub():
    p = await asyncio.create_subprocess_exec("echo", "async", stdout=asyncio.subprocess.PIPE)
    out, _ = await p.communicate(); return out
async def main():
    print(await asyncio.gather(*(tick(i) for i in (3, 1, 2))), await sub())
    a, b = socket.socketpair()
    rd, wr = await asyncio.open_unix_connection(sock=a); b.send(b"line\n"); print(await rd.readline()); wr.close()
asyncio.run(main())
db = sqlite3.connect("x.db"); db.execute("create table t (a, b)")
db.executemany("insert into t values (?, ?)", ((i, str(i)) for i in range(1000))); db.commit()
print(db.execute("select sum(a), max(b) from t").fetchone())
got = []; signal.signal(signal.SIGALRM, lambda *a: got.append(1)); signal.setitimer(signal.ITIMER_REAL, 0.01)
time.sleep(0.05); print(got)
pid = os.fork()
if pid == 0: os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
with tempfile.TemporaryFile() as f:
    f.write(b"x" * 8192); f.flush(); m = mmap.mmap(f.fileno(), 8192); m[0:3] = b"abc"; f.seek(0); print(f.read(4))
print(hashlib.sha256(b"x").hexdigest()[:8], len(os.urandom(16)), os.path.exists("/proc/self/status"))
import multiprocessing
with multiprocessing.Pool(2) as pool: print(pool.map(abs, [-1, -2, 3]))
sys.exit(5)
X
python3 t.py; echo "status $?"`},
	{"perl", []string{"perl"}, `
perl -e '
use strict; my %h; $h{$_ % 3} += $_ for 1..100; print "$_ $h{$_}\n" for sort keys %h;
my $pid = fork; if (!$pid) { exit 4 } waitpid $pid, 0; print $? >> 8, "\n";
open my $p, "-|", "echo from pipe" or die; print <$p>; close $p;
local $SIG{ALRM} = sub { print "alarm\n" }; alarm 1; select undef, undef, undef, 3;
pipe my $r, my $w; if (!fork) { close $r; print $w "child says\n"; exit } close $w; print <$r>; wait;
open my $f, ">", "f" or die; print $f "a\nb\n"; close $f; open $f, "<", "f"; my @l = <$f>; print scalar(@l), "\n"; print -s "f", "\n";'`},
	{"sqlite3", []string{"sqlite3"}, `
sqlite3 a.db 'create table t(x integer primary key, y text); insert into t(y) values ("a"),("b"); select * from t;'
sqlite3 a.db 'pragma journal_mode=wal;'
for i in $(seq 10); do sqlite3 -cmd '.timeout 20000' a.db "insert into t(y) values ('p$i')" & done; wait
sqlite3 a.db 'select count(*) from t; pragma integrity_check;'
sqlite3 a.db 'with recursive c(n) as (select 1 union all select n+1 from c where n<20000) insert into t(y) select n from c; select count(*), sum(length(y)) from t;'`},
	{"git", []string{"git"}, `
export HOME=$PWD GIT_AUTHOR_DATE='2026-01-01T00:00:00Z' GIT_COMMITTER_DATE='2026-01-01T00:00:00Z'
git init -q -b main r && cd r && git config user.name t && git config user.email t@example.com
for i in $(seq 30); do echo "$i" >f$i; done; git add . && git commit -q -m one && echo two >>f1 && git commit -q -a -m two
git log --format='%h %s'; git status --short; git diff HEAD~1 --stat; git checkout -q -b b HEAD~1 && echo b >g && git add g && git commit -q -m b
git checkout -q main && git merge -q -m merged b && git log --oneline | wc -l; git gc -q && git fsck 2>&1; cd .. && git clone -q r c && ls c | wc -l`},
	{"go-program", nil, `
/go-guest/goguest; echo "status $?"`},
	{"procps", []string{"ps"}, `
sleep 1000 & until grep -q sleep /proc/$!/comm; do sleep 0.05; done; ps -o comm= -p $! ; ps -o pid= -p $$ | wc -l; kill %1
ps -e -o comm | grep -c bash >/dev/null && echo found; free >/dev/null && echo free; uptime >/dev/null && echo uptime
top -b -n 1 | head -1 | grep -c '^top'; pgrep -x bash >/dev/null && echo pgrep`},
	{"libseccomp", []string{"gcc", "scmp_sys_resolver"}, `
cat >s.c <<'X'
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
	scmp_filter_ctx c = seccomp_init(SCMP_ACT_KILL_PROCESS);
	int calls[] = { SCMP_SYS(write), SCMP_SYS(exit_group), SCMP_SYS(clone), SCMP_SYS(wait4), SCMP_SYS(newfstatat), SCMP_SYS(fstat),
		SCMP_SYS(rt_sigprocmask), SCMP_SYS(set_robust_list), SCMP_SYS(gettid), SCMP_SYS(brk), SCMP_SYS(mmap), SCMP_SYS(getpid) };
	for (unsigned i = 0; i < sizeof calls / sizeof *calls; i++)
		seccomp_rule_add(c, SCMP_ACT_ALLOW, calls[i], 0);
	seccomp_rule_add(c, SCMP_ACT_ERRNO(7), SCMP_SYS(dup), 1, SCMP_A0(SCMP_CMP_GE, 100));
	seccomp_rule_add(c, SCMP_ACT_ERRNO(8), SCMP_SYS(dup), 1, SCMP_A0(SCMP_CMP_LT, 100));
	seccomp_attr_set(c, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	seccomp_attr_set(c, SCMP_FLTATR_CTL_TSYNC, 1);
	printf("load %d\n", seccomp_load(c)); fflush(stdout);
	for (int i = 98; i < 102; i++) { int r = dup(i); printf("%d %d\n", r, errno); fflush(stdout); }
	if (fork() == 0) { getuid(); _exit(0); }
	int s; wait(&s); printf("child %d\n", WTERMSIG(s)); fflush(stdout);
	return 3;
}
X
gcc -o s s.c -lseccomp && ./s; echo "status $?"
scmp_sys_resolver mkdir`},
	{"many-short-programs", nil, `
for i in $(seq 200); do /bin/true || echo failed; done; echo 200
for i in $(seq 32); do (/bin/echo $i) & done | sort -n | tail -1; wait; echo done`},
}

func TestPrograms(t *testing.T) {
	guest := goGuest(t)
	for _, p := range programs {
		p.script = strings.ReplaceAll(p.script, "/go-guest/", guest+"/")
		t.Run(p.name, func(t *testing.T) { p.test(t, "--bind", guest) })
	}
}

// test runs the program natively, and with these flags behind each wall.
func (p program) test(t *testing.T, flags ...string) { p.testBehind(t, walls[1:], flags...) }

// testBehind does so behind some walls.
func (p program) testBehind(t *testing.T, walls []wall, flags ...string) {
	p.testBeside(t, nil, walls, flags...)
}

// testBeside does so too, and gives what runs it natively.
func (p program) testBeside(t *testing.T, native []string, walls []wall, flags ...string) {
	needs(t, append(p.needs, "bash")...)
	script := "export LC_ALL=C TZ=UTC; d=$(mktemp -d) && cd $d || exit 99\n" + p.script + "\nr=$?; cd /; rm -rf $d; exit $r\n"
	// The times are for what hangs: a busy host takes many times what it takes.
	want := run(t, 10*time.Minute, "/", "", append(slices.Clip(native), "bash", "-c", script)...)
	if want.code == 99 || want.stdout == "" {
		t.Fatalf("natively it failed, exit status %d:\n%s", want.code, want.stderr)
	}
	for _, w := range walls {
		t.Run(w.name, func(t *testing.T) {
			needsRoot(t, w.name)
			argv := append([]string{coffer(t)}, w.args...)
			argv = append(append(argv, "--cwd", "/"), flags...)
			argv = append(argv, "--", "bash", "-c", script)
			got := run(t, 15*time.Minute, "/", "", argv...)
			if got.stdout != want.stdout || got.code != want.code {
				t.Errorf("exit status %d, natively %d; output:\n%s\nnatively:\n%s\nstandard error:\n%s",
					got.code, want.code, tail(got.stdout), tail(want.stdout), tail(got.stderr))
			}
		})
	}
}

// needs skips the test where a program is not installed.
func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, n := range programs {
		if _, err := exec.LookPath(n); err != nil {
			t.Skipf("%s is not installed", n)
		}
	}
}

// goGuest builds the Go program that runs as a guest and returns its folder.
func goGuest(t *testing.T) string {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-o", dir+"/goguest", "./goguest")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the Go guest: %v\n%s", err, out)
	}
	return dir
}
