// SPDX-License-Identifier: GPL-2.0
/* Prints the rate of this host's time stamp counter in kHz. */
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_RAW, &now);
	return now.tv_sec * 1e3 + now.tv_nsec / 1e6;
}

/* Of several pairs the one that nothing has come between is the tightest. */
static void sample(double *ms, unsigned long long *ticks)
{
	unsigned long long best = ~0ULL;

	for (int tries = 0; tries < 100; tries++) {
		unsigned long long before = __rdtsc();
		double time = now_ms();
		unsigned long long after = __rdtsc();

		if (after - before < best) {
			best = after - before;
			*ms = time;
			*ticks = before + best / 2;
		}
	}
}

int main(void)
{
	const struct timespec pause = { .tv_nsec = 50000000 };
	unsigned long long first, last;
	double start, end;

	sample(&start, &first);
	nanosleep(&pause, NULL);
	sample(&end, &last);
	printf("%.0f\n", (last - first) / (end - start));
	return 0;
}
