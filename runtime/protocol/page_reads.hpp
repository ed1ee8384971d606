// SPDX-License-Identifier: LGPL-2.1-or-later
// The pages of a read set: those that were read as a whole, and those that the caller keeps, copied
// for earlier transactions.
//
// One version stands for a page. At some moment after the clock stood at that version, all stripes
// of the page had versions not above it. Any later commit to one of them has a version above it (2.
// of the proof in transaction.hpp).
#pragma once

#include "runtime/protocol/growing_array.hpp"
#include "runtime/protocol/memory.hpp"
#include "runtime/protocol/page_changes.hpp"
#include "runtime/protocol/stripe.hpp"
#include "runtime/protocol/validity.hpp"
#include "runtime/support/span.hpp"

namespace stm::protocol {

// A page that the caller keeps. `changes`: what PageChanges said of it before its records were
// found to be those of the copy; or kNotCounted.
struct KeptPage {
    u64 page;
    u64 changes;
};

// What `is_mine` says is as in validity.hpp.
template <StripeMemory M, Mutation kMutation = Mutation::none>
class PageReads : runtime::NonCopyable {
public:
    explicit PageReads(M& memory) noexcept : memory_(memory) {}

    // A page of which the first `stripes` stripes were read.
    struct Read {
        u64 page;
        u64 version;
        u32 stripes;
        u32 unused;
    };

    // How many pages it has.
    [[nodiscard]] u64 size() const noexcept { return kept_.size() + reads_.size(); }

    // How many of them this transaction has read itself.
    [[nodiscard]] u32 size_of_read() const noexcept { return reads_.size(); }

    // -- Read as a whole --

    [[nodiscard, gnu::always_inline]] runtime::Status reserve_one(u32 limit) noexcept {
        return reads_.reserve(reads_.size() + u64{1}, limit);
    }
    // There is room for it.
    [[gnu::always_inline]] void append(u64 page, u64 version) noexcept {
        reads_.next() = {page, version, kStripesPerPage, 0};
        reads_.commit_append();
    }
    // The same for one that is read stripe by stripe: add_stripe() follows each of them.
    void begin_page(u64 page, u64 version) noexcept {
        reads_.next() = {page, version, 0, 0};
        reads_.commit_append();
    }
    void add_stripe() noexcept { ++reads_[reads_.size() - 1].stripes; }

    // -- Kept by the caller, who does not change the array before clear() --

    // The caller has copies of the pages, all at the version.
    void rely_on(runtime::Span<const KeptPage> pages, u64 version) noexcept {
        kept_ = pages;
        kept_version_ = version;
    }
    // The same, for copies of earlier snapshots. Calls renew(i) for each of which some bytes may
    // not be those of `version`; that says whether they are afterwards. False: they are not.
    template <typename Renew>
    [[nodiscard, gnu::always_inline]] bool renew_and_rely_on(runtime::Span<KeptPage> pages,
                                                             u64 version, Renew renew) noexcept {
        rely_on(pages, version);
        const PageChanges* const counters = counters_of(memory_);
        for (u32 i = 0; i < pages.size(); ++i) {
            KeptPage& kept = pages[i];
            const u64 changes = counters == nullptr ? kNotCounted : changes_of(*counters, kept);
            if (counters != nullptr && changes == kept.changes) [[likely]]
                continue;
            kept.changes = kNotCounted;
            if (!renew(i))
                return false;
            kept.changes = changes;
        }
        return true;
    }
    // After a commit that has changed the page, which was counted once: what belongs to the page
    // now. If the counter is one more than before, nobody else was counted since.
    [[nodiscard]] u64 changes_after_commit(const KeptPage& kept) const noexcept {
        const PageChanges* const counters = counters_of(memory_);
        return counters != nullptr && changes_of(*counters, kept) == kept.changes + 1
                   ? kept.changes + 1
                   : kNotCounted;
    }

    // -- All of them --

    // Each was found valid at some moment after the clock stood at that version.
    void found_valid_at(u64 version) noexcept {
        kept_version_ = version;
        for (u32 i = 0; i < reads_.size(); ++i)
            reads_[i].version = version;
    }

    // Calls function(page) for each of them, a KeptPage or a Read, until that returns false. A
    // signal handler may, in the middle of a read too: what is not counted yet is not looked at.
    template <typename Function>
    [[gnu::always_inline]] void for_each(Function function) const noexcept {
        for (const KeptPage& kept : kept_) {
            if (!function(kept))
                return;
        }
        const u32 count = reads_.size();
        signal_fence();
        for (u32 i = 0; i < count; ++i) {
            if (!function(reads_[i]))
                return;
        }
    }
    // What is known of the page.
    [[nodiscard, gnu::always_inline]] Read read_of(const KeptPage& kept) const noexcept {
        return {kept.page, kept_version_, kStripesPerPage, 0};
    }
    [[nodiscard]] static Read read_of(const Read& read) noexcept { return read; }

    // A page that nobody has counted since is as it was: see page_changes.hpp. A commit that asks
    // has counted the pages that it writes.
    template <typename IsMine>
    [[gnu::always_inline]] Validity check(const KeptPage& kept, IsMine is_mine) const noexcept {
        const PageChanges* const changes = counters_of(memory_);
        if (changes != nullptr && changes_of(*changes, kept) == kept.changes) [[likely]]
            return Validity::valid;
        return check(read_of(kept), is_mine);
    }
    template <typename IsMine>
    [[gnu::noinline]] Validity check(const Read& read, IsMine is_mine) const noexcept {
        const u64 first = read.page * kStripesPerPage;
        const Atomic<u64>* const orecs = memory_.orec(first);
        if (orecs == nullptr)
            return Validity::valid;
        step(memory_, Step::validate_orec, first);
        return validity_of<kMutation>(first, orecs, read.stripes, read.version, is_mine);
    }
    // The first stripe of the page that is not valid now, or kNoStripe.
    template <typename IsMine>
    [[nodiscard]] u64 first_changed(const Read& read, IsMine is_mine) const noexcept {
        const u64 first = read.page * kStripesPerPage;
        const Atomic<u64>* const orecs = memory_.orec(first);
        return orecs == nullptr ? kNoStripe
                                : first_invalid(first, orecs, read.stripes, read.version, is_mine);
    }

    // Empties it.
    [[gnu::always_inline]] void clear() noexcept {
        kept_ = {};
        reads_.clear(kKeptRoom);
    }

private:
    static constexpr u32 kKeptRoom = 1024;

    [[nodiscard, gnu::always_inline]] u64 changes_of(const PageChanges& counters,
                                                     const KeptPage& kept) const noexcept {
        step(memory_, Step::read_changes, kept.page * kStripesPerPage);
        return counters.of(kept.page);
    }

    M& memory_;
    runtime::Span<const KeptPage> kept_;
    u64 kept_version_ = 0;
    GrowingArray<Read, 16> reads_;
};

} // namespace stm::protocol
