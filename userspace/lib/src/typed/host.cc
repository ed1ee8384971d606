// SPDX-License-Identifier: LGPL-2.1-or-later
// What the engine needs of its environment: see runtime/support/host.h.
#include "runtime/support/host.h"
#include "../give_up.hpp"

#include <cstdlib>

void* stm_allocate(std::size_t bytes) {
    return std::malloc(bytes);
}

void stm_free(void* memory) {
    std::free(memory);
}

void stm_panic(const char* message) {
    stm::library::give_up("stm: %s\n", message);
}
