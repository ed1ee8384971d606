// SPDX-License-Identifier: LGPL-2.1-or-later
// A region that the process has attached for typed transactions: what is mapped of it.
#pragma once

#include "runtime/protocol/typed_transaction.hpp"
#include "userspace/connection/descriptor.hpp"

#include <cstddef>
#include <stm/tx.h>
#include <sys/mman.h>

namespace stm::library::typed {

using runtime::Atomic;
using runtime::u32;
using runtime::u64;
using runtime::u8;

// What the engine sees of a region. Four pointers: see TypedTransaction::Part.
class View {
public:
    View() = default;
    View(const Atomic<u64>* records, const u8* bytes, const Atomic<u64>* clock, u64 size)
        : records_(records), bytes_(bytes), clock_(clock), size_(size) {}

    [[nodiscard]] const Atomic<u64>& clock() const { return *clock_; }
    [[nodiscard]] const Atomic<u64>* orec(u64 stripe) const { return records_ + stripe; }
    [[nodiscard]] const u8* at(u64 offset) const { return bytes_ + offset; }
    [[nodiscard]] u64 size() const { return size_; }
    void pause() const { runtime::spin_hint(); }
    // A commit keeps its processor, so it takes no longer than this unless it is a large one.
    [[nodiscard]] u32 spin_limit() const { return 1000; }

private:
    const Atomic<u64>* records_ = nullptr;
    const u8* bytes_ = nullptr;
    const Atomic<u64>* clock_ = nullptr;
    u64 size_ = 0;
};

using Engine = protocol::TypedTransaction<View>;

// A mapping of a part of a handle. Nothing is touched.
class Mapping {
public:
    Mapping() = default;
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;
    ~Mapping() {
        if (address_ != MAP_FAILED)
            ::munmap(address_, size_);
    }

    /** Returns 0, or -1 with errno. Once. */
    [[nodiscard]] int map(int fd, u64 offset, std::size_t size, int protection) {
        address_ = ::mmap(nullptr, size, protection, MAP_SHARED | MAP_NORESERVE, fd,
                          static_cast<off_t>(offset));
        size_ = size;
        return address_ == MAP_FAILED ? -1 : 0;
    }
    template <typename T>
    [[nodiscard]] T* as() const {
        return static_cast<T*>(address_);
    }

private:
    void* address_ = MAP_FAILED;
    std::size_t size_ = 0;
};

} // namespace stm::library::typed

struct stm_region {
    stm::library::typed::Engine::Place place{};
    stm::connection::Descriptor handle;
    bool may_write = false;
    bool is_direct = false; // may_write, too; only then are the mappings writable
    stm::library::typed::Mapping clock;
    stm::library::typed::Mapping records;
    stm::library::typed::Mapping bytes;
    stm::library::typed::Mapping journals; // of a direct region
};
