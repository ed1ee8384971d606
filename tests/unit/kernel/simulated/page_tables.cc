// SPDX-License-Identifier: GPL-2.0
#include "tests/unit/kernel/simulated/address_space.hpp"
#include "tests/unit/kernel/simulated/locks.hpp"
#include "tests/unit/kernel/simulated/pages.hpp"
#include "tests/unit/kernel/simulated/rules.hpp"
#include "tests/unit/kernel/simulated/service.hpp"
#include "tests/unit/kernel/simulated/view.hpp"

#include <cerrno>
#include <mutex>

namespace stm::simulated {

namespace {

void take_out(const stm_view::Entry& entry) {
    if ((entry.touched & STM_TOUCHED_STORE) != 0)
        entry.page->stored = true;
    entry.page->mappings.fetch_sub(1, kRelaxed);
    put(entry.page);
}

} // namespace

stm_page* mapped_page(stm_view* view, std::uint64_t index) {
    const std::lock_guard held(view->lock);
    const auto found = view->pages.find({current_memory(), index});
    return found == view->pages.end() ? nullptr : found->second.page;
}

void map_page(stm_view* view, std::uint64_t index, stm_page* page, bool writable) {
    const std::lock_guard held(view->lock);
    stm_view::Entry& entry = view->pages[{current_memory(), index}];
    if (entry.page != nullptr && entry.page != page)
        take_out(entry);
    if (entry.page != page)
        page->mappings.fetch_add(1, kRelaxed);
    entry = {page, writable, STM_TOUCHED_LOAD};
    if (writable)
        entry.touched |= STM_TOUCHED_STORE;
}

bool touch(stm_view* view, std::uint64_t index, bool store) {
    const std::lock_guard held(view->lock);
    const auto found = view->pages.find({current_memory(), index});
    if (found == view->pages.end() || (store && !found->second.writable))
        return false;
    found->second.touched |= STM_TOUCHED_LOAD;
    found->second.page->young = true;
    if (store)
        found->second.touched |= STM_TOUCHED_STORE;
    return true;
}

std::uint64_t address_of(std::uint64_t index) {
    return 0x7f00'0000'0000 + index * STM_PAGE_BYTES;
}

MappingsMoved::MappingsMoved() {
    ++thread.mappings_moved;
}

MappingsMoved::~MappingsMoved() {
    --thread.mappings_moved;
}

void unmap_all(stm_view* view) {
    const std::lock_guard held(view->lock);
    for (const auto& [place, entry] : view->pages)
        take_out(entry);
    view->pages.clear();
}

void unmap_own(stm_view* view) {
    const std::lock_guard held(view->lock);
    std::erase_if(view->pages, [](const auto& entry) {
        if (entry.first.first != current_memory())
            return false;
        take_out(entry.second);
        return true;
    });
}

} // namespace stm::simulated

using namespace stm::simulated;

