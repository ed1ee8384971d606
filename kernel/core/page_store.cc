// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/page_store.hpp"

#include "runtime/support/allocate.hpp"

namespace stm::kernel {

using runtime::Error;
using runtime::Order;
using runtime::Result;
using runtime::u64;
using runtime::Unique;

Result<PageStore> PageStore::create(u64 pages) noexcept {
    PageStore store;
    const u64 leaves = pages / kLeafPages + (pages % kLeafPages != 0);
    auto table = runtime::make_array<runtime::Atomic<Leaf*>>(leaves);
    if (!table.ok())
        return table.error();
    store.leaves_ = runtime::move(*table);
    return store;
}

PageStore::PageStore(PageStore&& other) noexcept
    : leaves_(runtime::move(other.leaves_)),
      resident_(other.resident_.exchange(0, Order::relaxed)) {
}

PageStore& PageStore::operator=(PageStore&& other) noexcept {
    runtime::expects(leaves_.empty(), "PageStore: replaced while it has pages");
    leaves_ = runtime::move(other.leaves_);
    resident_.store(other.resident_.exchange(0, Order::relaxed), Order::relaxed);
    return *this;
}

u64 PageStore::next(u64 index, u64 pages, Touched touched) const noexcept {
    while (index < pages) {
        const u64 end = runtime::min(pages, (index / kLeafPages + 1) * kLeafPages);
        const Leaf* const leaf = leaves_[index / kLeafPages].load(Order::acquire);
        if (leaf == nullptr && touched == Touched::no)
            return index;
        for (; leaf != nullptr && index < end; ++index) {
            const bool there =
                leaf->entries[index % kLeafPages].page.load(Order::acquire) != nullptr;
            if (there == (touched == Touched::yes))
                return index;
        }
        index = end;
        stm_linux_breathe();
    }
    return pages;
}

PageStore::~PageStore() {
    for (runtime::Atomic<Leaf*>& slot : leaves_) {
        Leaf* leaf = slot.load(Order::relaxed);
        if (leaf == nullptr)
            continue;
        for (Entry& entry : leaf->entries) {
            if (stm_page* touched = entry.page.load(Order::relaxed))
                stm_linux_page_release(touched);
        }
        runtime::destroy(leaf);
        stm_linux_breathe();
    }
}

Result<PageStore::Leaf*> PageStore::obtain_leaf(u64 index) noexcept {
    runtime::Atomic<Leaf*>& entry = leaves_[index / kLeafPages];
    Leaf* leaf = entry.load(Order::acquire);
    if (leaf != nullptr)
        return leaf;
    Result<Unique<Leaf>> fresh = runtime::make<Leaf>();
    if (!fresh.ok())
        return fresh.error();
    if (entry.compare_exchange(leaf, fresh->get(), Order::acq_rel, Order::acquire))
        leaf = fresh->release();
    return leaf;
}

Result<stm_page*> PageStore::obtain(u64 index, stm_identity* identity, u64 first) noexcept {
    const Result<Leaf*> leaf = obtain_leaf(index);
    if (!leaf.ok())
        return leaf.error();
    Entry& entry = (*leaf)->entries[index % kLeafPages];
    stm_page* page = entry.page.load(Order::acquire);
    if (page != nullptr)
        return page;
    stm_page* fresh = stm_linux_page_allocate(identity, first + index);
    if (fresh == nullptr)
        return Error::no_memory;
    // The release makes the zeros visible before the page.
    if (!entry.page.compare_exchange(page, fresh, Order::acq_rel, Order::acquire)) {
        stm_linux_page_release(fresh);
        return page;
    }
    entry.memory.store(memory_of(fresh), Order::release);
    resident_.fetch_add(1, Order::relaxed);
    return fresh;
}

} // namespace stm::kernel
