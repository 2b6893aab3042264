/* The number of threads: ours alone, and never more than the user and the environment allow. */
#ifndef MIXGUIDE_THREADS_H
#define MIXGUIDE_THREADS_H

void mg_threads_init(void);
/* 0: this process is a forked child, in which the package was loaded: one thread, whatever is asked
 * for later, since what the parent has left of OpenMP does not work here. */
void mg_threads_set(int n);
int mg_threads(void);

#endif
