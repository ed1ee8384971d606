// SPDX-License-Identifier: GPL-2.0
// The signal of the module, and signals beside threads and forks.
#include "signals.hpp"

#include <atomic>
#include <thread>

using namespace stm::test;

namespace {

// -- The signal of the module --

TEST_F(Signals, AnEndlessLoopOnOldDataEnds) {
    in_child([&] {
        volatile int attempts = 0;
        double before = seconds();
        do {
            stm_start(fd());
            attempts = attempts + 1;
            volatile long value = get(fd());
            if (attempts == 1)
                elsewhere([&] { put(fd(), 1L); });
            while (value == 0)
                continue;
        } while (stm_commit(fd()) != 0);
        EXPECT_EQ(attempts, 2);
        EXPECT_LT(seconds() - before, 2 * time_scale());
        EXPECT_EQ(statistics(fd()).signals, 1u);
    });
}

TEST_F(Signals, ASleepOnOldDataEnds) {
    in_child([&] {
        volatile int attempts = 0;
        double before = seconds();
        do {
            stm_start(fd());
            attempts = attempts + 1;
            long value = get(fd());
            if (attempts == 1)
                elsewhere([&] { put(fd(), 1L); });
            if (value == 0)
                ::sleep(static_cast<unsigned>(20 * time_scale()));
        } while (stm_commit(fd()) != 0);
        EXPECT_EQ(attempts, 2);
        EXPECT_LT(seconds() - before, 10 * time_scale());
    });
}

TEST_F(Signals, TheProgramsOwnHandlerForTheDoomSignalGetsItsOwn) {
    in_child([&] {
        handle(kDoomSignal, note_and_return);
        volatile int attempts = 0;
        do {
            stm_start(fd());
            attempts = attempts + 1;
            volatile long value = get(fd());
            ::raise(kDoomSignal);
            if (attempts == 1)
                elsewhere([&] { put(fd(), 1L); });
            while (value == 0)
                continue;
        } while (stm_commit(fd()) != 0);
        EXPECT_EQ(attempts, 2);
        EXPECT_EQ(seen.calls, 2) << "one for each raise, none of the module's";
    });
}

// -- Threads --

TEST_F(Faults, ThreadsRestartAtOnce) {
    constexpr int kThreads = 4;
    constexpr int kRounds = 50;
    in_child([&] {
        std::atomic<long> current = 0; // what the region holds at least, told past it
        std::atomic<int> ended = 0;
        std::atomic<long> restarts = 0;
        auto worker = [&](int number) {
            AlternateStack stack;
            for (int round = 0; round < kRounds; ++round) {
                volatile int attempts = 0;
                do {
                    stm_start(fd());
                    attempts = attempts + 1;
                    long value = get(fd());
                    if (attempts > 1)
                        continue;
                    while (current.load() <= value) // the region may be ahead
                        std::this_thread::yield();
                    kFaults[(number + round) % 4].make();
                } while (stm_commit(fd()) != 0);
                restarts += attempts - 1;
            }
            ++ended;
        };
        std::vector<std::thread> threads;
        for (int number = 0; number < kThreads; ++number)
            threads.emplace_back(worker, number);
        for (long value = 1; ended < kThreads; ++value) {
            put(fd(), value);
            current = value;
            std::this_thread::sleep_for(std::chrono::microseconds(200));
        }
        for (std::thread& thread : threads)
            thread.join();
        EXPECT_GE(restarts, kThreads * kRounds);
    });
}

// Signals in the middle of everything that the library does: each of them makes it look after the
// transactions of the thread.
TEST_F(Signals, InTheMiddleOfTheLibrary) {
    in_child([&] {
        constexpr int kRounds = 3000;
        std::atomic<bool> stop = false;
        std::atomic<long> others = 0;
        std::thread rival([&] {
            while (!stop) {
                do {
                    stm_start(fd());
                    put(fd(), get(fd()) + 1);
                    put(fd(), get(fd(), kStripe) + 1, kStripe);
                } while (stm_commit(fd()) != 0);
                ++others;
                std::this_thread::sleep_for(std::chrono::microseconds(100));
            }
        });
        std::atomic<bool> ready = false;
        std::atomic<bool> done = false;
        std::thread worker([&] {
            first_transaction(fd());
            ready = true;
            for (int round = 0; round < kRounds; ++round) {
                do {
                    stm_start(fd());
                    put(fd(), get(fd()) + 1);
                    stm_start(fd());
                    put(fd(), 77L, 2 * kStripe);
                    stm_cancel(fd());
                    stm_start(fd());
                    put(fd(), get(fd(), kStripe) + 1, kStripe);
                    stm_validate(fd());
                    EXPECT_EQ(stm_commit(fd()), 0);
                } while (stm_commit(fd()) != 0);
            }
            done = true;
        });
        while (!ready)
            std::this_thread::yield();
        long sent = 0;
        std::thread bomber([&] {
            while (!stop) {
                pthread_kill(worker.native_handle(), kDoomSignal);
                ++sent;
                for (int spin = 0; spin < 2000; ++spin)
                    asm volatile("pause");
            }
        });
        while (!done)
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        stop = true;
        bomber.join(); // before the thread that it aims at
        worker.join();
        rival.join();
        EXPECT_EQ(get(fd()), kRounds + others);
        EXPECT_EQ(get(fd(), kStripe), kRounds + others);
        EXPECT_EQ(get(fd(), 2 * kStripe), 0);
        RecordProperty("signals", static_cast<int>(sent));
    });
}

// -- fork --

TEST_F(Signals, AChildHasNoTransaction) {
    in_child([&] {
        volatile int attempts = 0;
        stm_start(fd());
        attempts = attempts + 1;
        put(fd(), 1L);
        if (attempts == 1) {
            elsewhere([&] {
                EXPECT_EQ(transaction(fd()).depth, 0u);
                EXPECT_EQ(stm_commit(fd()), 1);
                EXPECT_EQ(errno, EINVAL);
                EXPECT_EQ(get(fd()), 0);
                // One of its own.
                volatile int own = 0;
                stm_start(fd());
                own = own + 1;
                if (own < 3)
                    stm_retry(fd());
                put(fd(), 5L, kStripe);
                EXPECT_EQ(stm_commit(fd()), 0);
            });
            // A fault of the child is its own affair.
            EXPECT_EQ(signal_of([] { fault_fpe(); }), SIGFPE);
            stm_retry(fd());
        }
        EXPECT_EQ(get(fd(), kStripe), 5);
        EXPECT_EQ(stm_commit(fd()), 0);
        EXPECT_EQ(attempts, 2);
    });
}

} // namespace
