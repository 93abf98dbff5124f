/* busy.c: keeps one processor busy until whoever started it is gone. */
#include <unistd.h>

int main(void) {
	for (pid_t parent = getppid(); getppid() == parent;)
		for (volatile long i = 0; i < 10000000; i++) {}
	return 0;
}
