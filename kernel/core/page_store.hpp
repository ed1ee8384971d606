// SPDX-License-Identifier: GPL-2.0
// The pages of one region: a table of two levels, both filled at first touch.
//
// Invariants: pages are only added while the region lives. So a page that was found stays valid
// without a reference of its own, and finding one takes no lock. Two callers that miss the same
// page at once both allocate; one installs its page, the other gives its page back.
#pragma once

#include "kernel/interface/services.h"
#include "runtime/support/atomic.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/unique.hpp"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

inline constexpr runtime::u64 kPageBytes = 4096;

// The page's bytes, as long as a reference is held. Any context.
[[nodiscard]] inline runtime::u8* memory_of(stm_page* page) noexcept {
    return static_cast<runtime::u8*>(stm_linux_page_memory(page));
}

class PageStore : runtime::NonCopyable {
public:
    // Has no room for any page.
    PageStore() noexcept = default;
    // Room for this many pages; Error::no_memory. Occupies 8 bytes for every 512 of them, and 8192
    // for each 512 of which one was touched.
    [[nodiscard]] static runtime::Result<PageStore> create(runtime::u64 pages) noexcept;

    PageStore(PageStore&& other) noexcept;
    PageStore& operator=(PageStore&& other) noexcept;
    // No page is mapped any more. This may take long, and lets others run meanwhile.
    ~PageStore();

    // The page, or null if nothing touched it yet. The index must be below the number of pages.
    // Takes no lock, any context.
    [[nodiscard]] stm_page* find(runtime::u64 index) const noexcept {
        const Leaf* leaf = leaves_[index / kLeafPages].load(runtime::Order::acquire);
        return leaf == nullptr ? nullptr
                               : leaf->entries[index % kLeafPages].page.load(Order::acquire);
    }
    // The page's bytes, or null. The same otherwise, and quicker.
    [[nodiscard]] runtime::u8* find_memory(runtime::u64 index) const noexcept {
        const Leaf* leaf = leaves_[index / kLeafPages].load(runtime::Order::acquire);
        if (leaf == nullptr) [[unlikely]]
            return nullptr;
        const Entry& entry = leaf->entries[index % kLeafPages];
        if (runtime::u8* const memory = entry.memory.load(Order::acquire)) [[likely]]
            return memory;
        // Whoever has just added the page comes to that.
        stm_page* const page = entry.page.load(Order::acquire);
        return page == nullptr ? nullptr : memory_of(page);
    }

    // The first page from `index` on, below `pages`, that was touched, or that was not; `pages` if
    // there is none. Those who touch pages meanwhile may be seen or not. May take long, and lets
    // others run meanwhile.
    enum class Touched { no, yes };
    [[nodiscard]] runtime::u64 next(runtime::u64 index, runtime::u64 pages,
                                    Touched touched) const noexcept;

    // The page, allocated if there is none; Error::no_memory. Any number of threads may call it at
    // once. Linux knows the page as page first + index of the identity.
    [[nodiscard]] runtime::Result<stm_page*> obtain(runtime::u64 index, stm_identity* identity,
                                                    runtime::u64 first) noexcept;

    // The number of pages that were touched.
    [[nodiscard]] runtime::u64 resident() const noexcept {
        return resident_.load(runtime::Order::relaxed);
    }

private:
    using Order = runtime::Order;

    static constexpr runtime::u64 kLeafPages = 512;
    struct Entry {
        runtime::Atomic<stm_page*> page;
        runtime::Atomic<runtime::u8*> memory; // of the page; may still be null when that is there
    };
    struct Leaf {
        Entry entries[kLeafPages];
    };

    runtime::Result<Leaf*> obtain_leaf(runtime::u64 index) noexcept;

    runtime::UniqueArray<runtime::Atomic<Leaf*>> leaves_;
    runtime::Atomic<runtime::u64> resident_{0};
};

} // namespace stm::kernel
