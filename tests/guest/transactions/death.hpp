// SPDX-License-Identifier: GPL-2.0
// How a program ends that cannot go on, and what it says.
#pragma once

#include "guest.hpp"

#include <functional>
#include <string>

namespace stm::test {

struct Death {
    int signal;
    std::string said;
};

inline Death death_of(const std::function<void()>& action) {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    int signal = signal_of([&] {
        ::dup2(ends[1], STDERR_FILENO);
        action();
    });
    ::close(ends[1]);
    char text[1024];
    ssize_t got = ::read(ends[0], text, sizeof text);
    ::close(ends[0]);
    return {signal, std::string(text, got > 0 ? static_cast<std::size_t>(got) : 0)};
}

} // namespace stm::test
