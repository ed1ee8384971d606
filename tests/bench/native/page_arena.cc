// SPDX-License-Identifier: GPL-2.0
#include "page_arena.hpp"

#include <cstdlib>
#include <mutex>
#include <new>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace stm::bench {
namespace {

constexpr std::size_t kPage = 4096;
// A simulated page: its bytes, and what is known of it.
constexpr std::size_t kSlot = 2 * kPage;
constexpr std::size_t kSlots = 8192;

// Aligned blocks of the size of a simulated page are slots of a file in memory.
class Arena {
public:
    Arena() : file_(::memfd_create("pages", MFD_CLOEXEC)) {
        if (file_ < 0 || ::ftruncate(file_, static_cast<off_t>(kSlots * kSlot)) < 0)
            std::abort();
        memory_ = map(nullptr, kSlots * kSlot, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
    }
    void* take() {
        const std::lock_guard held(lock_);
        if (free_ != nullptr) {
            Free* const block = free_;
            free_ = block->next;
            return block;
        }
        return next_ == kSlots ? nullptr : memory_ + kSlot * next_++;
    }
    void put(void* block) {
        const std::lock_guard held(lock_);
        free_ = new (block) Free{free_};
    }
    [[nodiscard]] bool has(const void* block) const {
        const auto* const bytes = static_cast<const char*>(block);
        return bytes >= memory_ && bytes < memory_ + kSlots * kSlot;
    }
    void map_again(const void* bytes, void* address, int protection) {
        map(address, kPage, protection, MAP_SHARED | MAP_FIXED,
            static_cast<off_t>(static_cast<const char*>(bytes) - memory_));
    }

private:
    struct Free {
        Free* next;
    };
    // Not the function of the C library, for which this program has another one.
    char* map(void* address, std::size_t bytes, int protection, int flags, off_t offset) {
        const long result = ::syscall(SYS_mmap, address, bytes, protection, flags, file_, offset);
        if (result == -1)
            std::abort();
        return reinterpret_cast<char*>(result);
    }

    int file_;
    char* memory_ = nullptr;
    std::size_t next_ = 0;
    Free* free_ = nullptr;
    std::mutex lock_;
};

Arena& arena() {
    static Arena arena;
    return arena;
}

} // namespace

void map_again(const void* bytes, void* address, int protection) {
    arena().map_again(bytes, address, protection);
}

} // namespace stm::bench

void* operator new(std::size_t bytes, std::align_val_t alignment) {
    void* const block = bytes == stm::bench::kSlot
                            ? stm::bench::arena().take()
                            : std::aligned_alloc(static_cast<std::size_t>(alignment),
                                                 (bytes + static_cast<std::size_t>(alignment) - 1) /
                                                     static_cast<std::size_t>(alignment) *
                                                     static_cast<std::size_t>(alignment));
    if (block == nullptr)
        throw std::bad_alloc();
    return block;
}
void operator delete(void* block, std::align_val_t) noexcept {
    if (stm::bench::arena().has(block))
        stm::bench::arena().put(block);
    else
        std::free(block);
}
void operator delete(void* block, std::size_t, std::align_val_t alignment) noexcept {
    operator delete(block, alignment);
}
