// A program for TestTraceDecodes: it makes calls whose arguments are
// structures, and does not look at what they answer.
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <mqueue.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

static void messages(void)
{
	int sv[2];
	socketpair(AF_UNIX, SOCK_DGRAM, 0, sv);
	char in[] = "hello", out[64], control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {in, 5};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &sv[0], sizeof(int));
	sendmsg(sv[0], &m, 0);
	iov = (struct iovec){out, sizeof out};
	recvmsg(sv[1], &m, 0);

	struct mmsghdr many = {.msg_hdr = {.msg_iov = &iov, .msg_iovlen = 1}};
	iov = (struct iovec){in, 2};
	sendmmsg(sv[0], &many, 1, 0);
	iov = (struct iovec){out, sizeof out};
	recvmmsg(sv[1], &many, 1, 0, NULL);

	int p[2];
	pipe(p);
	iov = (struct iovec){in, 5};
	writev(p[1], &iov, 1);
	fd_set set;
	FD_ZERO(&set);
	FD_SET(p[0], &set);
	FD_SET(sv[1], &set);
	struct timeval none = {0};
	syscall(SYS_select, 60, &set, NULL, NULL, &none);
	iov = (struct iovec){out, sizeof out};
	readv(p[0], &iov, 1);
}

static void files(void)
{
	mkdir("/tmp/traced", 0755);
	struct open_how how = {.flags = O_CREAT | O_RDWR, .mode = 0600, .resolve = RESOLVE_NO_SYMLINKS};
	int fd = syscall(SYS_openat2, AT_FDCWD, "/tmp/traced/file", &how, sizeof how);
	write(fd, "0123456789", 10);
	struct timespec times[2] = {{.tv_sec = 5, .tv_nsec = 6}, {.tv_nsec = UTIME_OMIT}};
	utimensat(AT_FDCWD, "/tmp/traced/file", times, 0);
	loff_t from = 2, to = 20;
	copy_file_range(fd, &from, fd, &to, 3, 0);
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 2};
	fcntl(fd, F_GETLK, &lock);
	char entries[4096];
	syscall(SYS_getdents64, open("/tmp/traced", O_RDONLY | O_DIRECTORY), entries, sizeof entries);
}

static void processes(void)
{
	siginfo_t info;
	pid_t child = fork();
	if (child == 0)
		_exit(7);
	syscall(SYS_waitid, P_PID, child, &info, WEXITED, NULL);
	sigset_t set;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigqueue(getpid(), SIGUSR1, (union sigval){.sival_ptr = (void *)9});
	syscall(SYS_rt_sigtimedwait, &set, &info, NULL, 8);
	static char stack[16384];
	stack_t ss = {.ss_sp = stack, .ss_size = sizeof stack};
	sigaltstack(&ss, NULL);
	cpu_set_t cpus;
	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	sched_setaffinity(0, sizeof cpus, &cpus);
	syscall(SYS_getgroups, 0, NULL);
	struct sched_param priority = {0};
	sched_setscheduler(0, SCHED_BATCH, &priority);
	prctl(PR_SET_NAME, "traced");
}

static void others(void)
{
	int sem = semget(IPC_PRIVATE, 2, 0600);
	struct sembuf op = {.sem_num = 1, .sem_op = 1, .sem_flg = IPC_NOWAIT};
	syscall(SYS_semop, sem, &op, 1);
	unsigned short values[2];
	semctl(sem, 0, GETALL, values);
	semctl(sem, 0, IPC_RMID);
	struct timex tx = {0};
	syscall(SYS_adjtimex, &tx);
	struct mq_attr attr = {.mq_maxmsg = 3, .mq_msgsize = 16};
	mq_open("/traced", O_CREAT | O_RDWR, 0600, &attr);
	struct winsize ws = {.ws_row = 24};
	ioctl(0, TIOCSWINSZ, &ws);
	char random[4];
	getrandom(random, sizeof random, GRND_NONBLOCK);
	syscall(SYS_sendmsg, -1, (void *)8, 0);
}

int main(void)
{
	messages();
	files();
	processes();
	others();
	return 0;
}
