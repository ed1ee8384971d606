// SPDX-License-Identifier: GPL-2.0
#include "runtime/support/lock_guard.hpp"

#include <gtest/gtest.h>

#include <type_traits>

namespace stm::runtime {
namespace {

// Only counts who holds it.
class FakeLock {
public:
    void lock() { ++exclusive; }
    void unlock() { --exclusive; }
    bool try_lock() { return free() && ++exclusive != 0; }
    Status lock_killable() {
        if (killed)
            return Error::interrupted;
        lock();
        return kSuccess;
    }
    void lock_shared() { ++shared; }
    void unlock_shared() { --shared; }
    bool try_lock_shared() { return exclusive == 0 && ++shared != 0; }
    Status lock_shared_killable() {
        if (killed)
            return Error::interrupted;
        lock_shared();
        return kSuccess;
    }

    [[nodiscard]] bool free() const { return exclusive == 0 && shared == 0; }

    int exclusive = 0;
    int shared = 0;
    bool killed = false;
};

static_assert(!std::is_copy_constructible_v<LockGuard<FakeLock>>);
static_assert(!std::is_move_assignable_v<LockGuard<FakeLock>>);
static_assert(std::is_move_constructible_v<LockGuard<FakeLock>>);
static_assert(!std::is_convertible_v<SharedLockGuard<FakeLock>&, const LockGuard<FakeLock>&>);

TEST(LockGuard, HoldsForTheScope) {
    FakeLock lock;
    {
        const LockGuard held(lock);
        EXPECT_EQ(lock.exclusive, 1);
        EXPECT_TRUE(held.holds(lock));
    }
    EXPECT_EQ(lock.exclusive, 0);
    {
        const SharedLockGuard first(lock);
        const SharedLockGuard second(lock);
        EXPECT_EQ(lock.shared, 2);
    }
    EXPECT_TRUE(lock.free());
}

TEST(LockGuard, Adopts) {
    FakeLock lock;
    lock.lock();
    {
        const LockGuard held(lock, kAdoptLock);
        EXPECT_EQ(lock.exclusive, 1);
    }
    EXPECT_TRUE(lock.free());
    lock.lock_shared();
    { const SharedLockGuard held(lock, kAdoptLock); }
    EXPECT_TRUE(lock.free());
}

TEST(LockGuard, UnlocksEarlyAndMoves) {
    FakeLock lock;
    {
        LockGuard held(lock);
        held.unlock();
        EXPECT_TRUE(lock.free());
        EXPECT_FALSE(held.holds(lock));
    }
    EXPECT_TRUE(lock.free());
    {
        LockGuard first(lock);
        const LockGuard<FakeLock> second = runtime::move(first);
        EXPECT_FALSE(first.holds(lock));
        EXPECT_TRUE(second.holds(lock));
        EXPECT_EQ(lock.exclusive, 1);
    }
    EXPECT_TRUE(lock.free());
}

TEST(LockGuard, TriesAndSaysSo) {
    FakeLock lock;
    {
        const Result<LockGuard<FakeLock>> first = try_lock(lock);
        ASSERT_TRUE(first.ok());
        EXPECT_EQ(try_lock(lock).error(), Error::busy);
        EXPECT_EQ(try_lock_shared(lock).error(), Error::busy);
        EXPECT_EQ(lock.exclusive, 1);
    }
    {
        const Result<SharedLockGuard<FakeLock>> first = try_lock_shared(lock);
        ASSERT_TRUE(first.ok());
        EXPECT_TRUE(try_lock_shared(lock).ok());
        EXPECT_EQ(lock.shared, 1);
    }
    EXPECT_TRUE(lock.free());
}

TEST(LockGuard, GivesUpWhenKilled) {
    FakeLock lock;
    {
        const Result<LockGuard<FakeLock>> held = lock_killable(lock);
        ASSERT_TRUE(held.ok());
        EXPECT_EQ(lock.exclusive, 1);
    }
    { EXPECT_TRUE(lock_shared_killable(lock).ok()); }
    EXPECT_TRUE(lock.free());
    lock.killed = true;
    EXPECT_EQ(lock_killable(lock).error(), Error::interrupted);
    EXPECT_EQ(lock_shared_killable(lock).error(), Error::interrupted);
    EXPECT_TRUE(lock.free());
}

TEST(LockGuardDeathTest, ProvesThatTheLockIsHeld) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    FakeLock lock;
    FakeLock other;
    LockGuard held(lock);
    held.expects_holds(lock);
    EXPECT_DEATH(held.expects_holds(other), "does not hold the lock");
    held.unlock();
    EXPECT_DEATH(held.expects_holds(lock), "does not hold the lock");
    EXPECT_DEATH(held.unlock(), "unlocked twice");
}

} // namespace
} // namespace stm::runtime
