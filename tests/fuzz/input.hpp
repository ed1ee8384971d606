// SPDX-License-Identifier: GPL-2.0
// How the bytes of a fuzz input are read: as records of one fixed size, each of which is one step.
// A mutation that changes a byte changes one step; mutator.cc adds, drops and repeats whole steps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace stm::fuzz {

// The meaning of all but the first three is the step's own. Little endian, as it lies in memory.
struct Step {
    std::uint8_t what;
    std::uint8_t who;
    std::uint8_t object;
    std::uint8_t fail;       // the n-th service that can fail does; 0: none
    std::uint8_t interleave; // the next step comes inside of this one; 0: after it
    std::uint8_t flags;
    std::uint16_t small;
    std::uint32_t large;
};
static_assert(sizeof(Step) == 12);

class Input {
public:
    Input(const std::uint8_t* data, std::size_t size) : data_(data), left_(size / sizeof(Step)) {}

    bool next(Step& step) {
        if (left_ == 0)
            return false;
        std::memcpy(&step, data_, sizeof(step));
        data_ += sizeof(step);
        --left_;
        return true;
    }

private:
    const std::uint8_t* data_;
    std::size_t left_;
};

// What is found wrong ends the program; the fuzzer keeps the input.
#define STM_FUZZ_EXPECT(condition)                                                                 \
    ((condition) ? static_cast<void>(0) : ::stm::fuzz::found(#condition, __FILE__, __LINE__))
[[noreturn]] void found(const char* what, const char* file, int line);

// STM_FUZZ_TRACE in the environment: each step and its result are printed, to read what a finding
// does.
void trace(const char* format, ...) __attribute__((format(printf, 1, 2)));

} // namespace stm::fuzz
