// SPDX-License-Identifier: GPL-2.0
#include "worker.hpp"

#include "shared.hpp"

#include <atomic>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <thread>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace stm::fuzz {

namespace {

// Where a store or load of this thread that faults goes on.
thread_local sigjmp_buf after_fault;
thread_local volatile sig_atomic_t may_fault = 0;

} // namespace

void on_fault(int signal) {
    shared->signals.fetch_add(1, std::memory_order_relaxed);
    if (may_fault != 0)
        siglongjmp(after_fault, 1);
    std::signal(signal, SIG_DFL);
}

Worker::Worker(std::uint64_t seed) : seed_(seed) {
    for (auto& file : files_)
        file = -1;
    // Without one nothing succeeds.
    for (int i = 0; i < 3; ++i)
        files_[i] = open("/dev/stm", O_RDWR);
    for (Mapping& mapping : mappings_)
        mapping.bytes = 0;
    readable_ = static_cast<std::uint8_t*>(
        mmap(nullptr, 3 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    std::memset(readable_, 0x5a, kPage);
    mprotect(readable_ + kPage, kPage, PROT_READ);
    mprotect(readable_ + 2 * kPage, kPage, PROT_NONE);
}

void Worker::adopt() {
    constexpr int kMost = 64;
    int place = 0;
    for (int number = 3; number < kMost && place < kFiles; ++number) {
        stm_info info{};
        info.size = sizeof(info);
        info.flags = STM_BY_HANDLE;
        if (ioctl(number, STM_IOC_INFO, &info) == 0)
            files_[place++] = number;
    }
}

void Worker::run(int calls) {
    std::thread other([this, calls] { run_thread(2, calls); });
    run_thread(1, calls);
    other.join();
}

void Worker::run_thread(std::uint64_t which, int calls) {
    std::mt19937_64 random(seed_ * 2 + which);
    for (int i = 0; i < calls; ++i) {
        const unsigned kind = static_cast<unsigned>(random() % 24);
        const long result = call(kind, random);
        shared->calls.fetch_add(1, std::memory_order_relaxed);
        if (result >= 0) {
            shared->succeeded.fetch_add(1, std::memory_order_relaxed);
            shared->kinds[kind].fetch_add(1, std::memory_order_relaxed);
        }
    }
}

std::uint64_t Worker::some(Random& random) {
    static constexpr std::uint64_t kEdges[] = {
        0,    1,     2,    7,       8,          63,         64,  4095,  4096,
        4097, 65536, 8192, 1 << 20, 0x7fffffff, 0x80000000, ~0u, ~0ull, 1ull << 63};
    switch (random() % 4) {
    case 0:
        return kEdges[random() % std::size(kEdges)];
    case 1:
        return random() % 256;
    case 2:
        return random() % (8 * kPage);
    default:
        return random();
    }
}

std::uint8_t* Worker::memory(Random& random, std::size_t bytes) {
    thread_local std::uint8_t good[2 * kPage];
    switch (random() % 8) {
    case 0: {
        const Mapping& mapping = mappings_[random() % kMappings];
        const std::size_t size = mapping.bytes;
        return size == 0 ? nullptr : mapping.address + random() % size;
    }
    case 1:
        return readable_ + kPage - random() % (bytes + 1);
    case 2:
        return readable_ + 2 * kPage - random() % (bytes + 1);
    case 3:
        if (random() % 4 == 0)
            return reinterpret_cast<std::uint8_t*>(some(random));
        return good;
    case 4:
        if (random() % 8 == 0)
            return reinterpret_cast<std::uint8_t*>(0xffff888000000000ull + random() % 4096);
        return good;
    default:
        return good;
    }
}

void Worker::random_name(char (&to)[STM_NAME_SIZE], Random& random) {
    switch (random() % 12) {
    case 0:
        for (char& byte : to)
            byte = static_cast<char>(random());
        return;
    case 1:
        std::strcpy(to, "default");
        return;
    case 2:
        std::snprintf(to, sizeof(to), "minor:%u", static_cast<unsigned>(random() % 8));
        return;
    default:
        std::snprintf(to, sizeof(to), "fuzz-%u", static_cast<unsigned>(random() % 6));
    }
}

bool Worker::touch(std::uint8_t* to, const void* from, std::size_t bytes) {
    may_fault = 1;
    const bool done = sigsetjmp(after_fault, 1) == 0;
    if (done)
        std::memcpy(to, from, bytes);
    may_fault = 0;
    return done;
}

bool Worker::look(const std::uint8_t* from, std::size_t bytes) {
    may_fault = 1;
    const bool done = sigsetjmp(after_fault, 1) == 0;
    if (done) {
        std::uint8_t sum = 0;
        for (std::size_t i = 0; i < bytes; ++i)
            sum =
                static_cast<std::uint8_t>(sum + static_cast<const volatile std::uint8_t*>(from)[i]);
    }
    may_fault = 0;
    return done;
}

long Worker::keep(int descriptor, Random& random) {
    if (descriptor < 0)
        return -1;
    const int old = files_[random() % kFiles].exchange(descriptor);
    if (old >= 0)
        close(old);
    return 0;
}

} // namespace stm::fuzz
