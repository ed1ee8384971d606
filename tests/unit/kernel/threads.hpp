// SPDX-License-Identifier: GPL-2.0
// Threads that do something at the same time.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <chrono>
#include <thread>
#include <vector>

namespace stm::test {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// Runs body(number) in so many threads and waits for all.
template <typename Body>
void in_threads(int count, Body body) {
    std::vector<std::thread> threads;
    for (int number = 0; number < count; ++number)
        threads.emplace_back([&body, number] { body(number); });
    for (std::thread& thread : threads)
        thread.join();
}

// Rounds for a while, three at least however busy the machine is: each thread does body(number) at
// the same time, then before() prepares and after() checks alone.
template <typename Before, typename Body, typename After>
void in_rounds(int count, milliseconds duration, Before before, Body body, After after) {
    const auto end = Clock::now() + duration;
    std::barrier turn(count);
    std::atomic<bool> over{false};
    int rounds = 0;
    in_threads(count, [&](int number) {
        while (true) {
            if (number == 0) {
                if (rounds++ != 0)
                    after();
                over = (Clock::now() >= end && rounds > 3) || testing::Test::HasFailure();
                if (!over)
                    before();
            }
            turn.arrive_and_wait();
            if (over)
                return;
            body(number);
            turn.arrive_and_wait();
        }
    });
}

} // namespace stm::test
