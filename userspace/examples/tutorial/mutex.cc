// SPDX-License-Identifier: LGPL-2.1-or-later
// A stock of goods in memory that processes share, under a mutex: what porting begins with.
#include <pthread.h>
#include <sys/mman.h>

struct stock {
    pthread_mutex_t lock;
    long apples, pears;
};

static void exchange(stock& s, long count) {
    pthread_mutex_lock(&s.lock);
    s.apples -= count;
    s.pears += count; // who is killed before this line leaves the lock, and too few fruits
    pthread_mutex_unlock(&s.lock);
}

int main() {
    auto* s = static_cast<stock*>(
        mmap(nullptr, sizeof(stock), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    if (s == MAP_FAILED)
        return 1;
    pthread_mutexattr_t shared;
    pthread_mutexattr_init(&shared);
    pthread_mutexattr_setpshared(&shared, PTHREAD_PROCESS_SHARED);
    pthread_mutex_init(&s->lock, &shared);
    exchange(*s, 3);
    return s->apples + s->pears == 0 ? 0 : 1;
}
