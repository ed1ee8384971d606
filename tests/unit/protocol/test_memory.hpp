// SPDX-License-Identifier: GPL-2.0
// The region that the tests run the engine on: flat (everything allocated from the start, as in
// user space) or paged (allocated at the first commit to a page, as in the module), with a gate
// that really sleeps.
#pragma once

#include "runtime/protocol/memory.hpp"
#include "runtime/protocol/serial_gate.hpp"
#include "runtime/protocol/stripe.hpp"
#include "tests/unit/protocol/kept_versions.hpp"

#include <atomic>
#include <condition_variable>
#include <cstddef> // IWYU pragma: export
#include <memory>
#include <mutex>
#include <new>
#include <vector>

namespace stm::test {

using protocol::kPageBytes;
using protocol::kStripeBytes;
using protocol::kStripesPerPage;
using protocol::SerialGate;
using protocol::WaitFilter;
using protocol::WaitMask;
using runtime::Atomic;
using runtime::Error;
using runtime::kSuccess;
using runtime::Status;
using runtime::u32;
using runtime::u64;
using runtime::u8;

// All stripes exist.
class FlatStorage {
public:
    explicit FlatStorage(u64 size)
        : size_(size), orecs_(new Atomic<u64>[stripes()]), words_(stripes() * kStripeBytes / 8) {}

    Atomic<u64>* orec(u64 stripe) { return &orecs_[stripe]; }
    u8* data(u64 stripe) { return reinterpret_cast<u8*>(words_.data()) + stripe * kStripeBytes; }
    Status materialise(u64) { return kSuccess; }
    u64 size() const { return size_; }
    u64 stripes() const { return (size_ + kStripeBytes - 1) / kStripeBytes; }

private:
    u64 size_;
    std::unique_ptr<Atomic<u64>[]> orecs_;
    std::vector<u64> words_;
};

// A page exists once it was materialised.
class PagedStorage {
public:
    explicit PagedStorage(u64 size)
        : size_(size), count_((size + kPageBytes - 1) / kPageBytes),
          pages_(new std::atomic<Page*>[count_]) {
        for (u64 i = 0; i < count_; ++i)
            pages_[i] = nullptr;
    }
    PagedStorage(const PagedStorage&) = delete;
    PagedStorage& operator=(const PagedStorage&) = delete;
    ~PagedStorage() {
        for (u64 i = 0; i < count_; ++i)
            delete pages_[i].load();
    }

    Atomic<u64>* orec(u64 stripe) {
        Page* page = find(stripe);
        return page == nullptr ? nullptr : &page->orecs[stripe % kStripesPerPage];
    }
    u8* data(u64 stripe) { return find(stripe)->bytes + stripe % kStripesPerPage * kStripeBytes; }
    Status materialise(u64 stripe) {
        std::atomic<Page*>& slot = pages_[stripe / kStripesPerPage];
        if (slot.load(std::memory_order_acquire) != nullptr)
            return kSuccess;
        if (fail_pages_ != 0 && --fail_pages_ == 0)
            return Error::no_memory;
        auto fresh = std::make_unique<Page>();
        Page* expected = nullptr;
        if (slot.compare_exchange_strong(expected, fresh.get(), std::memory_order_acq_rel))
            static_cast<void>(fresh.release());
        return kSuccess;
    }
    u64 size() const { return size_; }
    u64 stripes() const { return (size_ + kStripeBytes - 1) / kStripeBytes; }

    // The n-th page allocation from now on fails; 0: none does. Single-threaded tests only.
    void fail_page(u64 nth) { fail_pages_ = nth; }

private:
    struct Page {
        alignas(64) u8 bytes[kPageBytes] = {};
        Atomic<u64> orecs[kStripesPerPage];
    };
    Page* find(u64 stripe) {
        return pages_[stripe / kStripesPerPage].load(std::memory_order_acquire);
    }

    u64 size_;
    u64 count_;
    u64 fail_pages_ = 0;
    std::unique_ptr<std::atomic<Page*>[]> pages_;
};

// Adds the clock, a gate that sleeps, and the counts that tests look at.
template <typename Storage>
class TestMemory : public Storage {
public:
    using Storage::Storage;

