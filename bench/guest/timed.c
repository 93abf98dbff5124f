/* timed.c: runs a program to its end and prints how long that took, as measure.h says: without
 * what the wall's own start takes.
 *
 *     timed NAME PROGRAM [ARG...]
 */
#define _GNU_SOURCE
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

int main(int argc, char **argv) {
	if (argc < 3) return 2;
	double t0 = now();
	pid_t k = vfork();
	need(k >= 0, "vfork");
	if (!k) {
		dup2(2, 1); /* what it says is no measurement */
		execvp(argv[2], argv + 2);
		perror(argv[2]);
		_exit(127);
	}
	int status;
	need(waitpid(k, &status, 0) == k, "waitpid");
	double took = now() - t0;
	if (status != 0) {
		fprintf(stderr, "%s ended with status %#x\n", argv[2], status);
		return 1;
	}
	print_row("timed", argv[1], took);
	return 0;
}
