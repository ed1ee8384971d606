// SPDX-License-Identifier: GPL-2.0
// The pages that a transaction has in a mapping instead of the region's own.
//
// A page that is touched is copied at the transaction's snapshot. The copy is mapped for loads, and
// after the first store for stores as well. At the commit a copy that was stored to is compared
// with the region's own page, and only the words that differ become writes. That page must still be
// as it was copied. It is, if the commit succeeds: a copied page is in the read set, stored to or
// not, because the hardware cannot tell a store from an update.
//
// In a warm mapping the copies are kept from one transaction to the next, those that were only
// loaded in the mapping too. They have the region's bytes at a version. At the next start they are
// brought to the new snapshot, in place. Most are as they were: so a start looks at a number for
// each of them if anything was committed, and an end only at those that something has happened to
// (see note()).
//
// Invariants: the context's lock protects all of it. A page is given back only after it was taken
// out of all mappings. A page that is still held elsewhere (a pin for input or output) is not used
// again: no transaction stores to it that began later.
#pragma once

#include "kernel/core/region_memory.hpp"
#include "kernel/core/settings.hpp"
#include "runtime/protocol/abort_reason.hpp"
#include "runtime/protocol/access_table.hpp"
#include "runtime/protocol/growing_array.hpp"
#include "runtime/protocol/transaction.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

// The access for which a private page is wanted.
enum class Use { load, store };

class PrivatePages : runtime::NonCopyable {
    using u32 = runtime::u32;
    using u64 = runtime::u64;
    using u8 = runtime::u8;
    using AbortReason = protocol::AbortReason;

public:
    using Transaction = protocol::Transaction<RegionMemory>;
    using KeptPage = protocol::KeptPage;

    struct Page {
        u64 index;
        stm_page* copy; // what the program sees
        u64 address;    // where it was touched last, or is mapped for being predicted
        u8 touched;     // STM_TOUCHED_*, as far as it is known
        bool kept;      // was there before the transaction, in a warm mapping
        bool stale;     // kept, and has any bytes
        bool stored;    // may have been stored to
        bool writable;  // was mapped for stores that are likely; settle_stores() tells of them
        bool predicted; // made before it was touched
        bool allowed;   // stores to it were expected
        bool known;     // for Prediction
        bool odd;       // has other bytes than the snapshot: Data::any
        bool mapped;    // is probably in the mapping
        bool alone;     // nobody could store to it any more when it was compared
        bool stays;     // it stays in the mapping at the end, where nobody can store to it
        bool written;   // the commit writes something in it
        // Whether it cannot stay in the mapping as it is when the transaction ends.
        [[nodiscard]] bool leaves() const noexcept { return stored || writable || odd; }
        [[nodiscard]] bool is_to_be_taken_out() const noexcept { return leaves() && !stays; }
    };

    PrivatePages() noexcept = default;
    ~PrivatePages();

    [[nodiscard]] bool empty() const noexcept { return pages_.size() == 0; }
    [[nodiscard]] u32 size() const noexcept { return pages_.size(); }
    // In the order in which they were made; those that were kept come first, by their indices.
    [[nodiscard]] Page& operator[](u32 number) noexcept { return pages_[number]; }
    [[nodiscard]] const Page& operator[](u32 number) const noexcept { return pages_[number]; }
    // The page of that index, or null. The pointer holds until the next obtain().
    [[nodiscard]] Page* find(u64 index) noexcept;
    [[nodiscard]] const Page* find(u64 index) const noexcept {
        return const_cast<PrivatePages*>(this)->find(index);
    }

    // Its number, which is probably that one; kNone: there is none.
    static constexpr u32 kNone = ~u32{0};
    [[nodiscard]] u32 number_near(u64 index, u32 number) const noexcept {
        if (number < pages_.size() && pages_[number].index == index) [[likely]]
            return number;
        const protocol::Access* const found = index_.find(index);
        return found == nullptr ? kNone : found->write;
    }
    // The same. It is probably the page of that number.
    [[nodiscard]] Page* find_near(u64 index, u32 number) noexcept {
        return number < pages_.size() && pages_[number].index == index ? &pages_[number]
                                                                       : find(index);
    }

