// SPDX-License-Identifier: GPL-2.0
// The C library's process-shared objects, of every type, and what can be done to them.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <pthread.h>
#include <semaphore.h>
#include <string>
#include <vector>

namespace stm::world {

// What lies in the shared memory. Each object has a page of its own, so some are in pages that
// nobody has touched before.
struct Memory {
    alignas(4096) pthread_mutex_t mutex;
    alignas(4096) pthread_rwlock_t rwlock;
    alignas(4096) pthread_barrier_t barrier;
    alignas(4096) pthread_cond_t condition;
    alignas(4096) pthread_spinlock_t spin;
    alignas(4096) sem_t semaphore;
    alignas(4096) std::uint32_t words[4]; // words[3] is only moved to
    alignas(4096) std::uint32_t far;      // a futex in a page of its own
};

enum class What : std::uint8_t { mutex, rwlock, barrier, condition, semaphore, spin, futex, pi };

/** One type of object. The numbers are the C library's, and mean something for some types only. */
struct Object {
    What what;
    std::string name;
    int type = 0;     // PTHREAD_MUTEX_*, PTHREAD_RWLOCK_*
    int protocol = 0; // PTHREAD_PRIO_*
    int robust = 0;   // PTHREAD_MUTEX_*
    int clock = 0;    // of the condition
    unsigned count = 0;
};

enum class Sleep : std::uint8_t {
    until_woken, // if it sleeps at all
    for_a_time,  // so it ends by itself
};

/** One thing that is done to an object: its name, and how. The result is 0 or an error's number. */
struct Action {
    const char* name;
    int (*run)(Memory&, const Object&);
    Sleep sleep = Sleep::until_woken;
};

/** For GoogleTest. */
void PrintTo(const Object& object, std::ostream* stream);

/** All types there are. */
std::vector<Object> all_objects();
/** Makes the object; 0, or an error's number. */
int make(Memory& memory, const Object& object);
/** What can be done to it. */
const std::vector<Action>& actions_of(What what);

} // namespace stm::world
