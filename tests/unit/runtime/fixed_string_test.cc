// SPDX-License-Identifier: GPL-2.0
#include "runtime/support/fixed_string.hpp"

#include <gtest/gtest.h>

#include <type_traits>

namespace stm::runtime {
namespace {

using Name = FixedString<7>;

static_assert(!std::is_default_constructible_v<Name> && std::is_trivially_copyable_v<Name>);
static_assert(StringView("abc").size() == 3 && StringView("abc") == StringView("abc"));

Name name_of(StringView text) {
    return Name::from_bytes(text).value();
}

TEST(StringView, ComparesInFull) {
    EXPECT_TRUE(StringView("abc") == "abc");
    EXPECT_FALSE(StringView("abc") == "ab");
    EXPECT_FALSE(StringView("abc") == "abd");
    EXPECT_FALSE(StringView("abc") == "Abc");
    EXPECT_TRUE(StringView() == "");
    EXPECT_EQ(StringView("abc").bytes()[2], 'c');
    EXPECT_EQ(StringView("abc")[0], 'a');
}

TEST(StringView, KnowsVisibleCharacters) {
    EXPECT_TRUE(StringView("my-Region.1~!").is_graphic());
    EXPECT_FALSE(StringView("a b").is_graphic());
    EXPECT_FALSE(StringView("a\n").is_graphic());
    EXPECT_FALSE(StringView("\x7f").is_graphic());
    EXPECT_FALSE(StringView("\xc3\xa4").is_graphic());
}

TEST(FixedString, FromAField) {
    const char field[8] = "abc";
    const Result<Name> name = Name::from_field(field);
    ASSERT_TRUE(name.ok());
    EXPECT_EQ(name->size(), 3u);
    EXPECT_TRUE(name->view() == "abc");
    EXPECT_STREQ(name->c_str(), "abc");

    const char full[8] = {'1', '2', '3', '4', '5', '6', '7', '\0'};
    EXPECT_EQ(Name::from_field(full)->size(), 7u);
}

TEST(FixedString, RefusesBadFields) {
    const char unterminated[4] = {'a', 'b', 'c', 'd'};
    EXPECT_EQ(Name::from_field(unterminated).error(), Error::name_too_long);
    const char too_long[9] = "12345678";
    EXPECT_EQ(Name::from_field(too_long).error(), Error::name_too_long);
    const char empty[4] = {};
    EXPECT_EQ(Name::from_field(empty).error(), Error::invalid);
    const char hidden[6] = {'a', '\0', '\0', 'x', '\0', '\0'};
    EXPECT_EQ(Name::from_field(hidden).error(), Error::invalid);
    EXPECT_EQ(Name::from_field(Span<const char>()).error(), Error::name_too_long);
}

TEST(FixedString, FromBytes) {
    EXPECT_TRUE(Name::from_bytes("1234567").ok());
    EXPECT_EQ(Name::from_bytes("12345678").error(), Error::name_too_long);
    EXPECT_EQ(Name::from_bytes("").error(), Error::invalid);
    EXPECT_EQ(Name::from_bytes(StringView("a\0b", 3)).error(), Error::invalid);
}

TEST(FixedString, ComparesAsBytes) {
    EXPECT_TRUE(name_of("abc") == name_of("abc"));
    EXPECT_FALSE(name_of("abc") == name_of("abcd"));
    EXPECT_FALSE(name_of("abc") == name_of("ABC"));
}

TEST(FixedString, IsZeroBehindTheName) {
    const Name name = name_of("a");
    for (usize index = 1; index <= 7; ++index)
        EXPECT_EQ(name.c_str()[index], '\0');
}

TEST(StringViewDeathTest, AWrongIndexPanics) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH((void)StringView("abc")[3], "index out of range");
}

} // namespace
} // namespace stm::runtime
