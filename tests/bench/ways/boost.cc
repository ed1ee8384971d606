// SPDX-License-Identifier: GPL-2.0
// Boost.Interprocess: its mutex in managed shared memory. Whoever waits for a process that died
// waits forever.
#include "plain_words.hpp"
#include "way.hpp"

#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>

namespace stm::bench {
namespace {

namespace interprocess = boost::interprocess;

class Boost {
    struct State {
        interprocess::interprocess_mutex mutex;
        alignas(64) long words[kWords]{};
    };

public:
    Boost()
        : segment_(interprocess::create_only, name_.c_str(), sizeof(State) + 65536),
          state_(segment_.construct<State>("state")()) {}
    ~Boost() { interprocess::shared_memory_object::remove(name_.c_str()); }
    Boost(const Boost&) = delete;
    Boost& operator=(const Boost&) = delete;

    void lock() { state_->mutex.lock(); }
    void unlock() { state_->mutex.unlock(); }
    long* memory() { return state_->words; }

private:
    std::string name_ = own_name("boost");
    interprocess::managed_shared_memory segment_;
    State* state_;
};

} // namespace

std::unique_ptr<Contestant> make_boost() {
    return std::make_unique<ContestantOf<Locked<Boost>>>();
}

} // namespace stm::bench
