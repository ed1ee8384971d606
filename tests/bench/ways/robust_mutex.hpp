// SPDX-License-Identifier: GPL-2.0
// A robust mutex between processes, and memory for it.
#pragma once

#include <cerrno>
#include <new>
#include <pthread.h>
#include <sys/mman.h>
#include <system_error>

namespace stm::bench {

class RobustMutex {
public:
    enum class Owner { fine, died };

    RobustMutex() {
        pthread_mutexattr_t attributes;
        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        if (const int error = pthread_mutex_init(&mutex_, &attributes); error != 0)
            throw std::system_error(error, std::generic_category(), "pthread_mutex_init");
    }
    // Whoever gets it from one that died puts things in order, and calls repaired().
    Owner lock() { return pthread_mutex_lock(&mutex_) == EOWNERDEAD ? Owner::died : Owner::fine; }
    void repaired() { pthread_mutex_consistent(&mutex_); }
    void unlock() { pthread_mutex_unlock(&mutex_); }

private:
    pthread_mutex_t mutex_;
};

// A `State` in memory that is shared with the processes that are forked later.
template <typename State>
class SharedState {
public:
    SharedState() {
        void* const memory = ::mmap(nullptr, sizeof(State), PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            throw std::system_error(errno, std::generic_category(), "mmap");
        state_ = new (memory) State;
    }
    ~SharedState() { ::munmap(state_, sizeof(State)); }
    SharedState(const SharedState&) = delete;
    SharedState& operator=(const SharedState&) = delete;
    State* operator->() { return state_; }
    State& operator*() { return *state_; }

private:
    State* state_;
};

} // namespace stm::bench
