// SPDX-License-Identifier: LGPL-2.1-or-later
#include "stack.hpp"

#include <algorithm>
#include <csignal>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

extern "C" void* __libc_stack_end; // of the process's first thread, from the loader

namespace stm::library {
namespace {

// pthread_getattr_np would read /proc/self/maps.
Stack first_stack() {
    constexpr std::uintptr_t kMost = 1UL << 30; // if there is no limit, or a very high one
    struct rlimit limit {};
    if (::getrlimit(RLIMIT_STACK, &limit) < 0)
        return {};
    const auto high = reinterpret_cast<std::uintptr_t>(__libc_stack_end);
    return {high - std::min<std::uintptr_t>(limit.rlim_cur, kMost), high};
}

bool has(const Stack& stack, std::uintptr_t place) {
    return place >= stack.low && place < stack.high;
}

Stack alternate_stack() {
    stack_t own{};
    if (::sigaltstack(nullptr, &own) < 0 || (own.ss_flags & SS_DISABLE) != 0)
        return {};
    const auto low = reinterpret_cast<std::uintptr_t>(own.ss_sp);
    return {low, low + own.ss_size};
}

} // namespace

Stack Stack::of_thread() {
    if (::getpid() == ::gettid())
        return first_stack();
    pthread_attr_t attributes;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0)
        return {};
    void* low = nullptr;
    std::size_t size = 0;
    const bool known = pthread_attr_getstack(&attributes, &low, &size) == 0;
    pthread_attr_destroy(&attributes);
    const auto bottom = reinterpret_cast<std::uintptr_t>(low);
    return known ? Stack{bottom, bottom + size} : Stack{};
}

bool Stack::has_left(std::uintptr_t then, std::uintptr_t now) const {
    if (now <= then || !has(*this, then) || !has(*this, now))
        return false;
    // An alternate stack may lie within.
    const Stack alternate = alternate_stack();
    return !has(alternate, then) && !has(alternate, now);
}

} // namespace stm::library
