/* timed.c: runs a program to its end and prints how long that took, as measure.h says: without
 * what the wall's own start takes.
 *
 *     timed NAME AGAIN PROGRAM [ARG...]
 *
 * If AGAIN is not empty the program runs several times, and the median is printed: AGAIN is a
 * shell's command that makes ready for the next time, untimed.
 */
#define _GNU_SOURCE
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

/* run returns how long the program took, in seconds. */
static double run(char **argv) {
	double t0 = now();
	pid_t k = vfork();
	need(k >= 0, "vfork");
	if (!k) {
		dup2(2, 1); /* what it says is no measurement */
		execvp(argv[0], argv);
		perror(argv[0]);
		_exit(127);
	}
	int status;
	need(waitpid(k, &status, 0) == k, "waitpid");
	double took = now() - t0;
	if (status != 0) {
		fprintf(stderr, "%s ended with status %#x\n", argv[0], status);
		exit(1);
	}
	return took;
}

int main(int argc, char **argv) {
	if (argc < 4) return 2;
	char *again[] = { "/bin/sh", "-c", argv[2], NULL };
	double took[BATCHES];
	int n = 0;
	for (;;) {
		took[n++] = run(argv + 3);
		if (!argv[2][0] || n == BATCHES) break;
		run(again);
	}
	print_row("timed", argv[1], median(took, n));
	return 0;
}
