/* POSIX message queues. */
#include "guest.h"
#include <mqueue.h>
#include <poll.h>

static char buf[8192];
static volatile sig_atomic_t told, value;
static void on_signal(int s, siginfo_t *i, void *c) {
	(void)c;
	told = s;
	value = i->si_value.sival_int;
}

TEST(message_queue) {
	char name[64];
	snprintf(name, sizeof name, "/guest.%d", (int)getpid());
	struct mq_attr a = { .mq_maxmsg = 3, .mq_msgsize = 100 }, got;
	mqd_t q = mq_open(name, O_RDWR | O_CREAT | O_EXCL | O_NONBLOCK, 0600, &a);
	if (q == (mqd_t)-1 && errno == ENOSYS)
		SKIP("there are no message queues");
	OK(q);
	FAILS(mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &a), EEXIST);
	FAILS(mq_open("/guest.none", O_RDWR), ENOENT);
	FAILS(mq_receive(q, buf, 100, NULL), EAGAIN);
	OK(mq_send(q, "low", 3, 1));
	OK(mq_send(q, "high", 4, 9));
	OK(mq_send(q, "low2", 4, 1));
	FAILS(mq_send(q, "more", 4, 1), EAGAIN);
	FAILS(mq_send(q, buf, 101, 1), EMSGSIZE);
	FAILS(mq_send(q, buf, 1, 32768), EINVAL);
	FAILS(mq_receive(q, buf, 99, NULL), EMSGSIZE);
	OK(mq_getattr(q, &got));
	EQUAL(got.mq_maxmsg, 3);
	EQUAL(got.mq_msgsize, 100);
	EQUAL(got.mq_curmsgs, 3);
	EQUAL(got.mq_flags, O_NONBLOCK);
	unsigned prio;
	EQUAL(mq_receive(q, buf, 100, &prio), 4);
	EQUAL(prio, 9);
	struct pollfd p = { q, POLLIN | POLLOUT, 0 };
	EQUAL(poll(&p, 1, 0), 1);
	EQUAL(p.revents, POLLIN | POLLOUT);
	EQUAL(mq_receive(q, buf, 100, &prio), 3);
	EQUAL(mq_receive(q, buf, 100, &prio), 4);
	CHECK(!memcmp(buf, "low2", 4));

	struct sigaction sa = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
	OK(sigaction(SIGUSR1, &sa, NULL));
	struct sigevent se = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 77 };
	OK(mq_notify(q, &se));
	FAILS(mq_notify(q, &se), EBUSY);
	OK(mq_send(q, "x", 1, 0));
	EQUAL(told, SIGUSR1);
	EQUAL(value, 77);
	EQUAL(mq_receive(q, buf, 100, NULL), 1);

	got.mq_flags = 0;
	OK(mq_setattr(q, &got, NULL));
	struct timespec ts;
	OK(clock_gettime(CLOCK_REALTIME, &ts));
	ts.tv_nsec += 20000000;
	if (ts.tv_nsec >= 1000000000)
		ts.tv_sec++, ts.tv_nsec -= 1000000000;
	FAILS(mq_timedreceive(q, buf, 100, NULL, &ts), ETIMEDOUT);
	pid_t k = OK(fork());
	if (!k) {
		sleep_ms(20);
		OK(mq_send(q, "late", 4, 0));
		_exit(0);
	}
	EQUAL(mq_receive(q, buf, 100, NULL), 4);
	OK(waitpid(k, NULL, 0));
	OK(mq_unlink(name));
	FAILS(mq_unlink(name), ENOENT);
	OK(mq_send(q, "still", 5, 0));
	OK(mq_close(q));
	FAILS(mq_send(q, "x", 1, 0), EBADF);
}

TEST(bytes_are_counted_to_the_user) {
	char name[64], other[64];
	struct rlimit room = { 90000, 90000 }; /* for one queue of the default size */
	snprintf(name, sizeof name, "/guest.%d", (int)getpid());
	snprintf(other, sizeof other, "/guest.%d.other", (int)getpid());
	if (geteuid() != 0 || setresuid(nobodys_number(), -1, -1))
		SKIP("needs root, to become a user who has no queues");
	OK(setrlimit(RLIMIT_MSGQUEUE, &room));
	mqd_t q = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, NULL);
	if (q == (mqd_t)-1 && errno == ENOSYS)
		SKIP("there are no message queues");
	OK(q);
	FAILS(mq_open(other, O_RDWR | O_CREAT, 0600, NULL), EMFILE);
	EXITED_OK(IN_CHILD({
		/* Another namespace makes no other user. */
		if (unshare(CLONE_NEWIPC) == 0)
			FAILS(mq_open(name, O_RDWR | O_CREAT, 0600, NULL), EMFILE);
	}));
	OK(mq_unlink(name));
	FAILS(mq_open(other, O_RDWR | O_CREAT, 0600, NULL), EMFILE); /* q holds it */
	OK(mq_close(q));
	OK(mq_open(other, O_RDWR | O_CREAT | O_EXCL, 0600, NULL));
	OK(mq_unlink(other));
}
