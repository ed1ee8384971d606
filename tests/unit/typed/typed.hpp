// SPDX-License-Identifier: GPL-2.0
// What the tests of typed transactions share.
#pragma once

#include "fake_tx.hpp"

#include <gtest/gtest.h> // IWYU pragma: export
#include <stm/stm.hpp>   // IWYU pragma: export

namespace stm::test {

class Typed : public testing::Test {
protected:
    ~Typed() override { fake::forget_all(); }

    region region_ = region::create("typed", std::size_t{4} << 20);
};

/** Runs f with a conflict at its first call, at its second one, and so on, until it has fewer. */
template <typename F>
void with_a_conflict_at_each_call(F f) {
    unsigned call = 1;
    do {
        SCOPED_TRACE("a conflict at call " + std::to_string(call));
        fake::conflict_at(call++);
        f();
        if (testing::Test::HasFailure())
            return;
    } while (fake::has_happened());
    EXPECT_GT(call, 2U);
    fake::conflict_at(0);
}

/** The heap is consistent; how many blocks are allocated. */
inline std::uint64_t blocks_of(const region& where) {
    return read_only(where, [&](read_transaction& tx) {
        stm_heap_report report{};
        const int result = stm_heap_check(tx.handle(), where.handle(), &report);
        if (result < 0)
            ADD_FAILURE() << (report.problem != nullptr ? report.problem : "no heap");
        tx.expect(result);
        return report.blocks;
    });
}

} // namespace stm::test
