// SPDX-License-Identifier: GPL-2.0
// How a tool fails: an exception that carries the message and the exit status.
#pragma once

#include <stdexcept>
#include <string>

namespace stm::tools {

// The exit statuses of every tool; their help texts list them.
enum class Exit { ok = 0, failed = 1, usage = 2, no_module = 3 };

inline constexpr char kExitHelp[] = "Exit status: 0 done, 1 the operation failed, 2 wrong usage, "
                                    "3 the module is not loaded or does not fit.";

class Failure : public std::runtime_error {
public:
    Failure(Exit exit, const std::string& message, int error = 0)
        : std::runtime_error(message), exit_(exit), error_(error) {}
    [[nodiscard]] Exit exit() const { return exit_; }
    /** The errno value behind it; 0: there is none. */
    [[nodiscard]] int error() const { return error_; }

private:
    Exit exit_;
    int error_;
};

/**
 * The failure for an errno value of an operation on a region: says what went wrong and what to do
 * about it. `region` is its name as the user typed it, `argument` what names it on a command line.
 */
[[nodiscard]] Failure region_failure(int error, const std::string& region,
                                     const std::string& argument);
[[nodiscard]] Failure region_failure(int error, const std::string& name);

/** The failure when the control device cannot be opened or does not answer as it should. */
[[nodiscard]] Failure module_failure(int error);

} // namespace stm::tools
