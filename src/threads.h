/* The number of threads, for this package alone: never more than the user and the environment
 * allow. */
#ifndef MIXGUIDE_THREADS_H
#define MIXGUIDE_THREADS_H

void mg_threads_init(void);
/* 0 if the package was loaded in a forked child. Such a process uses one thread, whatever the user
 * asks for later, because the parent's OpenMP does not work in it. */
void mg_threads_set(int n);
int mg_threads(void);

#endif
