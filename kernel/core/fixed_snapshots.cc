// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/fixed_snapshots.hpp"

#include "kernel/core/serial_token.hpp"
#include "kernel/core/settings.hpp"
#include "runtime/support/host.h"
#include "runtime/support/lock_guard.hpp"

namespace stm::kernel {

using protocol::OldStripe;
using protocol::OldVersions;
using runtime::Order;
using runtime::u32;
using runtime::u64;
using Guard = runtime::LockGuard<Mutex>;

namespace {

// So many eighths of the stripes for which there is room in so many bytes.
u64 most(u64 bytes, u64 eighths) noexcept {
    return bytes / sizeof(OldStripe) / 8 * eighths;
}

} // namespace

// No snapshot is left.
void FixedSnapshots::forget_user() noexcept {
    collect();
    of_user_ = nullptr;
}

bool FixedSnapshots::is_below(u64 eighths) const noexcept {
    return stripes_.load(Order::relaxed) < most(current(settings_.max_old_bytes), eighths) &&
           (of_user_ == nullptr ||
            of_user_->load(Order::relaxed) < most(current(settings_.max_user_old_bytes), eighths));
}

OldStripe* FixedSnapshots::make(bool may_sleep) noexcept {
    // Several at once may pass the bound by one stripe each.
    if (!is_below(8))
        return nullptr;
    void* const memory =
        may_sleep ? stm_allocate(sizeof(OldStripe)) : stm_linux_allocate_now(sizeof(OldStripe));
    if (memory == nullptr)
        return nullptr;
    stripes_.fetch_add(1, Order::relaxed);
    if (of_user_ != nullptr)
        of_user_->fetch_add(1, Order::relaxed);
    return static_cast<OldStripe*>(memory);
}

void FixedSnapshots::free(OldStripe* old) noexcept {
    stm_free(old);
    stripes_.fetch_sub(1, Order::relaxed);
    if (of_user_ != nullptr)
        of_user_->fetch_sub(1, Order::relaxed);
}

// Whether the oldest snapshot is to end. At the bound of the user it is not where there is little:
// another region has the most of it.
bool FixedSnapshots::is_over() const noexcept {
    const u64 own = stripes_.load(Order::relaxed);
    if (is_below(7))
        return false;
    return own >= most(current(settings_.max_old_bytes), 7) || of_user_ == nullptr ||
           own >= of_user_->load(Order::relaxed) / 8;
}

void FixedSnapshots::tidy_up() noexcept {
    while (is_over()) {
        {
            const Guard held(lock_);
            // One that ended meanwhile may have been enough.
            if (!is_over() || collections_.load(Order::acquire) != 0 || !old_versions_.end_oldest())
                break;
        }
        collect();
    }
    if (old_versions_.was_for_nothing())
        collect();
}

bool FixedSnapshots::get_ready() noexcept {
    {
        const Guard held(lock_);
        if (old_versions_.is_ready()) [[likely]]
            return true;
    }
    // Memory that is to be had may be waited for by who waits for the lock.
    auto buckets = OldVersions::make_buckets();
    if (!buckets.ok())
        return false;
    const Guard held(lock_);
    old_versions_.get_ready(runtime::move(*buckets));
    return true;
}

// The lock comes first, so that the gate is never closed while the thread sleeps for it. Nor is it
// while the thread waits for a processor: nobody could take it away.
bool FixedSnapshots::stop_commits(SerialToken& token) noexcept STM_NO_LOCK_ANALYSIS {
    if (!is_below(7) || !get_ready())
        return false;
    lock_.lock();
    stm_linux_stay_on_processor();
    if (token.try_stop())
        return true;
    stm_linux_leave_processor();
    token.wake();
    lock_.unlock();
    return false;
}

void FixedSnapshots::resume_commits(SerialToken& token) noexcept STM_NO_LOCK_ANALYSIS {
    token.resume();
    stm_linux_leave_processor();
    token.wake();
    lock_.unlock();
}

bool FixedSnapshots::find(u64 stripe, u64 snapshot, OldStripe& to) noexcept {
    const Guard held(lock_);
    const OldStripe* const old = old_versions_.find(stripe, snapshot);
    if (old != nullptr)
        to = *old;
    return old != nullptr;
}

void FixedSnapshots::dismiss(protocol::FixedSnapshot& snapshot) noexcept {
    {
        const Guard held(lock_);
        old_versions_.dismiss(snapshot);
    }
    collect();
}

// One thread at a time, in pieces, so that nobody waits for the lock for long. Who comes meanwhile
// leaves it to that one to begin again, a few times; what is left then the next one finds.
void FixedSnapshots::collect() noexcept {
    constexpr int kMostRounds = 4;
    if (stripes_.load(Order::relaxed) == 0 || collections_.fetch_add(1, Order::acq_rel) != 0)
        return;
    u32 asked = 1;
    for (int round = 1; round <= kMostRounds && asked != 0; ++round) {
        collect_all();
        const u32 before = collections_.fetch_sub(asked, Order::acq_rel);
        asked = before - asked;
    }
    if (asked != 0)
        collections_.store(0, Order::release);
}

void FixedSnapshots::collect_all() noexcept {
    for (u32 first = 0; first < OldVersions::kBuckets; first += OldVersions::kCollected) {
        OldStripe* taken = nullptr;
        {
            const Guard held(lock_);
            taken = old_versions_.collect(first);
        }
        while (taken != nullptr) {
            OldStripe* const old = taken;
            taken = old->next;
            free(old);
        }
        stm_linux_breathe();
    }
}

} // namespace stm::kernel
