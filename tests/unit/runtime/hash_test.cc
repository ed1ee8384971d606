// SPDX-License-Identifier: GPL-2.0
#include "runtime/support/hash.hpp"

#include "runtime/support/bits.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>

namespace stm::runtime {
namespace {

u64 hash_text(const std::string& text, HashSeed seed) {
    const auto exact = std::make_unique<u8[]>(text.size());
    for (usize index = 0; index < text.size(); ++index)
        exact[index] = static_cast<u8>(text[index]);
    return hash_bytes(ByteSpan(exact.get(), text.size()), seed);
}

// Key 00…0f and message 00…0e, appendix A of the paper on SipHash.
TEST(Hash, AgreesWithThePublishedExample) {
    constexpr HashSeed kKey{0x0706'0504'0302'0100, 0x0f0e'0d0c'0b0a'0908};
    u8 message[15];
    for (u8 index = 0; index < 15; ++index)
        message[index] = index;
    EXPECT_EQ(hash_bytes(MutableByteSpan(message), kKey), 0xa129'ca61'49be'45e5u);
}

TEST(Hash, DependsOnEveryByteTheLengthAndTheSeed) {
    constexpr HashSeed kSeed{1, 2};
    std::set<u64> seen;
    usize texts = 0;
    for (usize length = 0; length < 20; ++length) {
        std::string text(length, '\0');
        EXPECT_TRUE(seen.insert(hash_text(text, kSeed)).second);
        ++texts;
        for (usize changed = 0; changed < length; ++changed) {
            text[changed] = 1;
            EXPECT_TRUE(seen.insert(hash_text(text, kSeed)).second);
            text[changed] = 0;
            ++texts;
        }
    }
    EXPECT_EQ(seen.size(), texts);
    EXPECT_EQ(hash_text("name", kSeed), hash_text("name", kSeed));
    EXPECT_NE(hash_text("name", kSeed), hash_text("name", {1, 3}));
    EXPECT_NE(hash_text("name", kSeed), hash_text("name", {2, 2}));
}

TEST(Hash, ANumberIsItsBytes) {
    constexpr HashSeed kSeed{7, 8};
    for (const u64 number : {u64{0}, u64{1}, ~u64{0}, u64{0x0123'4567'89ab'cdef}})
        EXPECT_EQ(hash_number(number, kSeed),
                  hash_bytes(as_bytes(Span<const u64>(&number, 1)), kSeed));
}

TEST(Hash, MixChangesHalfOfTheBits) {
    u64 changed = 0;
    u64 pairs = 0;
    for (u64 number = 1; number <= 200; ++number) {
        for (u32 bit = 0; bit < 64; ++bit) {
            changed += popcount(mix(number) ^ mix(number ^ (u64{1} << bit)));
            ++pairs;
        }
    }
    EXPECT_NEAR(static_cast<double>(changed) / static_cast<double>(pairs), 32, 1);
}

} // namespace
} // namespace stm::runtime
