/* /proc: what it says agrees with what the calls do. */
#include "guest.h"
#include <dirent.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>

static char text[1 << 20];

/* file reads a whole file. */
static char *file(const char *path) {
	int f = OK(open(path, O_RDONLY));
	size_t n = 0;
	for (ssize_t r; (r = OK(read(f, text + n, sizeof text - 1 - n))) > 0;)
		n += r;
	text[n] = 0;
	close(f);
	return text;
}

/* field returns what follows "NAME:" and blanks in /proc/PID/status. */
static const char *field(const char *path, const char *name) {
	static char out[256];
	char *s = file(path), want[64];
	snprintf(want, sizeof want, "%s:", name);
	for (char *l = strtok(s, "\n"); l; l = strtok(NULL, "\n"))
		if (!strncmp(l, want, strlen(want))) {
			l += strlen(want);
			snprintf(out, sizeof out, "%s", l + strspn(l, " \t"));
			return out;
		}
	guest_fail(__FILE__, __LINE__, "%s has no %s", path, name);
}
#define STATUS(name) field("/proc/self/status", name)
#define SAME(got, want)                                                        \
	do {                                                                   \
		const char *g_ = (got), *w_ = (want);                          \
		if (strcmp(g_, w_))                                            \
			guest_fail(__FILE__, __LINE__, "%s is \"%.200s\", not \"%.200s\"", #got, g_, w_); \
	} while (0)

static char *str(const char *fmt, ...) {
	static char b[4][512];
	static int n;
	char *p = b[n++ % 4];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(p, 512, fmt, ap);
	va_end(ap);
	return p;
}

/* stat_field returns the n-th field of /proc/PID/stat, from 1. */
static long long stat_field(const char *path, int n) {
	char *s = strrchr(file(path), ')');
	CHECK(s);
	s++;
	for (int i = 3; i < n; i++)
		s = strchr(s + 1, ' ');
	return n == 3 ? s[1] : (long long)strtoull(s, NULL, 10);
}

TEST(status_fields) {
	prctl(PR_SET_NAME, "a b\\c\nd");
	SAME(STATUS("Name"), "a b\\\\c\\nd");
	EQUAL(atoi(STATUS("Pid")), getpid());
	EQUAL(atoi(STATUS("Tgid")), getpid());
	EQUAL(atoi(STATUS("PPid")), getppid());
	EQUAL(atoi(STATUS("Threads")), 1);
	EQUAL(STATUS("State")[0], 'R');
	umask(0123);
	SAME(STATUS("Umask"), "0123");
	sigset_t m;
	sigemptyset(&m);
	sigaddset(&m, SIGUSR1);
	sigaddset(&m, 64);
	sigprocmask(SIG_BLOCK, &m, NULL);
	SAME(STATUS("SigBlk"), "8000000000000200");
	raise(SIGUSR1);
	SAME(STATUS("SigPnd"), "0000000000000200");
	kill(getpid(), 64);
	SAME(STATUS("ShdPnd"), "8000000000000000");
	signal(SIGHUP, SIG_IGN);
	CHECK(strtoull(STATUS("SigIgn"), NULL, 16) & 1);
	signal(SIGINT, (void (*)(int))abort);
	CHECK(strtoull(STATUS("SigCgt"), NULL, 16) & 2);
	CHECK(atoi(STATUS("SigQ")) >= 2 && strchr(STATUS("SigQ"), '/'));
	CHECK(atoi(STATUS("VmRSS")) > 0 && atoi(STATUS("VmSize")) >= atoi(STATUS("VmRSS")));
	CHECK(strtol(STATUS("FDSize"), NULL, 10) >= 64);
	EQUAL(atoi(STATUS("Seccomp")), prctl(PR_GET_SECCOMP));
	CHECK(strspn(STATUS("Cpus_allowed_list"), "0123456789") > 0);
}

TEST(stat_fields) {
	prctl(PR_SET_NAME, ") x (");
	char *s = file("/proc/self/stat");
	char want[64];
	snprintf(want, sizeof want, "%d () x () R %d %d %d ", getpid(), getppid(), getpgid(0), getsid(0));
	CHECK(!strncmp(s, want, strlen(want)));
	int n = 1;
	for (char *c = s; *c; c++)
		n += *c == ' ';
	EQUAL(n, 52 + 2); /* two blanks in the name */
	EQUAL(stat_field("/proc/self/stat", 20), 1); /* num_threads */
	EQUAL(stat_field("/proc/self/stat", 19), getpriority(PRIO_PROCESS, 0));
	setpriority(PRIO_PROCESS, 0, 5);
	EQUAL(stat_field("/proc/self/stat", 19), 5);
	EQUAL(stat_field("/proc/self/stat", 18), 25);
	/* start time in ticks since boot */
	struct sysinfo si;
	OK(sysinfo(&si));
	long long start = stat_field("/proc/self/stat", 22) / sysconf(_SC_CLK_TCK);
	CHECK(start <= si.uptime + 1 && start >= si.uptime - 60);
	EQUAL(stat_field("/proc/self/stat", 25), -1); /* rsslim: no limit */
	/* start_stack etc. */
	unsigned long stack = stat_field("/proc/self/stat", 28);
	CHECK((unsigned long)&stack < stack && stack - (unsigned long)&stack < 1 << 20);
	unsigned long code = stat_field("/proc/self/stat", 26), end = stat_field("/proc/self/stat", 27);
	CHECK(code <= (unsigned long)stat_field && (unsigned long)stat_field < end);
	EQUAL(stat_field("/proc/self/stat", 38), SIGCHLD);
	struct sched_param sp = { 0 };
	if (getuid() == 0) {
		OK(sched_setscheduler(0, SCHED_BATCH, &sp));
		EQUAL(stat_field("/proc/self/stat", 41), SCHED_BATCH);
	}
	pid_t k = OK(fork());
	if (!k)
		pause();
	await_sleep(k);
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/stat", k);
	EQUAL(stat_field(path, 3), 'S');
	kill(k, SIGSTOP);
	OK(waitpid(k, NULL, WUNTRACED));
	EQUAL(stat_field(path, 3), 'T');
	kill(k, SIGKILL);
	siginfo_t i;
	OK(waitid(P_PID, k, &i, WEXITED | WNOWAIT));
	EQUAL(stat_field(path, 3), 'Z');
	EQUAL(stat_field(path, 52), SIGKILL); /* exit_code */
	snprintf(path, sizeof path, "/proc/%d/cmdline", k);
	SAME(file(path), "");
	snprintf(path, sizeof path, "/proc/%d/exe", k);
	char b[64];
	FAILS(readlink(path, b, sizeof b), ENOENT);
	snprintf(path, sizeof path, "/proc/%d/cwd", k);
	FAILS(readlink(path, b, sizeof b), ENOENT);
	snprintf(path, sizeof path, "/proc/%d/maps", k);
	SAME(file(path), "");
	OK(waitpid(k, NULL, 0));
	FAILS(open(path, O_RDONLY), ENOENT);
}

/* in_maps finds the line of an address. */
static char *in_maps(void *addr) {
	static char line[512];
	char *s = file("/proc/self/maps");
	for (char *l = strtok(s, "\n"); l; l = strtok(NULL, "\n")) {
		unsigned long a, b;
		EQUAL(sscanf(l, "%lx-%lx", &a, &b), 2);
		if ((unsigned long)addr >= a && (unsigned long)addr < b) {
			snprintf(line, sizeof line, "%s", l);
			return line;
		}
	}
	return NULL;
}

TEST(maps_show_mappings) {
	char *m = mmap(0, 5 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	OK(mprotect(m, 4096, PROT_NONE));
	OK(mprotect(m + 4096, 4096, PROT_READ));
	OK(mprotect(m + 2 * 4096, 4096, PROT_READ | PROT_WRITE | PROT_EXEC));
	OK(munmap(m + 4 * 4096, 4096));
	SAME(in_maps(m), str("%lx-%lx ---p 00000000 00:00 0 ", (long)m, (long)m + 4096));
	SAME(in_maps(m + 4096), str("%lx-%lx r--p 00000000 00:00 0 ", (long)m + 4096, (long)m + 8192));
	SAME(in_maps(m + 8192), str("%lx-%lx rwxp 00000000 00:00 0 ", (long)m + 8192, (long)m + 12288));
	int f = OK(open("a\nfile", O_CREAT | O_RDWR, 0600));
	OK(ftruncate(f, 4 * 4096));
	char *p = mmap(0, 8192, PROT_READ, MAP_SHARED, f, 4096);
	struct stat st;
	OK(fstat(f, &st));
	char cwd[256];
	CHECK(getcwd(cwd, sizeof cwd));
	char *l = in_maps(p), name[400];
	snprintf(name, sizeof name, "%s/a\\012file", cwd);
	CHECK(strstr(l, " r--s 00001000 "));
	CHECK(strstr(l, str(" %ld ", (long)st.st_ino)));
	CHECK(!strcmp(strchr(l, '/'), name));
	OK(unlink("a\nfile"));
	strcat(name, " (deleted)");
	CHECK(!strcmp(strchr(in_maps(p), '/'), name));
	CHECK(strstr(in_maps(&st), "[stack]"));
	CHECK(strstr(in_maps(sbrk(0) - 1), "[heap]"));
	CHECK(strstr(in_maps((void *)in_maps), "r-xp"));
	char exe[256];
	exe[OK(readlink("/proc/self/exe", exe, sizeof exe - 1))] = 0;
	CHECK(!strcmp(strchr(in_maps((void *)in_maps), '/'), exe));
	CHECK(strstr(file("/proc/self/maps"), "[vdso]"));
	/* in order and without overlap */
	unsigned long a, b, last = 0;
	char *s = file("/proc/self/maps");
	for (char *q = strtok(s, "\n"); q; q = strtok(NULL, "\n")) {
		EQUAL(sscanf(q, "%lx-%lx", &a, &b), 2);
		CHECK(a >= last && b > a);
		last = b;
	}
	/* smaps has the same ranges */
	CHECK(strstr(file("/proc/self/smaps"), str("%lx-%lx r--s", (long)p, (long)p + 8192)));
	CHECK(strstr(text, "Rss:") && strstr(text, "VmFlags:"));
}

TEST(memory_file) {
	static volatile int x = 5;
	int f = OK(open("/proc/self/mem", O_RDWR));
	int v = 0;
	EQUAL(pread(f, &v, 4, (long)&x), 4);
	EQUAL(v, 5);
	v = 6;
	EQUAL(pwrite(f, &v, 4, (long)&x), 4);
	EQUAL(x, 6);
	FAILS(pread(f, &v, 4, 0), EIO);
	/* read-only memory is written as by a debugger */
	char *m = mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	EQUAL(pwrite(f, "hi", 2, (long)m), 2);
	CHECK(!memcmp(m, "hi", 2));
	EQUAL(lseek(f, (long)&x, SEEK_SET), (long)&x);
	EQUAL(read(f, &v, 4), 4);
	EQUAL(v, 6);
	/* offsets are addresses, so they may be in the upper half */
	EQUAL(lseek(f, -8192, SEEK_SET), -8192);
	EQUAL(lseek(f, -4096, SEEK_CUR), -12288);
	FAILS(lseek(f, 0, SEEK_END), EINVAL);
}

/* Nothing of /proc and /sys is written back, unlike what is in memory elsewhere. */
TEST(no_write_back) {
	static const char *dirs[] = { "/proc", "/proc/self", "/proc/self/fd", "/proc/sys/kernel", "/sys" };
	for (unsigned i = 0; i < sizeof dirs / sizeof *dirs; i++) {
		int d = OK(open(dirs[i], O_RDONLY | O_DIRECTORY));
		FAILS(fsync(d), EINVAL);
		FAILS(fdatasync(d), EINVAL);
		FAILS(write(d, "x", 1), EBADF);
	}
	OK(fsync(OK(open("/dev/pts", O_RDONLY))));
	OK(fsync(OK(open(".", O_RDONLY))));
}

/* A directory of /proc and /sys has no bytes, and its offsets end early. */
TEST(seek_in_directories) {
	static const char *dirs[] = { "/proc", "/proc/self", "/proc/self/fd", "/proc/sys/kernel", "/sys" };
	for (unsigned i = 0; i < sizeof dirs / sizeof *dirs; i++) {
		int d = OK(open(dirs[i], O_RDONLY | O_DIRECTORY));
		EQUAL(lseek(d, 5, SEEK_END), 5);
		EQUAL(lseek(d, 0, SEEK_END), 0);
		FAILS(lseek(d, -1, SEEK_END), EINVAL);
		FAILS(lseek(d, 0, SEEK_DATA), ENXIO);
		FAILS(lseek(d, 0, SEEK_HOLE), ENXIO);
		EQUAL(lseek(d, 0x7fffffff, SEEK_SET), 0x7fffffff);
		FAILS(lseek(d, 0x80000000, SEEK_SET), EINVAL);
	}
	FAILS(lseek(OK(open("/dev/pts", O_RDONLY)), 0, SEEK_END), EINVAL);
}

/* Files that Linux makes record by record have no end to seek from, others have the size that stat(2) says. */
TEST(seek_in_files) {
	static const struct { const char *name; int flat, far; } files[] = {
		{ "/proc/self/cmdline", 1 }, { "/proc/self/environ", 1 }, { "/proc/self/auxv", 1 }, { "/proc/self/loginuid", 1 },
		{ "/proc/self/attr/current", 1 }, { "/proc/self/coredump_filter", 1 }, { "/proc/self/oom_adj", 1 },
		{ "/proc/self/oom_score_adj", 1, 1 }, { "/proc/sys/kernel/hostname", 1, 1 }, { "/proc/sys/vm/overcommit_memory", 1, 1 },
		{ "/proc/sys/net/ipv4/ip_forward", 1, 1 }, { "/proc/sys/net/ipv4/conf/lo/forwarding", 1, 1 }, { "/proc/sys/kernel/core_pattern", 1, 1 },
		{ "/proc/self/stat", 0, 1 }, { "/proc/self/maps", 0, 1 }, { "/proc/self/comm", 0, 1 }, { "/proc/self/mounts", 0, 1 },
		{ "/proc/self/limits", 0, 1 }, { "/proc/self/io", 0, 1 }, { "/proc/self/fdinfo/0", 0, 1 }, { "/proc/meminfo", 0, 1 },
		{ "/proc/uptime", 0, 1 }, { "/proc/self/net/tcp", 0, 1 }, { "/proc/self/net/snmp", 0, 1 },
		{ "/sys/class/net/lo/mtu", 1 }, { "/sys/devices/system/cpu/online", 1 },
	};
	for (unsigned i = 0; i < sizeof files / sizeof *files; i++) {
		int f = open(files[i].name, O_RDONLY);
		if (f < 0 && errno == ENOENT)
			continue; /* not every kernel has all of them */
		struct stat st;
		OK(f);
		printf("%s\n", files[i].name);
		OK(fstat(f, &st));
		EQUAL(st.st_size, strncmp(files[i].name, "/sys", 4) ? 0 : 4096);
		EQUAL(lseek(f, 5, SEEK_SET), 5);
		EQUAL(lseek(f, 3, SEEK_CUR), 8);
		FAILS(lseek(f, -9, SEEK_CUR), EINVAL);
		if (files[i].flat) {
			EQUAL(lseek(f, 2, SEEK_END), st.st_size + 2);
			FAILS(lseek(f, -st.st_size - 1, SEEK_END), EINVAL);
			FAILS(lseek(f, st.st_size, SEEK_DATA), ENXIO);
			if (files[i].far) {
				FAILS(lseek(f, -1, SEEK_DATA), EINVAL);
				EQUAL(lseek(f, -1, SEEK_HOLE), 0);
				EQUAL(lseek(f, 2, SEEK_SET), 2);
			} else {
				FAILS(lseek(f, -1, SEEK_DATA), ENXIO);
				FAILS(lseek(f, -1, SEEK_HOLE), ENXIO);
			}
			if (st.st_size > 0) {
				EQUAL(lseek(f, 3, SEEK_DATA), 3);
				EQUAL(lseek(f, 3, SEEK_HOLE), st.st_size);
			}
		} else {
			FAILS(lseek(f, 0, SEEK_END), EINVAL);
			FAILS(lseek(f, 0, SEEK_DATA), EINVAL);
			FAILS(lseek(f, 0, SEEK_HOLE), EINVAL);
		}
		EQUAL(lseek(f, 0x7fffffff, SEEK_SET), 0x7fffffff);
		if (files[i].far) EQUAL(lseek(f, 1, SEEK_CUR), 0x80000000);
		else FAILS(lseek(f, 1, SEEK_CUR), EINVAL);
		close(f);
	}
}

TEST(furthest_offset) {
	int f = OK(open("/proc/self/status", O_RDONLY));
	EQUAL(lseek(f, LONG_MAX, SEEK_SET), LONG_MAX);
	FAILS(lseek(f, 1, SEEK_CUR), EINVAL);
	EQUAL(lseek(f, 0, SEEK_CUR), LONG_MAX);
}

TEST(command_line_and_environment) {
	extern char *program_invocation_short_name, *program_invocation_name;
	SAME(file("/proc/self/cmdline"), program_invocation_name);
	SAME(file("/proc/self/comm"), str("%.15s\n", program_invocation_short_name));
	/* the environment is what is in memory, as exec left it */
	extern char **environ;
	SAME(file("/proc/self/environ"), environ[0] ? environ[0] : "");
	int f = OK(open("/proc/self/comm", O_WRONLY));
	EQUAL(write(f, "renamed-to-something-long", 25), 25);
	char n[16];
	prctl(PR_GET_NAME, n);
	CHECK(!strcmp(n, "renamed-to-some"));
	SAME(file("/proc/self/comm"), "renamed-to-some\n");
}

TEST(descriptor_links) {
	char b[300], path[64];
	int p[2];
	OK(pipe(p));
	struct stat st;
	OK(fstat(p[0], &st));
	b[OK(readlink(str("/proc/self/fd/%d", p[0]), b, sizeof b - 1))] = 0;
	SAME(b, str("pipe:[%ld]", (long)st.st_ino));
	int f = OK(open("f", O_CREAT | O_RDWR | O_APPEND, 0600));
	EQUAL(write(f, "abc", 3), 3);
	char cwd[200];
	CHECK(getcwd(cwd, sizeof cwd));
	snprintf(path, sizeof path, "/proc/self/fd/%d", f);
	b[OK(readlink(path, b, sizeof b - 1))] = 0;
	SAME(b, str("%s/f", cwd));
	OK(lstat(path, &st));
	EQUAL(st.st_mode, S_IFLNK | 0700);
	CHECK(strstr(file(str("/proc/self/fdinfo/%d", f)), "pos:\t3\nflags:\t0102002\n"));
	/* opened again it is another description */
	int g = OK(open(path, O_RDONLY));
	EQUAL(read(g, b, 3), 3);
	OK(unlink("f"));
	b[OK(readlink(path, b, sizeof b - 1))] = 0;
	SAME(b, str("%s/f (deleted)", cwd));
	close(g);
	g = OK(open(path, O_RDWR));
	EQUAL(write(g, "new", 3), 3);
	EQUAL(pread(f, b, 3, 0), 3);
	CHECK(!memcmp(b, "new", 3));
	/* the directory lists what is open */
	DIR *d = opendir("/proc/self/fd");
	int n = 0, seen = 0;
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.') {
			n++;
			seen += atoi(e->d_name) == f;
			EQUAL(e->d_type, DT_LNK);
		}
	closedir(d);
	CHECK(n >= 7 && seen == 1);
	FAILS(open("/proc/self/fd/999", O_RDONLY), ENOENT);
	FAILS(readlink("/proc/self/fd/x", b, 10), ENOENT);
	FAILS(readlink("/proc/self/fd/00", b, 10), ENOENT);
}

static void *sleeper(void *p) {
	prctl(PR_SET_NAME, "the other");
	*(pid_t *)p = gettid();
	for (;;)
		pause();
	return NULL;
}

TEST(tasks) {
	volatile pid_t tid = 0;
	pthread_t t;
	pthread_create(&t, NULL, sleeper, (void *)&tid);
	while (!tid)
		sleep_ms(1);
	EQUAL(atoi(STATUS("Threads")), 2);
	SAME(file(str("/proc/self/task/%d/comm", tid)), "the other\n");
	EQUAL(atoi(field(str("/proc/self/task/%d/status", tid), "Pid")), tid);
	EQUAL(atoi(field(str("/proc/self/task/%d/status", tid), "Tgid")), getpid());
	struct stat st;
	OK(stat("/proc/self/task", &st));
	EQUAL(st.st_nlink, 4);
	/* a thread's number leads there, but is not listed */
	OK(stat(str("/proc/%d", tid), &st));
	DIR *d = opendir("/proc");
	int self = 0;
	for (struct dirent *e; (e = readdir(d));) {
		CHECK(atoi(e->d_name) != tid);
		self += atoi(e->d_name) == getpid();
	}
	closedir(d);
	EQUAL(self, 1);
	FAILS(stat(str("/proc/self/task/%d", getppid()), &st), ENOENT);
	char b[64];
	b[OK(readlink("/proc/thread-self", b, sizeof b - 1))] = 0;
	SAME(b, str("%d/task/%d", getpid(), gettid()));
	b[OK(readlink("/proc/self", b, sizeof b - 1))] = 0;
	SAME(b, str("%d", getpid()));
	SAME(file("/proc/self/task/../comm"), file(str("/proc/%d/comm", getpid())));
}

TEST(limits_file) {
	struct rlimit r = { 23, 45 };
	OK(setrlimit(RLIMIT_NOFILE, &r));
	CHECK(strstr(file("/proc/self/limits"), "Max open files            23                   45                   files     \n"));
	CHECK(!strncmp(text, "Limit                     Soft Limit           Hard Limit           Units     \n", 79));
}

TEST(mountinfo) {
	FILE *f = fopen("/proc/self/mountinfo", "r");
	CHECK(f);
	char line[4096];
	int root = 0, proc = 0;
	while (fgets(line, sizeof line, f)) {
		int id, parent, major, minor;
		char from[1024], at[1024], opts[1024];
		EQUAL(sscanf(line, "%d %d %d:%d %1023s %1023s %1023s", &id, &parent, &major, &minor, from, at, opts), 7);
		char *sep = strstr(line, " - ");
		CHECK(sep);
		char type[64], source[1024], super[1024];
		EQUAL(sscanf(sep, " - %63s %1023s %1023s", type, source, super), 3);
		if (!strcmp(at, "/")) {
			struct stat st;
			OK(stat("/", &st));
			root++;
			EQUAL(st.st_dev, (dev_t)major << 8 | minor);
		}
		proc += !strcmp(at, "/proc") && !strcmp(type, "proc");
	}
	CHECK(root >= 1);
	CHECK(proc >= 1); /* a host may have mounted it twice */
	struct statfs sf;
	OK(statfs("/proc", &sf));
	EQUAL(sf.f_type, PROC_SUPER_MAGIC);
	char b[64];
	b[OK(readlink("/proc/mounts", b, sizeof b - 1))] = 0;
	SAME(b, "self/mounts");
}

TEST(system_files) {
	CHECK(strstr(file("/proc/meminfo"), "MemTotal: ") && strstr(text, "MemAvailable: ") && strstr(text, "SwapFree: "));
	CHECK(strstr(file("/proc/cpuinfo"), "processor\t: 0\n"));
	int n = 0;
	for (char *c = file("/proc/cpuinfo"); (c = strstr(c, "processor\t:")); c++)
		n++;
	EQUAL(n, sysconf(_SC_NPROCESSORS_ONLN));
	CHECK(!strncmp(file("/proc/stat"), "cpu  ", 5));
	CHECK(strstr(text, "\nctxt ") && strstr(text, "\nbtime ") && strstr(text, "\nprocesses "));
	double up, idle;
	EQUAL(sscanf(file("/proc/uptime"), "%lf %lf", &up, &idle), 2);
	float a, b, c;
	EQUAL(sscanf(file("/proc/loadavg"), "%f %f %f ", &a, &b, &c), 3);
	CHECK(!strncmp(file("/proc/version"), "Linux version ", 14));
	CHECK(strstr(file("/proc/filesystems"), "nodev\tproc\n"));
	EQUAL(strlen(file("/proc/sys/kernel/random/uuid")), 37);
	char *one = strdup(file("/proc/sys/kernel/random/boot_id"));
	SAME(file("/proc/sys/kernel/random/boot_id"), one);
	CHECK(atoi(file("/proc/sys/kernel/pid_max")) > 300);
	CHECK(atoi(file("/proc/sys/fs/pipe-max-size")) >= 65536);
	char host[128];
	OK(gethostname(host, sizeof host));
	strcat(host, "\n");
	SAME(file("/proc/sys/kernel/hostname"), host);
	FAILS(open("/proc/nothing", O_RDONLY), ENOENT);
	if (getuid() == 0) {
		FAILS(open("/proc/new", O_CREAT | O_WRONLY, 0644), ENOENT);
		FAILS(mkdir("/proc/new", 0755), ENOENT);
		FAILS(unlink("/proc/stat"), over_host() ? EPERM : EACCES);
	}
	struct stat st;
	OK(stat("/proc/stat", &st));
	EQUAL(st.st_mode, S_IFREG | 0444);
	EQUAL(st.st_size, 0);
	/* files are read in pieces, and again from the start */
	int f = OK(open("/proc/self/status", O_RDONLY));
	char x[9], y[9];
	EQUAL(read(f, x, 4), 4);
	EQUAL(read(f, x + 4, 4), 4);
	EQUAL(pread(f, y, 8, 0), 8);
	CHECK(!memcmp(x, y, 8));
}

TEST(who_may_look) {
	if (getuid() != 0)
		SKIP("needs another user");
	pid_t k = OK(fork());
	if (!k) {
		prctl(PR_SET_DUMPABLE, 0);
		for (;;)
			pause();
	}
	await_sleep(k);
	EXITED_OK(IN_CHILD({
		OK(setgid(1001));
		OK(setuid(1001));
		char b[64];
		FAILS(readlink(str("/proc/%d/exe", k), b, sizeof b), EACCES);
		FAILS(readlink(str("/proc/%d/cwd", k), b, sizeof b), EACCES);
		FAILS(open(str("/proc/%d/mem", k), O_RDONLY), EACCES);
		FAILS(open(str("/proc/%d/environ", k), O_RDONLY), EACCES);
		FAILS(open(str("/proc/%d/fd", k), O_RDONLY), EACCES);
		OK(open(str("/proc/%d/status", k), O_RDONLY));
		OK(open(str("/proc/%d/cmdline", k), O_RDONLY));
		EQUAL(stat_field(str("/proc/%d/stat", k), 26), 1); /* addresses are hidden */
	}));
	struct stat st;
	OK(stat(str("/proc/%d", k), &st));
	EQUAL(st.st_uid, 0);
	kill(k, SIGKILL);
	OK(waitpid(k, NULL, 0));
	EXITED_OK(IN_CHILD({
		OK(setuid(1001));
		OK(prctl(PR_SET_DUMPABLE, 1));
		OK(stat("/proc/self", &st));
		EQUAL(st.st_uid, 1001);
	}));
}
