// SPDX-License-Identifier: GPL-2.0
// The four faults that a program can make, each at a known place.
#pragma once

#include <csignal>
#include <cstdint>
#include <sys/mman.h>
#include <unistd.h>

namespace stm::test {

inline constexpr std::uintptr_t kBadAddress = 0x18;

// The instruction is the function's first, but for what the compiler puts before it.
[[gnu::noinline]] inline void fault_segv() {
    asm volatile("movl $1, (%0)" : : "r"(kBadAddress) : "memory");
}
[[gnu::noinline]] inline void fault_fpe() {
    asm volatile("xorl %%edx, %%edx\n movl $1, %%eax\n xorl %%ecx, %%ecx\n idivl %%ecx"
                 :
                 :
                 : "eax", "ecx", "edx");
}
[[gnu::noinline]] inline void fault_ill() {
    asm volatile("ud2");
}

/** Memory behind the end of its file. */
inline void* bad_page() {
    static void* page = [] {
        int fd = ::memfd_create("bad page", 0);
        void* mapped = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        ::close(fd);
        return mapped;
    }();
    return page;
}
[[gnu::noinline]] inline void fault_bus() {
    void* page = bad_page();
    asm volatile("movl $1, (%0)" : : "r"(page) : "memory");
}

struct FaultKind {
    const char* name;
    int signal;
    void (*make)();
};

inline constexpr FaultKind kFaults[] = {
    {"SIGSEGV", SIGSEGV, fault_segv},
    {"SIGBUS", SIGBUS, fault_bus},
    {"SIGFPE", SIGFPE, fault_fpe},
    {"SIGILL", SIGILL, fault_ill},
};

} // namespace stm::test
