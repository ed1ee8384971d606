// SPDX-License-Identifier: GPL-2.0
// Mutations that keep steps whole: half of the time one is added, dropped, repeated, moved, or gets
// another meaning, else libFuzzer changes bytes as it likes.
#include "tests/fuzz/input.hpp"

#include <algorithm>
#include <random>

extern "C" {
std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);
std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                    unsigned int seed);
}

namespace {

using stm::fuzz::Step;
constexpr std::size_t kStep = sizeof(Step);

} // namespace

std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                    unsigned int seed) {
    std::minstd_rand random(seed);
    const std::size_t steps = size / kStep;
    const std::size_t room = max_size / kStep;
    const auto at = [&](std::size_t step) { return data + step * kStep; };
    const std::size_t place = steps == 0 ? 0 : random() % steps;
    switch (random() % 12) {
    case 0: // a new one, anywhere
    case 1:
        if (steps < room) {
            const std::size_t where = random() % (steps + 1);
            std::copy_backward(at(where), at(steps), at(steps + 1));
            for (std::size_t i = 0; i < kStep; ++i)
                at(where)[i] = static_cast<std::uint8_t>(random() >> 8);
            if (random() % 4 != 0)
                at(where)[3] = at(where)[4] = 0; // nothing fails, nothing comes in between
            return (steps + 1) * kStep;
        }
        break;
    case 2: // one less
        if (steps > 1) {
            std::copy(at(place + 1), at(steps), at(place));
            return (steps - 1) * kStep;
        }
        break;
    case 3: // again, there or elsewhere
        if (steps != 0 && steps < room) {
            const std::size_t where = random() % (steps + 1);
            std::uint8_t copy[kStep];
            std::copy(at(place), at(place + 1), copy);
            std::copy_backward(at(where), at(steps), at(steps + 1));
            std::copy(copy, copy + kStep, at(where));
            return (steps + 1) * kStep;
        }
        break;
    case 4: // two change places
        if (steps > 1) {
            std::swap_ranges(at(place), at(place + 1), at(random() % steps));
            return steps * kStep;
        }
        break;
    case 5: // something fails in it, or comes inside of it
        if (steps != 0) {
            at(place)[3 + random() % 2] = static_cast<std::uint8_t>(random() % 12);
            return steps * kStep;
        }
        break;
    case 6: // another meaning, another actor, another object
        if (steps != 0) {
            at(place)[random() % 3] = static_cast<std::uint8_t>(random() % 40);
            return steps * kStep;
        }
        break;
    default:
        break;
    }
    return LLVMFuzzerMutate(data, size, max_size);
}
