// SPDX-License-Identifier: GPL-2.0
// Registers that transactions read and give new values, no value twice, and what they wrote down
// about it: a history for the checker of tests/history.
#pragma once

#include "tests/history/history.hpp"
#include "tests/storm/access.hpp"

#include <cstddef>
#include <string>

namespace stm::storm {

class Registers {
public:
    static constexpr std::uint64_t kRegisters = 32;
    static constexpr std::uint64_t kStride = 512;
    static constexpr std::size_t kSize = kRegisters * kStride;

    /** `historian`: whose log it is. */
    Registers(const Self& self, unsigned historian, unsigned era);

    [[nodiscard]] bool is_full() const;
    /** One transaction, written down. With `broken`, two that are written down as one. */
    void change(Access& access, Random& random, bool broken);

private:
    void note(Entry::Kind kind, std::uint64_t offset, std::uint64_t value);
    void begin();

    Board& board_;
    Log& log_;
    // A time before the attempt that runs had begun.
    volatile std::uint64_t before_ = 0;
};

/** What the processes of an era have written down. They have ended. */
test::History collect(const Board& board, unsigned era);

} // namespace stm::storm
