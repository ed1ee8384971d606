// SPDX-License-Identifier: GPL-2.0
// A process stops in the middle of a commit. Others are served, and when it goes on it has
// committed all or nothing.
#include "committer.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <sys/stat.h>

using namespace stm::test;

namespace {

constexpr std::uint64_t kFirst = 128;
constexpr std::uint64_t kSecond = kPage + 640;

int add_to_both(stm_tx* tx, stm_region* region, long amount) {
    const int result = add(tx, region, kFirst, amount);
    return result != 0 ? result : add(tx, region, kSecond, amount);
}

TEST(DirectStops, AtAnyInstructionOthersGoOnAndNothingIsLost) {
    const TypedRegion region("stops", 4 * kPage, STM_DIRECT);
    const auto adding = [&](long amount) {
        return [&, amount](stm_tx* tx) { static_cast<void>(add_to_both(tx, region, amount)); };
    };
    std::vector<Moment> moments;
    {
        Committer committer(region, adding(0), adding(0));
        moments = moments_of(committer);
    }
    double longest = 0;
    unsigned stops = 0;
    for (std::size_t i = 0; i < moments.size(); i += 5) {
        set_value(region, kFirst, 0);
        set_value(region, kSecond, 0);
        Committer committer(region, adding(0), adding(1000));
        ASSERT_FALSE(HasFailure());
        if (!committer.run_to(moments[i].address, moments[i].times))
            continue;
        ++stops;
        // It stands still. Others do not.
        const double begun = now();
        for (int turn = 0; turn < 3; ++turn)
            ASSERT_TRUE(atomically(region, 0, adding(1)));
        longest = std::max(longest, now() - begun);
        ASSERT_EQ(committer.finish(), 0) << "stopped at instruction " << i;
        ASSERT_EQ(value_at(region, kFirst), 1003) << "stopped at instruction " << i;
        ASSERT_EQ(value_at(region, kSecond), 1003) << "stopped at instruction " << i;
    }
    std::printf("stopped at %u of %zu instructions; three transactions of another process took "
                "%.1f ms at most\n",
                stops, moments.size(), longest * 1e3);
    EXPECT_GT(stops, moments.size() / 10);
    EXPECT_LT(longest, 0.5 * time_scale());
}

// Nothing that takes its journal away is a signal.
TEST(DirectStops, AnOwnerThatBlocksAllSignalsIsNotWaitedForEither) {
    const TypedRegion region("stops", 4 * kPage, STM_DIRECT);
    const auto adding = [&](long amount) {
        return [&, amount](stm_tx* tx) { static_cast<void>(add_to_both(tx, region, amount)); };
    };
    const auto prepare = [&](stm_tx* tx) {
        sigset_t all;
        ::sigfillset(&all);
        ::sigdelset(&all, SIGTRAP); // it is traced
        ::sigprocmask(SIG_BLOCK, &all, nullptr);
        adding(0)(tx);
    };
    std::vector<Moment> moments;
    {
        Committer committer(region, prepare, adding(0));
        moments = moments_of(committer);
    }
    unsigned stops = 0;
    for (std::size_t i = 0; i < moments.size();
         i += std::max<std::size_t>(1, moments.size() / 20)) {
        set_value(region, kFirst, 0);
        set_value(region, kSecond, 0);
        Committer committer(region, prepare, adding(1000));
        if (!committer.run_to(moments[i].address, moments[i].times))
            continue;
        ++stops;
        const double begun = now();
        ASSERT_TRUE(atomically(region, 0, adding(1)));
        EXPECT_LT(now() - begun, 0.5 * time_scale());
        ASSERT_EQ(committer.finish(), 0) << "stopped at instruction " << i;
        ASSERT_EQ(value_at(region, kFirst), 1001) << "stopped at instruction " << i;
        ASSERT_EQ(value_at(region, kSecond), 1001) << "stopped at instruction " << i;
    }
    EXPECT_GT(stops, 10u);
}

// Also where nothing is locked any more, and nobody was woken yet.
TEST(DirectStops, WhoWaitsForAChangeIsServedAlthoughItsMakerHasStopped) {
    const TypedRegion region("stops", 4 * kPage, STM_DIRECT);
    const auto adding = [&](long amount) {
        return [&, amount](stm_tx* tx) { static_cast<void>(add_to_both(tx, region, amount)); };
    };
    // Until a word is not 0.
    const auto start_waiter = [&](std::uint64_t place) {
        Child waiter = Child::doing([&] {
            stm_tx* const tx = stm_tx_begin(region, 0);
            int result = 0;
            do {
                long value = 0;
                if (stm_tx_load(tx, region, place, &value, sizeof value) == 0 && value == 0)
                    result = stm_tx_wait(tx, -1);
                else
                    result = stm_tx_commit(tx);
            } while (result > 0);
            EXPECT_EQ(result, 0) << std::strerror(errno);
        });
        EXPECT_TRUE(eventually([&] {
            struct stm_statistics statistics {};
            return stm_statistics(region.fd(), &statistics) == 0 && statistics.waiting == 1;
        }));
        return waiter;
    };
    std::vector<Moment> moments;
    {
        Committer committer(region, adding(0), adding(0));
        // Of a commit that somebody waits for. Who waits for this one itself would find it locked,
        // and take it away from an owner that steps slowly.
        const Child waiter = start_waiter(2 * kPage);
        moments = moments_of(committer);
    }
    unsigned changes = 0;
    double longest = 0;
    for (std::size_t i = 0; i < moments.size();
         i += std::max<std::size_t>(1, moments.size() / 40)) {
        set_value(region, kFirst, 0);
        set_value(region, kSecond, 0);
        Committer committer(region, adding(0), adding(1000));
        Child waiter = start_waiter(kFirst);
        if (!committer.run_to(moments[i].address, moments[i].times) ||
            value_at(region, kFirst) == 0)
            continue;
        ++changes;
        const double begun = now();
        ASSERT_EQ(waiter.wait(), 0);
        longest = std::max(longest, now() - begun);
        ASSERT_EQ(committer.finish(), 0) << "stopped at instruction " << i;
    }
    std::printf("stopped at %u instructions behind the change; who waited was served in %.1f ms at "
                "most\n",
                changes, longest * 1e3);
    EXPECT_GT(changes, 5u);
    EXPECT_LT(longest, 2 * time_scale());
}

void write_to(const std::string& path, const char* text) {
    EXPECT_TRUE(std::ofstream(path) << text << std::flush) << path;
}

TEST(DirectStops, AFrozenProcessIsNotWaitedFor) {
    const TypedRegion region("frozen", 4 * kPage, STM_DIRECT);
    const std::string group = "/sys/fs/cgroup/" + unique_name("frozen");
    ASSERT_EQ(::mkdir(group.c_str(), 0755), 0) << std::strerror(errno);
    const auto add_once = [&] {
        return atomically(region, 0,
                          [&](stm_tx* tx) { static_cast<void>(add_to_both(tx, region, 1)); });
    };
    {
        Child child = Child::doing([&] {
            write_to(group + "/cgroup.procs", "0");
            while (add_once()) {
            }
        });
        EXPECT_TRUE(eventually([&] { return value_at(region, kFirst) > 100; }));
        for (int round = 0; round < 40; ++round) {
            write_to(group + "/cgroup.freeze", "1");
            ASSERT_TRUE(eventually([&] {
                std::ifstream events(group + "/cgroup.events");
                const std::string all{std::istreambuf_iterator<char>(events), {}};
                return all.find("frozen 1") != std::string::npos;
            }));
            const double begun = now();
            ASSERT_TRUE(add_once());
            EXPECT_LT(now() - begun, 0.5 * time_scale());
            write_to(group + "/cgroup.freeze", "0");
            const long before = value_at(region, kFirst);
            ASSERT_TRUE(eventually([&] { return value_at(region, kFirst) > before; }));
        }
    }
    EXPECT_EQ(value_at(region, kFirst), value_at(region, kSecond));
    EXPECT_TRUE(eventually([&] { return ::rmdir(group.c_str()) == 0; }));
}

} // namespace
