// SPDX-License-Identifier: GPL-2.0
// Linux's locks as lock classes of the runtime. Their order is in kernel/interface/services.h.
#pragma once

#include "kernel/interface/services.h"
#include "runtime/support/result.hpp"
#include "runtime/support/thread_annotations.hpp"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

class STM_LOCK_CLASS Mutex : runtime::NonCopyable {
public:
    explicit Mutex(stm_lock_rank rank) noexcept { stm_linux_mutex_init(&mutex_, rank); }
    ~Mutex() { stm_linux_mutex_destroy(&mutex_); }

    void lock() noexcept STM_ACQUIRES() { stm_linux_mutex_lock(&mutex_); }
    [[nodiscard]] bool try_lock() noexcept STM_TRIES(true) {
        return stm_linux_mutex_try_lock(&mutex_) != 0;
    }
    void unlock() noexcept STM_RELEASES() { stm_linux_mutex_unlock(&mutex_); }
    // Tells the analysis that the lock is held, where it cannot see that.
    void is_held() const noexcept STM_ASSERTS() {}

private:
    stm_mutex mutex_;
};

// Many readers or one writer; a waiting writer keeps new readers out.
class STM_LOCK_CLASS SharedMutex : runtime::NonCopyable {
public:
    explicit SharedMutex(stm_lock_rank rank) noexcept {
        stm_linux_shared_mutex_init(&mutex_, rank);
    }
    ~SharedMutex() { stm_linux_shared_mutex_destroy(&mutex_); }

    runtime::Status lock_killable() noexcept STM_NO_LOCK_ANALYSIS {
        return runtime::status_from_errno(stm_linux_shared_mutex_lock(&mutex_));
    }
    void unlock() noexcept { stm_linux_shared_mutex_unlock(&mutex_); }
    runtime::Status lock_shared_killable() noexcept {
        return runtime::status_from_errno(stm_linux_shared_mutex_lock_shared(&mutex_));
    }
    void unlock_shared() noexcept { stm_linux_shared_mutex_unlock_shared(&mutex_); }

private:
    stm_shared_mutex mutex_;
};

} // namespace stm::kernel
