// SPDX-License-Identifier: GPL-2.0
#include "tests/unit/kernel/simulated/pages.hpp"

#include "tests/unit/kernel/simulated/identity.hpp"
#include "tests/unit/kernel/simulated/rules.hpp"
#include "tests/unit/kernel/simulated/service.hpp"

#include <cstring>
#include <utility>

namespace stm::simulated {

namespace {

std::atomic<std::uint64_t> all_pages{0};

stm_page* make_page() {
    counters.pages.fetch_add(1, kRelaxed);
    all_pages.fetch_add(1, kRelaxed);
    return new stm_page;
}

} // namespace

void put(stm_page* page) {
    if (!was_last(page, "a page is given back once too often"))
        return;
    expect(page->identity == nullptr, "a page is freed while it has an identity");
    counters.pages.fetch_sub(1, kRelaxed);
    std::memset(page->bytes, kFreedByte, sizeof(page->bytes));
    delete page;
}

PageState page_state(const stm_page* page) {
    return {page->identity, page->index};
}

std::uint8_t* page_bytes(stm_page* page) {
    return page->bytes;
}

std::uint64_t pages_allocated() {
    return all_pages.load(kRelaxed);
}

} // namespace stm::simulated

using namespace stm::simulated;

extern "C" {

stm_page* stm_linux_page_allocate(stm_identity* identity, __u64 index) {
    const Service service("page_allocate", Context::may_allocate, Failure::allocation);
    if (service.fails())
        return nullptr;
    stm_page* page = make_page();
    page->identity = identity;
    page->index = index;
    identity->pages.fetch_add(1, kRelaxed);
    return page;
}

stm_page* stm_linux_page_allocate_private() {
    const Service service("page_allocate_private", Context::may_allocate, Failure::allocation);
    if (service.fails())
        return nullptr;
    stm_page* page = make_page();
    std::memset(page->bytes, kFreshByte, sizeof(page->bytes));
    return page;
}

void stm_linux_page_release(stm_page* page) {
    const Service service("page_release", Context::may_release);
    if (page->identity != nullptr)
        std::exchange(page->identity, nullptr)->pages.fetch_sub(1, kRelaxed);
    put(page);
}

void stm_linux_page_get(stm_page* page) {
    expect(page->references.fetch_add(1) > 0, "a page is referenced after its end");
}

int stm_linux_page_is_alone(stm_page* page) {
    return page->references.load() == 1;
}

__u32 stm_linux_page_holders(stm_page* page) {
    return static_cast<__u32>(page->references.load() - page->mappings.load());
}

void* stm_linux_page_memory(stm_page* page) {
    return page->bytes;
}

} // extern "C"