    Atomic<u64>& clock() { return clock_; }
    void pause() { runtime::spin_hint(); }
    u32 spin_limit() const { return 64; }

    Status enter_commit() {
        if (gate_.try_enter())
            return kSuccess;
        std::unique_lock lock(mutex_);
        ++gate_waits_;
        changed_.wait(lock, [this] { return gate_.try_enter(); });
        return kSuccess;
    }
    void leave_commit() {
        if (gate_.leave() == SerialGate::Wake::closer)
            notify();
    }
    Status acquire_serial() {
        if (refuse_serial_)
            return Error::interrupted;
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return gate_.try_close(); });
        changed_.wait(lock, [this] { return gate_.drained(); });
        ++serial_;
        return kSuccess;
    }
    bool keep_serial() { return true; }
    void release_serial() {
        gate_.open();
        notify();
    }
    void begin_critical() { ++critical_depth(); }
    void end_critical() { --critical_depth(); }
    void serial_batch() { ++batches_; }

    protocol::OldVersions& old_versions() { return kept_.versions(); }
    protocol::OldStripe* make_old_stripe(bool) { return kept_.make(); }
    void free_old_stripe(protocol::OldStripe* old) { kept_.free(old); }
    protocol::OldStripe*& spare_old_stripe() {
        static thread_local protocol::OldStripe* spare = nullptr;
        return spare;
    }
    bool stop_commits() {
        if (!kept_.lock())
            return false;
        if (gate_.try_close()) {
            for (int spins = 0; spins < 10'000; ++spins) {
                if (gate_.drained())
                    return true;
                runtime::spin_hint();
            }
            gate_.open();
            notify();
        }
        kept_.unlock();
        return false;
    }
    void resume_commits() {
        gate_.open();
        notify();
        kept_.unlock();
    }
    bool find_old(u64 stripe, u64 time, protocol::OldStripe& to) {
        return kept_.find(stripe, time, to);
    }
    void dismiss(protocol::FixedSnapshot& snapshot) { kept_.dismiss(snapshot); }
    KeptVersions& kept_versions() { return kept_; }

    WaitFilter& wait_filter() { return filter_; }
    void wake(WaitMask mask) {
        std::lock_guard lock(mutex_);
        woken_ |= mask;
        ++wakes_;
        changed_.notify_all();
    }
    // Sleeps until changed(); woken up by wake().
    template <typename Changed>
    void sleep_until(Changed changed) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, changed);
    }

    void refuse_serial(bool refuse) { refuse_serial_ = refuse; }
    u64 serial_taken() const { return serial_; }
    u64 batches() const { return batches_; }
    u64 wakes() const { return wakes_; }
    u64 gate_waits() const { return gate_waits_; }
    WaitMask woken() const { return woken_; }
    bool gate_is_closed() const { return gate_.is_closed(); }

    // No lock and no version beyond the clock is left behind.
    bool is_quiet() {
        for (u64 i = 0; i < this->stripes(); ++i) {
            const Atomic<u64>* orec = this->orec(i);
            if (orec == nullptr)
                continue;
            const u64 word = orec->load(protocol::Order::relaxed);
            if ((word & 1) != 0 || word >> 1 > clock_.load(protocol::Order::relaxed))
                return false;
        }
        return !gate_.is_closed() && filter_.idle() && critical_depth() == 0;
    }

private:
    static int& critical_depth() {
        static thread_local int depth = 0;
        return depth;
    }
    void notify() {
        std::lock_guard lock(mutex_);
        changed_.notify_all();
    }

    alignas(64) Atomic<u64> clock_{0};
    alignas(64) SerialGate gate_;
    WaitFilter filter_;
    KeptVersions kept_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool refuse_serial_ = false;
    u64 serial_ = 0;
    u64 batches_ = 0;
    u64 wakes_ = 0;
    u64 gate_waits_ = 0;
    WaitMask woken_ = 0;
};

using FlatMemory = TestMemory<FlatStorage>;
using PagedMemory = TestMemory<PagedStorage>;
static_assert(protocol::Memory<FlatMemory> && protocol::Memory<PagedMemory>);
static_assert(protocol::FixesSnapshots<FlatMemory> && protocol::FixesSnapshots<PagedMemory>);

} // namespace stm::test
