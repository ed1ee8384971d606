// SPDX-License-Identifier: GPL-2.0
// A robust mutex between processes. What its owner changes is saved in an undo log before, so that
// the next owner can put things in order if it was killed.
#include "robust_mutex.hpp"
#include "way.hpp"

#include <atomic>
#include <numeric>

namespace stm::bench {
namespace {

class MutexUndo {
    struct Saved {
        std::size_t index;
        long value;
    };
    struct State {
        RobustMutex mutex;
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
    template <typename Body>
    long atomically(Body body) {
        if (state_->mutex.lock() == RobustMutex::Owner::died) {
            undo();
            state_->mutex.repaired();
        }
        Words words{*state_};
        const long result = body(words);
        state_->saved.store(0, std::memory_order_release);
        state_->mutex.unlock();
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

    SharedState<State> state_;
};

} // namespace

std::unique_ptr<Contestant> make_mutex_undo() {
    return std::make_unique<ContestantOf<MutexUndo>>();
}

} // namespace stm::bench
