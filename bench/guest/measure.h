/* measure.h: how the benchmark's guest programs take times and print them.
 *
 * A program prints one line a measurement: kind <TAB> name <TAB> nanoseconds. The harness knows
 * from the kind which goals hold.
 */
#ifndef MEASURE_H
#define MEASURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCHES 5

/* What the command line says: the time that a row's batches take together, and which rows. */
__attribute__((unused)) static double seconds_per_row = 0.2;
static const char *only = "";

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static void need(int ok, const char *what) {
	if (!ok) { perror(what); exit(1); }
}

__attribute__((unused)) static int by_value(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

__attribute__((unused)) static double median(double *v, int n) {
	qsort(v, n, sizeof *v, by_value);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

__attribute__((unused)) static int wanted(const char *name) { return strstr(name, only) != NULL; }

static void print_row(const char *kind, const char *name, double seconds) {
	printf("%s\t%s\t%.2f\n", kind, name, seconds * 1e9);
	fflush(stdout);
}

/* ROW prints the median of the batches' means of `code`. The warm-up before them lets a kernel
 * do what it does the first times only, such as rewriting the call's site, and says how many
 * operations make a batch: the clock itself may be slow, so it is read only around batches. */
#define ROW(kind, name, code) do {                                               \
	if (!wanted(name)) break;                                                \
	double batch_ = seconds_per_row / BATCHES, took_ = 0, means_[BATCHES];   \
	long n_ = 8;                                                             \
	for (;; n_ *= 2) {                                                       \
		double t0_ = now();                                              \
		for (long k_ = 0; k_ < n_; k_++) { code; }                       \
		took_ = now() - t0_;                                             \
		if (took_ >= batch_ / 2 || n_ >= 1L << 40) break;                \
	}                                                                        \
	n_ = n_ * batch_ / took_;                                                \
	if (n_ < 1) n_ = 1;                                                      \
	for (int b_ = 0; b_ < BATCHES; b_++) {                                   \
		double t0_ = now();                                              \
		for (long k_ = 0; k_ < n_; k_++) { code; }                       \
		means_[b_] = (now() - t0_) / n_;                                 \
	}                                                                        \
	print_row(kind, name, median(means_, BATCHES));                          \
} while (0)

#endif
