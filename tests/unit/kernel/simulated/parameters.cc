// SPDX-License-Identifier: GPL-2.0
#include "tests/unit/kernel/simulated/parameters.hpp"

#include <stm/ioctl.h>

namespace stm::simulated {

stm_settings usual_parameters() {
    stm_settings settings{};
    settings.device_major = 240;
    settings.max_regions = 64;
    settings.max_user_regions = 16;
    settings.default_size = 4 * STM_PAGE_BYTES;
    settings.max_region_bytes = 16 << 20;
    settings.max_bytes = 64 << 20;
    settings.max_user_bytes = 32 << 20;
    settings.default_mode = 0666;
    settings.max_stripes = 1 << 16;
    settings.max_contexts = 32;
    settings.serial_after = 16;
    settings.serial_lease_ms = 1000;
    settings.serial_lease_max_ms = 60000;
    settings.watchdog_ms = 10;
    settings.predicted_pages = 64;
    settings.warm_pages = 128;
    settings.max_old_bytes = 1 << 20;
    settings.max_user_old_bytes = 2 << 20;
    return settings;
}

} // namespace stm::simulated
