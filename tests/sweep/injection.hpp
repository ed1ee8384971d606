// SPDX-License-Identifier: GPL-2.0
// Failures on demand: the n-th allocation or user copy of the calling thread fails (Linux's
// Documentation/fault-injection/fault-injection.rst, fail-nth).
#pragma once

#include <string>

namespace stm::sweep {

// Makes allocations that may sleep failable, too, and the kernel silent about each failure. Empty,
// or why this kernel can not do it.
std::string prepare_injection();

class Injection {
public:
    // For the thread that makes it.
    Injection();
    ~Injection();
    Injection(const Injection&) = delete;
    Injection& operator=(const Injection&) = delete;

    // From here on the n-th one fails, counted from 1, and no other.
    void arm(unsigned n) const;
    // Whether it came to that.
    [[nodiscard]] bool disarm() const;

private:
    int fd_;
};

} // namespace stm::sweep
