// SPDX-License-Identifier: GPL-2.0
// Failures on demand.
#pragma once

#include <string>

namespace stm::sweep {

// A way to let a call fail at its first, second, third, … step.
class Failures {
public:
    virtual ~Failures() = default;
    // From here on the n-th step fails, counted from 1.
    virtual void arm(unsigned n) const = 0;
    // Whether it came to that.
    [[nodiscard]] virtual bool disarm() const = 0;
    // What went wrong with it meanwhile, if anything.
    [[nodiscard]] virtual std::string trouble() const { return {}; }
    // Whether what failed once fails again when it is tried again at once.
    [[nodiscard]] virtual bool persist() const { return false; }
};

// Linux notes in a thread's memory that it was interrupted, and kills it when it cannot: so also
// when the failure that is meant for a call happens there, as after a fork, when that memory has to
// be copied. Once, before anything fails, by the thread that will make the calls.
void stop_restartable_sequences();

// Makes allocations that may sleep failable, too, and the kernel silent about each failure. Empty,
// or why this kernel cannot do it.
std::string prepare_injection();

// The n-th allocation or user copy of the thread that makes it fails, and no other (Linux's
// Documentation/fault-injection/fault-injection.rst, fail-nth).
class Injection : public Failures {
public:
    Injection();
    ~Injection() override;
    Injection(const Injection&) = delete;
    Injection& operator=(const Injection&) = delete;

    void arm(unsigned n) const override;
    [[nodiscard]] bool disarm() const override;

private:
    int fd_;
};

} // namespace stm::sweep