    // Something happens to the page in this transaction: it is touched, or will be perhaps. Comes
    // before each change of its state, except where that says otherwise.
    [[gnu::always_inline]] void note(const Page& page) noexcept {
        if (!page.kept)
            return;
        const u32 number = number_of(page);
        noted_[number / 64] |= u64{1} << number % 64;
    }
    // Calls function(number) for these pages, in the order of their numbers, until it returns
    // false. All that were not kept are among them. No page is added meanwhile.
    template <typename Function>
    [[gnu::always_inline]] void for_each_noted(Function function) const noexcept {
        const u32 size = pages_.size();
        u32 behind = kept_;
        u32 first = 0;
        u64 left = noted_[0];
        for (;;) {
            u32 number = behind;
            if (left != 0) {
                number = first + static_cast<u32>(__builtin_ctzll(left));
                left &= left - 1;
            } else if (first + 64 < kept_) {
                first += 64;
                left = noted_[first / 64];
                continue;
            } else if (behind++ == size) {
                return;
            }
            if (!function(number))
                return;
        }
    }
    [[nodiscard]] bool is_noted(u32 number) const noexcept {
        return number >= kept_ || (noted_[number / 64] >> number % 64 & 1) != 0;
    }
    // The first of them from that one on; size() if there is none.
    [[nodiscard]] u32 next_noted(u32 number) const noexcept {
        while (number < kept_) {
            if (const u64 left = noted_[number / 64] >> number % 64; left != 0)
                return number + static_cast<u32>(__builtin_ctzll(left));
            number = runtime::min((number / 64 + 1) * 64, kept_);
        }
        return runtime::min(number, pages_.size());
    }

    // What a page must contain. `snapshot`: data that fits everything read before. `any`, in a
    // doomed transaction: whatever the region contains now.
    enum class Data { snapshot, any };
    // The page, copied if it is not there yet, with what the transaction wrote by calls laid over
    // it. A conflict (unless any data will do), too_big, no_memory: then there is no new page.
    [[nodiscard]] AbortReason obtain(Transaction& transaction, u64 index, Page*& page,
                                     Data data = Data::snapshot) noexcept;
    // Allows stores to the page from now on. no_memory, in a nested part only. A conflict, if the
    // page is held elsewhere, perhaps since before the transaction began; not on the serial path,
    // on which none begins with such a page. `holders`: how many have it now that the caller knows
    // of.
    static constexpr u32 kOwner = 1;            // the context alone
    static constexpr u32 kOwnerAndFault = 2;    // and a fault on the page, where it is mapped
    static constexpr u32 kAnyHolders = ~u32{0}; // that does not matter any more
    [[nodiscard]] AbortReason prepare_store(Transaction& transaction, Page& page,
                                            u32 holders) noexcept;
    // The page is mapped for stores, which may never come. No nested part has begun.
    void expect_store(Page& page) noexcept {
        note(page);
        page.allowed = true;
        if (!page.stored)
            page.writable = true;
    }
    // Finds out which of these stores came. Pages that do not stay are in no mapping any more.
    void settle_stores() noexcept;

    // Passes what was stored to the transaction, as writes. The pages are in no mapping. A
    // conflict, too_big, no_memory.
    [[nodiscard]] AbortReason collect(Transaction& transaction) noexcept;

    // Called beside the same functions of the transaction, which come first (the last one comes
    // after cancel_nested()).
    [[nodiscard]] AbortReason begin_level(u32 level) noexcept;
    void commit_level(u32 level) noexcept;
    void cancel_level(Transaction& transaction, u32 level) noexcept;

    // Calls function(first index, count) for stretches of pages that follow each other, in the
    // order of their first touch, of those that `chooses` wants.
    template <typename Choice, typename Function>
    void for_each_stretch(Choice chooses, Function function) const noexcept {
        for (u32 i = 0; i < pages_.size();) {
            if (!chooses(pages_[i])) {
                ++i;
                continue;
            }
            const u64 first = pages_[i].index;
            u32 count = 1;
            while (i + count < pages_.size() && pages_[i + count].index == first + count &&
                   chooses(pages_[i + count]))
                ++count;
            function(first, u64{count});
            i += count;
        }
    }

    // -- Kept from one transaction to the next --

