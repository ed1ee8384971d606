// SPDX-License-Identifier: GPL-2.0
#include "runtime/support/assert.hpp"

#include <gtest/gtest.h>

namespace stm::runtime {
namespace {

constexpr int checked_in_a_constant(int value) {
    expects(value > 0, "value must be positive");
    return value;
}
static_assert(checked_in_a_constant(1) == 1);

TEST(AssertDeathTest, AFailedCheckEndsTheProgramWithItsMessage) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    expects(true, "not seen");
    EXPECT_DEATH(expects(false, "the sky is green"), "the sky is green");
    EXPECT_DEATH(panic("unconditionally"), "unconditionally");
}

} // namespace
} // namespace stm::runtime
