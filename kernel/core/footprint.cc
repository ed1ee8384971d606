// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/footprint.hpp"

#include "kernel/core/settings.hpp"

namespace stm::kernel {

using protocol::AbortReason;
using runtime::u32;
using runtime::u64;
using runtime::u8;

namespace {

// Whether `later` lies `count` pages behind `page`, in the region and in the address space.
bool follows(const PrivatePages::Page& page, const PrivatePages::Page& later, u32 count) noexcept {
    return later.index == page.index + count && later.address == page.address + count * kPageBytes;
}

// The part of a mapping from one page on, as it is while the view is closed.
class Window {
public:
    Window() noexcept = default;
    Window(stm_view* view, u64 index, u64 address) noexcept
        : index_(index), address_(address),
          count_(stm_linux_view_extent(view, index_, address_, &area_, &writable_)) {}

    [[nodiscard]] bool has(u64 index, u64 address) const noexcept {
        const u64 place = index - index_;
        return place < count_ && address == address_ + place * kPageBytes;
    }
    [[nodiscard]] bool writable() const noexcept { return writable_ != 0; }
    [[nodiscard]] stm_area* area() const noexcept { return area_; }

private:
    u64 index_ = 0;
    u64 address_ = 0;
    stm_area* area_ = nullptr;
    int writable_ = 0;
    u64 count_ = 0;
};

// Pages that lie one behind the other, for which the same is done in one go.
class MappingBatch {
public:
    enum class Does { maps_for_loads, maps_for_stores, allows_stores };
    // The page is in the area.
    void add(stm_area* area, const PrivatePages::Page& page, Does does) noexcept {
        if (count_ == STM_MAPPING_BATCH || area != area_ || does != does_ ||
            page.address != address_ + count_ * kPageBytes)
            flush();
        if (count_ == 0) {
            area_ = area;
            address_ = page.address;
            does_ = does;
        }
        pages_[count_++] = page.copy;
    }
    void flush() noexcept {
        if (count_ != 0 && does_ == Does::allows_stores)
            stm_linux_view_allow_stores(area_, address_, pages_, count_);
        else if (count_ != 0)
            stm_linux_view_map(area_, address_, pages_, count_,
                               does_ == Does::maps_for_stores ? 1 : 0);
        count_ = 0;
    }

private:
    stm_area* area_ = nullptr;
    u64 address_ = 0;
    Does does_ = Does::maps_for_loads;
    u32 count_ = 0;
    stm_page* pages_[STM_MAPPING_BATCH];
};

// A few pages may always be touched.
u32 page_limit_of(u32 max_stripes) noexcept {
    return runtime::max(max_stripes / protocol::kStripesPerPage + 1, u32{16});
}

} // namespace

Footprint::Footprint(u32 max_stripes) noexcept : page_limit_(page_limit_of(max_stripes)) {
}

protocol::Limits Footprint::limits(u32 max_stripes) const noexcept {
    return {.accesses = max_stripes,
            .writes = max_stripes,
            .pages = page_limit_ + kMostPredictedPages + kMostWarmPages};
}

AbortReason Footprint::touch(Transaction& transaction, u64 index, u64 address, Use use,
                             PrivatePages::Data data, u32 holders, stm_page*& page) noexcept {
    if (pages_.size() - predicted_ - pages_.kept() >= page_limit_ && pages_.find(index) == nullptr)
        return AbortReason::too_big;
    next_.is_known = false;
    PrivatePages::Page* own = nullptr;
    AbortReason reason = pages_.obtain(transaction, index, own, data);
    if (reason == AbortReason::none && use == Use::store)
        reason = pages_.prepare_store(transaction, *own,
                                      data == PrivatePages::Data::any ? PrivatePages::kAnyHolders
                                                                      : holders);
    if (reason != AbortReason::none)
        return reason;
    own->touched |= use == Use::store ? STM_TOUCHED_STORE : STM_TOUCHED_LOAD;
    own->address = address;
    own->mapped = true;
    page = own->copy;
    return reason;
}

bool Footprint::has_stored() const noexcept {
    return pages_.any_touched(STM_TOUCHED_STORE);
}

bool Footprint::is_unstored(u64 index) noexcept {
    const PrivatePages::Page* const page = pages_.find(index);
    return page != nullptr && !page->stored;
}

// -- Prediction --

void Footprint::allow_predicted_stores(stm_view* view) noexcept {
    next_.is_known = false;
    MappingBatch batch __attribute__((uninitialized));
    Window window;
    for (u32 word = 0; word < kWords; ++word) {
        for (u64 left = to_allow_[word]; left != 0; left &= left - 1) {
            const u32 number = word * 64 + static_cast<u32>(__builtin_ctzll(left));
            // Another thread may have touched it since.
            if (number >= pages_.size() || !pages_[number].mapped || pages_[number].leaves())
                continue;
            PrivatePages::Page& page = pages_[number];
            // The first store finds that it has to be another page.
            if (PrivatePages::is_held(page, PrivatePages::kOwner))
                continue;
            if (!window.has(page.index, page.address))
                window = Window(view, page.index, page.address);
            if (!window.has(page.index, page.address) || !window.writable())
                continue;
            pages_.expect_store(page);
            batch.add(window.area(), page, MappingBatch::Does::allows_stores);
        }
    }
    batch.flush();
}

AbortReason Footprint::map_predicted(Transaction& transaction, stm_view* view, u32 most) noexcept {
    next_.is_known = false;
    using Does = MappingBatch::Does;
    using Where = Prediction::Where;
    MappingBatch batch __attribute__((uninitialized));
    Window window;
    AbortReason ended = AbortReason::none;
    const auto is_mapped_by = [&](u64 index, u64 address) noexcept {
        if (!window.has(index, address))
            window = Window(view, index, address);
        return window.has(index, address);
    };
    prediction_.for_each_likely([&](const Prediction::Page& likely, Use use, Where where) {
        if (predicted_ >= most)
            return false;
        PrivatePages::Page* page = pages_.find_near(likely.index, likely.near);
        if (page == nullptr && where == Where::kept)
            return true;
        if (page != nullptr && page->mapped && (use == Use::load || page->leaves()))
            return true;
        if (!is_mapped_by(likely.index,
                          page != nullptr && page->mapped ? page->address : likely.address))
            return true;
        if (!window.writable())
            use = Use::load;
        if (page != nullptr && page->mapped) {
            if (use == Use::store && !PrivatePages::is_held(*page, PrivatePages::kOwner)) {
                pages_.expect_store(*page);
                batch.add(window.area(), *page, Does::allows_stores);
            }
            return true;
        }
        if (page == nullptr) {
            ended = pages_.obtain(transaction, likely.index, page);
            if (ended != AbortReason::none)
                return false;
            ++predicted_;
        }
        if (page->kept && PrivatePages::is_held(*page, PrivatePages::kOwner))
            use = Use::load;
        if (use == Use::store)
            pages_.expect_store(*page);
        pages_.note(*page);
        page->address = likely.address;
        page->predicted = true;
        page->mapped = true;
        batch.add(window.area(), *page,
                  use == Use::store ? Does::maps_for_stores : Does::maps_for_loads);
        return true;
    });
    for (u32 i = 0; i < pages_.kept() && ended == AbortReason::none; ++i) {
        PrivatePages::Page& page = pages_[i];
        if (page.mapped || !is_mapped_by(page.index, page.address))
            continue;
        page.mapped = true;
        batch.add(window.area(), page, Does::maps_for_loads);
    }
    batch.flush();
    return protocol::is_conflict(ended) ? ended : AbortReason::none;
}

// Calls function(first, count) for runs of noted pages that `chooses` wants, one behind the other.
template <u32 kMost, typename Choice, typename Function>
[[gnu::always_inline]] inline void Footprint::for_each_noted_run(Choice chooses,
                                                                 Function function) noexcept {
    for (u32 first = pages_.next_noted(0); first < pages_.size();) {
        if (!chooses(pages_[first])) {
            first = pages_.next_noted(first + 1);
            continue;
        }
        u32 count = 1;
        while (count < kMost && first + count < pages_.size() && pages_.is_noted(first + count) &&
               chooses(pages_[first + count]) &&
               follows(pages_[first], pages_[first + count], count))
            ++count;
        function(first, count);
        first = pages_.next_noted(first + count);
    }
}

Footprint::Left Footprint::forbid_stores() noexcept {
    bool all = true;
    const auto may_stay = [&](const PrivatePages::Page& page) noexcept {
        if (page.mapped && !page.odd && page.leaves())
            return true;
        all = all && !page.predicted && !page.leaves();
        return false;
    };
    const auto forbid = [&](u32 first, u32 count) __attribute__((always_inline)) {
        stm_page* copies[STM_MAPPING_BATCH] __attribute__((uninitialized));
        u8 touched[STM_MAPPING_BATCH] __attribute__((uninitialized));
        for (u32 i = 0; i < count; ++i)
            copies[i] = pages_[first + i].copy;
        stm_linux_view_forbid_stores(pages_[first].address, copies, count, touched);
        for (u32 i = 0; i < count; ++i) {
            PrivatePages::Page& told = pages_[first + i];
            told.stays = (touched[i] & STM_TOUCHED_STAYS) != 0;
            told.touched |= touched[i] & (STM_TOUCHED_LOAD | STM_TOUCHED_STORE);
            told.stored = told.stored || (touched[i] & STM_TOUCHED_STORE) != 0;
            told.writable = told.writable && !told.stays; // it has told already
            all = all && told.stays && !told.predicted;
        }
    };
    for_each_noted_run<STM_MAPPING_BATCH>(may_stay, forbid);
    touches_ = Prediction::Touches::known;
    return all ? Left::nothing : Left::something;
}

void Footprint::examine_predicted(stm_view* view) noexcept {
    const auto is_to_be_examined = [](const PrivatePages::Page& page) noexcept {
        return (page.predicted || page.writable) && !page.stays;
    };
    for_each_noted_run<STM_TOUCHED_BATCH>(is_to_be_examined, [&](u32 first, u32 count) noexcept {
        u8 touched[STM_TOUCHED_BATCH] __attribute__((uninitialized));
        stm_linux_view_examine(view, pages_[first].index, pages_[first].address, count, touched);
        for (u32 i = 0; i < count; ++i)
            pages_[first + i].touched |= touched[i];
    });
}

void Footprint::count_predicted(TransactionCounters& counters) noexcept {
    touches_ = Prediction::Touches::known;
    pages_.for_each_noted([&](u32 number) noexcept {
        const PrivatePages::Page& page = pages_[number];
        if (page.predicted)
            (page.touched != 0 ? counters.predicted_used : counters.predicted_unused).add(1);
        return true;
    });
}

template <typename Likely>
Footprint::ToMap Footprint::to_map(const Likely& for_each_to_prepare) noexcept {
    using Where = Prediction::Where;
    for (u64& word : to_allow_)
        word = 0;
    if (pages_.has_unmapped())
        return ToMap::pages;
    auto found = ToMap::nothing;
    for_each_to_prepare([&](const Prediction::Page& likely, Use use, Where where) noexcept {
        const u32 number = pages_.number_near(likely.index, likely.near);
        if (number == PrivatePages::kNone) {
            if (where == Where::anywhere)
                found = ToMap::pages;
        } else if (!pages_[number].mapped || number >= kMostWarmPages) {
            found = ToMap::pages;
        } else if (use == Use::store && !pages_[number].leaves()) {
            found = ToMap::protections;
            to_allow_[number / 64] |= u64{1} << number % 64;
        }
        return found != ToMap::pages;
    });
    return found;
}

Footprint::ToMap Footprint::to_map(Predicted predicted) noexcept {
    return to_map([&](auto function) noexcept {
        if (predicted == Predicted::yes)
            prediction_.for_each_to_prepare(pages_, function);
    });
}

Footprint::ToMap Footprint::to_map_at(u32 site, Predicted predicted) noexcept {
    const ToMap what = to_map([&](auto function) noexcept {
        if (predicted == Predicted::yes)
            prediction_.for_each_to_prepare_at(site, pages_, function);
    });
    next_ = {true, predicted, what, site};
    return what;
}

bool Footprint::has_read(const Transaction& transaction) noexcept {
    bool found = false;
    transaction.for_each_read([&](u64 stripe, u64) {
        const PrivatePages::Page* own = pages_.find(protocol::page_of_stripe(stripe));
        // What was loaded in a page that was there before is not known.
        found = found || own == nullptr || own->touched != 0 || own->kept;
    });
    return found;
}

void Footprint::learn(AbortReason reason, u32 most) noexcept {
    next_.is_known = false;
    auto ending = Prediction::Ending::cut;
    if (reason == AbortReason::none || reason == AbortReason::explicit_cancel)
        ending = Prediction::Ending::whole;
    else if (protocol::is_conflict(reason))
        ending = Prediction::Ending::conflict;
    prediction_.learn(pages_, ending, touches_, most);
}

// -- By calls --

// Calls on_page(page, offset in it, place, bytes) for each part of a range that lies in a private
// page, and on_region(offset, place, bytes) for each that does not, where `place` counts from the
// begin of the range. The first reason that one of them gives ends it.
template <typename OnPage, typename OnRegion>
AbortReason Footprint::walk(u64 offset, u64 bytes, OnPage on_page, OnRegion on_region) noexcept {
    for (u64 place = 0; place < bytes;) {
        const u64 at = offset + place;
        const u64 part = runtime::min(bytes - place, kPageBytes - at % kPageBytes);
        PrivatePages::Page* const own = pages_.find(at / kPageBytes);
        const AbortReason reason = own != nullptr ? on_page(*own, at % kPageBytes, place, part)
                                                  : on_region(at, place, part);
        if (reason != AbortReason::none)
            return reason;
        place += part;
    }
    return AbortReason::none;
}

AbortReason Footprint::read_over_pages(Transaction& transaction, u64 offset, void* to,
                                       u64 bytes) noexcept {
    u8* const target = static_cast<u8*>(to);
    return walk(
        offset, bytes,
        [&](PrivatePages::Page& page, u64 at, u64 place, u64 part) noexcept {
            PrivatePages::Page* own = nullptr;
            const AbortReason reason = pages_.obtain(transaction, page.index, own);
            if (reason != AbortReason::none)
                return reason;
            own->touched |= STM_TOUCHED_LOAD;
            runtime::copy_from_shared(target + place, memory_of(own->copy) + at, part);
            return AbortReason::none;
        },
        [&](u64 at, u64 place, u64 part) noexcept {
            return transaction.read(at, target + place, part);
        });
}

AbortReason Footprint::write_over_pages(Transaction& transaction, u64 offset, const void* from,
                                        u64 bytes, u64& written) noexcept {
    const u8* const source = static_cast<const u8*>(from);
    written = 0;
    return walk(
        offset, bytes,
        [&](PrivatePages::Page& page, u64 at, u64 place, u64 part) noexcept {
            const AbortReason reason =
                pages_.prepare_store(transaction, page, PrivatePages::kOwner);
            if (reason != AbortReason::none)
                return reason;
            page.touched |= STM_TOUCHED_STORE;
            runtime::copy_to_shared(memory_of(page.copy) + at, source + place, part);
            written = place + part;
            return AbortReason::none;
        },
        [&](u64 at, u64 place, u64 part) noexcept {
            const AbortReason reason = transaction.write(at, source + place, part);
            if (reason == AbortReason::none)
                written = place + part;
            return reason;
        });
}

AbortReason Footprint::begin_nested(Transaction& transaction) noexcept {
    const AbortReason reason = transaction.begin_nested();
    if (reason != AbortReason::none)
        return reason;
    const AbortReason saved = pages_.begin_level(transaction.nesting());
    if (saved != AbortReason::none)
        transaction.cancel_nested();
    return saved;
}

void Footprint::commit_nested(Transaction& transaction) noexcept {
    pages_.commit_level(transaction.nesting());
    transaction.commit_nested();
}

void Footprint::cancel_nested(Transaction& transaction) noexcept {
    const u32 level = transaction.nesting();
    transaction.cancel_nested();
    pages_.cancel_level(transaction, level);
}

void Footprint::clear() noexcept {
    next_.is_known = false;
    if (!pages_.empty())
        pages_.clear();
    predicted_ = 0;
    touches_ = Prediction::Touches::partly_known;
}

void Footprint::keep(const Transaction& transaction, u64 version,
                     PrivatePages::Effect effect) noexcept {
    // may_be_kept()
    static_assert(kMostWarmPages <= protocol::AccessTable::kInlineAccesses);
    next_.is_known = false;
    pages_.keep(transaction, version, effect);
    predicted_ = 0;
    touches_ = Prediction::Touches::partly_known;
}

} // namespace stm::kernel
