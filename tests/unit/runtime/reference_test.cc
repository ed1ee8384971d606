// SPDX-License-Identifier: GPL-2.0
#include "runtime/support/reference.hpp"

#include "tests/unit/support/allocation.hpp"

#include <gtest/gtest.h>

#include <mutex>
#include <thread>
#include <type_traits>
#include <vector>

namespace stm::runtime {
namespace {

class Object : public RefCounted<Object> {
public:
    explicit Object(int& alive) : alive_(alive) { ++alive_; }
    ~Object() { --alive_; }

private:
    int& alive_;
};

class Postponed : public RefCounted<Postponed> {
public:
    static void last_reference_gone(Postponed* object) { waiting = object; }
    static inline Postponed* waiting = nullptr;
};

static_assert(sizeof(Ref<Object>) == sizeof(void*));
static_assert(!std::is_convertible_v<Object*, Ref<Object>>);

TEST(Ref, TheLastOneEndsTheObject) {
    const test::NoLeak no_leak;
    int alive = 0;
    {
        const Ref<Object> first = make_ref<Object>(alive).value();
        EXPECT_EQ(first->references().count(), 1u);
        {
            const Ref<Object> second = first;
            EXPECT_TRUE(first == second);
            EXPECT_EQ(first->references().count(), 2u);
            const Ref<Object> third = Ref<Object>::share(*second);
            EXPECT_EQ(first->references().count(), 3u);
        }
        EXPECT_EQ(first->references().count(), 1u);
        EXPECT_EQ(alive, 1);
    }
    EXPECT_EQ(alive, 0);
}

TEST(Ref, MovesWithoutCounting) {
    const test::NoLeak no_leak;
    int alive = 0;
    Ref<Object> first = make_ref<Object>(alive).value();
    Ref<Object> second = runtime::move(first);
    EXPECT_FALSE(first);
    EXPECT_EQ(second->references().count(), 1u);
    first = runtime::move(second);
    EXPECT_TRUE(first);
    EXPECT_EQ(first.get(), &*first);
    EXPECT_FALSE(second);
    Ref<Object>& same = first;
    first = runtime::move(same);
    EXPECT_TRUE(first);
    first.reset();
    EXPECT_EQ(alive, 0);
}

TEST(Ref, Assigns) {
    const test::NoLeak no_leak;
    int first_alive = 0;
    int second_alive = 0;
    Ref<Object> first = make_ref<Object>(first_alive).value();
    const Ref<Object> second = make_ref<Object>(second_alive).value();
    first = second;
    EXPECT_EQ(first_alive, 0);
    EXPECT_EQ(second->references().count(), 2u);
    const Ref<Object>& same = first;
    first = same;
    EXPECT_EQ(second->references().count(), 2u);
    first = Ref<Object>();
    EXPECT_EQ(second->references().count(), 1u);
    const Ref<Object> null_copy = first;
    EXPECT_FALSE(null_copy);
}

TEST(Ref, LeaksAndAdopts) {
    const test::NoLeak no_leak;
    int alive = 0;
    Ref<Object> first = make_ref<Object>(alive).value();
    void* const kept_in_c = first.leak();
    EXPECT_FALSE(first);
    EXPECT_EQ(alive, 1);
    const Ref<Object> back = Ref<Object>::adopt(static_cast<Object*>(kept_in_c));
    EXPECT_EQ(back->references().count(), 1u);
}

TEST(Ref, ALookupFindsOnlyTheLiving) {
    const test::NoLeak no_leak;
    Ref<Postponed> first = make_ref<Postponed>().value();
    Postponed& object = *first;
    {
        const Result<Ref<Postponed>> found = Ref<Postponed>::try_share(object);
        ASSERT_TRUE(found.ok());
        EXPECT_EQ(object.references().count(), 2u);
    }
    first.reset();
    ASSERT_EQ(Postponed::waiting, &object);
    EXPECT_EQ(Ref<Postponed>::try_share(object).error(), Error::not_found);
    EXPECT_EQ(object.references().count(), 0u);
    destroy(Postponed::waiting);
}

TEST(Ref, MakeFailsWithoutMemory) {
    int alive = 0;
    const test::FailAllocation failure(1);
    EXPECT_EQ(make_ref<Object>(alive).error(), Error::no_memory);
    EXPECT_EQ(alive, 0);
}

TEST(ReferenceCounter, SaturatesInsteadOfWrapping) {
    constexpr u32 kLast = ReferenceCounter::kSaturated - 1;
    ReferenceCounter acquired(kLast - 1);
    acquired.acquire();
    EXPECT_EQ(acquired.count(), kLast);
    acquired.acquire();
    EXPECT_GT(acquired.count(), ReferenceCounter::kSaturated);
    EXPECT_FALSE(acquired.release());
    EXPECT_FALSE(acquired.release());
    EXPECT_GT(acquired.count(), ReferenceCounter::kSaturated);

    ReferenceCounter tried(kLast - 1);
    EXPECT_TRUE(tried.try_acquire());
    EXPECT_EQ(tried.count(), kLast);
    EXPECT_TRUE(tried.try_acquire());
    EXPECT_GT(tried.count(), ReferenceCounter::kSaturated);
    EXPECT_TRUE(tried.try_acquire());
    EXPECT_FALSE(tried.release());
}

TEST(ReferenceDeathTest, Misuse) {
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(ReferenceCounter(0).acquire(), "acquired without a reference");
    EXPECT_DEATH((void)ReferenceCounter(0).release(), "released without a reference");
    EXPECT_DEATH((void)*Ref<Object>(), "access through null");
    EXPECT_DEATH(
        {
            int alive = 0;
            const Object never_released(alive);
        },
        "destroyed while referenced");
}

TEST(RefThreads, OneOfManyOwnersEndsTheObject) {
    const test::NoLeak no_leak;
    int alive = 0;
    for (int round = 0; round < 200; ++round) {
        Ref<Object> first = make_ref<Object>(alive).value();
        std::vector<std::thread> threads;
        for (int thread = 0; thread < 3; ++thread) {
            threads.emplace_back([own = first]() mutable {
                for (int copy = 0; copy < 20; ++copy)
                    const Ref<Object> another = own;
                own.reset();
            });
        }
        first.reset();
        for (std::thread& thread : threads)
            thread.join();
        threads.clear();
        ASSERT_EQ(alive, 0);
    }
}

// The table of the comment in reference.hpp: the destructor takes the object out under the lock.
class Registered : public RefCounted<Registered> {
public:
    ~Registered() {
        std::this_thread::yield(); // time for a lookup to find it without references
        const std::lock_guard held(mutex);
        if (registered == this)
            registered = nullptr;
    }
    static inline std::mutex mutex;
    static inline Registered* registered = nullptr;
};

TEST(RefThreads, ALookupRacesWithTheLastRelease) {
    const test::NoLeak no_leak;
    Atomic<u32> done;
    std::thread looking([&] {
        while (done.load(Order::acquire) == 0) {
            std::this_thread::yield();
            Ref<Registered> found;
            const std::lock_guard held(Registered::mutex);
            if (Registered::registered == nullptr)
                continue;
            Result<Ref<Registered>> shared = Ref<Registered>::try_share(*Registered::registered);
            if (shared.ok())
                found = runtime::move(*shared);
            // held is released before found: the destructor of the last reference locks.
        }
    });
    for (int round = 0; round < 1000; ++round) {
        Ref<Registered> object = make_ref<Registered>().value();
        {
            const std::lock_guard held(Registered::mutex);
            Registered::registered = object.get();
        }
        std::this_thread::yield();
        object.reset();
    }
    done.store(1, Order::release);
    looking.join();
    EXPECT_EQ(Registered::registered, nullptr);
}

} // namespace
} // namespace stm::runtime
