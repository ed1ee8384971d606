// SPDX-License-Identifier: GPL-2.0
#include "tests/unit/kernel/simulated/rules.hpp"
#include "tests/unit/kernel/simulated/service.hpp"

#include <condition_variable>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

namespace stm::simulated {

namespace {

struct Timer {
    void (*call)(void* context);
    void* context;
    bool armed;
    bool running;
};

static_assert(sizeof(Timer) <= sizeof(stm_timer));
Timer& of(stm_timer* timer) {
    return *std::launder(reinterpret_cast<Timer*>(timer->words));
}

std::mutex timer_lock;
std::condition_variable timer_ran;
std::vector<Timer*> armed_timers;

} // namespace

std::size_t run_timers() {
    std::size_t ran = 0;
    std::unique_lock held(timer_lock);
    for (std::size_t left = armed_timers.size(); left != 0 && !armed_timers.empty(); --left) {
        Timer* timer = armed_timers.front();
        armed_timers.erase(armed_timers.begin());
        timer->armed = false;
        timer->running = true;
        held.unlock();
        timer->call(timer->context);
        held.lock();
        timer->running = false;
        ++ran;
        timer_ran.notify_all();
    }
    return ran;
}

} // namespace stm::simulated

using namespace stm::simulated;

extern "C" {

void stm_linux_timer_init(stm_timer* timer, void (*call)(void* context), void* context) {
    new (timer->words) Timer{call, context, false, false};
}

void stm_linux_timer_arm(stm_timer* timer, __u32 milliseconds) {
    const Service service("timer_arm", Context::any);
    expect(milliseconds != 0, "a timer is armed for no time");
    const std::lock_guard held(timer_lock);
    if (!std::exchange(of(timer).armed, true))
        armed_timers.push_back(&of(timer));
}

void stm_linux_timer_stop(stm_timer* timer) {
    // Waits for the call, which may take any lock.
    const Service service("timer_stop", Context::no_core_lock);
    std::unique_lock held(timer_lock);
    const auto disarm = [&] {
        if (std::exchange(of(timer).armed, false))
            std::erase(armed_timers, &of(timer));
    };
    disarm();
    timer_ran.wait(held, [&] { return !of(timer).running; });
    disarm(); // the call may have armed it again
}

} // extern "C"
