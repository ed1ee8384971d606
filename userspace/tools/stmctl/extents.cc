// SPDX-License-Identifier: GPL-2.0
#include "extents.hpp"

#include <cerrno>
#include <unistd.h>

namespace stm::tools {

std::vector<Extent> touched_extents(int fd, std::uint64_t size) {
    std::vector<Extent> extents;
    for (std::uint64_t at = 0; at < size;) {
        const off_t begin = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
        if (begin < 0 && errno == ENXIO)
            return extents;
        const off_t end = begin < 0 ? begin : ::lseek(fd, begin, SEEK_HOLE);
        if (end < 0)
            return {{0, size}};
        extents.push_back({static_cast<std::uint64_t>(begin), static_cast<std::uint64_t>(end)});
        at = extents.back().end;
    }
    return extents;
}

} // namespace stm::tools
