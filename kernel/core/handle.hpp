// SPDX-License-Identifier: GPL-2.0
// A handle: one open file, bound to one region for all its life.
//
// It composes the parts below it: the contexts of its threads, the view of its mappings, its
// descriptors, the offered starts, and the watchdog, which checks transactions whose threads make
// no calls.
//
// Every handle but one of device minor 0 counts as a user of its region from the start. Minor 0 is
// also the control device: a handle of it becomes a user of the region `default` at its first read,
// write or mmap.
#pragma once

#include "kernel/core/attachment.hpp"
#include "kernel/core/context_table.hpp"
#include "kernel/core/descriptors.hpp"
#include "kernel/core/news.hpp"
#include "kernel/core/process.hpp"
#include "kernel/core/region.hpp"
#include "kernel/core/start_offers.hpp"
#include "kernel/core/statistics.hpp"
#include "kernel/core/view.hpp"
#include "kernel/core/watchdog.hpp"
#include "kernel/interface/services.h"
#include "runtime/support/atomic.hpp"
#include "runtime/support/reference.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/unique.hpp"

namespace stm::kernel {

class Handle : public Attachment {
    using u32 = runtime::u32;

public:
    // Error::no_memory.
    [[nodiscard]] static runtime::Result<runtime::Unique<Handle>>
    create(runtime::Ref<Region> region, u32 access) noexcept;
    Handle(runtime::Ref<Region> region, u32 access, stm_view* view) noexcept;
    // Its transactions are discarded.
    ~Handle();

    [[nodiscard]] Region& region() const noexcept { return *region_; }
    // STM_ACCESS_*
    [[nodiscard]] u32 access() const noexcept { return access_; }
    [[nodiscard]] stm_process* opener() const noexcept { return opener_.get(); }

    [[nodiscard]] ContextTable& contexts() noexcept { return contexts_; }
    [[nodiscard]] View& view() noexcept { return view_; }
    [[nodiscard]] const View& view() const noexcept { return view_; }
    [[nodiscard]] News& news() noexcept { return news_; }
    [[nodiscard]] const News& news() const noexcept { return news_; }
    [[nodiscard]] StartOffers& offers() noexcept { return offers_; }
    [[nodiscard]] Descriptors& descriptors() noexcept { return descriptors_; }
    // Finds transactions of this handle that cannot succeed, as long as one runs.
    [[nodiscard]] Watchdog& watchdog() noexcept { return watchdog_; }

    // The calling thread's context, or null if it never had a transaction on this handle. It stays
    // valid as long as the handle. A transaction that the thread began by an offer is in it; one
    // that it began before it called exec is gone.
    [[nodiscard]] Context* settled_context() noexcept;
    // The same, but makes a context if there is none. Error::no_memory; Error::no_space:
    // max_contexts threads have one.
    [[nodiscard]] runtime::Result<Context*> obtain_context() noexcept;

    // Of commits that do not come from a context.
    [[nodiscard]] TypedCounters& typed_counters() noexcept { return typed_counters_; }
    // Of its journals that are no thread's any more. The lock of the region's journals protects it.
    [[nodiscard]] DirectCounts& ended_journals() noexcept { return ended_journals_; }
    // Adds what all transactions of the handle have counted, but for those that programs commit by
    // themselves: see Journals.
    void add_counters(TransactionCounters& sum) noexcept {
        contexts_.add_counters(sum);
        typed_counters_.add_to(sum);
    }

    // The file position of the calling thread's transaction: see KeptPosition.
    void note_position(long long position) noexcept;
    // Whether there may be a position to take: a thread has noted one within a transaction.
    [[nodiscard]] bool knows_positions() const noexcept {
        return knows_positions_.load(runtime::Order::relaxed);
    }
    [[nodiscard]] bool take_position(long long& position) noexcept;

    // Whether core files have its mappings. Any thread, at any time.
    enum class Dumped { no, yes };
    void set_dumped(Dumped dumped) noexcept {
        dumped_.store(dumped == Dumped::yes, runtime::Order::relaxed);
    }
    [[nodiscard]] bool is_dumped() const noexcept { return dumped_.load(runtime::Order::relaxed); }

    // A descriptor of its file was closed in the calling process.
    void flush(const stm_file* file) noexcept;
    // Discards all transactions. No process has the handle any more, and it has no mapping.
    void discard_all() noexcept;

private:
    void look_after_contexts() noexcept;
    void wait_for_orphans() noexcept;
    void retire_ended_threads() noexcept;

    const runtime::Ref<Region> region_;
    const u32 access_;
    const Process opener_;
    ContextTable contexts_;
    News news_;
    Watchdog watchdog_;
    View view_;
    Descriptors descriptors_;
    StartOffers offers_;
    TypedCounters typed_counters_;
    DirectCounts ended_journals_;
    runtime::Atomic<bool> knows_positions_{false};
    runtime::Atomic<bool> dumped_{false};
};

} // namespace stm::kernel
