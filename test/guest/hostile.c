/* What a hostile program tries: it hurts itself only. */
#include "guest.h"
#include <pthread.h>
#include <setjmp.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/uio.h>

static int died(int status) { return WIFSIGNALED(status); }

TEST(system_calls_from_every_encoding) {
	long pid = getpid(), r;
	/* number in a register */
	long nr = SYS_getpid;
	asm volatile("syscall" : "=a"(r) : "a"(nr) : "rcx", "r11", "memory");
	EQUAL(r, pid);
	/* number as an immediate, right before */
	asm volatile("mov $39, %%eax; syscall" : "=a"(r)::"rcx", "r11", "memory");
	EQUAL(r, pid);
	/* with prefixes */
	asm volatile("mov $39, %%eax; .byte 0x2e, 0x48, 0x0f, 0x05" : "=a"(r)::"rcx", "r11", "memory");
	EQUAL(r, pid);
	/* a jump right to the instruction, and back over it, many times */
	for (int i = 0; i < 20; i++) {
		asm volatile("mov $39, %%eax; jmp 2f; 1: mov $110, %%eax; 2: syscall" : "=a"(r)::"rcx", "r11", "memory");
		EQUAL(r, pid);
	}
	/* a loop whose target is the call itself */
	long n = 0;
	asm volatile("mov $39, %%eax; 1: syscall; mov %%rax, %%rdx; inc %[n]; cmp $50, %[n]; mov $39, %%eax; jl 1b"
		     : "=&d"(r), [n] "+r"(n)::"rax", "rcx", "r11", "memory", "cc");
	EQUAL(r, pid);
	EQUAL(n, 50);
	/* a high half that does not count: the number is 32 bits wide for bad numbers */
	FAILS(syscall(0x7fffffff), ENOSYS);
	FAILS(syscall(-1), ENOSYS);
	FAILS(syscall(SYS_getpid | 0x40000000), ENOSYS);
}

static unsigned char *page;

