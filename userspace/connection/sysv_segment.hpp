// SPDX-License-Identifier: LGPL-2.1-or-later
// What a region with STM_REGION_SEGMENT is as a System V segment. The name of its region encodes
// the key: "sysv:" and 8 hexadecimal digits. With IPC_PRIVATE it is "sysv:private:" and 16 random
// digits. All else is what STM_IOC_INFO tells.
#pragma once

#include "userspace/connection/segment_id.hpp"

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <stm/ioctl.h>
#include <sys/ipc.h>
#include <sys/shm.h>

namespace stm::connection {

inline constexpr char kSysvPrefix[] = "sysv:";
inline constexpr std::size_t kSysvPrefixLength = sizeof kSysvPrefix - 1;

inline void sysv_name_of_key(key_t key, char (&name)[STM_NAME_SIZE]) {
    std::snprintf(name, sizeof name, "%s%08x", kSysvPrefix, static_cast<unsigned>(key));
}
inline void sysv_name_of_private(std::uint64_t random, char (&name)[STM_NAME_SIZE]) {
    std::snprintf(name, sizeof name, "%sprivate:%016llx", kSysvPrefix,
                  static_cast<unsigned long long>(random));
}

/** A region that shmget() made. One whose minor does not fit in an id has none. */
[[nodiscard]] inline bool is_sysv_segment(const struct stm_info& region) {
    return (region.region_flags & STM_REGION_SEGMENT) != 0 && segment_id(region.id) > 0 &&
           std::strncmp(region.name, kSysvPrefix, kSysvPrefixLength) == 0;
}

[[nodiscard]] inline bool is_removed(const struct stm_info& segment) {
    return (segment.state & STM_STATE_UNLINKED) != 0;
}

/** The segment's key; IPC_PRIVATE if it has none, or was removed. */
[[nodiscard]] inline key_t sysv_key(const struct stm_info& segment) {
    constexpr std::size_t kDigits = 8;
    const char* digits = segment.name + kSysvPrefixLength;
    if (is_removed(segment) || strnlen(digits, kDigits + 1) != kDigits)
        return IPC_PRIVATE;
    std::uint32_t key = 0;
    for (std::size_t place = 0; place < kDigits; ++place) {
        const char digit = digits[place];
        if (digit >= '0' && digit <= '9')
            key = key << 4 | static_cast<std::uint32_t>(digit - '0');
        else if (digit >= 'a' && digit <= 'f')
            key = key << 4 | static_cast<std::uint32_t>(digit - 'a' + 10);
        else
            return IPC_PRIVATE;
    }
    return static_cast<key_t>(key);
}

/** Permission bits with SHM_DEST and SHM_LOCKED, as in shm_perm.mode. */
[[nodiscard]] inline unsigned sysv_mode(const struct stm_info& segment) {
    return segment.mode | (is_removed(segment) ? SHM_DEST : 0U) |
           ((segment.state & STM_STATE_LOCKED) != 0 ? SHM_LOCKED : 0U);
}

[[nodiscard]] constexpr std::uint64_t in_seconds(std::uint64_t nanoseconds) {
    return nanoseconds / 1'000'000'000;
}

} // namespace stm::connection
