/* The number of threads: ours alone, and never more than the user and the environment allow. */
#ifndef MIXGUIDE_THREADS_H
#define MIXGUIDE_THREADS_H

void mg_threads_init(void);
void mg_threads_set(int n);
int mg_threads(void);

#endif
