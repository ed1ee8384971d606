// SPDX-License-Identifier: GPL-2.0
// What workers leave behind, and what they find.
#pragma once

#include <cstdio>

#include <sys/stat.h>

namespace stm::fuzz {

// Makes the nodes that workers open.
void make_nodes();
void remove_nodes();

// Destroys all regions but `default`. Whether nothing else is left of the workers: no handle, no
// mapping, no byte.
enum class Tell { nothing, why };
bool clean_up(Tell tell);

// Workers may change its mode, and others come after us.
class DeviceMode {
public:
    DeviceMode() { stat("/dev/stm", &before_); }
    ~DeviceMode() {
        if (chmod("/dev/stm", before_.st_mode & 07777) != 0)
            std::perror("/dev/stm");
    }
    DeviceMode(const DeviceMode&) = delete;
    DeviceMode& operator=(const DeviceMode&) = delete;

private:
    struct stat before_ {};
};

} // namespace stm::fuzz
