// SPDX-License-Identifier: GPL-2.0
// The old versions of a region of the tests, with what a memory adds to them: a lock, room for them
// up to a bound, and the count of what has not been freed.
#pragma once

#include "runtime/protocol/old_versions.hpp"

#include <atomic>
#include <mutex>
#include <utility>

namespace stm::test {

class KeptVersions {
public:
    KeptVersions() = default;
    KeptVersions(const KeptVersions&) = delete;
    KeptVersions& operator=(const KeptVersions&) = delete;
    ~KeptVersions() { collect(); }

    protocol::OldVersions& versions() { return versions_; }
    protocol::OldStripe* make() {
        if (made_.fetch_add(1) >= bound_) {
            made_.fetch_sub(1);
            return nullptr;
        }
        return new protocol::OldStripe;
    }
    void free(protocol::OldStripe* old) {
        delete old;
        made_.fetch_sub(1);
    }

    // Between these two the calling thread has the lock.
    bool lock() {
        if (!get_ready())
            return false;
        mutex_.lock();
        return true;
    }
    bool get_ready() {
        const std::lock_guard held(mutex_);
        if (!versions_.is_ready()) {
            auto buckets = protocol::OldVersions::make_buckets();
            if (buckets.ok())
                versions_.get_ready(std::move(*buckets));
        }
        return versions_.is_ready();
    }
    void unlock() { mutex_.unlock(); }

    bool find(std::uint64_t stripe, std::uint64_t time, protocol::OldStripe& to) {
        const std::lock_guard held(mutex_);
        const protocol::OldStripe* const old = versions_.find(stripe, time);
        if (old != nullptr)
            to = *old;
        return old != nullptr;
    }
    void dismiss(protocol::FixedSnapshot& snapshot) {
        {
            const std::lock_guard held(mutex_);
            versions_.dismiss(snapshot);
        }
        collect();
    }
    bool end_oldest() {
        bool ended = false;
        {
            const std::lock_guard held(mutex_);
            ended = versions_.end_oldest();
        }
        collect();
        return ended;
    }
    // After a commit.
    void tidy() {
        if (made_ != 0 && versions_.was_for_nothing())
            collect();
    }

    // How many have been made and not freed.
    std::int64_t count() const { return made_; }
    void set_bound(std::int64_t bound) { bound_ = bound; }

private:
    void collect() {
        for (unsigned first = 0; first < protocol::OldVersions::kBuckets;
             first += protocol::OldVersions::kCollected) {
            protocol::OldStripe* taken = nullptr;
            {
                const std::lock_guard held(mutex_);
                taken = versions_.collect(first);
            }
            while (taken != nullptr) {
                protocol::OldStripe* const old = taken;
                taken = old->next;
                free(old);
            }
        }
    }

    std::mutex mutex_;
    protocol::OldVersions versions_;
    std::atomic<std::int64_t> made_{0};
    std::atomic<std::int64_t> bound_{1'000'000};
};

} // namespace stm::test
