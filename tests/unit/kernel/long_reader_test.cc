// SPDX-License-Identifier: GPL-2.0
// Transactions that read for long: their snapshots are fixed, and commits keep what they need.
#include "kernel/core/serial_token.hpp"
#include "tests/unit/kernel/typed_test.hpp"

#include <cstdint>
#include <functional>
#include <future>
#include <thread>
#include <vector>

namespace stm::test {
namespace {

constexpr std::uint64_t kLongPages = 64; // that a long one has read
constexpr std::uint64_t kStripe = 64;
constexpr std::uint64_t kOldStripeBytes = 96;

class LongReaders : public MappedTransactions {
protected:
    static constexpr std::uint64_t kPages = kBytes / kPage;
    const File second = open(control, "tx", kOpen, {0, 0, 0});

    // Loads so many pages, each of which still has what the region began with.
    void load_pages(const File& of, std::uint64_t first, std::uint64_t count) {
        for (std::uint64_t page = first; page < first + count; ++page)
            ASSERT_EQ(load(of, page * kPage), 0u) << page;
    }
    // A transaction that has read so much that its snapshot is fixed, where that is possible.
    void begin_long(const File& of) {
        ASSERT_EQ(start(of), 1);
        load_pages(of, 0, kLongPages + 1);
    }
    // A long one whose snapshot is not fixed, and that meets what others have written.
    void conflict(const File& of) {
        begin_long(of);
        disturb(0);
        disturb(200 * kPage);
        EXPECT_EQ(load(of, 200 * kPage), ~std::uint64_t{0});
        EXPECT_EQ(commit(of), -EAGAIN);
    }
    // Others write to many pages.
    void disturb_pages(std::uint64_t first, std::uint64_t count) {
        for (std::uint64_t page = first; page < first + count; ++page)
            disturb(page * kPage);
    }
    static long allocations() { return simulated::live().allocations; }
    unsigned reason(const File& of) const { return transaction_of(of).last_reason; }
};

TEST_F(LongReaders, SeeTheirSnapshotWhateverIsCommitted) {
    begin_long(file);
    disturb(0);
    disturb_pages(kLongPages, 40);
    disturb(80 * kPage, 5); // again
    load_pages(file, kLongPages + 1, kPages - kLongPages - 1);
    EXPECT_EQ(load(file, 0), 0u);
    EXPECT_EQ(validate(file), 0);
    EXPECT_EQ(commit(file), 0);
    ASSERT_EQ(start(file), 1);
    EXPECT_EQ(load(file, 80 * kPage), 5u) << "the next one has a snapshot of its own";
    EXPECT_EQ(commit(file), 0);
}

TEST_F(LongReaders, ByCallsSeeTheirSnapshot) {
    std::vector<std::uint8_t> bytes((kLongPages + 4) * kPage);
    ASSERT_EQ(start(file), 1);
    ASSERT_EQ(read(file, 0, bytes.data(), bytes.size()), static_cast<long>(bytes.size()));
    disturb(8);
    disturb(100 * kPage + 8);
    disturb(100 * kPage + 16);
    EXPECT_EQ(get(file, 100 * kPage + 8), 0u);
    EXPECT_EQ(get(file, 100 * kPage + 16), 0u);
    EXPECT_EQ(get(file, 8), 0u) << "read before, and again";
    bytes.assign(kPages * kPage, 1);
    ASSERT_EQ(read(file, 0, bytes.data(), bytes.size()), static_cast<long>(bytes.size()));
    EXPECT_EQ(bytes, std::vector<std::uint8_t>(kPages * kPage));
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(get(file, 8), 77u);
}

TEST_F(LongReaders, OfAWordInEachStripeSeeTheirSnapshot) {
    ASSERT_EQ(start(file), 1);
    for (std::uint64_t stripe = 0; stripe <= kLongPages * kPage / kStripe; ++stripe)
        ASSERT_EQ(get(file, stripe * kStripe), 0u);
    disturb(0);
    disturb(200 * kPage);
    EXPECT_EQ(get(file, 200 * kPage), 0u);
    EXPECT_EQ(commit(file), 0);
}

TEST_F(LongReaders, AreNoHindranceForShortOnes) {
    ASSERT_EQ(start(file), 1);
    load_pages(file, 0, kLongPages / 2);
    disturb(0);
    disturb(200 * kPage);
    EXPECT_EQ(load(file, 200 * kPage), ~std::uint64_t{0}) << "it is not long";
    EXPECT_EQ(commit(file), -EAGAIN);
}

TEST_F(LongReaders, BeginWithAFixedSnapshotIfTheOneBeforeWasLong) {
    begin_long(file);
    EXPECT_EQ(commit(file), 0);
    ASSERT_EQ(start(file), 1);
    load_pages(file, 0, 1);
    disturb(0);
    disturb(7 * kPage);
    load_pages(file, 1, 20);
    EXPECT_EQ(commit(file), 0);
    // It was not long.
    ASSERT_EQ(start(file), 1);
    EXPECT_EQ(load(file, 0), 77u);
    disturb(0, 78);
    disturb(8 * kPage);
    EXPECT_EQ(load(file, 8 * kPage), ~std::uint64_t{0});
    EXPECT_EQ(commit(file), -EAGAIN);
}

TEST_F(LongReaders, BeginWithAFixedSnapshotAfterALongOneHasMetAConflict) {
    settings.max_old_bytes = 0;
    conflict(file);
    settings.max_old_bytes = 1 << 20;
    ASSERT_EQ(start(file), 1);
    EXPECT_EQ(load(file, 0), 77u);
    disturb(0, 78);
    disturb(201 * kPage);
    EXPECT_EQ(load(file, 201 * kPage), 0u);
    EXPECT_EQ(commit(file), 0);
}

TEST_F(LongReaders, SeeTheirSnapshotBesideEachWayToCommit) {
    const std::vector<std::uint8_t> block(4 * kPage, 9);
    const auto typed = [&](std::uint64_t position) {
        auto request = argument_of<stm_commit_sets>(0);
        const std::vector<stm_stripe_write> writes{write_of(position, 9)};
        Sets sets{clock_of(other), {}, writes};
        request.sets = sets.argument();
        EXPECT_EQ(test::request(other, STM_IOC_COMMIT_SETS, request), 0);
    };
    const std::function<void()> ways[] = {
        [&] { put(other, 100 * kPage, 9); },
        [&] { EXPECT_EQ(write(other, 100 * kPage, block.data(), block.size()), 4l * kPage); },
        [&] { typed(100 * kPage); },
        [&] {
            EXPECT_EQ(start(other), 1);
            EXPECT_TRUE(store(other, 100 * kPage, 9));
            EXPECT_EQ(commit(other), 0);
        },
        [&] {
            EXPECT_EQ(start(other, STM_START_SERIAL), 1);
            EXPECT_TRUE(store(other, 100 * kPage, 9));
            EXPECT_EQ(commit(other), 0);
        },
        [&] {
            const std::vector<std::uint8_t> much(64 * kPage, 9); // takes the serial path
            EXPECT_EQ(write(other, 80 * kPage, much.data(), much.size()), 64l * kPage);
        },
    };
    for (const auto& commits : ways) {
        const std::vector<std::uint8_t> zeros(kBytes);
        ASSERT_EQ(write(other, 0, zeros.data(), zeros.size()), static_cast<long>(kBytes));
        begin_long(file);
        std::thread(commits).join();
        load_pages(file, kLongPages + 1, kPages - kLongPages - 1);
        EXPECT_EQ(commit(file), 0);
        EXPECT_EQ(get(file, 100 * kPage) & 0xff, 9u);
    }
}

TEST_F(LongReaders, SeeAllOrNothingOfACommitInTwoRegions) {
    const File apart = open(control, "apart", kCreate, {kBytes, 0, 0666});
    begin_long(file);
    std::thread([&] {
        const Sets here{clock_of(other), {}, {write_of(100 * kPage, 1), write_of(101 * kPage, 1)}};
        const Sets there{clock_of(apart), {}, {write_of(0, 1)}};
        auto request = argument_of<stm_commit_sets>(0);
        const stm_sets others[] = {there.argument(apart.descriptor())};
        request.sets = here.argument();
        request.others = reinterpret_cast<std::uint64_t>(others);
        request.other_count = 1;
        EXPECT_EQ(test::request(other, STM_IOC_COMMIT_SETS, request), 0);
    }).join();
    EXPECT_EQ(get(apart, 0), 1u);
    load_pages(file, 100, 2);
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(get(file, 101 * kPage), 1u);
}

TEST_F(LongReaders, LeaveNothingBehind) {
    begin_long(file);
    EXPECT_EQ(commit(file), 0); // what is there for all that follow
    disturb_pages(0, kPages);
    for (int round = 0; round < 3; ++round) {
        ASSERT_EQ(start(file), 1);
        EXPECT_EQ(get(file, 0), 77u);
        const long before = allocations();
        disturb_pages(0, 100);
        EXPECT_EQ(allocations(), before + 100) << "one for each stripe";
        disturb_pages(0, 100);
        EXPECT_EQ(allocations(), before + 100) << "nobody needs these";
        for (std::uint64_t page = 0; page < kLongPages + 6; ++page)
            EXPECT_EQ(get(file, page * kPage), 77u);
        std::vector<std::uint8_t> bytes((kLongPages + 8) * kPage);
        EXPECT_EQ(read(file, 0, bytes.data(), bytes.size()), static_cast<long>(bytes.size()));
        const long with = allocations();
        EXPECT_EQ(round == 2 ? cancel(file) : commit(file), 0);
        const long after = allocations();
        EXPECT_LE(after, with - 100);
        disturb_pages(0, 100);
        disturb_pages(150, 20); // of these the last snapshot had the newest version
        EXPECT_LE(allocations(), after);
    }
}

TEST_F(LongReaders, ThatWriteAreTransactionsLikeOthers) {
    begin_long(file);
    EXPECT_TRUE(store(file, 200 * kPage, 5));
    EXPECT_EQ(commit(file), 0) << "nobody was in the way";
    EXPECT_EQ(get(other, 200 * kPage), 5u);
}

TEST_F(LongReaders, ThatWriteConflictLikeOthers) {
    begin_long(file);
    disturb(70 * kPage);
    load_pages(file, 70, 1); // what it was
    EXPECT_TRUE(store(file, 200 * kPage, 5));
    EXPECT_EQ(commit(file), -EAGAIN);
    EXPECT_EQ(get(other, 200 * kPage), 0u);
    // The next one that is long is not fixed, so it learns in time.
    ASSERT_EQ(start(file), 1);
    for (std::uint64_t page = 0; page <= kLongPages; ++page)
        ASSERT_EQ(load(file, page * kPage), 0u);
    disturb(0);
    EXPECT_EQ(validate(file), -EAGAIN);
    EXPECT_EQ(commit(file), 0) << "what it has read was of one state";
    // That one had not written anything.
    ASSERT_EQ(start(file), 1);
    EXPECT_EQ(load(file, 0), 77u);
    disturb(0, 78);
    EXPECT_EQ(validate(file), 0);
    EXPECT_EQ(commit(file), 0);
}

// One that is about to write may take a later snapshot, as long as it has read nothing old.
TEST_F(LongReaders, ThatStoreMoveTheirSnapshotLikeOthers) {
    for (const bool by_call : {false, true}) {
        SCOPED_TRACE(by_call);
        disturb(200 * kPage, 0);
        begin_long(file);
        const std::uint64_t value = 5;
        if (by_call)
            EXPECT_EQ(write(file, 90 * kPage, &value, sizeof(value)), 8);
        else
            EXPECT_TRUE(store(file, 90 * kPage, value));
        disturb(200 * kPage);
        EXPECT_EQ(load(file, 200 * kPage), 77u);
        EXPECT_EQ(transaction_of(file).fixed, 0u);
        disturb(0);
        EXPECT_EQ(validate(file), -EAGAIN) << "the watchdog sees it, too";
        disturb(0, 0);
        EXPECT_EQ(cancel(file), 0);
    }
}

TEST_F(LongReaders, ByCallsThatWriteConflictLikeOthers) {
    begin_long(file);
    disturb(100 * kPage);
    EXPECT_EQ(get(file, 100 * kPage), 0u);
    const std::uint64_t value = 5;
    EXPECT_EQ(write(file, 100 * kPage, &value, sizeof(value)), 8);
    EXPECT_EQ(get(file, 100 * kPage), 5u);
    EXPECT_EQ(commit(file), -EAGAIN);
    EXPECT_EQ(get(file, 100 * kPage), 77u);
}

TEST_F(LongReaders, MayLendThemselvesToACommitOfGivenSets) {
    ASSERT_EQ(start(file, STM_START_FIXED), 1);
    ASSERT_EQ(transaction_of(file).fixed, 1u);
    const Sets sets{clock_of(file), {STM_READ_RUN(5 * kPage / kStripe, 1)}, {write_of(0, 9)}};
    auto request = argument_of<stm_commit_sets>(STM_COMMIT_SERIAL);
    request.sets = sets.argument();
    EXPECT_EQ(test::request(file, STM_IOC_COMMIT_SETS, request), 0);
    EXPECT_EQ(transaction_of(file).depth, 0u);
    EXPECT_EQ(get(other, 0), 9u);
    // What was read by itself has changed since, whatever the snapshot.
    ASSERT_EQ(start(file, STM_START_FIXED), 1);
    const Sets stale{clock_of(file), {STM_READ_RUN(5 * kPage / kStripe, 1)}, {write_of(0, 10)}};
    disturb(5 * kPage);
    request = argument_of<stm_commit_sets>(STM_COMMIT_SERIAL);
    request.sets = stale.argument();
    EXPECT_EQ(test::request(file, STM_IOC_COMMIT_SETS, request), -EAGAIN);
    EXPECT_EQ(transaction_of(file).depth, 0u);
    EXPECT_EQ(get(other, 0), 9u);
}

TEST_F(LongReaders, ThatBeginAloneStayAlone) {
    ASSERT_EQ(start(file, STM_START_SERIAL), 1);
    load_pages(file, 0, kLongPages + 10);
    EXPECT_EQ(transaction_of(file).serial, 1u);
    EXPECT_TRUE(store(file, 0, 1));
    EXPECT_EQ(commit(file), 0);
}

TEST_F(LongReaders, WaitForAChangeSinceTheirSnapshot) {
    begin_long(file);
    disturb(0);
    load_pages(file, 100, 1);
    EXPECT_EQ(wait(file), 0) << "something that it has read has changed";
}

TEST_F(LongReaders, OldestEndsAtTheBound) {
    settings.max_old_bytes = 64 * kOldStripeBytes;
    begin_long(file);
    disturb_pages(100, 30);
    std::thread([&] {
        ASSERT_EQ(start(other), 1);
        load_pages(other, 0, kLongPages + 1);
        disturb_pages(130, 30); // so the oldest ends, and the first 30 are forgotten
        load_pages(other, 130, 30);
        EXPECT_EQ(load(other, 100 * kPage), 77u);
        EXPECT_EQ(commit(other), 0);
    }).join();
    load_pages(file, kLongPages + 1, 10);
    EXPECT_EQ(load(file, 100 * kPage), ~std::uint64_t{0});
    EXPECT_EQ(transaction_of(file).doom, unsigned{STM_REASON_SNAPSHOT_TOO_OLD});
    EXPECT_EQ(commit(file), -EAGAIN);
    EXPECT_EQ(reason(file), unsigned{STM_REASON_SNAPSHOT_TOO_OLD});
    EXPECT_EQ(statistics_of(file).aborts[STM_REASON_SNAPSHOT_TOO_OLD], 1u);
}

TEST_F(LongReaders, EndAtTheBoundOfTheirUser) {
    settings.max_user_old_bytes = 32 * kOldStripeBytes;
    begin_long(file);
    disturb_pages(100, 40);
    EXPECT_EQ(load(file, 100 * kPage), ~std::uint64_t{0});
    EXPECT_EQ(transaction_of(file).doom, unsigned{STM_REASON_SNAPSHOT_TOO_OLD});
    EXPECT_EQ(commit(file), -EAGAIN);
}

// The region that has the most of it is the one that gives.
TEST_F(LongReaders, OfARegionWithLittleGoOnAtTheBoundOfTheirUser) {
    settings.max_user_old_bytes = 64 * kOldStripeBytes;
    const File apart = open(control, "apart", kCreate, {kBytes, 0, 0666});
    const File again = open(control, "apart", kOpen, {0, 0, 0});
    ASSERT_EQ(map(apart, 0, kPages, STM_MAP_WRITE), 0);
    begin_long(file);
    disturb_pages(100, 53);
    std::thread([&] {
        ASSERT_EQ(start(apart, STM_START_FIXED), 1);
        for (std::uint64_t page = 0; page < 6; ++page)
            std::thread([&] { put(again, page * kPage, 1); }).join();
        load_pages(apart, 0, 6);
        EXPECT_EQ(commit(apart), 0);
    }).join();
    load_pages(file, 100, 53);
    EXPECT_EQ(commit(file), 0);
}

TEST_F(LongReaders, BelowTheBoundGoOn) {
    settings.max_old_bytes = 64 * kOldStripeBytes;
    begin_long(file);
    disturb_pages(100, 50);
    load_pages(file, 100, 50);
    EXPECT_EQ(commit(file), 0);
}

TEST_F(LongReaders, AreNotFixedWhereNothingIsToBeKept) {
    settings.max_old_bytes = 0;
    conflict(file);
    EXPECT_EQ(reason(file), unsigned{STM_REASON_READ_VALIDATION});
}

// A commit that gets no memory for an old version goes through.
TEST_F(LongReaders, EndWhereThereIsNoMemoryForOldVersions) {
    bool ended = false;
    disturb(99 * kPage); // what that allocates for itself is there
    for (std::size_t nth = 1, done = 0; done == 0; ++nth) {
        SCOPED_TRACE(nth);
        const std::uint64_t place = (100 + nth) * kPage;
        begin_long(file);
        std::thread([&] {
            const std::uint64_t value = 1;
            const simulated::FailPoint point(nth);
            const long result = write(other, place, &value, sizeof(value));
            EXPECT_TRUE(result == 8 || point.happened() != simulated::Failure::none);
            done = point.happened() == simulated::Failure::none ? 1 : 0;
        }).join();
        const bool written = get(second, place) == 1;
        const bool seen = load(file, place) == 0;
        EXPECT_TRUE(seen || written);
        if (!seen) {
            ended = true;
            EXPECT_EQ(transaction_of(file).doom, unsigned{STM_REASON_SNAPSHOT_TOO_OLD});
        }
        EXPECT_EQ(commit(file), seen ? 0 : -EAGAIN);
    }
    EXPECT_TRUE(ended);
}

// Where there is none for the first snapshot, its transaction is one like others.
TEST_F(LongReaders, WithoutMemoryAreTransactionsLikeOthers) {
    bool happened = true;
    for (std::size_t nth = 1; happened; ++nth) {
        SCOPED_TRACE(nth);
        ASSERT_EQ(start(file), 1);
        load_pages(file, 0, kLongPages);
        {
            const simulated::FailPoint point(nth);
            (void)load(file, kLongPages * kPage);
            happened = point.happened() != simulated::Failure::none;
        }
        load_pages(file, kLongPages, 5);
        EXPECT_EQ(commit(file), 0);
    }
}

// Whatever another one commits at any moment of it.
TEST_F(LongReaders, SeeOneSnapshotWhereverItIsFixed) {
    std::uint64_t value = 0;
    for (EachMoment moment; moment.next();) {
        ++value;
        const std::uint64_t before = value - 1;
        EXPECT_EQ(start(file), 1);
        std::uint64_t first = 0;
        long ended = 0;
        moment.in_the_middle(
            [&] {
                disturb(0, value);
                disturb(100 * kPage, value);
            },
            [&] {
                std::vector<std::uint8_t> bytes(80 * kPage);
                if (read(file, 0, bytes.data(), bytes.size()) < 0)
                    ended = -EAGAIN;
                first = bytes[0];
            });
        if (!moment.happened()) {
            disturb(0, value);
            disturb(100 * kPage, value);
        }
        if (ended == 0) {
            const std::uint64_t second_seen = load(file, 100 * kPage) & 0xff;
            EXPECT_TRUE(first == (before & 0xff) || first == (value & 0xff));
            EXPECT_TRUE(second_seen == first || second_seen == 0xff);
        }
        (void)commit(file);
    }
}

// Another processor has come so far with its commit. Only what it has locked for long, before it
// keeps anything, can be in the way.
TEST_F(LongReaders, SeeTheirSnapshotInTheMiddleOfACommit) {
    std::size_t seen_in_the_middle = 0;
    bool everywhere = false;
    for (std::size_t step = 1; !everywhere; ++step) {
        SCOPED_TRACE(step);
        put(other, 100 * kPage, 0);
        put(other, 101 * kPage + 8, 0);
        begin_long(file);
        std::promise<bool> there;
        std::promise<void> over;
        std::thread rival([&] {
            EXPECT_EQ(start(other), 1);
            put(other, 100 * kPage, 1);
            put(other, 101 * kPage + 8, 1);
            bool told = false;
            const simulated::InterleaveCommit interleaved(step, [&] {
                told = true;
                there.set_value(true);
                over.get_future().wait();
            });
            EXPECT_EQ(commit(other), 0);
            if (!told)
                there.set_value(false);
        });
        everywhere = !there.get_future().get();
        const std::uint64_t seen = load(file, 100 * kPage);
        over.set_value();
        rival.join();
        if (seen == 0) {
            ++seen_in_the_middle;
            load_pages(file, 101, 1);
            EXPECT_EQ(get(file, 101 * kPage + 8), 0u);
            EXPECT_EQ(commit(file), 0);
        } else {
            EXPECT_EQ(commit(file), -EAGAIN);
            EXPECT_EQ(reason(file), unsigned{STM_REASON_READ_LOCKED});
        }
    }
    EXPECT_GT(seen_in_the_middle, 4u);
}

TEST_F(LongReaders, AreFixedAtTheirStartIfTheyAskForIt) {
    ASSERT_EQ(start(file, STM_START_FIXED), 1);
    EXPECT_EQ(transaction_of(file).fixed, 1u);
    EXPECT_EQ(transaction_of(file).snapshot, clock_of(file));
    EXPECT_EQ(start(file, STM_START_FIXED), 2) << "it means nothing here";
    disturb(0);
    disturb(5 * kPage);
    EXPECT_EQ(get(file, 0), 0u);
    EXPECT_EQ(load(file, 5 * kPage), 0u);
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(transaction_of(file).fixed, 0u);
    ASSERT_EQ(start(file, STM_START_FIXED | STM_START_SERIAL), 1);
    EXPECT_EQ(transaction_of(file).fixed, 0u);
    EXPECT_EQ(transaction_of(file).serial, 1u);
    EXPECT_EQ(start(file, STM_START_FIXED | STM_START_RESTART), 1);
    EXPECT_EQ(transaction_of(file).fixed, 1u);
    EXPECT_EQ(transaction_of(file).serial, 0u);
    EXPECT_EQ(cancel(file), 0);
}

// A commit that is inside may not have kept what they need.
TEST_F(LongReaders, AreNotFixedBesideACommitThatHasBegun) {
    std::promise<void> there;
    std::promise<void> over;
    std::thread rival([&] {
        EXPECT_EQ(start(other), 1);
        put(other, 200 * kPage, 1);
        bool told = false;
        const simulated::InterleaveCommit interleaved(2, [&] {
            told = true;
            there.set_value();
            over.get_future().wait();
        });
        EXPECT_EQ(commit(other), 0);
        EXPECT_TRUE(told);
    });
    there.get_future().wait();
    ASSERT_EQ(start(file), 1);
    load_pages(file, 0, kLongPages + 1);
    EXPECT_EQ(transaction_of(file).fixed, 0u);
    over.set_value();
    rival.join();
    load_pages(file, kLongPages + 1, kLongPages / 2);
    EXPECT_EQ(transaction_of(file).fixed, 1u) << "it has tried again";
    EXPECT_EQ(load(file, 200 * kPage), 1u);
    EXPECT_EQ(commit(file), 0);
}

// Whoever fixes snapshots again and again must not keep commits out.
TEST_F(LongReaders, StopCommitsOneByOne) {
    kernel::SerialToken token;
    ASSERT_TRUE(token.try_stop());
    const int before = simulated::sleepers();
    std::promise<void> in;
    std::promise<void> over;
    std::thread commit([&] {
        EXPECT_TRUE(token.enter({}).ok());
        in.set_value();
        over.get_future().wait();
        token.leave();
    });
    while (simulated::sleepers() == before)
        std::this_thread::yield();
    EXPECT_FALSE(token.try_stop()) << "it is closed";
    token.resume();
    token.wake();
    bool stopped = false;
    for (int turn = 0; turn < 100 && !stopped; ++turn)
        stopped = token.try_stop();
    EXPECT_FALSE(stopped) << "it waits, or is inside";
    if (stopped) {
        token.resume();
        token.wake();
    }
    in.get_future().wait();
    EXPECT_FALSE(token.try_stop());
    over.set_value();
    commit.join();
    ASSERT_TRUE(token.try_stop());
    token.resume();
}

TEST_F(LongReaders, OfDirectRegionsAreNotFixed) {
    const File direct = open(control, "direct", kCreate, {kBytes, STM_REGION_DIRECT, 0666});
    const File again = open(control, "direct", kOpen, {0, 0, 0});
    ASSERT_EQ(map(direct, 0, kPages, STM_MAP_WRITE), 0);
    ASSERT_EQ(start(direct), 1);
    load_pages(direct, 0, kLongPages + 1);
    std::thread([&] {
        put(again, 0, 1);
        put(again, 200 * kPage, 1);
    }).join();
    EXPECT_EQ(load(direct, 200 * kPage), ~std::uint64_t{0});
    EXPECT_EQ(commit(direct), -EAGAIN);
}

TEST_F(LongReaders, ThatAreKilledAreForgotten) {
    std::thread([&] {
        ASSERT_EQ(start(other), 1);
        load_pages(other, 0, kLongPages + 1);
    }).join();
    put(file, 99 * kPage, 1);
    const long before = allocations() - 1;
    put(file, 100 * kPage, 1);
    EXPECT_EQ(allocations(), before + 2) << "it is there until somebody looks";
    simulated::run_timers();
    EXPECT_LE(allocations(), before);
}

} // namespace
} // namespace stm::test
