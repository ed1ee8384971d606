// SPDX-License-Identifier: GPL-2.0
#include "tests/unit/support/allocation.hpp"

#include "runtime/support/host.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace stm::test {

namespace {

constexpr int kFreshByte = 0xA5;
constexpr int kFreedByte = 0xDD;

// In front of each block, so that free knows the size. Keeps the alignment of malloc.
struct alignas(std::max_align_t) Header {
    std::size_t bytes;
};

std::atomic<std::size_t> live{0};
std::atomic<std::size_t> attempts{0};
// The number of the attempt that fails; 0 is none, since attempts are counted from 1.
std::atomic<std::size_t> failing_attempt{0};

} // namespace

std::size_t live_allocations() {
    return live.load();
}
std::size_t allocation_attempts() {
    return attempts.load();
}

FailAllocation::FailAllocation(std::size_t nth) {
    failing_attempt = attempts + nth;
}
FailAllocation::~FailAllocation() {
    failing_attempt = 0;
}
bool FailAllocation::happened() const {
    return attempts >= failing_attempt;
}

} // namespace stm::test

using namespace stm::test;

extern "C" void* stm_allocate(std::size_t bytes) {
    if (bytes == 0)
        stm_panic("stm_allocate: no bytes");
    if (++attempts == failing_attempt)
        return nullptr;
    // Far more than any test needs; the sanitizers would end the program instead of failing.
    if (bytes > std::size_t{1} << 40)
        return nullptr;
    auto* header = static_cast<Header*>(std::malloc(sizeof(Header) + bytes));
    if (header == nullptr)
        return nullptr;
    header->bytes = bytes;
    std::memset(header + 1, kFreshByte, bytes);
    ++live;
    return header + 1;
}

extern "C" void stm_free(void* memory) {
    if (memory == nullptr)
        return;
    Header* header = static_cast<Header*>(memory) - 1;
    std::memset(memory, kFreedByte, header->bytes);
    --live;
    std::free(header);
}

extern "C" void stm_panic(const char* message) {
    std::fprintf(stderr, "stm_panic: %s\n", message);
    std::abort();
}
