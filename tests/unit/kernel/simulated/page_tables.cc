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

stm_page* mapped_page(stm_view* view, std::uint64_t index) {
    const std::lock_guard held(view->lock);
    const auto found = view->pages.find({current_memory(), index});
    return found == view->pages.end() ? nullptr : found->second.page;
}

void map_page(stm_view* view, std::uint64_t index, stm_page* page, bool writable) {
    const std::lock_guard held(view->lock);
    stm_view::Entry& entry = view->pages[{current_memory(), index}];
    if (entry.page != nullptr && entry.page != page)
        put(entry.page);
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
        put(entry.page);
    view->pages.clear();
}

void unmap_own(stm_view* view) {
    const std::lock_guard held(view->lock);
    std::erase_if(view->pages, [](const auto& entry) {
        if (entry.first.first != current_memory())
            return false;
        put(entry.second.page);
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
    return 1;
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
        put(place->second.page);
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
        if (fresh)
            expect(pages[i]->references.fetch_add(1) > 0, "a page is mapped after its end");
    }
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
