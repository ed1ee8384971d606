// SPDX-License-Identifier: GPL-2.0
// Variables at their addresses: tx[x] is the variable itself.
#pragma once

#include "structures.hpp"

#include <cstdlib>
#include <sys/mman.h>

namespace stm::stamp {

// A type of its own for each way, so that each is compiled as its way is.
template <typename Way>
class Direct {
public:
    explicit Direct(char* base) : base_(base) {}
    template <typename T>
    T& operator[](var<T>& x) {
        return reinterpret_cast<T&>(x); // its first and only member
    }
    template <typename T>
    T& operator[](ptr<T> p) {
        return *reinterpret_cast<T*>(base_ + p.offset());
    }

private:
    char* base_;
};

/** Memory of this process. */
class OwnMemory {
public:
    explicit OwnMemory(u64 bytes) : bytes_(bytes) {
        void* made =
            ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (made == MAP_FAILED)
            std::abort();
        base_ = static_cast<char*>(made);
    }
    ~OwnMemory() { ::munmap(base_, bytes_); }
    OwnMemory(const OwnMemory&) = delete;
    OwnMemory& operator=(const OwnMemory&) = delete;

    [[nodiscard]] char* base() const { return base_; }

private:
    u64 bytes_;
    char* base_;
};

} // namespace stm::stamp
