// SPDX-License-Identifier: GPL-2.0
#include "shared.hpp"

#include <sys/mman.h>
#include <unistd.h>

namespace stm::fuzz {

Shared* shared;

namespace {

// Where exec leaves it.
constexpr int kDescriptor = 200;

} // namespace

bool map_shared() {
    void* const memory =
        mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, kDescriptor, 0);
    shared = static_cast<Shared*>(memory);
    return memory != MAP_FAILED;
}

bool make_shared() {
    const int memory = memfd_create("guest_fuzz", 0);
    if (memory < 0 || ftruncate(memory, sizeof(Shared)) != 0 || dup2(memory, kDescriptor) < 0)
        return false;
    close(memory);
    return map_shared();
}

} // namespace stm::fuzz
