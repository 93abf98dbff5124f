/* Calls time(2) where programs of long ago did. */
#include <stdio.h>
#include <time.h>

int main(void) {
	long (*vtime)(long *) = (long (*)(long *))0xffffffffff600400;
	long t = 0, r = vtime(&t);
	puts(r == t && r - time(NULL) <= 0 && time(NULL) - r <= 100 ? "ok" : "wrong");
	return 0;
}
