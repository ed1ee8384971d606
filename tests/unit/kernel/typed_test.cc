// SPDX-License-Identifier: GPL-2.0
// The commit of transactions that programs run by themselves.
#include "tests/unit/kernel/typed_test.hpp"

#include <cstring>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace stm::test {
namespace {

TEST_F(Typed, CommitWhatTheyWrite) {
    EXPECT_EQ(commit_sets(file, writing(writing(now(file), 8, 5), 4096, 6)), 0);
    EXPECT_EQ(last.version, 1u);
    EXPECT_EQ(get(other, 8), 5u);
    EXPECT_EQ(get(other, 4096), 6u);
    EXPECT_EQ(get(other, 0), 0u) << "bytes without a bit in the mask";
    EXPECT_EQ(clock_of(file), 1u);
    EXPECT_EQ(record_of(file, 0), 1u << 1);
    EXPECT_EQ(record_of(file, 64), 1u << 1);
    EXPECT_EQ(record_of(file, 1), 0u);
}

TEST_F(Typed, DoNotCommitWhenAReadHasChanged) {
    const Sets sets = writing(reading(reading(now(file), 0), 640), 128, 9);
    disturb(640);
    EXPECT_EQ(commit_sets(file, sets), -EAGAIN);
    EXPECT_EQ(last.reason, unsigned{STM_REASON_COMMIT_VALIDATION});
    EXPECT_EQ(last.region, 0u);
    EXPECT_EQ(last.stripe, 10u);
    EXPECT_EQ(get(other, 128), 0u);
    EXPECT_EQ(record_of(file, 2) % 2, 0u) << "its lock is given back";
}

TEST_F(Typed, CommitWhenSomethingElseHasChanged) {
    const Sets sets = writing(reading(now(file), 0), 128, 9);
    disturb(640);
    EXPECT_EQ(commit_sets(file, sets), 0);
    EXPECT_EQ(last.version, 2u);
    EXPECT_EQ(get(other, 128), 9u);
}

TEST_F(Typed, MayReadWhatTheyWrite) {
    disturb(0);
    EXPECT_EQ(commit_sets(file, writing(reading(now(file), 0), 0, 9)), 0);
    const Sets sets = writing(reading(now(file), 0), 0, 10);
    disturb(0, 50);
    EXPECT_EQ(commit_sets(file, sets), -EAGAIN);
    EXPECT_EQ(get(other, 0), 50u);
    // Others come in between, elsewhere.
    const Sets again = writing(reading(now(file), 0), 0, 11);
    disturb(640);
    EXPECT_EQ(commit_sets(file, again), 0);
    EXPECT_EQ(get(other, 0), 11u);
}

TEST_F(Typed, WithoutReadsOverwriteWhateverIsThere) {
    const Sets sets = writing(now(file), 8, 9);
    disturb(0, 50);
    EXPECT_EQ(commit_sets(file, sets), 0);
    EXPECT_EQ(get(other, 0), 50u) << "in the same stripe";
    EXPECT_EQ(get(other, 8), 9u);
}

TEST_F(Typed, ThatOnlyReadAreValidated) {
    Sets sets = now(file);
    sets.reads = {STM_READ_RUN(0, 1000), STM_READ_RUN(3000, 1), STM_READ_RUN(0, 1)};
    EXPECT_EQ(commit_sets(file, sets), 0);
    EXPECT_EQ(last.version, 0u);
    EXPECT_EQ(clock_of(file), 0u);
    disturb(999 * 64);
    EXPECT_EQ(commit_sets(file, sets), -EAGAIN);
    EXPECT_EQ(last.stripe, 999u);
}

TEST_F(Typed, MakeOthersConflict) {
    ASSERT_EQ(start(other), 1);
    EXPECT_EQ(get(other, 0), 0u);
    EXPECT_EQ(commit_sets(file, writing(now(file), 0, 1)), 0);
    put(other, 128, 1);
    EXPECT_EQ(commit(other), -EAGAIN);
}

TEST_F(Typed, CommitLargeSetsAlone) {
    Sets sets = now(file);
    for (std::uint64_t stripe = 0; stripe < 600; ++stripe)
        sets.writes.push_back(write_of(stripe * 64, stripe));
    sets.reads = {STM_READ_RUN(0, 4000)};
    EXPECT_EQ(commit_sets(file, sets), 0);
    EXPECT_EQ(get(other, 599 * 64), 599u);
    // The token is free again.
    EXPECT_EQ(commit_sets(other, writing(now(file), 0, 7)), 0);
}

TEST_F(Typed, RefuseWhatDoesNotFit) {
    const Sets good = writing(reading(now(file), 0), 0, 1);
    EXPECT_EQ(commit_sets(file, good, 2), -EINVAL);
    Sets bad = good;
    bad.reads = {STM_READ_RUN(kBytes / 64, 1)};
    EXPECT_EQ(commit_sets(file, bad), -EINVAL) << "behind the end";
    bad.reads = {STM_READ_RUN(kBytes / 64 - 1, 2)};
    EXPECT_EQ(commit_sets(file, bad), -EINVAL) << "beyond the end";
    bad.reads = {~std::uint64_t{0}};
    EXPECT_EQ(commit_sets(file, bad), -EINVAL);
    bad = good;
    bad.writes[0].mask = 0;
    EXPECT_EQ(commit_sets(file, bad), -EINVAL);
    bad.writes[0] = write_of(kBytes, 1);
    EXPECT_EQ(commit_sets(file, bad), -EINVAL);
    bad.writes = {write_of(64, 1), write_of(0, 1)};
    EXPECT_EQ(commit_sets(file, bad), -EINVAL) << "not in order";
    bad.writes = {write_of(64, 1), write_of(72, 1)};
    EXPECT_EQ(commit_sets(file, bad), -EINVAL) << "one stripe twice";

    last = argument_of<stm_commit_sets>(0);
    last.sets = good.argument(0);
    EXPECT_EQ(request(file, STM_IOC_COMMIT_SETS, last), -EINVAL) << "a handle beside the request's";
    last.sets = good.argument();
    last.sets.reserved = 1;
    EXPECT_EQ(request(file, STM_IOC_COMMIT_SETS, last), -EINVAL);
    last.sets = good.argument();
    last.reserved = 1;
    EXPECT_EQ(request(file, STM_IOC_COMMIT_SETS, last), -EINVAL);
    last.reserved = 0;
    last.other_count = STM_MAX_OTHERS + 1;
    EXPECT_EQ(request(file, STM_IOC_COMMIT_SETS, last), -E2BIG);
    last.other_count = 0;
    last.sets.read_count = ~0u;
    EXPECT_EQ(request(file, STM_IOC_COMMIT_SETS, last), -E2BIG);
    last.sets = good.argument();
    last.sets.writes = 8;
    EXPECT_EQ(request(file, STM_IOC_COMMIT_SETS, last), -EFAULT);
    EXPECT_EQ(get(other, 0), 0u);
    EXPECT_EQ(commit_sets(open(control, "plain"), good), -EOPNOTSUPP);
}

TEST_F(Typed, AreLimitedInStripes) {
    settings.max_stripes = 100;
    Sets sets = now(file);
    sets.reads = {STM_READ_RUN(0, 100)};
    EXPECT_EQ(commit_sets(file, sets), 0);
    sets.reads.push_back(STM_READ_RUN(200, 1));
    EXPECT_EQ(commit_sets(file, sets), -E2BIG);
}

TEST_F(Typed, NeedTheRightsOfTheirHandles) {
    const File reader = open(control, "tx", STM_OPEN_READ, {0, 0, 0});
    const File writer = open(control, "tx", STM_OPEN_WRITE, {0, 0, 0});
    EXPECT_EQ(commit_sets(reader, reading(now(file), 0)), 0);
    EXPECT_EQ(commit_sets(reader, writing(now(file), 0, 1)), -EBADF);
    EXPECT_EQ(commit_sets(writer, writing(now(file), 0, 1)), 0);
    EXPECT_EQ(commit_sets(writer, reading(now(file), 0)), -EACCES);
}

TEST_F(Typed, AreCounted) {
    EXPECT_EQ(commit_sets(file, writing(now(file), 0, 1)), 0);
    EXPECT_EQ(commit_sets(file, reading(now(file), 0)), 0);
    const Sets stale = reading(now(file), 0);
    disturb(0);
    EXPECT_EQ(commit_sets(file, stale), -EAGAIN);
    const stm_statistics statistics = statistics_of(file);
    EXPECT_EQ(statistics.starts, 3u);
    EXPECT_EQ(statistics.commits, 2u);
    EXPECT_EQ(statistics.read_only, 1u);
    EXPECT_EQ(statistics.aborts[STM_REASON_COMMIT_VALIDATION], 1u);
}

// What is an answer alone is not taken from the caller.
TEST_F(Typed, AnswerALongerStructureAsTheirOwn) {
    struct Longer : stm_commit_sets {
        std::uint64_t more;
    } longer{};
    const Sets sets = writing(reading(now(file), 0), 64, 1);
    disturb(0);
    longer.sets = sets.argument();
    longer.version = 77;
    EXPECT_EQ(request(file, STM_IOC_COMMIT_SETS, longer), -EAGAIN);
    EXPECT_EQ(longer.version, 0u);
    EXPECT_EQ(longer.reason, unsigned{STM_REASON_COMMIT_VALIDATION});
    longer.more = 1;
    EXPECT_EQ(request(file, STM_IOC_COMMIT_SETS, longer), -E2BIG);
}

// -- Several regions --

class TypedInSeveral : public Typed {
protected:
    File second = open(control, "second", kCreate, {kBytes, 0, 0666});
};

TEST_F(TypedInSeveral, CommitInAllOrNone) {
    EXPECT_EQ(commit_both(file, writing(now(file), 0, 1), second, writing(now(second), 0, 2)), 0);
    EXPECT_EQ(get(file, 0), 1u);
    EXPECT_EQ(get(second, 0), 2u);

    const Sets in_second = writing(reading(now(second), 64), 0, 4);
    std::thread([&] { put(second, 64, 9); }).join();
    EXPECT_EQ(commit_both(file, writing(now(file), 0, 3), second, in_second), -EAGAIN);
    EXPECT_EQ(last.region, 1u);
    EXPECT_EQ(last.stripe, 1u);
    EXPECT_EQ(get(file, 0), 1u);
    EXPECT_EQ(get(second, 0), 2u);
    EXPECT_EQ(record_of(file, 0) % 2, 0u);
    EXPECT_EQ(record_of(second, 0) % 2, 0u);
}

TEST_F(TypedInSeveral, TellTheVersionInTheRegionOfTheRequest) {
    for (const std::uint64_t value : {1, 2, 3})
        put(second, 64, value);
    EXPECT_EQ(commit_both(file, writing(now(file), 0, 1), second, writing(now(second), 0, 2)), 0);
    EXPECT_EQ(last.version, clock_of(file));
    EXPECT_EQ(last.version, record_of(file, 0) >> 1);
    EXPECT_EQ(commit_both(file, reading(now(file), 0), second, writing(now(second), 0, 3)), 0);
    EXPECT_EQ(last.version, 0u) << "it has written nothing there";
}

TEST_F(TypedInSeveral, ValidateWhatTheyOnlyRead) {
    const Sets in_second = reading(now(second), 64);
    const Sets in_first = writing(now(file), 0, 3);
    EXPECT_EQ(commit_both(file, in_first, second, in_second), 0);
    std::thread([&] { put(second, 64, 9); }).join();
    EXPECT_EQ(commit_both(file, in_first, second, in_second), -EAGAIN);
    EXPECT_EQ(commit_both(second, in_second, file, in_first), -EAGAIN);
    EXPECT_EQ(last.region, 0u);
}

TEST_F(TypedInSeveral, RefuseARegionThatIsThereTwice) {
    EXPECT_EQ(commit_both(file, writing(now(file), 0, 1), other, writing(now(file), 64, 2)),
              -EINVAL);
    EXPECT_EQ(get(file, 0), 0u);
}

TEST_F(TypedInSeveral, RefuseWhatIsNoHandle) {
    const stm_sets others[] = {now(file).argument(1000)};
    last = argument_of<stm_commit_sets>(0);
    last.sets = now(file).argument();
    last.others = reinterpret_cast<std::uint64_t>(others);
    last.other_count = 1;
    EXPECT_EQ(request(file, STM_IOC_COMMIT_SETS, last), -EBADF);
}

TEST_F(TypedInSeveral, CommitLargeSetsAlone) {
    Sets sets = now(file);
    for (std::uint64_t stripe = 0; stripe < 200; ++stripe)
        sets.writes.push_back(write_of(stripe * 64, 1));
    EXPECT_EQ(commit_both(file, sets, second, sets), 0);
    EXPECT_EQ(commit_both(second, sets, file, sets), 0);
    EXPECT_EQ(get(second, 199 * 64), 1u);
    EXPECT_EQ(commit_sets(file, writing(now(file), 0, 7)), 0);
    EXPECT_EQ(commit_sets(second, writing(now(second), 0, 7)), 0);
}

TEST_F(TypedInSeveral, ReadsOfWhatTheyWriteAreValidated) {
    const Sets in_first = writing(reading(now(file), 0), 0, 1);
    const Sets in_second = writing(reading(now(second), 0), 0, 2);
    std::thread([&] { put(second, 0, 9); }).join();
    EXPECT_EQ(commit_both(file, in_first, second, in_second), -EAGAIN);
    EXPECT_EQ(last.region, 1u);
    EXPECT_EQ(last.stripe, 0u);
    EXPECT_EQ(get(file, 0), 0u);
    EXPECT_EQ(get(second, 0), 9u);
    EXPECT_EQ(commit_both(file, in_first, second, writing(reading(now(second), 0), 0, 2)), 0);
    EXPECT_EQ(get(second, 0), 2u);
}

// Whatever number of them is committed in whichever way.
class TypedInMany : public Typed {
protected:
    // These sets in so many regions, the values in each one more than in the one before.
    long commit_all(std::size_t regions, const Sets& sets) {
        std::vector<stm_sets> others;
        std::vector<Sets> all;
        for (std::size_t i = 0; i < regions; ++i) {
            all.push_back({clock_of(files[i]), sets.reads, {}});
            for (const stm_stripe_write& write : sets.writes) {
                std::uint64_t value = 0;
                std::memcpy(&value, write.bytes, sizeof(value));
                all[i].writes.push_back(write_of(write.stripe * 64, value + i));
            }
        }
        disturbing();
        for (std::size_t i = 1; i < regions; ++i)
            others.push_back(all[i].argument(files[i].descriptor()));
        last = argument_of<stm_commit_sets>(0);
        last.sets = all[0].argument();
        last.others = reinterpret_cast<std::uint64_t>(others.data());
        last.other_count = static_cast<std::uint32_t>(others.size());
        return request(files[0], STM_IOC_COMMIT_SETS, last);
    }
    // So many reads and writes, of different stripes.
    static Sets some(std::uint64_t reads, std::uint64_t writes, std::uint64_t value) {
        Sets sets;
        for (std::uint64_t i = 0; i < reads; ++i)
            sets = reading(std::move(sets), 64 * (100 + 2 * i));
        for (std::uint64_t i = 0; i < writes; ++i)
            sets = writing(std::move(sets), 64 * i, value);
        return sets;
    }

