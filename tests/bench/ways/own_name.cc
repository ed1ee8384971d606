// SPDX-License-Identifier: GPL-2.0
#include "way.hpp"

#include <unistd.h>

namespace stm::bench {

std::string own_name(const char* way) {
    static int count = 0;
    return "stm-bench-" + std::to_string(::getpid()) + "-" + std::to_string(++count) + "-" + way;
}

} // namespace stm::bench
