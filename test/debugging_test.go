package test

import (
	"os/exec"
	"testing"
	"time"
)

// debugging are programs that trace others.
var debugging = []program{
	{"strace", []string{"strace", "gcc", "make"}, `
strace -f -qq -e trace=execve -o log sh -c '/bin/true; (/bin/false)'; echo "status $?"
sed 's/^[0-9]* *//; s/0x[0-9a-f]*/PTR/; s/PTR.*vars/PTR vars/' log | grep '^execve'
strace -c -o count ls; echo "status $?"; grep -c total count
strace -qq -o log -e trace=read -e inject=read:error=EIO:when=1 cat log; echo "status $?"; grep -c INJECTED log
cat >t.c <<'X'
#include <pthread.h>
#include <unistd.h>
static void *f(void *a) { write(1, "thread\n", 7); return 0; }
int main(void) { pthread_t t[3]; for (int i = 0; i < 3; i++) pthread_create(&t[i], 0, f, 0); for (int i = 0; i < 3; i++) pthread_join(t[i], 0); return 5; }
X
gcc -pthread -o t t.c
strace -f -qq -o log -e trace=write,exit_group ./t; echo "status $?"; grep -c 'write(1, "thread' log; grep -c 'exit_group(5)' log
strace --seccomp-bpf -f -qq -o log -e trace=unlink,unlinkat sh -c 'touch a; rm a'; echo "status $?"; grep -c '"a"' log
for i in 1 2 3 4; do echo "int f$i(int x) { return x * $i; }" >f$i.c; done; echo 'int f4(int); int main(void) { return f4(2); }' >main.c
printf 'prog: main.o f1.o f2.o f3.o f4.o\n\tgcc -o $@ $^\n' >Makefile
strace -f -o log make -s -j2; ./prog; echo "status $?"; test $(wc -l <log) -gt 2000 && echo many
strace -f -o log bash -c 'sleep 100 & kill -STOP $!; kill -CONT $!; kill $!; wait $!; echo "waited $?"'; grep -c 'killed by SIGTERM' log`},
	{"gdb", []string{"gdb", "gcc"}, `
cat >t.c <<'X'
#include <pthread.h>
#include <stdio.h>
static pthread_barrier_t b;
static int counter;
static void *worker(void *a) { pthread_barrier_wait(&b); pthread_barrier_wait(&b); return a; }
static int twice(int x) {
	double d = x * 2.5;
	counter += x;
	return (int)d + 2 * x;
}
int main(void) {
	pthread_t t[3];
	pthread_barrier_init(&b, 0, 4);
	for (long i = 0; i < 3; i++)
		pthread_create(&t[i], 0, worker, (void *)i);
	pthread_barrier_wait(&b);
	int r = twice(21);
	pthread_barrier_wait(&b);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], 0);
	printf("result %d\n", r);
	return 4;
}
X
gcc -g -O0 -pthread -o t t.c
gdb -q -nx -batch -ex 'set debuginfod enabled off' -ex 'set width 0' -ex 'break main' -ex run -ex bt -ex 'break twice' -ex continue -ex 'info args' \
	-ex next -ex step -ex 'print d' -ex finish -ex 'print counter' -ex 'delete' -ex 'print twice(3)' -ex 'print counter' -ex 'print $_siginfo.si_signo' \
	-ex 'thread apply all -q print 1' -ex 'set can-use-hw-watchpoints 0' -ex 'tbreak printf' -ex continue -ex 'print $rip != 0' -ex stepi -ex 'info inferiors' \
	-ex continue ./t >log 2>&1; echo "status $?"
# What the number of threads and addresses make of it is not compared.
grep -E '^(\$|#0|Breakpoint|x =|Value|result|[0-9]+	)|hit|exited with' log | sed -E 's/0x[0-9a-f]+/PTR/g; s/LWP [0-9]+/LWP/; s/process [0-9]+/process/'
cat >crash.c <<'X'
int main(int n, char **v) { *(volatile int *)8 = 1; return 0; }
X
gcc -g -o crash crash.c
gdb -q -nx -batch -ex 'set debuginfod enabled off' -ex run -ex 'print $_siginfo._sifields._sigfault.si_addr' -ex kill ./crash 2>&1 | grep -E 'SIGSEGV|^\$|^main|crash.c' | sed -E 's/v=0x[0-9a-f]+/v=PTR/'`},
}

