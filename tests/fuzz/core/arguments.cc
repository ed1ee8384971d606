// SPDX-License-Identifier: GPL-2.0
#include "tests/fuzz/core/arguments.hpp"

#include "kernel/interface/settings.h"

#include <cstring>
#include <iterator>

namespace stm::fuzz {

namespace {

constexpr std::size_t kPage = STM_PAGE_BYTES;

} // namespace

void name(char (&to)[STM_NAME_SIZE], unsigned which) {
    switch (which % 10) {
    case 5:
        std::strcpy(to, "default");
        return;
    case 6:
        return; // empty
    case 7:
        std::memset(to, 'x', sizeof(to)); // without an end
        return;
    case 8:
        std::strcpy(to, "minor:3");
        return;
    case 9:
        std::memset(to, 'y', sizeof(to) - 1);
        to[sizeof(to) - 1] = 0;
        return;
    default:
        std::strcpy(to, "region ");
        to[6] = static_cast<char>('a' + which % 10);
    }
}

std::uint64_t bytes_of(const Step& step) {
    static constexpr std::uint64_t kSizes[] = {
        0,          1,       kPage,         2 * kPage,     3 * kPage - 1,     4 * kPage,
        64 * kPage, 6 << 20, (8 << 20) - 1, (8 << 20) + 1, ~std::uint64_t{0}, 600 * kPage};
    return kSizes[step.small % std::size(kSizes)];
}

Range range_of(const Step& step) {
    static constexpr std::uint64_t kFar[] = {~std::uint64_t{0}, 1ull << 63, 8 << 20, 1ull << 40};
    std::uint64_t position = step.large % (5 * kPage);
    if (step.large >> 28 == 1)
        position = kFar[step.large % 4] - step.small % 8;
    else if (step.large >> 28 == 2)
        position = step.large % (8 << 20);
    std::size_t length = step.small % 200;
    if (step.small >> 12 == 1)
        length = step.small % (3 * kPage);
    else if (step.small >> 12 == 2)
        length = (step.small & 0xfffu) * 300;
    return {position, length};
}

} // namespace stm::fuzz
