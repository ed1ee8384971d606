// SPDX-License-Identifier: GPL-2.0
// A robust mutex between processes. What its owner changes is saved in an undo log before, so that
// the next owner can put things in order if it was killed.
#include "way.hpp"

#include <atomic>
#include <cerrno>
#include <numeric>
#include <pthread.h>
#include <sys/mman.h>
#include <system_error>

namespace stm::bench {
namespace {

class MutexUndo {
    struct Saved {
        std::size_t index;
        long value;
    };
    struct State {
        pthread_mutex_t mutex;
        std::atomic<std::size_t> saved;
        Saved log[4096];
        alignas(64) long words[kWords];
    };
    struct Words {
        State& state;

        long load(std::size_t index) { return state.words[index]; }
        void store(std::size_t index, long value) {
            const std::size_t count = state.saved.load(std::memory_order_relaxed);
            state.log[count] = {index, state.words[index]};
            state.saved.store(count + 1, std::memory_order_release);
            state.words[index] = value;
        }
        long sum(std::size_t first, std::size_t count) {
            return std::accumulate(state.words + first, state.words + first + count, 0L);
        }
    };

public:
    MutexUndo() {
        void* const memory = ::mmap(nullptr, sizeof(State), PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            throw std::system_error(errno, std::generic_category(), "mmap");
        state_ = static_cast<State*>(memory);
        pthread_mutexattr_t attributes;
        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        if (const int error = pthread_mutex_init(&state_->mutex, &attributes); error != 0)
            throw std::system_error(error, std::generic_category(), "pthread_mutex_init");
    }
    ~MutexUndo() { ::munmap(state_, sizeof(State)); }
    MutexUndo(const MutexUndo&) = delete;
    MutexUndo& operator=(const MutexUndo&) = delete;

    template <typename Body>
    long atomically(Body body) {
        if (pthread_mutex_lock(&state_->mutex) == EOWNERDEAD) {
            undo();
            pthread_mutex_consistent(&state_->mutex);
        }
        Words words{*state_};
        const long result = body(words);
        state_->saved.store(0, std::memory_order_release);
        pthread_mutex_unlock(&state_->mutex);
        return result;
    }
    template <typename Body>
    long read_only(Body body) {
        return atomically(body);
    }

private:
    void undo() {
        for (std::size_t count = state_->saved.load(); count != 0; --count)
            state_->words[state_->log[count - 1].index] = state_->log[count - 1].value;
        state_->saved.store(0);
    }

    State* state_;
};

} // namespace

std::unique_ptr<Contestant> make_mutex_undo() {
    return std::make_unique<ContestantOf<MutexUndo>>();
}

} // namespace stm::bench