    TypedInMany() {
        for (int i = 0; i < 16; ++i)
            files.push_back(open(control, "many " + std::to_string(i), kCreate, {kBytes, 0, 0666}));
    }
    std::vector<File> files;
    std::function<void()> disturbing = [] {};
};

TEST_F(TypedInMany, CommitInAllOrNone) {
    std::uint64_t value = 0;
    for (std::size_t regions = 1; regions <= files.size(); ++regions) {
        for (const std::uint64_t writes : {1, 4, 5, 16, 17}) {
            SCOPED_TRACE(std::to_string(writes) + " writes in " + std::to_string(regions));
            value += 100;
            ASSERT_EQ(commit_all(regions, some(writes, writes, value)), 0);
            for (std::size_t i = 0; i < files.size(); ++i)
                EXPECT_EQ(get(files[i], 64 * (writes - 1)) == value + i, i < regions) << i;
            disturbing = [&] {
                std::thread([&] { put(files[regions - 1], 64 * 100, value); }).join();
            };
            ASSERT_EQ(commit_all(regions, some(writes, writes, ~value)), -EAGAIN);
            EXPECT_EQ(last.region, regions - 1);
            EXPECT_EQ(last.stripe, 100u);
            disturbing = [] {};
            for (std::size_t i = 0; i < regions; ++i) {
                EXPECT_EQ(get(files[i], 64 * (writes - 1)), value + i) << i;
                EXPECT_EQ(record_of(files[i], 0) % 2, 0u) << i;
            }
        }
    }
}

// 16 of each, over up to four regions.
TEST_F(TypedInMany, NeedNoMemoryIfTheyAreSmall) {
    for (const std::size_t regions : {1, 2, 3, 4}) {
        const auto all = [&] { return commit_all(regions, some(16 / regions, 16 / regions, 1)); };
        ASSERT_EQ(all(), 0) << "now all pages are there";
        for (std::size_t step = 1;; ++step) {
            const FailPoint point(step);
            const long result = all();
            ASSERT_NE(point.happened(), Failure::allocation) << regions << ", " << step;
            if (point.happened() == Failure::none) {
                EXPECT_EQ(result, 0);
                break;
            }
        }
    }
}

// -- With the serial token --

TEST_F(TypedInSeveral, HoldTheTokensFromTheStart) {
    ASSERT_EQ(start(file, STM_START_SERIAL), 1);
    EXPECT_EQ(transaction_of(file).serial, 1u);
    ASSERT_EQ(start(second, STM_START_SERIAL), 1);
    const Sets first = writing(reading(now(file), 0), 0, 1);
    EXPECT_EQ(commit_both(file, first, second, writing(now(second), 0, 2), STM_COMMIT_SERIAL), 0);
    EXPECT_EQ(transaction_of(file).depth, 0u);
    EXPECT_EQ(transaction_of(second).depth, 0u);
    EXPECT_EQ(get(second, 0), 2u);
    disturb(64);
    EXPECT_EQ(statistics_of(file).serial, 1u);
}

TEST_F(TypedInSeveral, AreCountedOnceWithTheTokens) {
    const auto expect = [&](const File& of, std::uint64_t commits, std::uint64_t read_only,
                            std::uint64_t conflicts) {
        const stm_statistics statistics = statistics_of(of);
        EXPECT_EQ(statistics.starts, commits + conflicts);
        EXPECT_EQ(statistics.commits, commits);
        EXPECT_EQ(statistics.read_only, read_only);
        EXPECT_EQ(statistics.aborts[STM_REASON_COMMIT_VALIDATION], conflicts);
    };
    const Sets stale = writing(reading(now(file), 0), 64, 1);
    disturb(0);
    // It writes in the first region, and reads in the second one.
    for (const Sets& first : {writing(now(file), 0, 1), stale}) {
        ASSERT_EQ(start(file, STM_START_SERIAL), 1);
        ASSERT_EQ(start(second, STM_START_SERIAL), 1);
        const bool valid = first.reads.empty();
        EXPECT_EQ(commit_both(file, first, second, reading(now(second), 0), STM_COMMIT_SERIAL),
                  valid ? 0 : -EAGAIN);
        expect(file, 1, 0, valid ? 0 : 1);
        expect(second, 1, 1, valid ? 0 : 1);
    }
}

TEST_F(TypedInSeveral, AreOverAfterAConflictWithTheTokens) {
    const Sets stale = writing(reading(now(file), 0), 64, 1);
    disturb(0);
    ASSERT_EQ(start(file, STM_START_SERIAL), 1);
    EXPECT_EQ(commit_sets(file, stale, STM_COMMIT_SERIAL), -EAGAIN);
    EXPECT_EQ(transaction_of(file).depth, 0u);
    disturb(0);
}

TEST_F(TypedInSeveral, KeepTheirTransactionsAfterAMistake) {
    ASSERT_EQ(start(file, STM_START_SERIAL), 1);
    EXPECT_EQ(commit_sets(file, writing(now(file), kBytes, 1), STM_COMMIT_SERIAL), -EINVAL);
    EXPECT_EQ(transaction_of(file).depth, 1u);
    EXPECT_EQ(commit_both(file, now(file), second, now(second), STM_COMMIT_SERIAL), -EINVAL)
        << "no transaction on the second handle";
    EXPECT_EQ(transaction_of(file).depth, 1u);
    EXPECT_EQ(cancel(file), 0);
    disturb(0);
}

TEST_F(Typed, WaitWhileAnotherOneHoldsTheToken) {
    ASSERT_EQ(start(other, STM_START_SERIAL), 1);
    std::thread writer([&] { EXPECT_EQ(commit_sets(file, writing(now(file), 0, 5)), 0); });
    while (simulated::sleepers() == 0)
        std::this_thread::yield();
    put(other, 8, 6);
    EXPECT_EQ(commit(other), 0);
    writer.join();
    EXPECT_EQ(get(other, 0), 5u);
    EXPECT_EQ(get(other, 8), 6u);
}

// A commit that waits for one region's gate lets others have the token of another one.
TEST_F(TypedInSeveral, AreInNoGateWhileTheyWaitForAnother) {
    ASSERT_EQ(start(second, STM_START_SERIAL), 1);
    const File again = open(control, "second", kOpen, {0, 0, 0});
    std::thread writer([&] {
        const Sets first = writing(now(file), 0, 1);
        EXPECT_EQ(commit_both(file, first, again, writing(now(again), 0, 2)), 0);
    });
    while (simulated::sleepers() == 0)
        std::this_thread::yield();
    ASSERT_EQ(start(other, STM_START_SERIAL), 1) << "its holder waits for those in the gate";
    put(other, 64, 3);
    EXPECT_EQ(commit(other), 0);
    EXPECT_EQ(get(file, 0), 0u);
    EXPECT_EQ(cancel(second), 0);
    writer.join();
    EXPECT_EQ(get(file, 0), 1u);
    EXPECT_EQ(get(second, 0), 2u);
}

TEST_F(Typed, CannotWaitForTheirOwnThread) {
    ASSERT_EQ(start(other, STM_START_SERIAL), 1);
    EXPECT_EQ(commit_sets(file, writing(now(file), 0, 5)), -EDEADLK);
    EXPECT_EQ(cancel(other), 0);
}

TEST_F(TypedInSeveral, CannotWaitForTheirOwnThread) {
    ASSERT_EQ(start(other, STM_START_SERIAL), 1);
    EXPECT_EQ(commit_both(second, writing(now(second), 0, 4), file, writing(now(file), 0, 5)),
              -EDEADLK);
    EXPECT_EQ(cancel(other), 0);
    EXPECT_EQ(get(second, 0), 0u);
}

} // namespace
} // namespace stm::test
