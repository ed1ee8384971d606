// SPDX-License-Identifier: LGPL-2.1-or-later
// From the flags of stm_open() to those of the kernel interface.
#pragma once

#include <cstdint>
#include <optional>
#include <stm/ioctl.h>
#include <stm/stm.h>

namespace stm::library {

struct OpenFlags {
    std::uint32_t open;   // STM_OPEN_*
    std::uint32_t region; // STM_REGION_* of a new region
};

inline constexpr int kAllFlags = STM_CREATE | STM_EXCL | STM_PLAIN | STM_MUTEX | STM_EPHEMERAL |
                                 STM_RDONLY | STM_EXEC | STM_CLOEXEC | STM_DIRECT;
// The flags that make a region another kind of thing for its users. EPHEMERAL only says how long it
// lives.
inline constexpr std::uint32_t kRegionKind =
    STM_REGION_PLAIN | STM_REGION_MUTEX | STM_REGION_EXEC | STM_REGION_DIRECT;

/** Translates flags. Returns nothing if a flag is unknown or the combination impossible. */
[[nodiscard]] constexpr std::optional<OpenFlags> translate_flags(int flags) {
    if ((flags & ~kAllFlags) != 0)
        return std::nullopt;
    if ((flags & STM_EXCL) != 0 && (flags & STM_CREATE) == 0)
        return std::nullopt;
    if ((flags & STM_PLAIN) != 0 && (flags & STM_MUTEX) != 0)
        return std::nullopt;
    if ((flags & STM_EXEC) != 0 && (flags & STM_PLAIN) == 0)
        return std::nullopt;
    if ((flags & STM_DIRECT) != 0 && (flags & (STM_PLAIN | STM_MUTEX)) != 0)
        return std::nullopt;

    OpenFlags result{STM_OPEN_READ, 0};
    if ((flags & STM_RDONLY) == 0)
        result.open |= STM_OPEN_WRITE;
    if ((flags & STM_CREATE) != 0)
        result.open |= STM_OPEN_CREATE;
    if ((flags & STM_EXCL) != 0)
        result.open |= STM_OPEN_EXCL;
    if ((flags & STM_CLOEXEC) != 0)
        result.open |= STM_OPEN_CLOEXEC;
    if ((flags & STM_PLAIN) != 0)
        result.region |= STM_REGION_PLAIN;
    if ((flags & STM_MUTEX) != 0)
        result.region |= STM_REGION_MUTEX;
    if ((flags & STM_EPHEMERAL) != 0)
        result.region |= STM_REGION_EPHEMERAL;
    if ((flags & STM_EXEC) != 0)
        result.region |= STM_REGION_EXEC;
    if ((flags & STM_DIRECT) != 0)
        result.region |= STM_REGION_DIRECT;
    return result;
}

/** Whether a region with the flags `region` is what a caller asked for with `asked`. */
[[nodiscard]] constexpr bool kind_suits(const OpenFlags& asked, std::uint32_t region) {
    std::uint32_t wanted = asked.region & kRegionKind;
    if ((asked.open & STM_OPEN_CREATE) != 0)
        return (region & kRegionKind) == wanted;
    return (region & wanted) == wanted;
}

} // namespace stm::library
