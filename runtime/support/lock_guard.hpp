// SPDX-License-Identifier: LGPL-2.1-or-later
// Holds a lock for a scope.
//
// A lock is any class with lock() and unlock(), and lock_shared() and unlock_shared() if it can be
// shared. Where it offers them: bool try_lock(), bool try_lock_shared(); Status lock_killable(),
// Status lock_shared_killable(), which give up when the thread is being killed.
//
// What must hold: the lock outlives the guard, and the thread that locked unlocks.
//
// A guard is also a proof: a function that needs a lock held takes "const LockGuard<L>& held" and
// begins with held.expects_holds(lock_).
#pragma once

#include "runtime/support/assert.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/utility.hpp"

namespace stm::runtime {

// Says that the caller has locked already and the guard shall unlock.
struct AdoptLock {};
inline constexpr AdoptLock kAdoptLock{};

namespace detail {

struct Exclusive {
    static void lock(auto& lock) noexcept { lock.lock(); }
    static void unlock(auto& lock) noexcept { lock.unlock(); }
};

struct Shared {
    static void lock(auto& lock) noexcept { lock.lock_shared(); }
    static void unlock(auto& lock) noexcept { lock.unlock_shared(); }
};

template <typename L, typename Mode>
class BasicLockGuard : NonCopyable {
public:
    explicit BasicLockGuard(L& lock) noexcept : lock_(&lock) { Mode::lock(lock); }
    BasicLockGuard(L& lock, AdoptLock) noexcept : lock_(&lock) {}
    BasicLockGuard(BasicLockGuard&& other) noexcept
        : lock_(runtime::exchange(other.lock_, nullptr)) {}
    ~BasicLockGuard() {
        if (lock_ != nullptr)
            Mode::unlock(*lock_);
    }

    // Before the end of the scope. The guard must hold the lock.
    void unlock() noexcept {
        expects(lock_ != nullptr, "LockGuard: unlocked twice");
        Mode::unlock(*runtime::exchange(lock_, nullptr));
    }

    // The lock stays locked, for a guard that adopts it.
    void release() noexcept { lock_ = nullptr; }

    [[nodiscard]] bool holds(const L& lock) const noexcept { return lock_ == &lock; }
    void expects_holds(const L& lock) const noexcept {
        expects(holds(lock), "LockGuard: does not hold the lock it shall prove");
    }

private:
    L* lock_;
};

} // namespace detail

template <typename L>
class [[nodiscard]] LockGuard : public detail::BasicLockGuard<L, detail::Exclusive> {
public:
    using detail::BasicLockGuard<L, detail::Exclusive>::BasicLockGuard;
};
template <typename L>
LockGuard(L&) -> LockGuard<L>;
template <typename L>
LockGuard(L&, AdoptLock) -> LockGuard<L>;

template <typename L>
class [[nodiscard]] SharedLockGuard : public detail::BasicLockGuard<L, detail::Shared> {
public:
    using detail::BasicLockGuard<L, detail::Shared>::BasicLockGuard;
};
template <typename L>
SharedLockGuard(L&) -> SharedLockGuard<L>;
template <typename L>
SharedLockGuard(L&, AdoptLock) -> SharedLockGuard<L>;

// Does not wait: Error::busy if the lock is held.
template <typename L>
[[nodiscard]] Result<LockGuard<L>> try_lock(L& lock) noexcept {
    if (!lock.try_lock())
        return Error::busy;
    return LockGuard<L>(lock, kAdoptLock);
}

template <typename L>
[[nodiscard]] Result<SharedLockGuard<L>> try_lock_shared(L& lock) noexcept {
    if (!lock.try_lock_shared())
        return Error::busy;
    return SharedLockGuard<L>(lock, kAdoptLock);
}

// Waits, and fails with what the lock says if the thread is killed meanwhile.
template <typename L>
[[nodiscard]] Result<LockGuard<L>> lock_killable(L& lock) noexcept {
    const Status locked = lock.lock_killable();
    if (!locked.ok())
        return locked.error();
    return LockGuard<L>(lock, kAdoptLock);
}

template <typename L>
[[nodiscard]] Result<SharedLockGuard<L>> lock_shared_killable(L& lock) noexcept {
    const Status locked = lock.lock_shared_killable();
    if (!locked.ok())
        return locked.error();
    return SharedLockGuard<L>(lock, kAdoptLock);
}

} // namespace stm::runtime
