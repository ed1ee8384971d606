// SPDX-License-Identifier: LGPL-2.1-or-later
#include "segments.hpp"

namespace stm::sysv {

using connection::is_sysv_segment;
using connection::segment_id;
using connection::segment_minor;

namespace {

constexpr unsigned kFirstMinorVersion = 4; // of the interface, with segments

int fail(int error) {
    errno = error;
    return -1;
}

} // namespace

int Segments::connect() {
    switch (connection::connect(connection_)) {
    case connection::Connected::yes:
        return connection_.version.abi_minor < kFirstMinorVersion ? fail(ENOSYS) : 0;
    case connection::Connected::cannot_open:
        return errno == ENODEV ? fail(ENOSYS) : -1;
    default:
        return fail(ENOSYS);
    }
}

int List::add(const struct stm_info& segment) {
    if (count_ == capacity_) {
        const std::size_t more = capacity_ == 0 ? 16 : 2 * capacity_;
        void* entries = std::realloc(entries_, more * sizeof *entries_);
        if (entries == nullptr)
            return fail(ENOMEM);
        entries_ = static_cast<struct stm_info*>(entries);
        capacity_ = more;
    }
    entries_[count_++] = segment;
    return 0;
}

void List::sort_by_falling_minor() {
    if (count_ == 0)
        return;
    std::qsort(entries_, count_, sizeof *entries_, [](const void* left, const void* right) {
        const unsigned one = static_cast<const struct stm_info*>(left)->minor;
        const unsigned other = static_cast<const struct stm_info*>(right)->minor;
        return one > other ? -1 : one < other ? 1 : 0;
    });
}

int Segments::next_id(std::uint64_t id, struct stm_info& result) const {
    result = {};
    result.flags = STM_BY_NEXT_ID;
    result.id = id;
    return request(STM_IOC_INFO, result);
}

int Segments::find_key(key_t key, struct stm_info& result) const {
    result = {};
    result.flags = STM_BY_NAME;
    connection::sysv_name_of_key(key, result.name);
    if (request(STM_IOC_INFO, result) < 0)
        return -1;
    return is_sysv_segment(result) ? 0 : fail(EINVAL);
}

int Segments::find_minor(unsigned minor, struct stm_info& result) const {
    result = {};
    result.flags = STM_BY_NEXT;
    result.minor = minor;
    if (request(STM_IOC_INFO, result) == 0) {
        if (result.minor == minor)
            return is_sysv_segment(result) ? 0 : fail(ENOENT);
    } else if (errno != ENOENT) {
        return -1;
    }
    for (std::uint64_t id = 0; next_id(id, result) == 0; id = result.id + 1)
        if (result.minor == minor && is_sysv_segment(result))
            return 0;
    return -1;
}

int Segments::find_id(int id, struct stm_info& result) const {
    if (id <= 0)
        return fail(EINVAL);
    // An id has the lower bits of the region's generation, and hardly ever there are more.
    const std::uint64_t generation = static_cast<unsigned>(id) >> connection::kSegmentMinorBits;
    result = {};
    result.flags = STM_BY_ID;
    result.id = generation << 32 | segment_minor(id);
    if (request(STM_IOC_INFO, result) == 0)
        return is_sysv_segment(result) ? 0 : fail(EINVAL);
    if (find_minor(segment_minor(id), result) < 0)
        return errno == ENOENT ? fail(EINVAL) : -1;
    return segment_id(result.id) == id ? 0 : fail(EIDRM);
}

int Segments::find_index(int index, struct stm_info& result) const {
    if (index < 0 || static_cast<unsigned>(index) >= limits().max_regions)
        return fail(EINVAL);
    if (find_minor(limits().max_regions - 1 - static_cast<unsigned>(index), result) < 0)
        return errno == ENOENT ? fail(EINVAL) : -1;
    return 0;
}

int Segments::list(List& result) const {
    struct stm_info segment;
    for (std::uint64_t id = 0; next_id(id, segment) == 0; id = segment.id + 1)
        if (is_sysv_segment(segment) && result.add(segment) < 0)
            return -1;
    if (errno != ENOENT)
        return -1;
    result.sort_by_falling_minor();
    return 0;
}

} // namespace stm::sysv
