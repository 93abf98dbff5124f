/* What execve passes on, and how: arguments, scripts, descriptors, names. */
#include "guest.h"
#include <elf.h>
#include <pthread.h>
#include <sys/auxv.h>
#include <sys/prctl.h>

/* The program that the tests run is this one again; its first argument says
 * what it is to tell on descriptor 1. */
static void tell(int argc, char **argv, char **envp) {
	printf("argc %d", argc);
	for (int i = 0; i < argc; i++)
		printf(" [%s]", argv[i]);
	for (int i = 0; envp[i]; i++)
		printf(" {%s}", envp[i]);
	fflush(stdout);
	_exit(0);
}

__attribute__((constructor)) static void run_again(int argc, char **argv, char **envp) {
	if ((argc > 0 && argv[0][0] == '@') || (envp[0] && envp[0][0] == '@'))
		tell(argc, argv, envp);
	if (argc > 0 && !strcmp(argv[0], "auxv")) {
		printf("%d %s %d %d", getauxval(AT_SECURE) != 0, (char *)getauxval(AT_EXECFN), (int)getauxval(AT_UID), getauxval(AT_RANDOM) != 0);
		fflush(stdout);
		_exit(0);
	}
	if (argc > 0 && !strcmp(argv[0], "comm")) {
		char n[16];
		prctl(PR_GET_NAME, n);
		printf("%s", n);
		fflush(stdout);
		_exit(0);
	}
	if (argc > 0 && !strcmp(argv[0], "exe")) {
		char n[256];
		int k = readlink("/proc/self/exe", n, sizeof n);
		printf("%.*s", k, n);
		fflush(stdout);
		_exit(0);
	}
	if (argc > 0 && !strcmp(argv[0], "wait")) {
		printf("w");
		fflush(stdout);
		for (;;)
			pause();
	}
	if (argc > 0 && !strcmp(argv[0], "signals")) {
		sigset_t m;
		sigprocmask(SIG_BLOCK, NULL, &m);
		struct sigaction a, b, c;
		sigaction(SIGUSR1, NULL, &a);
		sigaction(SIGUSR2, NULL, &b);
		sigaction(SIGTERM, NULL, &c);
		sigset_t p;
		sigpending(&p);
		stack_t st;
		sigaltstack(NULL, &st);
		printf("%d %d %d %d %d %d", sigismember(&m, SIGHUP), a.sa_handler == SIG_IGN, b.sa_handler == SIG_DFL,
		       c.sa_handler == SIG_DFL, sigismember(&p, SIGHUP), st.ss_flags == SS_DISABLE);
		fflush(stdout);
		_exit(0);
	}
}

static char out[1 << 16];

/* output_of runs code in a child with its standard output in a pipe. */
#define OUTPUT_OF(...)                                                         \
	({                                                                     \
		int p_[2];                                                     \
		OK(pipe(p_));                                                  \
		pid_t k_ = OK(fork());                                         \
		if (!k_) {                                                     \
			dup2(p_[1], 1);                                        \
			close(p_[0]);                                          \
			close(p_[1]);                                          \
			__VA_ARGS__;                                           \
			printf("errno %d", errno);                             \
			fflush(stdout);                                        \
			_exit(0);                                              \
		}                                                              \
		close(p_[1]);                                                  \
		size_t n_ = 0;                                                 \
		for (ssize_t r_; (r_ = read(p_[0], out + n_, sizeof out - 1 - n_)) > 0;) \
			n_ += r_;                                              \
		out[n_] = 0;                                                   \
		close(p_[0]);                                                  \
		waitpid(k_, NULL, 0);                                          \
		out;                                                           \
	})
#define SAYS(want, ...)                                                        \
	do {                                                                   \
		const char *o_ = OUTPUT_OF(__VA_ARGS__);                       \
		if (strcmp(o_, want))                                          \
			guest_fail(__FILE__, __LINE__, "got \"%.300s\", not \"%s\"", o_, want); \
	} while (0)

static char self[256], *none[] = { NULL };
static void find_self(void) { self[OK(readlink("/proc/self/exe", self, sizeof self - 1))] = 0; }

static void script(const char *name, const char *text) {
	int f = OK(open(name, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0755));
	EQUAL(write(f, text, strlen(text)), strlen(text));
	close(f);
}

