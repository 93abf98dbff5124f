/* System V message queues, semaphores and shared memory. */
#include "guest.h"
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

TEST(shared_memory) {
	int id = OK(shmget(IPC_PRIVATE, 10000, IPC_CREAT | 0600));
	char *p = shmat(id, NULL, 0);
	CHECK(p != (void *)-1);
	EQUAL(p[9999], 0);
	strcpy(p, "parent");
	pid_t k = OK(fork());
	struct shmid_ds ds;
	if (!k) {
		CHECK(!strcmp(p, "parent"));
		OK(shmctl(id, IPC_STAT, &ds));
		EQUAL(ds.shm_nattch, 2);
		char *q = shmat(id, NULL, SHM_RDONLY);
		CHECK(q != (void *)-1);
		OK(shmctl(id, IPC_STAT, &ds));
		EQUAL(ds.shm_nattch, 3);
		strcpy(p + 4096, "child");
		CHECK(!strcmp(q + 4096, "child"));
		OK(shmdt(q));
		FAILS(shmdt(q), EINVAL);
		FAILS(shmdt(p + 4096), EINVAL);
		_exit(0);
	}
	int st;
	OK(waitpid(k, &st, 0));
	EQUAL(st, 0);
	CHECK(!strcmp(p + 4096, "child"));
	OK(shmctl(id, IPC_STAT, &ds));
	EQUAL(ds.shm_segsz, 10000);
	EQUAL(ds.shm_nattch, 1);
	EQUAL(ds.shm_cpid, getpid());
	OK(shmctl(id, IPC_RMID, NULL));
	OK(shmctl(id, IPC_STAT, &ds));
	CHECK(ds.shm_perm.mode & SHM_DEST);
	CHECK(!strcmp(p, "parent"));
	OK(shmdt(p));
	FAILS(shmctl(id, IPC_STAT, &ds), EINVAL);
	FAILS(shmget(0x1234567, 1, 0600), ENOENT);
	FILE *huge = fopen("/proc/sys/vm/nr_hugepages", "r");
	int pages = 1;
	if (over_host() && huge && fscanf(huge, "%d", &pages) == 1 && !pages)
		FAILS(shmget(IPC_PRIVATE, 2 << 20, IPC_CREAT | SHM_HUGETLB | 0600), ENOMEM);
	CHECK(shmat(id, NULL, 0) == (void *)-1 && errno == EINVAL);
}

TEST(semaphores) {
	int id = OK(semget(IPC_PRIVATE, 2, 0600));
	union semun { int val; unsigned short *array; } u = { .val = 1 };
	OK(semctl(id, 0, SETVAL, u));
	struct sembuf down = { 0, -1, SEM_UNDO }, up = { 1, 1, 0 }, wait1 = { 1, -1, 0 };
	int p[2];
	OK(pipe(p));
	pid_t k = OK(fork());
	if (!k) {
		char c;
		close(p[1]);
		OK(semop(id, &down, 1));
		OK(semop(id, &up, 1));
		EQUAL(read(p[0], &c, 1), 0);
		await_sleep(getppid());
		_exit(0); /* gives semaphore 0 back */
	}
	OK(semop(id, &wait1, 1));
	EQUAL(semctl(id, 0, GETVAL), 0);
	struct sembuf nowait = { 0, -1, IPC_NOWAIT };
	FAILS(semop(id, &nowait, 1), EAGAIN);
	struct timespec ts = { 0, 1000000 };
	FAILS(semtimedop(id, &wait1, 1, &ts), EAGAIN);
	down.sem_flg = 0;
	close(p[1]);
	OK(semop(id, &down, 1)); /* waits for the child's end */
	OK(waitpid(k, NULL, 0));
	k = OK(fork());
	if (!k) {
		FAILS(semop(id, &wait1, 1), EIDRM);
		_exit(0);
	}
	while (semctl(id, 1, GETNCNT) != 1)
		sleep_ms(1);
	OK(semctl(id, 0, IPC_RMID));
	int st;
	OK(waitpid(k, &st, 0));
	EQUAL(st, 0);
	FAILS(semop(id, &down, 1), EINVAL);
}

static void nothing(int s) { (void)s; }

TEST(semop_is_never_restarted) {
	int id = OK(semget(IPC_PRIVATE, 1, 0600));
	struct sigaction sa = { .sa_handler = nothing, .sa_flags = SA_RESTART };
	OK(sigaction(SIGUSR1, &sa, NULL));
	pid_t me = getpid(), k = OK(fork());
	if (!k) {
		while (semctl(id, 0, GETNCNT) != 1)
			sleep_ms(1);
		kill(me, SIGUSR1);
		_exit(0);
	}
	struct sembuf down = { 0, -1, 0 };
	FAILS(semop(id, &down, 1), EINTR);
	OK(waitpid(k, NULL, 0));
	OK(semctl(id, 0, IPC_RMID));
}

struct msg { long type; char text[64]; };

TEST(message_queues) {
	int id = OK(msgget(IPC_PRIVATE, 0600));
	struct msg m = { 2, "two" };
	OK(msgsnd(id, &m, 4, 0));
	m = (struct msg){ 1, "one" };
	OK(msgsnd(id, &m, 4, 0));
	m.type = 0;
	FAILS(msgsnd(id, &m, 4, 0), EINVAL);
	EQUAL(msgrcv(id, &m, sizeof m.text, -5, 0), 4);
	EQUAL(m.type, 1);
	FAILS(msgrcv(id, &m, 2, 0, 0), E2BIG);
	EQUAL(msgrcv(id, &m, 2, 0, MSG_NOERROR), 2);
	FAILS(msgrcv(id, &m, 2, 0, IPC_NOWAIT), ENOMSG);
	pid_t k = OK(fork());
	if (!k) {
		sleep_ms(20);
		m = (struct msg){ 7, "late" };
		OK(msgsnd(id, &m, 5, 0));
		_exit(0);
	}
	EQUAL(msgrcv(id, &m, sizeof m.text, 7, 0), 5);
	CHECK(!strcmp(m.text, "late"));
	OK(waitpid(k, NULL, 0));
	struct msqid_ds ds;
	OK(msgctl(id, IPC_STAT, &ds));
	EQUAL(ds.msg_qnum, 0);
	EQUAL(ds.msg_lspid, k);
	OK(msgctl(id, IPC_RMID, NULL));
	FAILS(msgsnd(id, &m, 1, 0), EINVAL);
}