extern "C" {

int stm_linux_view_close(stm_view* view, stm_memory* memory) {
    const Service service("view_close", Context::no_core_lock);
    if (memory->ended)
        return 0;
    before_acquiring(memory);
    memory->mmap_lock.lock();
    acquired(memory, kMmapLockRank);
    thread.closed = view;
    thread.may_enter = true;
    return 1;
}

int stm_linux_view_close_without_entering(stm_view* view, stm_memory* memory) {
    const int closed = stm_linux_view_close(view, memory);
    thread.may_enter = false;
    return closed;
}

int stm_linux_view_try_close(stm_view* view, stm_memory* memory) {
    const Service service("view_try_close", Context::no_core_lock);
    if (memory->ended)
        return 0;
    if (!memory->mmap_lock.try_lock())
        return -EBUSY;
    acquired(memory, kMmapLockRank);
    thread.closed = view;
    return 1;
}

void stm_linux_view_open(stm_memory* memory) {
    thread.closed = nullptr;
    released(memory);
    memory->mmap_lock.unlock();
}

void stm_linux_view_unmap(stm_view* view, __u64 first, __u64 count) {
    const Service service("view_unmap", Context::may_sleep);
    const std::lock_guard held(view->lock);
    for (auto place = view->pages.begin(); place != view->pages.end();) {
        const std::uint64_t index = place->first.second;
        if (index < first || index - first >= count) {
            ++place;
            continue;
        }
        take_out(place->second);
        place = view->pages.erase(place);
    }
}

__u64 stm_linux_view_extent(stm_view* view, __u64 index, __u64 address, stm_area** area,
                            int* writable) {
    const Service service("view_extent", Context::may_sleep);
    expect(thread.closed == view, "a view is looked at while it is open");
    *writable = 1;
    const bool mapped = thread.mappings_moved == 0 && address == address_of(index);
    *area = mapped ? reinterpret_cast<stm_area*>(view) : nullptr;
    return mapped ? 1000 : 0;
}

void stm_linux_view_map(stm_area* area, __u64 address, stm_page* const* pages, __u32 count,
                        int writable) {
    const Service service("view_map", Context::may_allocate, Failure::allocation);
    expect(area != nullptr, "pages are mapped where their mapping is not");
    auto* const view = reinterpret_cast<stm_view*>(area);
    expect(thread.closed == view, "pages are mapped while the view is open");
    expect(thread.may_enter, "pages are mapped while their mapping is not locked");
    const __u64 index = (address - address_of(0)) / STM_PAGE_BYTES;
    expect(address == address_of(index), "pages are mapped where their mapping is not");
    if (service.fails())
        return;
    const std::lock_guard held(view->lock);
    for (__u32 i = 0; i < count; ++i) {
        const bool fresh = view->pages
                               .try_emplace({current_memory(), index + i},
                                            stm_view::Entry{pages[i], writable != 0})
                               .second;
        if (fresh && writable != 0)
            pages[i]->stored = false;
        if (fresh)
            pages[i]->mappings.fetch_add(1, kRelaxed);
        if (fresh)
            expect(pages[i]->references.fetch_add(1) > 0, "a page is mapped after its end");
    }
}

void stm_linux_view_allow_stores(stm_area* area, __u64 address, stm_page* const* pages,
                                 __u32 count) {
    const Service service("view_allow_stores", Context::may_sleep, Failure::allocation);
    auto* const view = reinterpret_cast<stm_view*>(area);
    expect(thread.closed == view, "pages are changed while the view is open");
    const __u64 index = (address - address_of(0)) / STM_PAGE_BYTES;
    expect(address == address_of(index), "pages are changed where their mapping is not");
    if (service.fails())
        return;
    const std::lock_guard held(view->lock);
    for (__u32 i = 0; i < count; ++i) {
        const auto found = view->pages.find({current_memory(), index + i});
        if (found == view->pages.end() || found->second.page != pages[i])
            continue;
        found->second.writable = true;
        found->second.touched = 0;
        pages[i]->stored = false;
    }
}

int stm_linux_view_was_touched(__u64, stm_page* page) {
    const Service service("view_was_touched", Context::any, Failure::allocation);
    return !service.fails() && page->young.exchange(false) ? 1 : 0;
}

void stm_linux_view_forbid_stores(__u64 address, stm_page* const* pages, __u32 count,
                                  __u8* touched) {
    const Service service("view_forbid_stores", Context::may_sleep, Failure::allocation);
    stm_view* const view = thread.closed;
    expect(view != nullptr, "pages are changed while the view is open");
    const __u64 index = (address - address_of(0)) / STM_PAGE_BYTES;
    const bool fails = service.fails() || thread.mappings_moved != 0;
    const std::lock_guard held(view->lock);
    for (__u32 i = 0; i < count; ++i) {
        const auto found = view->pages.find({current_memory(), index + i});
        touched[i] = 0;
        if (fails || found == view->pages.end() || found->second.page != pages[i] ||
            pages[i]->references.load() != 2)
            continue;
        touched[i] = found->second.touched | STM_TOUCHED_STAYS;
        if (pages[i]->stored)
            touched[i] |= STM_TOUCHED_STORE;
        found->second.writable = false;
        found->second.touched = STM_TOUCHED_LOAD;
    }
}

int stm_linux_page_was_stored(stm_page* page) {
    return page->stored ? 1 : 0;
}

int stm_linux_pages_compare(const void*, const void*, __u64*) {
    return 0;
}

void stm_linux_view_examine(stm_view* view, __u64 index, __u64, __u32 count, __u8* touched) {
    const Service service("view_examine", Context::may_sleep);
    expect(thread.closed == view, "a view is examined while it is open");
    const std::lock_guard held(view->lock);
    for (__u32 i = 0; i < count; ++i) {
        const auto found = view->pages.find({current_memory(), index + i});
        touched[i] = found == view->pages.end() ? STM_TOUCHED_LOAD : found->second.touched;
    }
}

} // extern "C"