// TestDebugging runs them, if this host lets programs be traced.
func TestDebugging(t *testing.T) {
	if _, err := exec.LookPath("strace"); err == nil {
		if r := run(t, time.Minute, "/", "", "strace", "-o", "/dev/null", "true"); r.code != 0 {
			t.Skipf("this host does not let programs be traced: %s", r.stderr)
		}
	}
	for _, p := range debugging {
		t.Run(p.name, func(t *testing.T) { p.test(t) })
	}
}

// coreScript has a program with two threads crash behind a wall, and a debugger
// look at what is left. Natively the host says what becomes of core dumps.
const coreScript = `
cd /tmp; ulimit -c unlimited; cat >crash.c <<'X'
#include <pthread.h>
#include <stdio.h>
#include <string.h>
static pthread_barrier_t b;
static char *heap;
static int counter = 42;
static void *worker(void *a) { pthread_barrier_wait(&b); pthread_barrier_wait(&b); return a; }
static int deep(int n) {
	char local[16];
	snprintf(local, sizeof local, "level %d", n);
	if (n == 0)
		*(volatile int *)8 = 1;
	return deep(n - 1) + local[0];
}
int main(void) {
	pthread_t t;
	pthread_barrier_init(&b, 0, 2);
	pthread_create(&t, 0, worker, 0);
	pthread_barrier_wait(&b);
	heap = strdup("on the heap");
	counter++;
	return deep(2);
}
X
gcc -g -O0 -pthread -o crash crash.c && ./crash; echo "status $?"; stat -c '%a %U' core
gdb -q -nx -batch -ex 'set debuginfod enabled off' -ex bt -ex 'print counter' -ex 'print heap' -ex 'print $_siginfo._sifields._sigfault.si_addr' \
	-ex 'up' -ex 'print (char *)local' -ex 'thread apply all -s -q frame function worker' ./crash core 2>/dev/null |
	grep -E '^(Program terminated|\$|#[1-9] .*(deep|main|worker) \()' | sed -E 's/0x[0-9a-f]{5,}( in )?/PTR /g; s/ at .*//; s/#.*worker/worker/'
rm core; ulimit -c 8; ./crash; stat -c %s core
rm core; echo 'crash.%e.%p.%s' >/proc/sys/kernel/core_pattern; ulimit -c 100; (exec ./crash); ls crash.crash.* | sed 's/[0-9]*[.]11/PID.11/'
echo '|/bin/cat' >/proc/sys/kernel/core_pattern; ./crash; ls core 2>/dev/null; cat /proc/sys/kernel/core_pattern
`

const coreOutput = `status 139
600 root
Program terminated with signal SIGSEGV, Segmentation fault.
#1  PTR deep (n=1)
#2  PTR deep (n=2)
#3  PTR main ()
$1 = 43
$2 = PTR  "on the heap"
$3 = (void *) 0x8
#1  PTR deep (n=1)
$4 = PTR  "level 1"
worker (a=0x0)
8192
crash.crash.PID.11
|/bin/cat
`

func TestCoreDump(t *testing.T) {
	for _, n := range []string{"bash", "gcc", "gdb"} {
		if _, err := exec.LookPath(n); err != nil {
			t.Skipf("%s is not installed", n)
		}
	}
	for _, w := range kernelWalls {
		t.Run(w.name, func(t *testing.T) {
			argv := append(append([]string{coffer(t)}, w.args...), "--cwd", "/", "--", "bash", "-c", coreScript)
			r := run(t, 10*time.Minute, "/", "", argv...)
			if r.stdout != coreOutput {
				t.Errorf("exit status %d; output:\n%s\nwant:\n%s\nerrors:\n%s", r.code, tail(r.stdout), coreOutput, tail(r.stderr))
			}
		})
	}
}
