// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/private_pages.hpp"

namespace stm::kernel {

using protocol::AbortReason;
using protocol::kStripeBytes;
using protocol::kStripesPerPage;
using runtime::Order;
using runtime::u32;
using runtime::u64;
using runtime::u8;

namespace {

// What a page counts as that does not exist.
alignas(kStripeBytes) constexpr u8 kZeros[kPageBytes] = {};

// Private pages may be changed by a thread of the same process, or a device, at any time, and the
// region's by a commit; what matters is that each byte is read once.
void copy_page(stm_page* to, stm_page* from) noexcept {
    runtime::copy_from_shared(memory_of(to), memory_of(from), kPageBytes);
}

// Lets others run now and then in a loop over pages.
void breathe(u32 turn) noexcept {
    if (turn % 64 == 63)
        stm_linux_breathe();
}

// The stripes in which two pages differ at the moment. This is what a commit of stores spends its
// time on.
u64 stripes_that_differ(const u8* now, const u8* before) noexcept {
    if (__u64 found = 0; stm_linux_pages_compare(now, before, &found) != 0)
        return found;
    u64 stripes = 0;
    for (u32 stripe = 0; stripe < kStripesPerPage; ++stripe) {
        const u8* const left = now + stripe * kStripeBytes;
        const u8* const right = before + stripe * kStripeBytes;
        u64 differences = 0;
#pragma GCC unroll 8
        for (u32 byte = 0; byte < kStripeBytes; byte += sizeof(u64))
            differences |=
                runtime::xor_shared_word(runtime::load_shared_word(left + byte), right + byte);
        stripes |= u64{differences != 0} << stripe;
    }
    return stripes;
}

// Hands the words of a stripe that were stored to, and the bytes that calls wrote before, over to
// the transaction. What it writes of such a word beside the bytes that were stored to is what the
// region has there: see PrivatePages::collect().
AbortReason collect_stripe(PrivatePages::Transaction& transaction, u64 stripe, const u8* now,
                           const u8* before, protocol::ByteMask called,
                           const protocol::StripePlace& page) noexcept {
    static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
    // From here on only what was found here counts. Each word is loaded once.
    alignas(u64) u8 bytes[kStripeBytes] __attribute__((uninitialized));
    protocol::ByteMask written = called;
#pragma GCC unroll 8
    for (u32 first = 0; first < kStripeBytes; first += sizeof(u64)) {
        const u64 word = runtime::load_shared_word(now + first);
        __builtin_memcpy(bytes + first, &word, sizeof word);
        if (!runtime::equals_shared_word(word, before + first)) [[unlikely]] {
            asm volatile(""); // for a jump: without one each word costs twice as much
            written |= protocol::ByteMask{0xff} << first;
        }
    }
    return written == 0 ? AbortReason::none
                        : transaction.write_stripe(stripe, bytes, written, page);
}

// By what the transaction has written before its pages are compared.
enum class Writers { stores, stores_and_calls };

[[gnu::always_inline]] inline AbortReason collect_page(PrivatePages::Transaction& transaction,
                                                       const PrivatePages::Page& page,
                                                       Writers writers) noexcept {
    const u8* const now = memory_of(page.copy);
    const protocol::StripePlace place = transaction.place_now(page.index);
    const u8* const before = place.orec != nullptr ? place.data : kZeros;
    // What calls wrote before the page was copied is in the log: a store may have put the old
    // value back. So in such a page each stripe is looked at.
    const bool every = writers == Writers::stores_and_calls && transaction.writes_page(page.index);
    for (u64 left = every ? ~u64{0} : stripes_that_differ(now, before); left != 0;
         left &= left - 1) {
        const auto stripe = static_cast<u32>(__builtin_ctzll(left));
        const u64 number = page.index * kStripesPerPage + stripe;
        const u32 offset = stripe * kStripeBytes;
        const AbortReason reason =
            collect_stripe(transaction, number, now + offset, before + offset,
                           every ? transaction.written_bytes(number) : 0, place);
        if (reason != AbortReason::none)
            return reason;
    }
    return AbortReason::none;
}

AbortReason reason_of_growth(runtime::Status status) noexcept {
    if (status.ok())
        return AbortReason::none;
    return status.error() == runtime::Error::too_big ? AbortReason::too_big
                                                     : AbortReason::no_memory;
}

} // namespace

PrivatePages::~PrivatePages() {
    clear();
    while (spares_ != 0)
        stm_linux_page_release(spare_[--spares_]);
}

stm_page* PrivatePages::allocate() noexcept {
    return spares_ != 0 ? spare_[--spares_] : stm_linux_page_allocate_private();
}

void PrivatePages::recycle(stm_page* page) noexcept {
    if (spares_ < kSparePages && stm_linux_page_is_alone(page) != 0)
        spare_[spares_++] = page;
    else
        stm_linux_page_release(page);
}

PrivatePages::Page* PrivatePages::find(u64 index) noexcept {
    const protocol::Access* found = index_.find(index);
    return found == nullptr ? nullptr : &pages_[found->write];
}

AbortReason PrivatePages::obtain(Transaction& transaction, u64 index, Page*& page,
                                 Data data) noexcept {
    page = find(index);
    if (page != nullptr) {
        note(*page);
        return AbortReason::none;
    }
    AbortReason reason = reason_of_growth(pages_.reserve(pages_.size() + u64{1}, kMaxPages));
    if (reason == AbortReason::none)
        reason = reason_of_growth(index_.reserve(pages_.size() + u64{1}, kMaxPages));
    if (reason != AbortReason::none)
        return reason;
    stm_page* copy = allocate();
    if (copy == nullptr)
        return AbortReason::no_memory;
    reason = transaction.read_page(index, memory_of(copy));
    const bool odd = data == Data::any && protocol::is_conflict(reason);
    if (odd) {
        const u8* const now = transaction.page_now(index);
        runtime::copy_from_shared(memory_of(copy), now != nullptr ? now : kZeros, kPageBytes);
        reason = AbortReason::none;
    }
    if (reason != AbortReason::none) {
        recycle(copy);
        return reason;
    }
    const u32 number = pages_.size();
    pages_.next() = {.index = index,
                     .copy = copy,
                     .address = 0,
                     .touched = 0,
                     .kept = false,
                     .stale = false,
                     .stored = false,
                     .writable = false,
                     .predicted = false,
                     .allowed = false,
                     .known = false,
                     .odd = odd,
                     .mapped = false,
                     .alone = false,
                     .stays = false,
                     .written = false};
    pages_.commit_append();
    // What calls wrote before is seen, and from now on belongs to the page. Without it there is
    // none: the page may outlive the transaction.
    if (transaction.writes_page(index))
        reason = prepare_store(transaction, pages_[number], kAnyHolders);
    if (reason != AbortReason::none) {
        pages_.truncate(number);
        recycle(copy);
        return reason;
    }
    index_.insert(index).write = number;
    page = &pages_[number];
    note(*page);
    return AbortReason::none;
}

AbortReason PrivatePages::prepare_store(Transaction& transaction, Page& page,
                                        u32 holders) noexcept {
    if (page.stored)
        return AbortReason::none;
    note(page);
    if (page.kept && transaction.path() == protocol::Path::concurrent && is_held(page, holders)) {
        // The next attempt has pages of its own.
        transaction.forsake(AbortReason::read_validation);
        return AbortReason::read_validation;
    }
    if (const u32 level = transaction.nesting(); level != 0) {
        const AbortReason reason = save(number_of(page), level, CopyOf::region);
        if (reason != AbortReason::none)
            return reason;
    }
    page.stored = true;
    transaction.overlay_page(page.index, memory_of(page.copy));
    return AbortReason::none;
}

void PrivatePages::settle_stores() noexcept {
    for_each_noted([this](u32 number) noexcept {
        Page& page = pages_[number];
        if (!page.writable)
            return true;
        page.writable = false;
        // One that stays has told already. One that is still held elsewhere may be stored to.
        if (page.stays)
            return true;
        page.mapped = false;
        if (stm_linux_page_was_stored(page.copy) == 0 && stm_linux_page_is_alone(page.copy) != 0)
            return true;
        page.stored = true;
        page.touched |= STM_TOUCHED_STORE;
        return true;
    });
}

// Why it is right to compare with the region's page as it is now. Let another commit u have changed
// that page after it was copied, so that u is above the snapshot. If anything of u was seen here,
// then by its fence F and the fence below its locks and its step of the clock came before those of
// this commit (see transaction.hpp), which therefore has to validate, and finds them: it does not
// go through, and the writes found here are forgotten. What writes nothing does not validate, so
// the pages are looked at here. So where a commit goes through, a word that was compared was the
// region's when it was copied and is when it is written, and only what was stored to it changes.
AbortReason PrivatePages::collect(Transaction& transaction) noexcept {
    const Writers writers = transaction.has_written() ? Writers::stores_and_calls : Writers::stores;
    AbortReason reason = AbortReason::none;
    for_each_noted([&](u32 number) noexcept {
        Page& page = pages_[number];
        breathe(number);
        if (!page.stored)
            return true;
        // It is in no mapping, or in one where nobody can store to it. So from here on nobody else
        // can get it.
        page.alone = page.stays || stm_linux_page_is_alone(page.copy) != 0;
        const u32 before = transaction.stripes_written();
        reason = collect_page(transaction, page, writers);
        page.written =
            transaction.stripes_written() != before ||
            (writers == Writers::stores_and_calls && transaction.writes_page(page.index));
        return reason == AbortReason::none;
    });
    runtime::fence(Order::acquire);
    // No difference may mean that another transaction has stored the same meanwhile; and too many
    // that another one has changed the page.
    if (reason == AbortReason::none && transaction.has_written())
        return reason;
    for_each_noted([&](u32 number) noexcept {
        breathe(number);
        if (!pages_[number].stored ||
            transaction.validate_page(pages_[number].index) == protocol::Validity::valid)
            return true;
        reason = AbortReason::commit_validation;
        return false;
    });
    return reason;
}

AbortReason PrivatePages::save(u32 page, u32 level, CopyOf copy_of) noexcept {
    const AbortReason reason =
        reason_of_growth(saved_.reserve(saved_.size() + u64{1}, 2 * kMaxPages));
    if (reason != AbortReason::none)
        return reason;
    stm_page* copy = allocate();
    if (copy == nullptr)
        return AbortReason::no_memory;
    copy_page(copy, pages_[page].copy);
    saved_.next() = {copy, page, level, copy_of};
    saved_.commit_append();
    return AbortReason::none;
}

AbortReason PrivatePages::begin_level(u32 level) noexcept {
    for (u32 i = 0; i < pages_.size(); ++i) {
        breathe(i);
        // Perhaps not yet, but this is the last moment to tell that from what the part stores.
        pages_[i].stored = pages_[i].stored || pages_[i].writable;
        const AbortReason reason =
            pages_[i].stored ? save(i, level, CopyOf::stored) : AbortReason::none;
        if (reason != AbortReason::none) {
            commit_level(level);
            return reason;
        }
    }
    return AbortReason::none;
}

// What was saved for the level is not needed any more; but what the region had still is if the
// level around it is an inner part too, which is now the first that stored to the page.
void PrivatePages::commit_level(u32 level) noexcept {
    u32 begin = saved_.size();
    while (begin != 0 && saved_[begin - 1].level == level)
        --begin;
    u32 kept = begin;
    for (u32 i = begin; i < saved_.size(); ++i) {
        breathe(i);
        Saved saved = saved_[i];
        if (saved.copy_of == CopyOf::region && level > 1) {
            saved.level = level - 1;
            saved_[kept++] = saved;
        } else {
            recycle(saved.copy);
        }
    }
    saved_.truncate(kept);
}

void PrivatePages::cancel_level(Transaction& transaction, u32 level) noexcept {
    for (u32 i = saved_.size(); i != 0 && saved_[i - 1].level == level; --i) {
        const Saved& saved = saved_[i - 1];
        Page& page = pages_[saved.page];
        breathe(i);
        runtime::copy_to_shared(memory_of(page.copy), memory_of(saved.copy), kPageBytes);
        // The region's page, with what calls wrote around the inner part.
        if (saved.copy_of == CopyOf::region)
            transaction.overlay_page(page.index, memory_of(page.copy));
    }
    commit_level(level);
}

void PrivatePages::clear_saved() noexcept {
    for (u32 i = 0; i < saved_.size(); ++i) {
        breathe(i);
        recycle(saved_[i].copy);
    }
    saved_.clear(kKeptRoom);
}

// -- Kept from one transaction to the next --

bool PrivatePages::any_touched(u8 how) const noexcept {
    bool found = false;
    for_each_noted([&](u32 number) noexcept {
        found = (pages_[number].touched & how) != 0;
        return !found;
    });
    return found;
}

bool PrivatePages::any_leaves() const noexcept {
    bool found = false;
    for_each_noted([&](u32 number) noexcept {
        found = pages_[number].leaves();
        return !found;
    });
    return found;
}

// Why a page that was stored to has the region's bytes after the commit. It had those of the
// snapshot, and what was stored. The commit has written each byte that differed, and it has
// validated that nobody else had changed the page: so at its version the region has the same bytes.
// If nothing differed the page is still that of the snapshot. A page that a device or another
// thread of the kernel may still have changed since it was compared is not kept.
void PrivatePages::keep(const Transaction& transaction, u64 version, Effect effect) noexcept {
    clear_saved();
    version_ = version;
    bool same_pages = kept_ == pages_.size();
    for_each_noted([&](u32 number) noexcept {
        Page& page = pages_[number];
        const bool same =
            !page.odd && (!page.stored || (effect == Effect::effective && page.alone));
        // One that is still in the mapping has to be taken out first.
        if (!same && !page.stays) {
            recycle(runtime::exchange(page.copy, nullptr));
            same_pages = false;
            return true;
        }
        is_spoilt_ = is_spoilt_ || !same;
        // Without an effect nobody looks at the number: all pages leave, as this one is spoilt.
        if (page.written && page.kept)
            counted_[number].changes = effect == Effect::effective
                                           ? transaction.changes_after_commit(counted_[number])
                                           : protocol::kNotCounted;
        page.mapped = page.mapped && (!page.stored || page.stays);
        any_unmapped_ = any_unmapped_ || !page.mapped;
        page.touched = 0;
        page.kept = true;
        page.stored = false;
        page.written = false;
        page.stays = false;
        page.predicted = false;
        page.allowed = false;
        page.known = false;
        page.alone = false;
        return true;
    });
    if (!same_pages)
        compact();
    for (u64& word : noted_)
        word = 0;
}

// Drops the pages without a copy, and brings the others in order, in which those that follow each
// other are found. Most of them were in that order already.
void PrivatePages::compact() noexcept {
    u32 kept = 0;
    for (u32 i = 0; i < pages_.size(); ++i) {
        breathe(i);
        if (pages_[i].copy == nullptr)
            continue;
        const u64 changes = i < kept_ ? counted_[i].changes : protocol::kNotCounted;
        u32 at = kept;
        for (; at != 0 && pages_[at - 1].index > pages_[i].index; --at) {
        }
        const Page page = pages_[i];
        for (u32 behind = kept; behind != at; --behind) {
            pages_[behind] = pages_[behind - 1];
            counted_[behind] = counted_[behind - 1];
        }
        pages_[at] = page;
        counted_[at] = {page.index, changes};
        ++kept;
    }
    pages_.truncate(kept);
    kept_ = kept;
    ++generation_;
    if (kept == 0)
        unused_ = 0;
    // There is room for so many without an allocation: see Footprint::keep().
    index_.clear();
    for (u32 i = 0; i < kept; ++i)
        index_.insert(pages_[i].index).write = i;
}

bool PrivatePages::renew(Transaction& transaction) noexcept {
    if (version_ == transaction.snapshot() && !any_stale_) [[likely]] {
        transaction.rely_on(kept_pages());
        return true;
    }
    const auto renew_one = [&](u32 number) noexcept {
        breathe(number);
        return renew_page(transaction, pages_[number]);
    };
    if (!transaction.renew_and_rely_on({counted_, kept_}, renew_one))
        return false;
    version_ = transaction.snapshot();
    any_stale_ = false;
    return true;
}

// Pages before this one may have the bytes of a later version than version_ already. Then a look
// for changes since that finds too much at most.
bool PrivatePages::renew_page(Transaction& transaction, Page& page) noexcept {
    const auto& snapshot = transaction.at_snapshot();
    const u64 stripes =
        page.stale ? protocol::kAllStripes : snapshot.changed_since(version_, page.index);
    if (stripes == 0)
        return true;
    page.stale = true;
    any_stale_ = true;
    // Whoever holds it elsewhere has what it was.
    if (is_held(page, kOwner) || !snapshot.copy_stripes(page.index, stripes, memory_of(page.copy)))
        return false;
    page.stale = false;
    if (!page.mapped || stm_linux_view_was_touched(page.address, page.copy) == 0)
        ++unused_;
    return true;
}

bool PrivatePages::has_unmapped() noexcept {
    if (!any_unmapped_) [[likely]]
        return false;
    for (u32 i = 0; i < kept_; ++i) {
        if (!pages_[i].mapped)
            return true;
    }
    any_unmapped_ = false;
    return false;
}

void PrivatePages::note_unmapped() noexcept {
    any_unmapped_ = true;
    for (u32 i = 0; i < pages_.size(); ++i)
        pages_[i].mapped = false;
}

void PrivatePages::clear() noexcept {
    clear_saved();
    for (u32 i = 0; i < pages_.size(); ++i) {
        breathe(i);
        recycle(pages_[i].copy);
    }
    pages_.clear(kKeptRoom);
    index_.clear();
    for (u64& word : noted_)
        word = 0;
    kept_ = 0;
    ++generation_;
    unused_ = 0;
    any_unmapped_ = false;
    any_stale_ = false;
    is_spoilt_ = false;
}

} // namespace stm::kernel
