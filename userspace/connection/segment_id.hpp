// SPDX-License-Identifier: LGPL-2.1-or-later
// The int that stands for a segment in stm/shm.h. Its lower 16 bits are the minor number. The bits
// above have as much of the region's generation as keeps the number positive. The kernel's full id
// is looked up by the minor and must agree. So the id of a segment that is gone is refused until
// 32768 others have lived on the same minor.
#pragma once

#include <cstdint>

namespace stm::connection {

/** How the name of a segment's region begins; 16 random digits follow. */
inline constexpr char kSegmentPrefix[] = "shm:";

inline constexpr std::uint32_t kSegmentMinorBits = 16;
inline constexpr std::uint32_t kSegmentMinorMask = (1U << kSegmentMinorBits) - 1;
inline constexpr std::uint32_t kSegmentGenerationMask = 0x7fff;

/** The minor number in a segment's id. */
[[nodiscard]] constexpr std::uint32_t segment_minor(int id) {
    return static_cast<std::uint32_t>(id) & kSegmentMinorMask;
}

/** The segment's id for the kernel's id of a region (generation << 32 | minor), or -1 if the minor
 * is too large. */
[[nodiscard]] constexpr int segment_id(std::uint64_t region_id) {
    auto minor = static_cast<std::uint32_t>(region_id);
    auto generation = static_cast<std::uint32_t>(region_id >> 32) & kSegmentGenerationMask;
    if (minor > kSegmentMinorMask)
        return -1;
    return static_cast<int>(generation << kSegmentMinorBits | minor);
}

} // namespace stm::connection
