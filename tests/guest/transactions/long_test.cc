// SPDX-License-Identifier: GPL-2.0
// Long transactions beside a process that writes all the time, with the usual parameters of the
// module: both get their share. STM_LONG=1 in the environment adds one of 20 s, for which a minute
// and a half have to pass.
#include "transactions.hpp"

#include <algorithm>
#include <atomic>
#include <cstdlib>

using namespace stm::test;

namespace {

constexpr double kPause = 0.005; // of the writer, between two commits

/** What the writer tells, in memory that is shared by fork. */
struct Writer {
    std::atomic<long> commits;
    std::atomic<double> longest; // seconds that one commit took
};

class BesideAWriter : public Transactions {
protected:
    BesideAWriter() : memory_(-1, kPage, PROT_READ | PROT_WRITE, 0, MAP_SHARED | MAP_ANONYMOUS) {}

    Writer& writer() { return *memory_.at<Writer>(); }

    /** Changes the number that the long transaction reads, every few milliseconds. */
    Child write() {
        return Child([this] {
            Fd handle = another();
            for (;;) {
                const double begin = seconds();
                put(handle.get(), writer().commits + 1);
                writer().longest = std::max<double>(writer().longest, seconds() - begin);
                ++writer().commits;
                ::usleep(static_cast<useconds_t>(kPause * 1e6));
            }
            return 0;
        });
    }

    double rate(double duration) {
        const long before = writer().commits;
        const double begin = seconds();
        while (seconds() - begin < duration)
            ::usleep(10'000);
        return static_cast<double>(writer().commits - before) / (seconds() - begin);
    }

    /** A transaction with so many seconds of work; how many attempts it took. */
    template <typename Work>
    int attempt(Work work) {
        volatile int attempts = 0;
        do {
            stm_start(fd());
            attempts = attempts + 1;
            work();
        } while (stm_commit(fd()) != 0);
        return attempts;
    }

    void sleep_inside(double length) {
        const double begin = seconds();
        while (seconds() - begin < length)
            ::usleep(1000);
    }

    /** 16 conflicts, and then a lease of 1, 2, 4, … s: two more than it should need, for a busy
     * machine. */
    static int most_attempts(double length) {
        int attempts = 16 + 1 + 2;
        for (double lease = 1; lease < length; lease *= 2)
            ++attempts;
        return attempts;
    }

    void expect_share(double begun, long before, double usual, double length) {
        const double took = seconds() - begun;
        const double rate = static_cast<double>(writer().commits - before) / took;
        std::printf("%.1f s of work: %.1f s; the writer: %.1f commits/s before, %.1f meanwhile, "
                    "the longest took %.2f s\n",
                    length, took, usual, rate, static_cast<double>(writer().longest));
        EXPECT_GT(rate, usual / 6) << "half of the time, but for the last attempt";
        EXPECT_LT(writer().longest, 2 * length + 1) << "one lease";
    }

    Mapping memory_;
};

/** The parameter is the work, in seconds. */
class LongTransactions : public BesideAWriter, public ::testing::WithParamInterface<double> {};
class LongReaders : public BesideAWriter, public ::testing::WithParamInterface<double> {};

TEST_P(LongTransactions, CommitBesideAWriterThatGoesOnWriting) {
    const double length = GetParam();
    Child other = write();
    ASSERT_TRUE(eventually([&] { return writer().commits > 10; }));
    const double usual = rate(1);
    const long before = writer().commits;
    const double begun = seconds();
    const int attempts = attempt([&] {
        const long seen = get(fd());
        sleep_inside(length);
        EXPECT_EQ(get(fd()), seen);
        put(fd(), seen, kStripe);
    });
    std::printf("committed at attempt %d\n", attempts);
    EXPECT_LE(attempts, most_attempts(length));
    expect_share(begun, before, usual, length);
    EXPECT_GT(get(fd(), kStripe), 10);
    // And the next one has what it needs at once.
    if (length < 2) {
        EXPECT_LE(attempt([&] {
                      const long seen = get(fd());
                      sleep_inside(length);
                      put(fd(), seen, kStripe);
                  }),
                  16 + 1 + 1);
    }
}

INSTANTIATE_TEST_SUITE_P(OfSeconds, LongTransactions,
                         ::testing::ValuesIn(std::getenv("STM_LONG") != nullptr
                                                 ? std::vector<double>{1.5, 5, 20}
                                                 : std::vector<double>{1.5, 5}));

TEST_P(LongReaders, SeeOneStateBesideAWriterThatGoesOnWriting) {
    const double length = GetParam();
    Child other = write();
    ASSERT_TRUE(eventually([&] { return writer().commits > 10; }));
    volatile bool same = false;
    const int attempts = attempt([&] {
        const long seen = get(fd());
        sleep_inside(length);
        same = get(fd()) == seen;
    });
    EXPECT_TRUE(same);
    EXPECT_LE(attempts, most_attempts(length));
}

INSTANTIATE_TEST_SUITE_P(OfSeconds, LongReaders, ::testing::Values(1.5));

TEST_F(BesideAWriter, OneThatIsStoppedKeepsNobodyForLongerThanTheLease) {
    // A holder that does nothing any more, with a bound of its own.
    Parameter most("serial_lease_max_ms", "300");
    Parameter lease("serial_lease_ms", "300");
    Child stopped([this] {
        Fd handle = another();
        Child rival([this] {
            Fd mine = another();
            for (;;)
                put(mine.get(), get(mine.get()) + 1);
            return 0;
        });
        // Until it runs alone, and then never again.
        do {
            stm_start(handle.get());
            (void)get(handle.get());
            for (int turns = 0; transaction(handle.get()).serial == 0 && turns < 100; ++turns)
                ::usleep(1000);
        } while (transaction(handle.get()).serial == 0);
        writer().commits = 1;
        rival.kill(SIGKILL);
        ::raise(SIGSTOP);
        return 0;
    });
    ASSERT_TRUE(eventually([&] { return writer().commits == 1; }));
    const double begin = seconds();
    put(fd(), 5L);
    EXPECT_LT(seconds() - begin, 5.0);
    put(fd(), 6L);
    stopped.kill(SIGKILL);
    EXPECT_EQ(stopped.wait(), 128 + SIGKILL);
}

} // namespace
