/* memory.c: allocates and touches memory, frees it, says so, and then is idle until its standard
 * input ends.
 *
 *     memory BYTES
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int main(int argc, char **argv) {
	size_t size = argc > 1 ? strtoull(argv[1], NULL, 0) : 0;
	if (size) {
		char *m = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (m == MAP_FAILED) { perror("mmap"); return 1; }
		for (size_t i = 0; i < size; i += 4096) m[i] = 1;
		munmap(m, size);
	}
	puts("idle");
	fflush(stdout);
	char c;
	while (read(0, &c, 1) > 0) {}
	return 0;
}
