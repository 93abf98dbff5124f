/* Makes processes until there may be no more; with an argument it first does
 * what must not end a protected PID 1, and leaves them running. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv) {
	int n = 0;
	if (argc > 1) {
		raise(SIGTERM);
		raise(SIGKILL);
	}
	for (;;) {
		pid_t k = fork();
		if (k == -1)
			break;
		if (k == 0)
			for (;;)
				pause();
		n++;
		if (argc > 1 && n == 50)
			for (;;)
				pause();
	}
	printf("%d tasks, then %s\n", n, errno == EAGAIN ? "EAGAIN" : "something else");
	return 0;
}
