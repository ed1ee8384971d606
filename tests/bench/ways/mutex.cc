// SPDX-License-Identifier: GPL-2.0
// A robust mutex between processes, for data that cannot be left half written: here nobody dies.
#include "plain_words.hpp"
#include "robust_mutex.hpp"
#include "way.hpp"

namespace stm::bench {
namespace {

class Mutex {
public:
    void lock() {
        if (state_->mutex.lock() == RobustMutex::Owner::died)
            throw std::runtime_error("the owner of the mutex has died");
    }
    void unlock() { state_->mutex.unlock(); }
    long* memory() { return state_->words; }

private:
    struct State {
        RobustMutex mutex;
        alignas(64) long words[kWords];
    };
    SharedState<State> state_;
};

} // namespace

std::unique_ptr<Contestant> make_mutex() {
    return std::make_unique<ContestantOf<Locked<Mutex>>>();
}

} // namespace stm::bench
