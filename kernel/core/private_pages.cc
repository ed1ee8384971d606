// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/private_pages.hpp"

namespace stm::kernel {

using protocol::AbortReason;
using protocol::kStripeBytes;
using protocol::kStripesPerPage;
using runtime::u32;
using runtime::u64;
using runtime::u8;

namespace {

u8* memory_of(stm_page* page) noexcept {
    return static_cast<u8*>(stm_linux_page_memory(page));
}

// Private pages may be changed by a thread of the same process, or a device, at any time; what
// matters is that each byte is read once.
void copy_page(stm_page* to, stm_page* from) noexcept {
    runtime::copy_from_shared(memory_of(to), memory_of(from), kPageBytes);
}

// Lets others run now and then in a loop over pages.
void breathe(u32 turn) noexcept {
    if (turn % 64 == 63)
        stm_linux_breathe();
}

// A twin is nobody else's.
u64 twin_word(const u8* place) noexcept {
    u64 word;
    __builtin_memcpy(&word, __builtin_assume_aligned(place, sizeof word), sizeof word);
    return word;
}

// The first stripe from `stripe` on in which a page and its twin differ at the moment,
// kStripesPerPage if there is none. Most do not, so this is what a commit of stores spends its time
// on.
[[gnu::noinline]] u32 next_difference(const u8* now, const u8* before, u32 stripe) noexcept {
    for (; stripe < kStripesPerPage; ++stripe) {
        const u8* const left = now + stripe * kStripeBytes;
        const u8* const right = before + stripe * kStripeBytes;
        u64 differences = 0;
#pragma GCC unroll 8
        for (u32 byte = 0; byte < kStripeBytes; byte += sizeof(u64))
            differences |= runtime::load_shared_word(left + byte) ^ twin_word(right + byte);
        if (differences != 0)
            break;
    }
    return stripe;
}

// The bytes in which two stripes differ.
protocol::ByteMask difference(const u8* left, const u8* right) noexcept {
    protocol::ByteMask mask = 0;
    for (u32 first = 0; first < kStripeBytes; first += sizeof(u64)) {
        if (twin_word(left + first) == twin_word(right + first))
            continue;
        for (u32 byte = first; byte < first + sizeof(u64); ++byte)
            mask |= protocol::ByteMask{left[byte] != right[byte]} << byte;
    }
    return mask;
}

// Hands the bytes of a stripe that were stored to, or that calls wrote before, over to the
// transaction.
AbortReason collect_stripe(PrivatePages::Transaction& transaction, u64 stripe, const u8* now,
                           const u8* before, protocol::ByteMask called) noexcept {
    // From here on only what this copy has counts.
    alignas(u64) u8 bytes[kStripeBytes];
    runtime::copy_from_shared(bytes, now, kStripeBytes);
    AbortReason reason = AbortReason::none;
    protocol::for_each_run(difference(bytes, before) | called, [&](u32 first, u32 count) {
        if (reason == AbortReason::none)
            reason = transaction.write(stripe * kStripeBytes + first, bytes + first, count);
    });
    return reason;
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

AbortReason PrivatePages::obtain(Transaction& transaction, u64 index, Page*& page) noexcept {
    page = find(index);
    if (page !=
        nullptr) // what calls wrote may still be missing, if there was no memory for the twin
        return page->twin == nullptr && transaction.writes_page(index)
                   ? prepare_store(transaction, *page)
                   : AbortReason::none;
    AbortReason reason = reason_of_growth(pages_.reserve(pages_.size() + u64{1}, kMaxPages));
    if (reason == AbortReason::none)
        reason = reason_of_growth(index_.reserve(pages_.size() + u64{1}, kMaxPages));
    if (reason != AbortReason::none)
        return reason;
    stm_page* copy = allocate();
    if (copy == nullptr)
        return AbortReason::no_memory;
    reason = transaction.read_page(index, memory_of(copy));
    if (reason != AbortReason::none) {
        recycle(copy);
        return reason;
    }
    index_.insert(index).write = pages_.size();
    pages_.next() = {index, copy, nullptr, 0, 0, 0, false, false};
    pages_.commit_append();
    page = &pages_[pages_.size() - 1];
    // What calls wrote before is seen, and from now on belongs to the page.
    if (!transaction.writes_page(index))
        return AbortReason::none;
    return prepare_store(transaction, *page);
}

AbortReason PrivatePages::prepare_store(Transaction& transaction, Page& page) noexcept {
    if (page.twin != nullptr)
        return AbortReason::none;
    stm_page* twin = allocate();
    if (twin == nullptr)
        return AbortReason::no_memory;
    copy_page(twin, page.copy);
    page.twin = twin;
    page.level = transaction.nesting();
    transaction.overlay_page(page.index, memory_of(page.copy));
    return AbortReason::none;
}

AbortReason PrivatePages::collect(Transaction& transaction) noexcept {
    const bool calls_wrote = transaction.has_written();
    for (u32 i = 0; i < pages_.size(); ++i) {
        breathe(i);
        const Page& page = pages_[i];
        if (page.twin == nullptr)
            continue;
        const u8* const now = memory_of(page.copy);
        const u8* const before = memory_of(page.twin);
        // What calls wrote before the page was copied is in the log: a store may have put the old
        // value back. So in such a page each stripe is looked at.
        const bool every = calls_wrote && transaction.writes_page(page.index);
        for (u32 stripe = 0;; ++stripe) {
            if (!every)
                stripe = next_difference(now, before, stripe);
            if (stripe == kStripesPerPage)
                break;
            const u64 number = page.index * kStripesPerPage + stripe;
            const u32 offset = stripe * kStripeBytes;
            const AbortReason reason =
                collect_stripe(transaction, number, now + offset, before + offset,
                               every ? transaction.written_bytes(number) : 0);
            if (reason != AbortReason::none)
                return reason;
        }
    }
    return AbortReason::none;
}

AbortReason PrivatePages::begin_level(u32 level) noexcept {
    for (u32 i = 0; i < pages_.size(); ++i) {
        breathe(i);
        if (pages_[i].twin == nullptr)
            continue;
        AbortReason reason = reason_of_growth(saved_.reserve(saved_.size() + u64{1}, kMaxPages));
        stm_page* copy = reason == AbortReason::none ? allocate() : nullptr;
        if (reason == AbortReason::none && copy == nullptr)
            reason = AbortReason::no_memory;
        if (reason != AbortReason::none) {
            commit_level(level); // drops what was saved for it
            return reason;
        }
        copy_page(copy, pages_[i].copy);
        saved_.next() = {copy, i, level};
        saved_.commit_append();
    }
    return AbortReason::none;
}

void PrivatePages::commit_level(u32 level) noexcept {
    while (saved_.size() != 0 && saved_[saved_.size() - 1].level == level) {
        recycle(saved_[saved_.size() - 1].copy);
        saved_.truncate(saved_.size() - 1);
    }
    for (u32 i = 0; i < pages_.size(); ++i) {
        breathe(i);
        if (pages_[i].twin != nullptr && pages_[i].level == level)
            pages_[i].level = level - 1;
    }
}

void PrivatePages::cancel_level(Transaction& transaction, u32 level) noexcept {
    for (u32 i = 0; i < pages_.size(); ++i) {
        breathe(i);
        Page& page = pages_[i];
        if (page.twin == nullptr || page.level != level)
            continue;
        // First stored to by the inner part: back to what the page was, with what calls wrote
        // outside of it.
        runtime::copy_to_shared(memory_of(page.copy), memory_of(page.twin), kPageBytes);
        transaction.overlay_page(page.index, memory_of(page.copy));
        page.level = level - 1;
    }
    while (saved_.size() != 0 && saved_[saved_.size() - 1].level == level) {
        const Saved& saved = saved_[saved_.size() - 1];
        runtime::copy_to_shared(memory_of(pages_[saved.page].copy), memory_of(saved.copy),
                                kPageBytes);
        recycle(saved.copy);
        saved_.truncate(saved_.size() - 1);
    }
}

void PrivatePages::clear() noexcept {
    for (u32 i = 0; i < saved_.size(); ++i)
        recycle(saved_[i].copy);
    for (u32 i = 0; i < pages_.size(); ++i) {
        breathe(i);
        recycle(pages_[i].copy);
        if (pages_[i].twin != nullptr)
            recycle(pages_[i].twin);
    }
    saved_.clear(kKeptRoom);
    pages_.clear(kKeptRoom);
    index_.clear();
}

} // namespace stm::kernel
