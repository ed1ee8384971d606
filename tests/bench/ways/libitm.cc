// SPDX-License-Identifier: GPL-2.0
// GCC's transactional memory, with libitm: between threads, and lost with the process.
#include "way.hpp"

#include <vector>

namespace stm::bench {
namespace {

class Libitm {
    struct Words {
        long* memory;

        long load(std::size_t index) { return memory[index]; }
        void store(std::size_t index, long value) { memory[index] = value; }
        long sum(std::size_t first, std::size_t count) {
            long sum = 0;
            for (std::size_t index = first; index < first + count; ++index)
                sum += memory[index];
            return sum;
        }
    };

public:
    template <typename Body>
    long atomically(Body body) {
        Words words{words_.data()};
        long result = 0;
        __transaction_atomic {
            result = body(words);
        }
        return result;
    }
    template <typename Body>
    long read_only(Body body) {
        return atomically(body);
    }

private:
    std::vector<long> words_ = std::vector<long>(kWords);
};

} // namespace

std::unique_ptr<Contestant> make_libitm() {
    return std::make_unique<ContestantOf<Libitm>>();
}

} // namespace stm::bench
