// SPDX-License-Identifier: GPL-2.0
// The allocation of runtime/support/host.h, and the services that are left.
//
// Those of tests/unit/support/ count allocations alone; here all that can fail has one counter for
// each thread.
#include "runtime/support/host.h"
#include "tests/unit/kernel/simulated/rules.hpp"
#include "tests/unit/kernel/simulated/service.hpp"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

// Far more than any test needs.
constexpr std::size_t kLargestAllocation = std::size_t{64} << 20;

struct alignas(std::max_align_t) BlockHeader {
    std::size_t bytes;
};

std::atomic<std::uint64_t> entropy{0x9E3779B97F4A7C15};

void* allocate(std::size_t bytes) {
    stm::simulated::expect(bytes != 0, "allocation of no bytes");
    if (bytes > kLargestAllocation)
        return nullptr;
    auto* header = static_cast<BlockHeader*>(std::malloc(sizeof(BlockHeader) + bytes));
    if (header == nullptr)
        return nullptr;
    header->bytes = bytes;
    std::memset(header + 1, stm::simulated::kFreshByte, bytes);
    stm::simulated::counters.allocations.fetch_add(1, stm::simulated::kRelaxed);
    return header + 1;
}

} // namespace

using namespace stm::simulated;

extern "C" {

void* stm_allocate(std::size_t bytes) {
    const Service service("stm_allocate", Context::may_allocate, Failure::allocation);
    return service.fails() ? nullptr : allocate(bytes);
}

void* stm_linux_allocate_now(unsigned long bytes) {
    const Service service("allocate_now", Context::any, Failure::allocation);
    return service.fails() ? nullptr : allocate(bytes);
}

void stm_free(void* memory) {
    // kvfree may sleep, but a lock may be held.
    const Service service("stm_free", Context::may_sleep);
    if (memory == nullptr)
        return;
    BlockHeader* header = static_cast<BlockHeader*>(memory) - 1;
    std::memset(memory, kFreedByte, header->bytes);
    counters.allocations.fetch_sub(1, kRelaxed);
    std::free(header);
}

void stm_panic(const char* message) {
    std::fprintf(stderr, "stm_panic: %s\n", message);
    std::abort();
}

void stm_linux_breathe() {
    const Service service("breathe", Context::may_sleep);
}

void stm_linux_random(void* to, unsigned long bytes) {
    auto* target = static_cast<std::uint8_t*>(to);
    for (unsigned long place = 0; place < bytes; ++place) {
        const std::uint64_t before = entropy.fetch_add(0xD1342543DE82EF95, kRelaxed);
        target[place] = static_cast<std::uint8_t>((before ^ before >> 29) >> 32);
    }
}

} // extern "C"
