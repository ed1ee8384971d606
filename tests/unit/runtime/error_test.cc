// SPDX-License-Identifier: GPL-2.0
#include "runtime/support/error.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <utility>

namespace stm::runtime {
namespace {

TEST(Error, HasTheNumbersOfLinux) {
    const std::pair<Error, int> all[] = {
        {Error::perm, EPERM},
        {Error::not_found, ENOENT},
        {Error::interrupted, EINTR},
        {Error::no_address, ENXIO},
        {Error::too_big, E2BIG},
        {Error::bad_descriptor, EBADF},
        {Error::again, EAGAIN},
        {Error::no_memory, ENOMEM},
        {Error::access, EACCES},
        {Error::fault, EFAULT},
        {Error::busy, EBUSY},
        {Error::exists, EEXIST},
        {Error::invalid, EINVAL},
        {Error::no_tty, ENOTTY},
        {Error::file_too_big, EFBIG},
        {Error::no_space, ENOSPC},
        {Error::read_only, EROFS},
        {Error::deadlock, EDEADLK},
        {Error::name_too_long, ENAMETOOLONG},
        {Error::overflow, EOVERFLOW},
        {Error::not_supported, EOPNOTSUPP},
        {Error::timed_out, ETIMEDOUT},
        {Error::stale, ESTALE},
        {Error::over_quota, EDQUOT},
        {Error::canceled, ECANCELED},
        {Error::restart, 512},
    };
    for (const auto& [error, number] : all) {
        EXPECT_EQ(to_errno(error), -number);
        EXPECT_EQ(from_errno(-number), error);
    }
}

TEST(Error, KeepsNumbersWithoutAName) {
    EXPECT_EQ(to_errno(from_errno(-1)), -1);
    EXPECT_EQ(to_errno(from_errno(-kMaxErrno)), -kMaxErrno);
}

TEST(ErrorDeathTest, RefusesWhatIsNoErrno) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH((void)from_errno(0), "not a negative errno");
    EXPECT_DEATH((void)from_errno(5), "not a negative errno");
    EXPECT_DEATH((void)from_errno(-kMaxErrno - 1), "not a negative errno");
}

} // namespace
} // namespace stm::runtime
