// SPDX-License-Identifier: GPL-2.0
// The ways that the benchmark compares do the same: what it counts would be worth nothing
// otherwise.
#include "../bench/ways/plain_words.hpp"
#include "../bench/ways/somebody_else.hpp"

#include <gtest/gtest.h>
#include <vector>

namespace stm::bench {
namespace {

// Memory of this thread alone, for what has to come out.
class Alone {
public:
    template <typename Body>
    long atomically(Body body) {
        PlainWords words{memory_.data()};
        return body(words);
    }
    template <typename Body>
    long read_only(Body body) {
        return atomically(body);
    }

private:
    std::vector<long> memory_ = std::vector<long>(kWords);
};

constexpr Work kWorks[] = {
    kReadOnly8,
    kBankWithSums,
    kHotCounter,
    kDisjoint,
    kSum,
    kQueueWork,
    kTwoRecords,
    {"table", Kind::table},
    kVacation,
    // One structure: the databases have one set of keys for all of them.
    {"ordered-map-100", Kind::ordered_map, 10},
};

class EachWay : public testing::TestWithParam<NamedWay> {
protected:
    std::unique_ptr<Contestant> contestant_ = GetParam().make();
};

TEST_P(EachWay, ReturnsAndKeepsWhatMemoryOfOneThreadDoes) {
    contestant_->enter();
    ContestantOf<Alone> alone;
    Random random;
    for (int round = 0; round < 100; ++round)
        for (const Work& work : kWorks) {
            const Task task = draw_task(work, random, 1);
            ASSERT_EQ(contestant_->run(task), alone.run(task)) << work.name << ", round " << round;
        }
    // All records, one of each page at once.
    Task look{};
    look.kind = Kind::table;
    for (std::size_t shift = 0; shift < kPageRecords; ++shift) {
        look.places[0] = shift;
        EXPECT_EQ(contestant_->run(look), alone.run(look)) << "the records of shift " << shift;
    }
}

TEST_P(EachWay, SeesAtOnceWhatSomebodyElseHasCommitted) {
    SomebodyElse other(*contestant_, *kChangingTable.meanwhile, GetParam().workers);
    contestant_->enter();
    Random random;
    for (long acts = 1; acts <= 100; ++acts) {
        other.act();
        ASSERT_EQ(contestant_->run(kChangingTable, random, 0), 2 * acts);
    }
}

std::string name_of(const testing::TestParamInfo<NamedWay>& way) {
    std::string name = way.param.name;
    for (char& letter : name)
        letter = letter == '-' ? '_' : letter;
    return name;
}
INSTANTIATE_TEST_SUITE_P(, EachWay, testing::ValuesIn(all_ways().begin(), all_ways().end()),
                         name_of);

// A transaction like vacation's is what its row says: so many pages, none of them twice.
TEST(Reservation, LooksAtAsManyPagesAsItSays) {
    Random random;
    for (int round = 0; round < 1000; ++round) {
        const Reservation reservation = reservation_of(draw_task(kVacation, random, 0).places[0]);
        std::vector<int> looks(kTablePages);
        for (std::size_t i = 0; i < kLooked; ++i) {
            ASSERT_LT(reservation.looked_at(i), kRecords);
            ASSERT_EQ(++looks[reservation.looked_at(i) / kPageRecords], 1);
        }
    }
}

// And two pages of those that are read have changed.
TEST(TwoRecords, AreInTwoPagesAndAreReadByALookAtTheTable) {
    Random random;
    for (int round = 0; round < 1000; ++round) {
        const TwoRecords records = two_records_of(draw_task(kTwoRecords, random, 0).places[0]);
        ASSERT_NE(records.first / kPageRecords, records.second / kPageRecords);
        for (const std::size_t record : {records.first, records.second}) {
            ASSERT_LT(record, kRecords);
            ASSERT_EQ(record, record_in_page(record / kPageRecords, 0));
        }
    }
}

} // namespace
} // namespace stm::bench
