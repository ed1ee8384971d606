// SPDX-License-Identifier: GPL-2.0
#include "tests/unit/kernel/simulated/address_space.hpp"

#include "tests/unit/kernel/simulated/callers.hpp"
#include "tests/unit/kernel/simulated/locks.hpp"
#include "tests/unit/kernel/simulated/rules.hpp"

#include <array>
#include <cstddef>
#include <memory>
#include <mutex>

namespace stm::simulated {

namespace {

// Address spaces that nobody refers to, for a while: who refers to one of them then is found out.
class DeadMemories {
public:
    void add(stm_memory* memory) {
        const std::lock_guard held(lock_);
        last_[next_++ % last_.size()].reset(memory);
    }
    std::unique_ptr<stm_memory> take_last() {
        const std::lock_guard held(lock_);
        return next_ == 0 ? nullptr : std::move(last_[--next_ % last_.size()]);
    }

private:
    std::mutex lock_;
    std::array<std::unique_ptr<stm_memory>, 64> last_;
    std::size_t next_ = 0;
};

DeadMemories& dead_memories() {
    // Never destroyed: the first process ends when the program does, after what came later.
    static DeadMemories& dead = *new DeadMemories;
    return dead;
}

} // namespace

void put(stm_memory* memory) {
    if (was_last(memory, "an address space is given back once too often"))
        dead_memories().add(memory);
}

stm_memory* new_memory_in_an_ended_ones_place() {
    std::unique_ptr<stm_memory> place = dead_memories().take_last();
    expect(place != nullptr, "no address space has ended");
    std::destroy_at(place.get());
    return std::construct_at(place.release());
}

stm_memory* current_memory() {
    return Caller::reference()->memory;
}

MmapLock::MmapLock() {
    stm_memory* memory = current_memory();
    before_acquiring(memory);
    memory->mmap_lock.lock_shared();
    acquired(memory, kMmapLockRank);
}

MmapLock::~MmapLock() {
    released(current_memory());
    current_memory()->mmap_lock.unlock_shared();
}

} // namespace stm::simulated

using namespace stm::simulated;

extern "C" {

stm_memory* stm_linux_memory_current() {
    stm_memory* const memory = current_memory();
    current_thread()->memory.store(memory, kRelaxed);
    return memory;
}

void stm_linux_memory_hold(stm_memory* memory) {
    expect(memory->references.fetch_add(1) > 0, "an address space is referenced after its end");
    counters.memory_references.fetch_add(1, kRelaxed);
}

void stm_linux_memory_drop(stm_memory* memory) {
    put(memory);
    counters.memory_references.fetch_sub(1, kRelaxed);
}

} // extern "C"