TEST(arguments_and_environment) {
	find_self();
	SAYS("argc 3 [@] [] [b c] {A=1} {noequals} {A=2}", execve(self, (char *[]){ "@", "", "b c", NULL }, (char *[]){ "A=1", "noequals", "A=2", NULL }));
	SAYS("argc 1 [@]", syscall(SYS_execve, self, (char *[]){ "@", NULL }, NULL));
	/* without arguments there is an empty one */
	SAYS("argc 1 [] {@}", syscall(SYS_execve, self, NULL, (char *[]){ "@", NULL }));
	SAYS("errno 14", execve(self, (char **)8, none));
	SAYS("errno 14", execve(self, (char *[]){ (char *)8, NULL }, none));
	SAYS("errno 14", execve((char *)8, none, none));
	SAYS("errno 2", execve("", none, none));
	/* an argument has at most 32 pages, its end included */
	char *big = malloc(200000);
	memset(big, 'x', 200000);
	big[131071] = 0;
	CHECK(strlen(OUTPUT_OF(execve(self, (char *[]){ "@", big, NULL }, none))) > 60000);
	big[131071] = 'x';
	big[131072] = 0;
	SAYS("errno 7", execve(self, (char *[]){ "@", big, NULL }, none));
	/* all of them a quarter of the stack's limit */
	big[100000] = 0;
	char *many[100];
	for (int i = 0; i < 99; i++)
		many[i] = big;
	many[99] = NULL;
	SAYS("errno 7", execve(self, many, none));
}

TEST(scripts) {
	find_self();
	char text[600];
	/* argv[0] is not passed on */
	script("plain", "#!/proc/self/exe\n");
	SAYS("argc 2 [/proc/self/exe] [./plain] {@}", execve("./plain", (char *[]){ "zero", NULL }, (char *[]){ "@", NULL }));
	script("one", "#! \t/proc/self/exe \t one two  \n");
	SAYS("argc 4 [/proc/self/exe] [one two] [./one] [x] {@}", execve("./one", (char *[]){ "zero", "x", NULL }, (char *[]){ "@", NULL }));
	script("noline", "#!/proc/self/exe -a");
	SAYS("argc 3 [/proc/self/exe] [-a] [./noline] {@}", execve("./noline", (char *[]){ "z", NULL }, (char *[]){ "@", NULL }));
	script("nested", "#!./one b\n");
	SAYS("argc 5 [/proc/self/exe] [one two] [./one] [b] [./nested] {@}", execve("./nested", (char *[]){ "z", NULL }, (char *[]){ "@", NULL }));
	script("loop", "#!./loop\n");
	SAYS("errno 40", execve("./loop", (char *[]){ "z", NULL }, none));
	script("empty", "#!\n");
	SAYS("errno 8", execve("./empty", (char *[]){ "z", NULL }, none));
	script("nothing", "");
	SAYS("errno 8", execve("./nothing", (char *[]){ "z", NULL }, none));
	script("missing", "#!/no/such\n");
	SAYS("errno 2", execve("./missing", (char *[]){ "z", NULL }, none));
	script("directory", "#!/tmp\n");
	SAYS("errno 13", execve("./directory", (char *[]){ "z", NULL }, none));
	/* too long a first line */
	memset(text, 'a', sizeof text);
	memcpy(text, "#!/", 3);
	text[sizeof text - 1] = 0;
	script("long", text);
	SAYS("errno 8", execve("./long", (char *[]){ "z", NULL }, none));
	/* by a descriptor: its name for the interpreter */
	int f = OK(open("one", O_RDONLY));
	char want[100];
	snprintf(want, sizeof want, "argc 3 [/proc/self/exe] [one two] [/dev/fd/%d] {@}", f);
	SAYS(want, syscall(SYS_execveat, f, "", (char *[]){ "z", NULL }, (char *[]){ "@", NULL }, AT_EMPTY_PATH));
	OK(fcntl(f, F_SETFD, FD_CLOEXEC));
	SAYS("errno 2", syscall(SYS_execveat, f, "", (char *[]){ "z", NULL }, (char *[]){ "@", NULL }, AT_EMPTY_PATH));
}

