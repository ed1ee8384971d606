// SPDX-License-Identifier: GPL-2.0
#include "tests/storm/plain.hpp"

#include <cerrno>
#include <new>
#include <unistd.h>

namespace stm::storm {

void make_plain(Access& access) {
    auto* plain = new (access.base()) Plain;
    pthread_mutexattr_t kind;
    ::pthread_mutexattr_init(&kind);
    ::pthread_mutexattr_setpshared(&kind, PTHREAD_PROCESS_SHARED);
    ::pthread_mutexattr_setrobust(&kind, PTHREAD_MUTEX_ROBUST);
    ::pthread_mutex_init(&plain->mutex, &kind);
    ::pthread_mutexattr_destroy(&kind);
}

void count_and_lock(Access& access, Random& random, bool broken) {
    Plain& plain = Plain::in(access);
    Slot& slot = *access.self().slot;
    // Orders are carried out here: unmapped with the mutex held, nobody would be told of a death.
    access.cross();
    plain.first.fetch_add(1);
    plain.second.fetch_add(1);
    slot.busy.store(true, std::memory_order_relaxed);
    const int result = ::pthread_mutex_lock(&plain.mutex);
    if (result == EOWNERDEAD) {
        plain.right = plain.left;
        ::pthread_mutex_consistent(&plain.mutex);
        slot.recoveries.fetch_add(1);
    } else if (result != 0) {
        access.fail("pthread_mutex_lock", static_cast<std::uint64_t>(result));
        ::_exit(1);
    }
    if (plain.left != plain.right)
        access.fail("the mutex has not kept others out", plain.left, plain.right);
    plain.left = plain.left + 1;
    // Long enough, now and then, that some of them die here.
    if (random.one_in(50))
        ::usleep(2000);
    if (broken) {
        ::pthread_mutex_unlock(&plain.mutex);
        ::usleep(1000);
        ::pthread_mutex_lock(&plain.mutex);
    }
    plain.right = plain.right + 1;
    ::pthread_mutex_unlock(&plain.mutex);
    slot.busy.store(false, std::memory_order_relaxed);
    slot.done.fetch_add(1, std::memory_order_relaxed);
}

namespace {
std::array<std::uint64_t, Plain::kBlockBytes / 8> block;

template <typename Call>
void whole(Access& access, std::size_t from, std::size_t bytes, const Call& call) {
    ssize_t done = 0;
    do
        done = call(access.fd(), reinterpret_cast<char*>(block.data()) + from, bytes,
                    static_cast<off_t>(Plain::kBlock + from));
    while (done < 0 && errno == EINTR);
    if (done != static_cast<ssize_t>(bytes))
        access.fail("a read or write call", static_cast<std::uint64_t>(done), bytes);
}
} // namespace

void write_block(Access& access, Random& random, bool broken) {
    access.cross();
    block.fill(random.below(~std::uint64_t{0}));
    if (broken) {
        whole(access, 0, Plain::kBlockBytes / 2, ::pwrite);
        whole(access, Plain::kBlockBytes / 2, Plain::kBlockBytes / 2, ::pwrite);
    } else {
        whole(access, 0, Plain::kBlockBytes, ::pwrite);
    }
    access.self().slot->done.fetch_add(1, std::memory_order_relaxed);
}

void read_block(Access& access) {
    access.cross();
    whole(access, 0, Plain::kBlockBytes, ::pread);
    for (const std::uint64_t word : block) {
        if (word != block.front()) {
            access.fail("a read call saw a part of a write call", word, block.front());
            break;
        }
    }
    access.self().slot->done.fetch_add(1, std::memory_order_relaxed);
}

void audit_plain(Access& access, Random& random, std::uint64_t deaths) {
    const Plain& plain = Plain::in(access);
    const std::uint64_t first = plain.first.load();
    const std::uint64_t second = plain.second.load();
    if (first < second || first - second > deaths)
        access.fail("additions are lost", first, second);
    count_and_lock(access, random, false);
}

} // namespace stm::storm