/* Calls from code that is written at run time, over and over. */
TEST(generated_code) {
	page = mmap(0, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long pid = getpid();
	for (int round = 0; round < 30; round++) {
		/* mov $39,%eax; syscall; ret, at changing places, across the page's end too */
		unsigned char code[] = { 0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3 };
		unsigned char *at = page + 4096 - 8 + round % 9;
		memcpy(at, code, sizeof code);
		for (int i = 0; i < 8; i++)
			EQUAL(((long (*)(void))at)(), pid);
		CHECK(!memcmp(at, code, sizeof code));
	}
	/* the same code made read-only, so that it may be rewritten, and then changed */
	unsigned char code[] = { 0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3 };
	memcpy(page, code, sizeof code);
	OK(mprotect(page, 4096, PROT_READ | PROT_EXEC));
	for (int i = 0; i < 50; i++)
		EQUAL(((long (*)(void))page)(), pid);
	/* read by the kernel it is what was written, whatever a platform does to it */
	unsigned char seen[sizeof code];
	int p[2], mem = OK(open("/proc/self/mem", O_RDONLY));
	OK(pipe(p));
	for (size_t skip = 0; skip < sizeof code; skip++) {
		size_t n = sizeof code - skip;
		EQUAL(write(p[1], page + skip, n), n);
		EQUAL(read(p[0], seen, n), n);
		CHECK(!memcmp(seen, code + skip, n));
		EQUAL(pread(mem, seen, n, (off_t)(page + skip)), n);
		CHECK(!memcmp(seen, code + skip, n));
	}
	OK(mprotect(page, 4096, PROT_READ | PROT_WRITE | PROT_EXEC));
	CHECK(!memcmp(page, code, sizeof code));
	page[1] = 110; /* getppid */
	EQUAL(((long (*)(void))page)(), getppid());
	OK(mprotect(page, 4096, PROT_READ | PROT_EXEC));
	for (int i = 0; i < 50; i++)
		EQUAL(((long (*)(void))page)(), getppid());
	OK(munmap(page, 8192));
}

TEST(old_entries_do_not_reach_the_host) {
	/* int $0x80: another architecture's entry. Natively it works; behind a
	 * wall it may be refused, but never run as something else. */
	int s = IN_CHILD({
		long r;
		asm volatile("mov $20, %%eax; int $0x80" : "=a"(r)::"memory");
		_exit(r == getpid() || r == -ENOSYS ? 0 : 1);
	});
	CHECK(s == 0 || WTERMSIG(s) == SIGSEGV);
}

/* Unmaps everything that it can. */
TEST(unmapping_everything) {
	int s = IN_CHILD(syscall(SYS_munmap, 0, 0x7ffffffff000));
	CHECK(died(s));
	for (unsigned long a = 0x7fff00000000; a < 0x7ffffffff000; a += 0x10000000) {
		s = IN_CHILD({
			syscall(SYS_mmap, a, 0x10000000 - 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
			syscall(SYS_mprotect, a, 0x10000000 - 4096, PROT_READ | PROT_WRITE);
			syscall(SYS_getpid);
		});
		(void)s; /* it may die; the next one must run */
	}
	s = IN_CHILD(_exit(3));
	EQUAL(WEXITSTATUS(s), 3);
}

/* Writes over and jumps into all of the address space's top, where a user-space
 * kernel may keep something. */
TEST(scribbling_over_the_top) {
	for (unsigned long a = 0x7fff80000000; a < 0x7ffffffff000; a += 0x1000000) {
		int s = IN_CHILD({
			signal(SIGSEGV, SIG_DFL);
			/* some pages in a row, then one in each 64 KiB: a call for each page
			 * would take a tracer's guest too long */
			for (unsigned long b = a; b < a + 0x1000000; b += b < a + 0x40000 ? 4096 : 0x10000) {
				unsigned long junk[8];
				memset(junk, 0xff, sizeof junk);
				struct iovec l = { junk, sizeof junk };
				struct iovec r = { (void *)b, sizeof junk };
				syscall(SYS_process_vm_writev, getpid(), &l, 1, &r, 1, 0);
			}
			*(volatile long *)a = -1;
		});
		(void)s;
	}
	int s = IN_CHILD(_exit(4));
	EQUAL(WEXITSTATUS(s), 4);
}

TEST(jumping_into_the_top) {
	/* The vDSO, which may be there, has functions that return to whoever jumps into them. */
	unsigned long vdso = getauxval(AT_SYSINFO_EHDR);
	for (unsigned long a = 0x7fffc0000000; a < 0x7ffffffff000; a += 0x400000 + 0x1003) {
		if (vdso && a - vdso < 0x10000)
			continue;
		int s = IN_CHILD({
			struct rlimit none = { 0, 0 };
			setrlimit(RLIMIT_CORE, &none);
			alarm(2);
			((void (*)(void))a)();
		});
		CHECK(s != 0);
	}
}

TEST(bad_stack_pointers) {
	unsigned long sps[] = { 0, 8, 0x1000, 0x7ffffffff000, 0x8000000000000000, ~0ul, 0xffffffff80000000 };
	for (unsigned i = 0; i < sizeof sps / sizeof *sps; i++) {
		/* calls work without a stack */
		int s = IN_CHILD({
			asm volatile("mov %0, %%rsp; mov $231, %%eax; mov $5, %%edi; syscall" ::"r"(sps[i]) : "rax", "rdi", "memory");
		});
		EQUAL(WEXITSTATUS(s), 5);
	}
}

TEST(segment_bases) {
	int s = IN_CHILD({
		unsigned long base = 0;
		OK(syscall(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, &base));
		CHECK(base != 0);
		unsigned long mine[2] = { 0x1234567, 0 };
		OK(syscall(SYS_arch_prctl, 0x1001 /* ARCH_SET_GS */, mine));
		unsigned long got;
		for (int i = 0; i < 100; i++) {
			syscall(SYS_getppid);
			asm volatile("mov %%gs:0, %0" : "=r"(got));
			EQUAL(got, 0x1234567);
		}
		FAILS(syscall(SYS_arch_prctl, 0x1001, 0x8000000000000000), EPERM);
	});
	EXITED_OK(s);
}

TEST(fork_bomb_is_contained) {
	int s = IN_CHILD({
		struct rlimit r = { 1000, 1000 };
		setrlimit(RLIMIT_NPROC, &r);
		int alone = getuid() == 0; /* others of the user count, too */
		if (alone)
			OK(setuid(20000 + nobodys_number() % 40000)); /* a user namespace may have no more */
		r.rlim_cur = r.rlim_max = 40;
		OK(setrlimit(RLIMIT_NPROC, &r));
		setpgid(0, 0);
		int n = 0;
		while (n < 200) {
			pid_t k = fork();
			if (k < 0) {
				EQUAL(errno, EAGAIN);
				break;
			}
			if (!k)
				for (;;)
					pause();
			n++;
		}
		CHECK((n > 10 || !alone) && n < 41);
		signal(SIGTERM, SIG_IGN);
		kill(0, SIGTERM);
		while (wait(NULL) > 0) {}
	});
	EXITED_OK(s);
}

TEST(bad_pointers_everywhere) {
	/* Every call with pointers that lead nowhere: an error, never the end.
	 * Numbers as small as the pointers are descriptors too, so these are a
	 * scratch file, and the user is nobody: natively this runs on a real host. */
	int scratch = OK(open("scratch", O_CREAT | O_RDWR, 0600));
	for (int f = 0; f < 10; f++)
		if (f != 1 && f != scratch)
			OK(dup2(scratch, f));
	if (getuid() == 0) {
		OK(setgid(65534));
		OK(setuid(65534));
	}
	void *bad[] = { (void *)8, (void *)0x7ffffffff000, (void *)0x8000000000000000, (void *)-1, NULL };
	for (int i = 0; i < 5; i++)
		for (long nr = 0; nr < 463; nr++) {
			switch (nr) {
			case SYS_exit: case SYS_exit_group: case SYS_rt_sigreturn: case SYS_pause: case SYS_fork:
			case SYS_vfork: case SYS_clone: case SYS_clone3: case SYS_rt_sigsuspend: case SYS_munmap:
			case SYS_close_range: case SYS_reboot: case SYS_close: case SYS_kill: case SYS_brk: case SYS_mremap:
			case SYS_select: case SYS_pselect6: case SYS_poll: case SYS_ppoll: case SYS_set_robust_list:
			case SYS_set_tid_address: case SYS_arch_prctl: case SYS_rseq: case SYS_alarm: case SYS_setitimer:
			case SYS_chroot: case SYS_vhangup: case SYS_mmap: case SYS_mprotect: case SYS_sync: case SYS_syncfs:
			case SYS_setuid: case SYS_setgid: case SYS_setreuid: case SYS_setregid: case SYS_setresuid: case SYS_setresgid:
			case SYS_setsid: case SYS_unshare: case SYS_setns: case SYS_semop: case SYS_munlockall: case SYS_mlockall:
			case SYS_msgget: case SYS_msgrcv: case SYS_shutdown: case SYS_swapoff: case SYS_swapon: case SYS_umount2: case SYS_sethostname:
			case SYS_setdomainname: case SYS_init_module: case SYS_delete_module: case SYS_pkey_mprotect:
			case SYS_personality: case SYS_seccomp: case SYS_prctl: case SYS_sched_setaffinity: case SYS_setrlimit:
			case SYS_prlimit64: case SYS_ptrace: case SYS_wait4: case SYS_waitid: case SYS_setpriority: case SYS_tkill:
			case SYS_tgkill: case SYS_rt_tgsigqueueinfo: case SYS_rt_sigqueueinfo: case SYS_settimeofday:
			case SYS_clock_settime: case SYS_adjtimex: case SYS_clock_adjtime: case SYS_remap_file_pages: case SYS_madvise:
			case SYS_setfsuid: case SYS_setfsgid: case SYS_setgroups: case SYS_capset: case SYS_rt_sigaction:
			case SYS_rt_sigprocmask: case SYS_sigaltstack: case SYS_rt_sigtimedwait: case SYS_process_madvise:
			case SYS_io_uring_enter: case SYS_epoll_wait: case SYS_epoll_pwait: case SYS_epoll_pwait2: case SYS_futex:
			case SYS_futex_waitv: case SYS_acct: case SYS_pivot_root: case SYS_landlock_restrict_self: case 455 /* futex_wait */:
			case 453 /* map_shadow_stack */: case 335: case 336: /* uretprobe, uprobe: SIGILL */ case SYS_nanosleep: case SYS_clock_nanosleep: case SYS_restart_syscall: case SYS_dup2: case SYS_dup3:
				continue;
			}
			errno = 0;
			syscall(nr, bad[i], bad[i], bad[i], bad[i], bad[i], bad[i]);
		}
	int s = IN_CHILD(_exit(6));
	EQUAL(WEXITSTATUS(s), 6);
}