TEST(execveat_ways) {
	find_self();
	char *argv[] = { "@", NULL };
	OK(symlink(self, "link"));
	int dir = OK(open(".", O_PATH));
	int exe = OK(open(self, O_PATH | O_CLOEXEC));
	SAYS("argc 1 [@]", syscall(SYS_execveat, dir, "link", argv, none, 0));
	SAYS("errno 40", syscall(SYS_execveat, dir, "link", argv, none, AT_SYMLINK_NOFOLLOW));
	SAYS("argc 1 [@]", syscall(SYS_execveat, exe, "", argv, none, AT_EMPTY_PATH));
	SAYS("errno 2", syscall(SYS_execveat, exe, "", argv, none, 0));
	SAYS("errno 20", syscall(SYS_execveat, exe, "x", argv, none, 0));
	SAYS("errno 9", syscall(SYS_execveat, 999, "x", argv, none, 0));
	SAYS("errno 22", syscall(SYS_execveat, dir, "link", argv, none, 0x4));
	SAYS("errno 13", syscall(SYS_execveat, dir, "", argv, none, AT_EMPTY_PATH));
	SAYS("argc 1 [@]", fexecve(exe, argv, none));
	/* not executable, and not root's to override */
	int f = OK(open("plain", O_CREAT | O_WRONLY, 0644));
	SAYS("errno 13", execve("./plain", argv, none));
	SAYS("errno 13", execve(".", argv, none));
	SAYS("errno 20", execve("./plain/x", argv, none));
	/* being written */
	OK(fchmod(f, 0755));
	SAYS("errno 26", execve("./plain", argv, none));
	close(f);
	SAYS("errno 8", execve("./plain", argv, none));
}

TEST(auxiliary_vector) {
	find_self();
	char want[400];
	snprintf(want, sizeof want, "0 %s %d 1", self, getuid());
	SAYS(want, execve(self, (char *[]){ "auxv", NULL }, none));
	snprintf(want, sizeof want, "0 /proc/self/exe %d 1", getuid());
	SAYS(want, execve("/proc/self/exe", (char *[]){ "auxv", NULL }, none));
}

static void copy_to(const char *to) {
	int in = OK(open("/proc/self/exe", O_RDONLY | O_CLOEXEC)), w = OK(open(to, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0755));
	for (int n; (n = OK(read(in, out, sizeof out))) > 0;)
		EQUAL(write(w, out, n), n);
	close(in);
	close(w);
}

TEST(names) {
	find_self();
	copy_to("a-name-of-more-than-fifteen");
	SAYS("a-name-of-more-", execve("./a-name-of-more-than-fifteen", (char *[]){ "comm", NULL }, none));
	OK(symlink("a-name-of-more-than-fifteen", "l"));
	SAYS("l", execve("./l", (char *[]){ "comm", NULL }, none));
	char want[400];
	getcwd(want, sizeof want);
	strcat(want, "/a-name-of-more-than-fifteen");
	SAYS(want, execve("./l", (char *[]){ "exe", NULL }, none));
	/* deleted while it runs: it can still be run by /proc/self/exe */
	strcat(want, " (deleted)");
	SAYS(want, ({
		OK(rename("l", "l2"));
		int f = OK(open("l2", O_PATH | O_CLOEXEC));
		OK(unlink("a-name-of-more-than-fifteen"));
		fexecve(f, (char *[]){ "exe", NULL }, none);
	}));
}

TEST(exec_of_the_deleted_self) {
	copy_to("gone");
	int f = OK(open("gone", O_PATH | O_CLOEXEC));
	OK(unlink("gone"));
	char path[40];
	snprintf(path, sizeof path, "/proc/self/fd/%d", f);
	SAYS("argc 1 [@]", execve(path, (char *[]){ "@", NULL }, none));
}

TEST(a_running_program_is_not_written) {
	copy_to("busy");
	int p[2];
	OK(pipe(p));
	pid_t k = OK(fork());
	if (!k) {
		dup2(p[1], 1);
		execve("./busy", (char *[]){ "wait", NULL }, none);
		_exit(1);
	}
	char c;
	EQUAL(read(p[0], &c, 1), 1);
	FAILS(open("busy", O_WRONLY), ETXTBSY);
	FAILS(open("busy", O_RDWR | O_TRUNC), ETXTBSY);
	FAILS(truncate("busy", 0), ETXTBSY);
	int f = OK(open("busy", O_RDONLY));
	OK(chmod("busy", 0700));
	OK(rename("busy", "other"));
	FAILS(open("other", O_WRONLY), ETXTBSY);
	OK(kill(k, SIGKILL));
	OK(waitpid(k, NULL, 0));
	close(f);
	f = open_unexecuted("other");
	FAILS(execve("./other", none, none), ETXTBSY);
	close(f);
}

