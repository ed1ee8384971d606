// SPDX-License-Identifier: GPL-2.0
// STM_IOC_VECTOR: several reads and writes in one call.
#pragma once

#include "tests/unit/kernel/transaction_test.hpp"

#include <cstdint>
#include <vector>

namespace stm::test {

// A list of pieces, made one after the other.
class Pieces {
public:
    Pieces& write(std::uint64_t offset, const void* from, std::size_t bytes) {
        return add(offset, from, bytes, STM_PIECE_WRITE);
    }
    Pieces& read(std::uint64_t offset, void* to, std::size_t bytes) {
        return add(offset, to, bytes, 0);
    }
    Pieces& add(std::uint64_t offset, const void* memory, std::size_t bytes, std::uint32_t flags) {
        pieces_.push_back({offset, reinterpret_cast<std::uint64_t>(memory),
                           static_cast<std::uint32_t>(bytes), flags});
        return *this;
    }
    [[nodiscard]] std::size_t size() const { return pieces_.size(); }

    [[nodiscard]] stm_vector argument(std::uint32_t flags = 0) const {
        auto argument = argument_of<stm_vector>(flags);
        argument.pieces = reinterpret_cast<std::uint64_t>(pieces_.data());
        argument.count = static_cast<std::uint32_t>(pieces_.size());
        return argument;
    }
    // As ioctl(2): 0 or -errno.
    long access(const File& file, std::uint32_t flags = 0) const {
        stm_vector vector = argument(flags);
        return request(file, STM_IOC_VECTOR, vector);
    }
    long access_and_commit(const File& file) const { return access(file, STM_VECTOR_COMMIT); }

private:
    std::vector<stm_vector_piece> pieces_;
};

} // namespace stm::test
