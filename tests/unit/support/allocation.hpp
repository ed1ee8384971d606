// SPDX-License-Identifier: GPL-2.0
// The allocator behind stm_allocate in the unit tests: it counts, and fails when a test wants it.
// New memory and freed memory are filled with a pattern, so that nobody relies on zeros.
//
// Any thread may allocate; the counts and the planned failure are those of the whole process.
#pragma once

#include <gtest/gtest.h>

#include <cstddef>

namespace stm::test {

// How many blocks are allocated and not yet freed.
std::size_t live_allocations();

// How many allocations were asked for since the program began, the failed ones included.
std::size_t allocation_attempts();

// While it lives, the n-th allocation (counted from 1) fails, and only that one. Not nested.
class FailAllocation {
public:
    explicit FailAllocation(std::size_t nth);
    FailAllocation(const FailAllocation&) = delete;
    FailAllocation& operator=(const FailAllocation&) = delete;
    ~FailAllocation();

    // Whether so many allocations were asked for that one failed.
    bool happened() const;
};

// Expects that the scope gives back all that it allocates.
class NoLeak {
public:
    NoLeak() : before_(live_allocations()) {}
    NoLeak(const NoLeak&) = delete;
    NoLeak& operator=(const NoLeak&) = delete;
    ~NoLeak() { EXPECT_EQ(live_allocations(), before_) << "allocations leaked"; }

private:
    std::size_t before_;
};

// Calls run(failure) once with the first allocation failing, once with the second, and
// so on until no allocation is left to fail; each must leak nothing. failure is a FailAllocation:
// its happened() says what to expect at the end. Returns how many allocations failed.
template <typename Run>
std::size_t fail_each_allocation(Run run) {
    for (std::size_t nth = 1;; ++nth) {
        SCOPED_TRACE(testing::Message() << "allocation " << nth << " fails");
        const NoLeak no_leak;
        const FailAllocation failure(nth);
        run(failure);
        if (!failure.happened())
            return nth - 1;
    }
}

} // namespace stm::test