TEST(signals_and_memory) {
	find_self();
	SAYS("1 1 1 1 1 1", ({
		sigset_t m;
		sigemptyset(&m);
		sigaddset(&m, SIGHUP);
		sigprocmask(SIG_BLOCK, &m, NULL);
		signal(SIGUSR1, SIG_IGN);
		signal(SIGUSR2, (void (*)(int))find_self);
		static char stack[65536];
		stack_t st = { .ss_sp = stack, .ss_size = sizeof stack };
		OK(sigaltstack(&st, NULL));
		raise(SIGHUP);
		execve(self, (char *[]){ "signals", NULL }, none);
	}));
}

TEST(descriptors) {
	find_self();
	int a = OK(open("/dev/null", O_RDONLY)), b = OK(open("/dev/null", O_RDONLY | O_CLOEXEC));
	char cmd[100], want[100];
	snprintf(cmd, sizeof cmd, "test -e /proc/self/fd/%d && printf a; test -e /proc/self/fd/%d || printf b", a, b);
	snprintf(want, sizeof want, "ab");
	SAYS(want, execve("/bin/sh", (char *[]){ "sh", "-c", cmd, NULL }, none));
}

static void *exec_in_thread(void *p) {
	execve(self, p, none);
	_exit(99);
}

static void *spin(void *p) {
	for (;;)
		__asm__ volatile("pause");
	return p;
}

TEST(many_threads_exec_at_once) {
	find_self();
	for (int round = 0; round < 10; round++)
		SAYS("argc 1 [@]", ({
			pthread_t t;
			char *argv[] = { "@", NULL };
			for (int i = 0; i < 2; i++)
				pthread_create(&t, NULL, spin, NULL);
			for (int i = 0; i < 4; i++)
				pthread_create(&t, NULL, exec_in_thread, argv);
			pause();
		}));
}

TEST(failing_exec_changes_nothing) {
	find_self();
	char *mine = strdup("still here");
	int f = OK(open("/dev/null", O_RDONLY | O_CLOEXEC));
	signal(SIGUSR1, (void (*)(int))find_self);
	prctl(PR_SET_NAME, "unchanged");
	script("bad", "\177ELF and nothing else");
	FAILS(execve("./bad", none, none), ENOEXEC);
	FAILS(execve("/no/such", none, none), ENOENT);
	char name[16];
	prctl(PR_GET_NAME, name);
	CHECK(!strcmp(name, "unchanged") && !strcmp(mine, "still here"));
	OK(fcntl(f, F_GETFD));
	struct sigaction sa;
	OK(sigaction(SIGUSR1, NULL, &sa));
	CHECK(sa.sa_handler == (void (*)(int))find_self);
}

/* A program whose memory is more than there is: that is found out when the old one is gone. */
TEST(exec_that_fails_too_late) {
	Elf64_Ehdr e = {
		.e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT },
		.e_type = ET_EXEC, .e_machine = EM_X86_64, .e_version = EV_CURRENT, .e_entry = 0x400000,
		.e_phoff = sizeof e, .e_ehsize = sizeof e, .e_phentsize = sizeof(Elf64_Phdr), .e_phnum = 2,
	};
	Elf64_Phdr p[2] = {
		{ PT_LOAD, PF_R | PF_X, 0, 0x400000, 0x400000, 4096, 4096, 4096 },
		{ PT_LOAD, PF_R | PF_W, 0, 0x500000, 0x500000, 4096, 0x7ff000000000, 4096 },
	};
	int f = OK(open("greedy", O_CREAT | O_WRONLY, 0700));
	EQUAL(write(f, &e, sizeof e), sizeof e);
	EQUAL(write(f, p, sizeof p), sizeof p);
	OK(ftruncate(f, 4096));
	OK(close(f));
	pid_t k = OK(fork());
	if (k == 0) {
		execl("./greedy", "greedy", NULL);
		_exit(1);
	}
	int s;
	EQUAL(waitpid(k, &s, 0), k);
	CHECK(WIFSIGNALED(s));
	EQUAL(WTERMSIG(s), SIGSEGV);
}
