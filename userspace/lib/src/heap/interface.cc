// SPDX-License-Identifier: LGPL-2.1-or-later
// The functions of <stm/heap.h>: they open the heap, call it, and turn its result into theirs.
#include "userspace/lib/src/heap/heap.hpp"

#include <cerrno>

namespace {

using stm::heap::Heap;

/** What the transaction says comes first: the heap has seen nonsense if a load has failed. */
template <typename Work>
int with_heap(stm_tx* tx, stm_region* region, Heap::Missing missing, Work work) {
    stm::heap::Memory memory(tx, region);
    Heap heap(memory);
    int error = heap.open(missing);
    if (error == 0 && memory.result() == 0)
        error = work(heap);
    if (memory.result() != 0)
        return memory.result();
    if (error == 0)
        return 0;
    errno = error;
    return -1;
}

/** The same in a mapping. */
template <typename Work>
int with_mapped_heap(void* base, size_t size, Heap::Missing missing, Work work) {
    stm::heap::Memory memory(base, size);
    Heap heap(memory);
    int error = heap.open(missing);
    if (error == 0)
        error = work(heap);
    if (error == 0)
        return 0;
    errno = error;
    return -1;
}

} // namespace

int stm_heap_allocate(stm_tx* tx, stm_region* region, size_t bytes, size_t alignment,
                      uint64_t* offset) {
    return with_heap(tx, region, Heap::Missing::make,
                     [&](Heap& heap) { return heap.allocate(bytes, alignment, *offset); });
}

int stm_heap_free(stm_tx* tx, stm_region* region, uint64_t offset) {
    if (offset == 0)
        return 0;
    return with_heap(tx, region, Heap::Missing::leave,
                     [&](Heap& heap) { return heap.free(offset); });
}

int stm_heap_usable(stm_tx* tx, stm_region* region, uint64_t offset, size_t* bytes) {
    return with_heap(tx, region, Heap::Missing::leave,
                     [&](Heap& heap) { return heap.usable(offset, *bytes); });
}

int stm_heap_root(stm_tx* tx, stm_region* region, uint64_t* offset, uint64_t* tag) {
    return with_heap(tx, region, Heap::Missing::leave, [&](Heap& heap) {
        *offset = heap.header().root;
        *tag = heap.header().tag;
        return 0;
    });
}

int stm_heap_set_root(stm_tx* tx, stm_region* region, uint64_t offset, uint64_t tag) {
    return with_heap(tx, region, Heap::Missing::make, [&](Heap& heap) {
        heap.set_root(offset, tag);
        return 0;
    });
}

int stm_heap_check(stm_tx* tx, stm_region* region, stm_heap_report* report) {
    return with_heap(tx, region, Heap::Missing::leave,
                     [&](Heap& heap) { return heap.check(*report); });
}

int stm_heap_allocate_mapped(void* base, size_t size, size_t bytes, size_t alignment,
                             void** block) {
    uint64_t offset = 0;
    const int result = with_mapped_heap(base, size, Heap::Missing::make, [&](Heap& heap) {
        return heap.allocate(bytes, alignment, offset);
    });
    if (result == 0)
        *block = static_cast<char*>(base) + offset;
    return result;
}

int stm_heap_free_mapped(void* base, size_t size, void* block) {
    if (block == nullptr)
        return 0;
    const auto offset = static_cast<uint64_t>(static_cast<char*>(block) - static_cast<char*>(base));
    return with_mapped_heap(base, size, Heap::Missing::leave,
                            [&](Heap& heap) { return heap.free(offset); });
}

int stm_heap_root_mapped(void* base, size_t size, void** block, uint64_t* tag) {
    return with_mapped_heap(base, size, Heap::Missing::leave, [&](Heap& heap) {
        const uint64_t root = heap.header().root;
        *block = root == 0 ? nullptr : static_cast<char*>(base) + root;
        *tag = heap.header().tag;
        return 0;
    });
}

int stm_heap_set_root_mapped(void* base, size_t size, void* block, uint64_t tag) {
    const uint64_t root =
        block == nullptr
            ? 0
            : static_cast<uint64_t>(static_cast<char*>(block) - static_cast<char*>(base));
    return with_mapped_heap(base, size, Heap::Missing::make, [&](Heap& heap) {
        heap.set_root(root, tag);
        return 0;
    });
}
