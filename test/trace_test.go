package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

// TestTraceDecodes traces a program whose calls take structures, and looks for
// what they were before and after the calls.
func TestTraceDecodes(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("gcc is not installed")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "calls")
	if msg, err := exec.Command("gcc", "-O1", "-static", "-o", bin, "traced/calls.c", "-lrt").CombinedOutput(); err != nil {
		t.Fatalf("traced/calls.c does not compile:\n%s", msg)
	}
	for _, w := range kernelWalls {
		t.Run(w.name, func(t *testing.T) {
			argv := append([]string{coffer(t)}, w.args...)
			argv = append(argv, "--cwd", "/", "--bind", bin+":/calls", "--trace", "--", "/calls")
			r := run(t, time.Minute, "/", "", argv...)
			if r.code != 0 {
				t.Fatalf("exit status %d: %s", r.code, tail(r.stderr))
			}
			for _, want := range []string{
				`sendmsg\(\d+<socket:\[\d+\]>, \{msg_iov=\[\{iov_base="hello", iov_len=5\}\], msg_control=\[\{cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=\[\d+<socket:\[\d+\]>\]\}\]\}, 0\) = 5`,
				`recvmsg\(\d+<socket:\[\d+\]>, \{msg_iov=\[\{iov_base="hello", iov_len=64\}\], msg_control=\[\{cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, cmsg_data=\[\d+<socket:\[\d+\]>\]\}\]\}, 0\) = 5`,
				`sendmmsg\(.*, \[\{msg_hdr=\{msg_iov=\[\{iov_base="he", iov_len=2\}\]\}\}\], 1, 0\) = 1`,
				`recvmmsg\(.*, \[\{msg_hdr=\{msg_iov=\[\{iov_base="he", iov_len=64\}\]\}, msg_len=2\}\], 1, 0, NULL\) = 1`,
				`writev\(.*, \[\{iov_base="hello", iov_len=5\}\], 1\) = 5`,
				`select\(60, \[\d+ \d+\] => \[\d+\], NULL, NULL, \{tv_sec=0, tv_usec=0\}\) = 1`,
				`readv\(.*, \[\{iov_base="hello", iov_len=64\}\], 1\) = 5`,
				`openat2\(AT_FDCWD, "/tmp/traced/file", \{flags=O_RDWR\|O_CREAT, mode=0600, resolve=RESOLVE_NO_SYMLINKS\}, 24\) = \d+</tmp/traced/file>`,
				`utimensat\(AT_FDCWD, "/tmp/traced/file", \[\{tv_sec=5, tv_nsec=6\}, UTIME_OMIT\], 0\) = 0`,
				`copy_file_range\(.*, \[2\] => \[5\], .*, \[20\] => \[23\], 3, 0x0\) = 3`,
				`fcntl\(.*, F_GETLK, \{l_type=F_WRLCK, l_whence=SEEK_SET, l_start=1, l_len=2, l_pid=0\} => \{l_type=F_UNLCK, .*\}\) = 0`,
				`getdents64\(\d+</tmp/traced>, \[(\{d_ino=\d+, d_type=DT_DIR, d_name="\.+"\}, ){2}\{d_ino=\d+, d_type=DT_REG, d_name="file"\}\], 4096\)`,
				`waitid\(P_PID, \d+, \{si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=\d+, si_uid=\d+, si_status=7\}, WEXITED, NULL\) = 0`,
				`rt_sigqueueinfo\(\d+, SIGUSR1, \{si_signo=SIGUSR1, si_code=SI_QUEUE, si_pid=\d+, si_uid=\d+, si_value=0x9\}\) = 0`,
				`rt_sigtimedwait\(\[USR1\], \{si_signo=SIGUSR1, si_code=SI_QUEUE, si_pid=\d+, si_uid=\d+, si_value=0x9\}, NULL, 8\) = 10`,
				`sigaltstack\(\{ss_sp=0x[0-9a-f]+, ss_flags=0, ss_size=16384\}, NULL\) = 0`,
				`sched_setaffinity\(0, 128, \[0\]\) = `,
				`getgroups\(0, NULL\) = \d+`,
				`sched_setscheduler\(0, SCHED_BATCH, \[0\]\) = 0`,
				`prctl\(PR_SET_NAME, "traced"\) = 0`,
				`semget\(0x0, 2, 0600\) = \d+`,
				`semop\(\d+, \[\{sem_num=1, sem_op=1, sem_flg=IPC_NOWAIT\}\], 1\) = 0`,
				`semctl\(\d+, 0, GETALL, \[0, 1\]\) = 0`,
				`semctl\(\d+, 0, IPC_RMID\) = 0`,
				`adjtimex\(\{modes=0\} => \{modes=0, offset=.*, time=\{tv_sec=\d+, tv_usec=\d+\}, \.\.\.\}\) = \d`,
				`mq_open\("traced", O_RDWR\|O_CREAT, 0600, \{mq_flags=0, mq_maxmsg=3, mq_msgsize=16, mq_curmsgs=\d+\}\) = \d+`,
				`ioctl\(0.*, TIOCSWINSZ, \{ws_row=24, ws_col=0, ws_xpixel=0, ws_ypixel=0\}\) = -1 ENOTTY`,
				`getrandom\(".*", 4, GRND_NONBLOCK\) = 4`,
				`sendmsg\(-1, 0x8, 0\) = -1 EBADF`,
				`set_robust_list\(\{list=0x[0-9a-f]+, futex_offset=-32, list_op_pending=NULL\}, 24\) = 0`,
				`arch_prctl\(ARCH_SET_FS, 0x[0-9a-f]+\) = 0`,
			} {
				if !regexp.MustCompile(`(?m)^\[\d+\] ` + want).MatchString(r.stderr) {
					t.Errorf("no line like %s", want)
				}
			}
			if t.Failed() {
				t.Logf("the trace:\n%s", r.stderr)
			}
		})
	}
}