    // How many were. They are the first ones.
    [[nodiscard]] u32 kept() const noexcept { return kept_; }
    // At which they have the region's bytes, until they are renewed.
    [[nodiscard]] u64 kept_version() const noexcept { return version_; }
    // Not 0, and another number whenever other pages are kept than before, or in another order.
    [[nodiscard]] u64 generation() const noexcept { return generation_; }
    // Whether one of them was touched in that way, as far as it is known.
    [[nodiscard]] bool any_touched(u8 how) const noexcept;
    // Whether the transaction has stored to pages, or has others that do not show its snapshot.
    [[nodiscard]] bool any_leaves() const noexcept;
    // The transaction has ended, and its pages that leave() are in no mapping. Keeps those that
    // have the region's bytes at `version`. `effective`: what it has stored is in the region. There
    // are at most kMostWarmPages.
    enum class Effect { effective, none };
    void keep(const Transaction& transaction, u64 version, Effect effect) noexcept;
    // Brings what was kept to the snapshot of a transaction that begins, and into its read set.
    // False: at least one cannot be; nothing is lost, and it may be tried again with another
    // snapshot.
    [[nodiscard]] bool renew(Transaction& transaction) noexcept;
    // Whether one of them has other bytes, and is in the mapping nevertheless: all of them have to
    // be taken out, before anything else happens.
    [[nodiscard]] bool is_spoilt() const noexcept { return is_spoilt_; }
    // How often a page was copied for that though nobody is known to have loaded from it since the
    // last time; since there was none.
    [[nodiscard]] u32 copied_unused() const noexcept { return unused_; }
    // Whether one of them is not in the mapping.
    [[nodiscard]] bool has_unmapped() noexcept;
    // Enters them into the read set of a transaction at their own snapshot.
    void keep_in(Transaction& transaction) noexcept { transaction.rely_on(kept_pages()); }
    // Whether the page is held elsewhere, and so must not be changed. `holders`: as for
    // prepare_store().
    [[nodiscard]] static bool is_held(const Page& page, u32 holders) noexcept {
        return stm_linux_page_holders(page.copy) > holders;
    }
    // Whether one of those that were kept is.
    [[nodiscard]] bool any_held() const noexcept {
        for (u32 i = 0; i < kept_; ++i) {
            if (is_held(pages_[i], kOwner))
                return true;
        }
        return false;
    }
    // They are in no mapping any more.
    void note_unmapped() noexcept;

    // Forgets all pages. Some that are not held elsewhere, as by a mapping, are kept for the next
    // transaction.
    void clear() noexcept;

private:
    // `region`: nothing around an inner part had stored to the page when the part did, so it was
    // the region's.
    enum class CopyOf : u8 { region, stored };
    // A page as it was before a nested part stored to it.
    struct Saved {
        stm_page* copy;
        u32 page;  // its number in pages_
        u32 level; // of the inner part: 1 or more, and never less than that of the one before
        CopyOf copy_of;
    };

    [[nodiscard]] u32 number_of(const Page& page) const noexcept {
        return static_cast<u32>(&page - &pages_[0]);
    }
    [[nodiscard]] runtime::Span<const KeptPage> kept_pages() const noexcept {
        return {counted_, kept_};
    }
    [[nodiscard]] bool renew_page(Transaction& transaction, Page& page) noexcept;
    void compact() noexcept;
    [[nodiscard]] AbortReason save(u32 page, u32 level, CopyOf copy_of) noexcept;
    [[nodiscard]] stm_page* allocate() noexcept;
    void recycle(stm_page* page) noexcept;
    void clear_saved() noexcept;

    // Pages that are kept from one transaction to the next. Of the room for their numbers more is
    // kept.
    static constexpr u32 kSparePages = 128;
    static constexpr u32 kKeptRoom = 1024;
    static constexpr u32 kMaxPages = 1u << 24;

    protocol::AccessTable index_; // page index to number in pages_, in the field `write`
    protocol::GrowingArray<Page, 16> pages_;
    protocol::GrowingArray<Saved, 4> saved_;
    stm_page* spare_[kSparePages];
    u32 spares_ = 0;
    static constexpr u32 kWords = kMostWarmPages / 64;
    u64 noted_[kWords] = {};
    // Of the pages that were kept:
    u32 kept_ = 0;
    u64 version_ = 0; // at which they have the region's bytes, unless they are stale
    u64 generation_ = 1;
    u32 unused_ = 0;
    bool any_unmapped_ = false; // perhaps
    bool any_stale_ = false;
    bool is_spoilt_ = false;
    KeptPage counted_[kMostWarmPages];
};

} // namespace stm::kernel
