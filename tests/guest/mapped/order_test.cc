// SPDX-License-Identifier: GPL-2.0
// Loads, stores, calls, nested parts and mappings of one transaction, in any order.
#include "mapped.hpp"

#include <array>

using namespace stm::test;

namespace {

class MappedOrder : public Mapped {};

TEST_F(MappedOrder, AStoreOfTheOldValueOverWhatACallWroteIsAStore) {
    store(view_, 0, 1);
    stm_start(fd());
    put(fd(), 2L);
    EXPECT_EQ(number(0), 2);
    number(0) = 1;
    EXPECT_EQ(number(0), 1);
    EXPECT_EQ(get(fd()), 1);
    ASSERT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(number(0), 1);
    EXPECT_EQ(get(fd()), 1);

    stm_start(fd());
    put(fd(), 2L);
    EXPECT_EQ(number(0), 2);
    put(fd(), 1L);
    EXPECT_EQ(number(0), 1);
    ASSERT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(number(0), 1);
}

// Levels, calls, stores and loads in any order, against a copy of the bytes for each level.
TEST_F(MappedOrder, AnyOrderOfLevelsCallsAndStoresMatchesAModel) {
    constexpr std::size_t kNumbers = 4 * 4; // four in each of four pages
    auto place = [](unsigned n) { return n / 4 * kPage + n % 4 * 8; };
    using State = std::array<long, kNumbers>;
    State committed{};
    unsigned random = 12345;
    auto next = [&](unsigned most) {
        random = random * 1103515245 + 12345;
        return (random >> 12) % most;
    };
    for (int round = 0; round < 400; ++round) {
        std::vector<State> levels{committed};
        stm_start(fd());
        const unsigned steps = next(40);
        std::string story;
        for (unsigned step = 0; step < steps; ++step) {
            const unsigned n = next(kNumbers);
            const long value = static_cast<long>(next(3)); // old values come often
            switch (next(7)) {
            case 0:
            case 1:
                story += " store " + std::to_string(n) + "=" + std::to_string(value);
                number(place(n)) = value;
                levels.back()[n] = value;
                break;
            case 2:
                story += " call " + std::to_string(n) + "=" + std::to_string(value);
                put(fd(), value, static_cast<off_t>(place(n)));
                levels.back()[n] = value;
                break;
            case 3:
                story += " load " + std::to_string(n);
                ASSERT_EQ(number(place(n)), levels.back()[n]) << story;
                break;
            case 4:
                story += " get " + std::to_string(n);
                ASSERT_EQ(get(fd(), static_cast<off_t>(place(n))), levels.back()[n]) << story;
                break;
            case 5:
                if (levels.size() < 4) {
                    story += " {";
                    stm_start(fd());
                    levels.push_back(levels.back());
                }
                break;
            default:
                if (levels.size() == 1)
                    break;
                if (next(2) == 0) {
                    story += " }";
                    ASSERT_EQ(stm_commit(fd()), 0);
                    levels[levels.size() - 2] = levels.back();
                } else {
                    story += " undo}";
                    stm_cancel(fd());
                }
                levels.pop_back();
            }
        }
        const bool kept = next(4) != 0;
        while (levels.size() > 1) {
            ASSERT_EQ(stm_commit(fd()), 0);
            levels[levels.size() - 2] = levels.back();
            levels.pop_back();
        }
        if (kept) {
            ASSERT_EQ(stm_commit(fd()), 0);
            committed = levels[0];
        } else {
            stm_cancel(fd());
        }
        for (unsigned n = 0; n < kNumbers; ++n) {
            ASSERT_EQ(number(place(n)), committed[n]) << "number " << n << " after" << story;
            ASSERT_EQ(get(fd(), static_cast<off_t>(place(n))), committed[n]) << story;
        }
    }
}

} // namespace
