// SPDX-License-Identifier: GPL-2.0
// Words in memory that a lock protects.
#pragma once

#include <cstddef>
#include <numeric>

namespace stm::bench {

struct PlainWords {
    long* memory;

    long load(std::size_t index) { return memory[index]; }
    void store(std::size_t index, long value) { memory[index] = value; }
    long sum(std::size_t first, std::size_t count) {
        return std::accumulate(memory + first, memory + first + count, 0L);
    }
};

// A `Lock` has lock(), unlock() and memory().
template <typename Lock>
class Locked {
public:
    template <typename Body>
    long atomically(Body body) {
        lock_.lock();
        PlainWords words{lock_.memory()};
        const long result = body(words);
        lock_.unlock();
        return result;
    }
    template <typename Body>
    long read_only(Body body) {
        return atomically(body);
    }

private:
    Lock lock_;
};

} // namespace stm::bench
