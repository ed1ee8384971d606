// SPDX-License-Identifier: LGPL-2.1-or-later
#include "sanitizers.hpp"

#include "thread_state.hpp"

#include <cerrno>
#include <csetjmp>
#include <cstddef>
#include <sys/mman.h>

// Functions of the sanitizers' runtime libraries; null without them.
extern "C" {
[[gnu::weak]] void __asan_unpoison_memory_region(const volatile void* address, std::size_t size);
[[gnu::weak]] void __asan_handle_no_return();
[[gnu::weak]] void* __asan_get_current_fake_stack();
[[gnu::weak]] void __tsan_func_entry(void* caller);

[[gnu::visibility("hidden")]] extern const int stm_library_has_tsan =
    &__tsan_func_entry != nullptr ? 1 : 0;
}

namespace stm::library {
namespace {

std::jmp_buf* new_way_back() {
    void* memory = ::mmap(nullptr, sizeof(std::jmp_buf), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? nullptr : static_cast<std::jmp_buf*>(memory);
}

} // namespace

void tell_of_left_frames(std::uintptr_t low, std::uintptr_t high) {
    constexpr std::uintptr_t kRedZone = 128;
    low -= kRedZone;
    if (&__asan_unpoison_memory_region != nullptr && low < high)
        __asan_unpoison_memory_region(reinterpret_cast<const void*>(low), high - low);
    // If local variables are not on the stack, give them back.
    if (&__asan_get_current_fake_stack != nullptr && &__asan_handle_no_return != nullptr &&
        __asan_get_current_fake_stack() != nullptr)
        __asan_handle_no_return();
}

} // namespace stm::library

using namespace stm::library;

ThreadTransaction* stm_library_just_begun(int fd) {
    const int error = errno;
    ThreadState* const thread = ThreadState::current();
    ThreadTransaction* const transaction = thread != nullptr ? thread->find(fd) : nullptr;
    if (transaction == nullptr || transaction->depth != 1 || transaction->phantoms != 0)
        return nullptr;
    if (transaction->way_back == nullptr)
        transaction->way_back = new_way_back();
    errno = error;
    return transaction->way_back != nullptr ? transaction : nullptr;
}
