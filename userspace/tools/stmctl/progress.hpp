// SPDX-License-Identifier: GPL-2.0
// How far something is that takes long, on standard error.
#pragma once

#include "command.hpp"
#include "common/text.hpp"

#include <chrono>
#include <cstdint>
#include <fmt/format.h>
#include <string>
#include <unistd.h>

namespace stm::tools {

/**
 * Says nothing in the first two seconds. After that a terminal gets one line that changes, and
 * anything else a line every ten seconds. With --json it says nothing.
 */
class Progress {
public:
    Progress(const Call& call, std::string what, std::uint64_t size)
        : what_(std::move(what)), size_(size), quiet_(call.json()),
          terminal_(::isatty(STDERR_FILENO) != 0) {}
    ~Progress() {
        if (shown_ && terminal_)
            fmt::print(stderr, "\n");
    }
    Progress(const Progress&) = delete;

    void at(std::uint64_t position, std::uint64_t conflicts) {
        if (quiet_)
            return;
        const auto now = std::chrono::steady_clock::now();
        if (now < next_)
            return;
        next_ = now + (terminal_ ? std::chrono::milliseconds(500) : std::chrono::seconds(10));
        shown_ = true;
        const std::string again = conflicts == 0 ? "" : fmt::format(", attempt {}", conflicts + 1);
        fmt::print(stderr, "{}stmctl: {}: {} of {}{}{}", terminal_ ? "\r" : "", what_,
                   format_size(position), format_size(size_), again, terminal_ ? "\033[K" : "\n");
    }

private:
    std::string what_;
    std::uint64_t size_;
    bool quiet_;
    bool terminal_;
    bool shown_ = false;
    std::chrono::steady_clock::time_point next_ =
        std::chrono::steady_clock::now() + std::chrono::seconds(2);
};

} // namespace stm::tools
