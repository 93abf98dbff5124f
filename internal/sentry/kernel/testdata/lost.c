/* Waits for a child whose threads sleep in the kernel, and that somebody else
 * ends; prints how it ended. */
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static void *reader(void *p) {
	char c;
	read(*(int *)p, &c, 1);
	return NULL;
}

int main(void) {
	int p[2];
	pipe(p);
	pid_t k = fork();
	if (k == 0) {
		pthread_t t;
		pthread_create(&t, NULL, reader, p);
		for (;;)
			pause();
	}
	int s = 0;
	waitpid(k, &s, 0);
	printf("status %#x\n", s);
	return 0;
}
