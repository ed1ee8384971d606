// SPDX-License-Identifier: LGPL-2.1-or-later
#include "listing.hpp"

#include "segments.hpp"

#include <sys/mman.h>

namespace stm::sysv {

using connection::in_seconds;

std::FILE* open_listing() {
    Segments segments;
    List all;
    if (segments.connect() < 0 || segments.list(all) < 0)
        return nullptr;
    Descriptor memory(::memfd_create("sysvipc-shm", MFD_CLOEXEC));
    std::FILE* list = memory ? ::fdopen(memory.get(), "w+") : nullptr;
    if (list == nullptr)
        return nullptr;
    (void)memory.release(); // the stream owns it now
    std::fputs(
        "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid "
        " cgid      atime      dtime      ctime                   rss                  swap\n",
        list);
    for (const struct stm_info& segment : all)
        std::fprintf(
            list,
            "%10d %10d  %4o %21llu %5u %5u  %5u %5u %5u %5u %5u %10llu %10llu %10llu %21llu "
            "%21llu\n",
            connection::sysv_key(segment), connection::segment_id(segment.id),
            connection::sysv_mode(segment), static_cast<unsigned long long>(segment.segment_bytes),
            static_cast<unsigned>(segment.creator_pid), static_cast<unsigned>(segment.last_pid),
            segment.mappings, segment.uid, segment.gid, segment.creator_uid, segment.creator_gid,
            static_cast<unsigned long long>(in_seconds(segment.attached_ns)),
            static_cast<unsigned long long>(in_seconds(segment.detached_ns)),
            static_cast<unsigned long long>(in_seconds(segment.changed_ns)),
            static_cast<unsigned long long>(segment.resident_bytes), 0ULL);
    if (std::fflush(list) != 0) {
        const int error = errno;
        std::fclose(list);
        errno = error;
        return nullptr;
    }
    std::rewind(list);
    return list;
}

} // namespace stm::sysv
