// SPDX-License-Identifier: GPL-2.0
#include "tests/storm/churn.hpp"

#include <cerrno>
#include <cstring>
#include <sys/mman.h>
#include <unistd.h>

namespace stm::storm {

namespace {

constexpr std::uint64_t kPage = 4096;
constexpr unsigned kNames = 4; // that several processes use

std::string shared_name(const std::string& prefix, std::uint64_t number) {
    return prefix + "churn:" + std::to_string(number);
}

// What may go wrong when others make and destroy the same region, or a limit is reached.
bool is_expected(int error) {
    switch (error) {
    case ENOENT:
    case EEXIST:
    case EINVAL: // it is smaller, or of another kind
    case EBUSY:
    case ENOSPC:
    case ENOMEM:
        return true;
    default:
        return false;
    }
}

void expect(const Self& self, const char* what, bool good) {
    if (!good && !is_expected(errno))
        self.board->fail("process %u: %s: %s", self.index, what, std::strerror(errno));
}

void use(const Self& self, int fd, std::uint64_t size, bool plain, bool own, Random& random) {
    const std::uint64_t page = (1 + random.below(size / kPage - 1)) * kPage;
    void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    expect(self, "mmap", memory != MAP_FAILED);
    if (memory == MAP_FAILED)
        return;
    auto* bytes = static_cast<volatile char*>(memory);
    if (own) {
        // Nobody else knows it: it must be as new.
        for (std::uint64_t i = 0; i < kPage; ++i) {
            if (bytes[page + i] != 0) {
                self.board->fail("process %u: a new region does not begin with zeros", self.index);
                break;
            }
        }
    }
    volatile bool is_cut = false;
    if (plain) {
        bytes[page] = 1;
    } else {
        do {
            stm_start(fd);
            bytes[page] = static_cast<char>(bytes[page] + 1);
            // The first page goes while the transaction runs; what comes to its place is not ours.
            if (!is_cut) {
                is_cut = true;
                ::munmap(memory, kPage);
            }
        } while (stm_try_commit(fd) != 0);
    }
    ::munmap(static_cast<char*>(memory) + (is_cut ? kPage : 0), size - (is_cut ? kPage : 0));
}

} // namespace

void churn(const Self& self, const std::string& prefix) {
    Random& random = *self.random;
    const bool own = random.one_in(2);
    const bool plain = random.one_in(2);
    std::string name = shared_name(prefix, random.below(kNames));
    int flags = STM_CREATE | (plain ? STM_PLAIN : 0);
    if (own) {
        name = prefix + "own:" + std::to_string(self.board->next_name.fetch_add(1));
        flags |= STM_EXCL | STM_EPHEMERAL;
    }
    const std::uint64_t size = (2 + random.below(15)) * kPage;
    const int fd = stm_open(name.c_str(), size, flags, 0600);
    expect(self, "stm_open", fd >= 0);
    if (fd < 0)
        return;
    if (plain || own)
        use(self, fd, size, plain, own, random);
    const std::uint64_t order = random.below(3);
    if (order == 0)
        ::close(fd);
    const int gone =
        random.one_in(2) ? stm_unlink(name.c_str()) : stm_unlink_deferred(name.c_str());
    expect(self, "stm_unlink", gone == 0);
    if (order != 0) {
        expect(self, "pwrite", ::pwrite(fd, "x", 1, 0) == 1);
        ::close(fd);
    }
    self.slot->done.fetch_add(1);
}

void clean_up_churn(const std::string& prefix) {
    for (unsigned i = 0; i < kNames; ++i)
        stm_unlink_deferred(shared_name(prefix, i).c_str());
}

namespace {

/** By stores, or by calls if there are no bytes. */
void touch(const Self& self, int fd, std::uint64_t size, volatile char* bytes) {
    for (std::uint64_t at = 0; at < size; at += kPage) {
        if (bytes != nullptr) {
            bytes[at] = 1;
        } else if (::pwrite(fd, "x", 1, static_cast<off_t>(at)) != 1 && errno != EINTR) {
            if (errno != ENOMEM && errno != ENOSPC && errno != E2BIG)
                self.board->fail("process %u: pwrite without memory: %s", self.index,
                                 std::strerror(errno));
            break;
        }
    }
}

void touch_together(const Self& self, int fd, std::uint64_t size, volatile char* bytes) {
    if (stm_try_start(fd) != 0)
        return;
    touch(self, fd, size, bytes);
    if (stm_commit(fd) != 0 && errno != ENOMEM && errno != E2BIG && errno != EAGAIN)
        self.board->fail("process %u: commit without memory: %s", self.index, std::strerror(errno));
}

} // namespace

void exceed(const Self& self, const std::string& prefix) {
    Random& random = *self.random;
    const bool plain = random.one_in(2);
    const std::uint64_t size = 64 << 20;
    const std::string name =
        prefix + "exceed:" + std::to_string(self.board->next_name.fetch_add(1));
    const int fd = stm_open(name.c_str(), size,
                            STM_CREATE | STM_EXCL | STM_EPHEMERAL | (plain ? STM_PLAIN : 0), 0600);
    if (fd < 0) {
        expect(self, "stm_open", false);
        self.slot->refusals.fetch_add(1);
        ::_exit(kNoMemory);
    }
    void* memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED) {
        expect(self, "mmap", false);
        self.slot->refusals.fetch_add(1);
        ::_exit(kNoMemory);
    }
    auto* bytes = static_cast<volatile char*>(memory);
    if (random.one_in(2))
        bytes = nullptr;
    if (plain)
        touch(self, fd, size, bytes);
    else
        touch_together(self, fd, size, bytes);
    self.slot->refusals.fetch_add(1);
    ::_exit(kNoMemory);
}

} // namespace stm::storm
