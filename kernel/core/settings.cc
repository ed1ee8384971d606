// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/settings.hpp"

#include "runtime/support/utility.hpp"

namespace stm::kernel {

using runtime::u32;
using runtime::u64;
using runtime::usize;

namespace {

constexpr u64 kMost32 = ~u32{0};
constexpr u64 kMost64 = ~u64{0};

// A transaction's tables grow by doubling, and count in 32 bits. These are 16 GiB.
constexpr u64 kMostStripes = u64{1} << 28;

struct Row {
    usize offset;
    usize bytes;
    stm_setting_range range;
};

#define STM_ROW(field, least, most)                                                                \
    Row {                                                                                          \
        __builtin_offsetof(stm_settings, field), sizeof(stm_settings::field), {                    \
            least, most                                                                            \
        }                                                                                          \
    }

constexpr Row kRows[] = {
    STM_ROW(device_major, 0, 4095), // 12 bits of a device number
    STM_ROW(max_regions, 1, STM_MAX_REGIONS),
    STM_ROW(max_user_regions, 1, kMost32),
    STM_ROW(default_size, 1, kMost64),
    STM_ROW(max_region_bytes, STM_PAGE_BYTES, kMost64),
    STM_ROW(max_bytes, STM_PAGE_BYTES, kMost64),
    STM_ROW(max_user_bytes, 1, kMost64),
    STM_ROW(default_mode, 0, 0777),
    STM_ROW(max_stripes, 1, kMostStripes),
    STM_ROW(max_contexts, 1, kMost32),
    STM_ROW(serial_after, 0, kMost32),
    STM_ROW(serial_lease_ms, 0, kMost32),
    STM_ROW(serial_lease_max_ms, 0, kMost32),
    STM_ROW(watchdog_ms, 0, kMost32),
    STM_ROW(predicted_pages, 0, kMostPredictedPages),
    STM_ROW(warm_pages, 0, kMostWarmPages),
    STM_ROW(max_old_bytes, 0, kMost64),
    STM_ROW(max_user_old_bytes, 0, kMost64),
};

#undef STM_ROW

u64 value_of(const stm_settings& settings, const Row& row) noexcept {
    const char* const place = reinterpret_cast<const char*>(&settings) + row.offset;
    return row.bytes == sizeof(u64) ? current(*reinterpret_cast<const u64*>(place))
                                    : current(*reinterpret_cast<const u32*>(place));
}

} // namespace

bool are_valid(const stm_settings& settings) noexcept {
    for (const Row& row : kRows) {
        const stm_setting_range range = stm_core_setting_range(&settings, row.offset);
        const u64 value = value_of(settings, row);
        if (value < range.least || value > range.most)
            return false;
    }
    return true;
}

} // namespace stm::kernel

using namespace stm::kernel;

extern "C" stm_setting_range stm_core_setting_range(const stm_settings* settings,
                                                    unsigned long offset) {
    for (const Row& row : kRows) {
        if (row.offset != offset)
            continue;
        stm_setting_range range = row.range;
        // Whole pages of it must fit into both.
        if (settings != nullptr && offset == __builtin_offsetof(stm_settings, default_size))
            range.most = stm::runtime::min<u64>(current(settings->max_region_bytes),
                                                current(settings->max_bytes)) &
                         ~u64{STM_PAGE_BYTES - 1};
        return range;
    }
    return {1, 0}; // there is no such setting, and nothing that it might be
}
