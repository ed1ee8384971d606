// SPDX-License-Identifier: GPL-2.0
// What ci/lock-analysis must find before it is believed: each line that is marked is a mistake.
#include "kernel/core/lock.hpp"
#include "runtime/support/lock_guard.hpp"

namespace stm::kernel {

class Account {
    using Guard = runtime::LockGuard<Mutex>;

public:
    Account() noexcept : lock_(STM_RANK_TOKEN) {}

    void deposit(int amount) noexcept {
        const Guard held(lock_);
        add_locked(amount);
    }
    void deposit_without_the_lock(int amount) noexcept {
        add_locked(amount); // mistake
    }
    [[nodiscard]] int balance_without_the_lock() const noexcept {
        return balance_; // mistake
    }
    void deposit_after_the_lock(int amount) noexcept {
        { const Guard held(lock_); }
        balance_ += amount; // mistake
    }
    void lock_twice() noexcept {
        const Guard held(lock_);
        wait_unlocked(); // mistake
    }

private:
    void add_locked(int amount) noexcept STM_REQUIRES(lock_) { balance_ += amount; }
    void wait_unlocked() noexcept STM_EXCLUDES(lock_) {}

    Mutex lock_;
    int balance_ STM_GUARDED_BY(lock_) = 0;
};

} // namespace stm::kernel
