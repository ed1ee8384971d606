// SPDX-License-Identifier: GPL-2.0
// One function for each bug that a debug kernel has to find in the module's C++.
#include "planted.h"

namespace {

// Opaque to the optimiser, which would see through the bugs otherwise.
template <typename T>
T hidden(T value) {
    asm volatile("" : "+r"(value));
    return value;
}

unsigned long shared_count;

} // namespace

extern "C" {

void planted_nothing(void) {
    auto* bytes = static_cast<char*>(planted_allocate(64));
    if (bytes == nullptr)
        return;
    hidden(bytes)[63] = 1;
    planted_free(bytes);
    planted_lock(0);
    planted_lock(1);
    planted_unlock(1);
    planted_unlock(0);
    planted_spin_lock();
    planted_spin_unlock();
    planted_may_sleep();
}

void planted_out_of_bounds(void) {
    auto* bytes = static_cast<char*>(planted_allocate(64));
    if (bytes == nullptr)
        return;
    hidden(bytes)[64] = 1;
    planted_free(bytes);
}

void planted_use_after_free(void) {
    auto* bytes = static_cast<char*>(planted_allocate(64));
    planted_free(bytes);
    hidden(bytes)[3] = 1;
}

void planted_shift(void) {
    const int by = hidden(40);
    (void)hidden(1 << by);
}

void planted_lock_order(void) {
    planted_lock(0);
    planted_lock(1);
    planted_unlock(1);
    planted_unlock(0);
    planted_lock(1);
    planted_lock(0);
    planted_unlock(0);
    planted_unlock(1);
}

void planted_sleep_under_spin_lock(void) {
    planted_spin_lock();
    planted_may_sleep();
    planted_spin_unlock();
}

void planted_leak(void) {
    (void)hidden(planted_allocate(100));
}

void planted_race(void) {
    // Kept in memory: each turn is a load and a store that the sanitizer sees.
    for (int turn = 0; turn < 1000; ++turn) {
        shared_count = shared_count + 1;
        asm volatile("" : : : "memory");
    }
}

} // extern "C"
