// SPDX-License-Identifier: GPL-2.0
// What a commit tells: that it is done, that it is worth trying again, or that it never will be.
// And "do { stm_start(fd); ... } while (stm_commit(fd));" ends, whatever the reason is.
#include "death.hpp"
#include "transactions.hpp"

#include <thread>

using namespace stm::test;

namespace {

class Commit : public Transactions {};

void expect_words(const Death& death, const std::vector<std::string>& words) {
    EXPECT_EQ(death.signal, SIGABRT);
    for (const std::string& word : words)
        EXPECT_NE(death.said.find(word), std::string::npos) << death.said;
}

TEST_F(Commit, TellsAConflictFromWhatNeverGoesAway) {
    stm_start(fd());
    put(fd(), 1L);
    EXPECT_EQ(stm_try_commit(fd()), 0);
    EXPECT_EQ(get(fd()), 1);

    stm_start(fd());
    stm_defer_restarts(); // or the watchdog may be there before the commit
    get(fd());
    elsewhere([&] { put(fd(), 5L); });
    put(fd(), 2L, kStripe);
    EXPECT_EQ(stm_try_commit(fd()), 1);
    EXPECT_EQ(errno, EAGAIN);
    stm_allow_restarts();

    EXPECT_EQ(stm_try_commit(fd()), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(stm_try_commit(-1), -1);
    EXPECT_EQ(errno, EBADF);
    Fd null(::open("/dev/null", O_RDWR));
    EXPECT_EQ(stm_try_commit(null.get()), -1);
    EXPECT_EQ(errno, ENOTTY);
}

TEST_F(Commit, APartIsCommittedByItToo) {
    stm_start(fd());
    stm_start(fd());
    put(fd(), 1L);
    EXPECT_EQ(stm_try_commit(fd()), 0);
    EXPECT_EQ(transaction(fd()).depth, 1u);
    EXPECT_EQ(stm_try_commit(fd()), 0);
    EXPECT_EQ(get(fd()), 1);
}

// -- Loops of programs that check nothing --

TEST_F(Commit, ALoopAroundACancelledTransactionEnds) {
    expect_words(death_of([&] {
                     do {
                         stm_start(fd());
                         put(fd(), 1L);
                         stm_cancel(fd()); // and no break
                     } while (stm_commit(fd()) != 0);
                 }),
                 {"stm_start(" + std::to_string(fd()) + ")", "stm_cancel", "stm_try_commit"});
    EXPECT_EQ(get(fd()), 0);
}

TEST_F(Commit, ALoopWithTryStartEnds) {
    volatile int rounds = 0;
    volatile int error = 0;
    do {
        rounds = rounds + 1;
        if (stm_try_start(fd()) != 0) {
            error = errno;
            break;
        }
        stm_cancel(fd());
    } while (stm_commit(fd()) != 0 && rounds < 100000);
    EXPECT_EQ(error, EINVAL);
    EXPECT_LE(rounds, 1000);
    EXPECT_EQ(stm_try_start(fd()), 0) << "it counts from zero again";
    EXPECT_EQ(stm_commit(fd()), 0);
}

TEST_F(Commit, ALoopWithoutAStartEnds) {
    Fd null(::open("/dev/null", O_RDWR));
    for (const int number : {fd(), -1, null.get(), 9999})
        for (const bool used : {false, true})
            expect_words(death_of([&] {
                             std::thread([&] {
                                 if (used) {
                                     stm_start(fd());
                                     EXPECT_EQ(stm_commit(fd()), 0);
                                 }
                                 while (stm_commit(number) != 0) {
                                 }
                             }).join();
                         }),
                         {"stm_commit(" + std::to_string(number) + ")", "in a row"});
}

TEST_F(Commit, ALoopWhoseStartFailsUncheckedEnds) {
    Region plain("plain");
    expect_words(death_of([&] {
                     do {
                         (void)!stm_try_start(plain.fd());
                     } while (stm_commit(plain.fd()) != 0);
                 }),
                 {"in a row"});
}

TEST_F(Commit, ASuccessInBetweenIsAnother) {
    for (int round = 0; round < 1000; ++round) {
        stm_start(fd());
        if (round % 50 != 0)
            stm_cancel(fd());
        EXPECT_EQ(stm_commit(fd()) == 0, round % 50 == 0);
    }
}

TEST_F(Commit, WhoAsksIsAnsweredEachTime) {
    for (int round = 0; round < 1000; ++round) {
        stm_start(fd());
        stm_cancel(fd());
        ASSERT_EQ(stm_try_commit(fd()), -1);
        ASSERT_EQ(errno, EINVAL);
    }
}

// A transfer as a program writes it that looks at nothing, beside a limit.
void transfer(int fd) {
    long from = 0;
    long to = 0;
    do {
        stm_start(fd);
        std::vector<char> ballast(64 * 1024);
        (void)!::pread(fd, &from, sizeof from, 0);
        (void)!::pread(fd, &to, sizeof to, 100 * kStripe);
        from -= 10;
        to += 10;
        (void)!::pwrite(fd, &from, sizeof from, 0);
        (void)!::pread(fd, ballast.data(), ballast.size(), 0); // the limit
        (void)!::pwrite(fd, &to, sizeof to, 100 * kStripe);
    } while (stm_commit(fd) != 0);
}

TEST_F(Commit, ACallThatFailsAtALimitLeavesNothingOfItsTransaction) {
    const Parameter limit("max_stripes", "256");
    Fd handle = another();
    put(handle.get(), 1000L);
    put(handle.get(), 1000L, 100 * kStripe);
    expect_words(death_of([&] {
                     const Fd own = another();
                     transfer(own.get());
                 }),
                 {"max_stripes"});
    EXPECT_EQ(get(handle.get()), 1000);
    EXPECT_EQ(get(handle.get(), 100 * kStripe), 1000);
}

TEST_F(Commit, AFailedTransactionIsOverAlsoInItsParts) {
    const Parameter limit("max_stripes", "256");
    const Fd handle = another();
    const int number = handle.get();
    std::vector<char> ballast(64 * 1024);
    stm_start(number);
    put(number, 1L);
    stm_start(number);
    EXPECT_EQ(::pread(number, ballast.data(), ballast.size(), 0), -1);
    EXPECT_EQ(stm_try_commit(number), -1);
    EXPECT_EQ(errno, E2BIG);
    do {
        stm_start(number); // a function of a library, which knows nothing of that
        (void)!::pwrite(number, "x", 1, kStripe);
    } while (stm_commit(number) != 0);
    EXPECT_EQ(stm_try_commit(number), -1);
    EXPECT_EQ(errno, E2BIG);
    EXPECT_EQ(transaction(number).depth, 0u);
    EXPECT_EQ(get(fd()), 0);
    EXPECT_EQ(get<char>(fd(), kStripe), 0);
}

// -- Two handles of one region in one thread --

// The inner transaction changes what the outer one has read, until that runs alone.

TEST_F(Commit, AnInnerOneThatWaitsForItsOwnOuterOneEnds) {
    Fd inner = another();
    expect_words(death_of([&] {
                     volatile int rounds = 0;
                     do {
                         stm_start(fd());
                         put(fd(), get(fd()) + 1);
                         do {
                             stm_start(inner.get());
                             put(inner.get(), get(inner.get()) + 1);
                             rounds = rounds + 1;
                         } while (stm_commit(inner.get()) != 0 && rounds < 10000);
                     } while (stm_commit(fd()) != 0 && rounds < 10000);
                 }),
                 {"stm_start(" + std::to_string(fd()) + ")",
                  "stm_start(" + std::to_string(inner.get()) + ")", "use one handle for both"});
}

TEST_F(Commit, AnInnerOneThatWaitsForItsOwnOuterOneIsToldByTryStart) {
    Fd inner = another();
    volatile int rounds = 0;
    volatile int error = 0;
    do {
        if (stm_try_start(fd()) != 0) {
            error = errno;
            break;
        }
        put(fd(), get(fd()) + 1);
        do {
            stm_start(inner.get());
            put(inner.get(), get(inner.get()) + 1);
            rounds = rounds + 1;
        } while (stm_commit(inner.get()) != 0 && rounds < 10000);
    } while (stm_commit(fd()) != 0 && rounds < 10000);
    EXPECT_EQ(error, EDEADLK);
    EXPECT_LT(rounds, 1000);
    EXPECT_EQ(transaction(fd()).depth, 0u);
    EXPECT_EQ(transaction(inner.get()).depth, 0u);
}

TEST_F(Commit, AStartThatWaitsForItsOwnOuterOneEnds) {
    Region mutex("mutex", kPage, STM_MUTEX);
    Fd inner(stm_open(mutex.name().c_str(), 0, 0, 0));
    expect_words(death_of([&] {
                     stm_start(mutex.fd());
                     stm_start(inner.get());
                 }),
                 {"use one handle for both"});
    stm_start(mutex.fd());
    EXPECT_EQ(stm_try_start(inner.get()), -1);
    EXPECT_EQ(errno, EDEADLK);
    EXPECT_EQ(stm_commit(mutex.fd()), 0);
}

} // namespace
