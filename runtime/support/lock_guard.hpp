// SPDX-License-Identifier: LGPL-2.1-or-later
// Holds a lock for a scope.
//
// A lock is any class with lock() and unlock(), and lock_shared() and unlock_shared() if it can be
// shared. It may also offer bool try_lock(), bool try_lock_shared(), Status lock_killable() and
// Status lock_shared_killable(). The last two give up when the thread is being killed.
//
// Invariants: the lock outlives the guard, and the thread that locked unlocks.
//
// A function that needs a lock held says so by STM_REQUIRES, or takes the guard as a proof. Then it
// has a parameter "const LockGuard<L>& held" and begins with held.expects_holds(lock_).
#pragma once

#include "runtime/support/assert.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/thread_annotations.hpp"
#include "runtime/support/utility.hpp"

namespace stm::runtime {

// Says that the caller has locked already, and the guard will unlock.
struct AdoptLock {};
inline constexpr AdoptLock kAdoptLock{};

namespace detail {

struct Exclusive {
    static void lock(auto& lock) noexcept STM_NO_LOCK_ANALYSIS { lock.lock(); }
    static void unlock(auto& lock) noexcept STM_NO_LOCK_ANALYSIS { lock.unlock(); }
};

struct Shared {
    static void lock(auto& lock) noexcept STM_NO_LOCK_ANALYSIS { lock.lock_shared(); }
    static void unlock(auto& lock) noexcept STM_NO_LOCK_ANALYSIS { lock.unlock_shared(); }
};

// The analysis sees the locks in the constructors and destructors of the classes below, not the
// calls in here.
template <typename L, typename Mode>
class BasicLockGuard : NonCopyable {
public:
    // Unlocks before the end of the scope. The guard must hold the lock.
    void unlock() noexcept STM_NO_LOCK_ANALYSIS {
        expects(lock_ != nullptr, "LockGuard: unlocked twice");
        Mode::unlock(*runtime::exchange(lock_, nullptr));
    }

    // The lock stays locked, for a guard that adopts it.
    void release() noexcept { lock_ = nullptr; }

    [[nodiscard]] bool holds(const L& lock) const noexcept { return lock_ == &lock; }
    void expects_holds(const L& lock) const noexcept STM_ASSERTS(lock) {
        expects(holds(lock), "LockGuard: does not hold the lock it shall prove");
    }

protected:
    explicit BasicLockGuard(L& lock) noexcept STM_NO_LOCK_ANALYSIS : lock_(&lock) {
        Mode::lock(lock);
    }
    BasicLockGuard(L& lock, AdoptLock) noexcept : lock_(&lock) {}
    BasicLockGuard(BasicLockGuard&& other) noexcept
        : lock_(runtime::exchange(other.lock_, nullptr)) {}
    ~BasicLockGuard() STM_NO_LOCK_ANALYSIS {
        if (lock_ != nullptr)
            Mode::unlock(*lock_);
    }

private:
    L* lock_;
};

} // namespace detail

template <typename L>
class [[nodiscard]] STM_LOCK_SCOPE_CLASS LockGuard
    : public detail::BasicLockGuard<L, detail::Exclusive> {
    using Base = detail::BasicLockGuard<L, detail::Exclusive>;

public:
    explicit LockGuard(L& lock) noexcept STM_ACQUIRES(lock) : Base(lock) {}
    LockGuard(L& lock, AdoptLock adopt) noexcept STM_REQUIRES(lock) : Base(lock, adopt) {}
    LockGuard(LockGuard&& other) noexcept = default;
    ~LockGuard() STM_RELEASES() {}
    void unlock() noexcept STM_RELEASES() { Base::unlock(); }
};
template <typename L>
LockGuard(L&) -> LockGuard<L>;
template <typename L>
LockGuard(L&, AdoptLock) -> LockGuard<L>;

template <typename L>
class [[nodiscard]] STM_LOCK_SCOPE_CLASS SharedLockGuard
    : public detail::BasicLockGuard<L, detail::Shared> {
    using Base = detail::BasicLockGuard<L, detail::Shared>;

public:
    explicit SharedLockGuard(L& lock) noexcept STM_ACQUIRES_SHARED(lock) : Base(lock) {}
    SharedLockGuard(L& lock, AdoptLock adopt) noexcept STM_REQUIRES_SHARED(lock)
        : Base(lock, adopt) {}
    SharedLockGuard(SharedLockGuard&& other) noexcept = default;
    ~SharedLockGuard() STM_RELEASES_ANY() {}
    void unlock() noexcept STM_RELEASES_ANY() { Base::unlock(); }
};
template <typename L>
SharedLockGuard(L&) -> SharedLockGuard<L>;
template <typename L>
SharedLockGuard(L&, AdoptLock) -> SharedLockGuard<L>;

// Does not wait: Error::busy if the lock is held.
template <typename L>
[[nodiscard]] Result<LockGuard<L>> try_lock(L& lock) noexcept STM_NO_LOCK_ANALYSIS {
    if (!lock.try_lock())
        return Error::busy;
    return LockGuard<L>(lock, kAdoptLock);
}

template <typename L>
[[nodiscard]] Result<SharedLockGuard<L>> try_lock_shared(L& lock) noexcept STM_NO_LOCK_ANALYSIS {
    if (!lock.try_lock_shared())
        return Error::busy;
    return SharedLockGuard<L>(lock, kAdoptLock);
}

// Waits. Fails with the lock's error if the thread is killed meanwhile.
template <typename L>
[[nodiscard]] Result<LockGuard<L>> lock_killable(L& lock) noexcept STM_NO_LOCK_ANALYSIS {
    const Status locked = lock.lock_killable();
    if (!locked.ok())
        return locked.error();
    return LockGuard<L>(lock, kAdoptLock);
}

template <typename L>
[[nodiscard]] Result<SharedLockGuard<L>>
lock_shared_killable(L& lock) noexcept STM_NO_LOCK_ANALYSIS {
    const Status locked = lock.lock_shared_killable();
    if (!locked.ok())
        return locked.error();
    return SharedLockGuard<L>(lock, kAdoptLock);
}

} // namespace stm::runtime
