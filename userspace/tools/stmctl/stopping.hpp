// SPDX-License-Identifier: GPL-2.0
// Commands that run until somebody ends them, and then clear away what they have made.
#pragma once

#include "command.hpp"

#include <chrono>

namespace stm::tools {

/**
 * While it lives SIGINT, SIGTERM and SIGHUP only say that it is time to end. One that is ignored
 * stays ignored.
 */
class Stopping {
public:
    Stopping();
    ~Stopping();
    Stopping(const Stopping&) = delete;

    [[nodiscard]] bool is_due() const;
    /** Sleeps that long, or until it is due. */
    void sleep(std::chrono::duration<double> time) const;
};

/** A word of the command line, as a positive number of seconds up to a year. */
[[nodiscard]] std::chrono::duration<double> parse_seconds(const Call& call,
                                                          const std::string& text);

} // namespace stm::tools
