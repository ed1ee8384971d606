// SPDX-License-Identifier: LGPL-2.1-or-later
// The module's segments, by a connection that lasts for one call.
#pragma once

#include "userspace/connection/connection.hpp"
#include "userspace/connection/sysv_segment.hpp" // IWYU pragma: export

#include <cstddef>
#include <cstdlib>

namespace stm::sysv {

using connection::Descriptor;

// Segments, in memory of its own.
class List {
public:
    List() = default;
    ~List() { std::free(entries_); }
    List(const List&) = delete;
    List& operator=(const List&) = delete;

    /** ENOMEM. */
    [[nodiscard]] int add(const struct stm_info& segment);
    void sort_by_falling_minor();

    [[nodiscard]] const struct stm_info* begin() const { return entries_; }
    [[nodiscard]] const struct stm_info* end() const { return entries_ + count_; }

private:
    struct stm_info* entries_ = nullptr;
    std::size_t count_ = 0;
    std::size_t capacity_ = 0;
};

// Each function returns 0 or more, or -1 with errno, unless its comment says otherwise.
class Segments {
public:
    /**
     * Comes first. ENOSYS: there is no module here that knows segments. Also EMFILE, ENFILE, ENOMEM
     * and EACCES of opening the node.
     */
    [[nodiscard]] int connect();

    [[nodiscard]] const struct stm_version& limits() const { return connection_.version; }

    /** Sends any request of <stm/ioctl.h>; it fills in the size. */
    template <typename Argument>
    [[nodiscard]] int request(unsigned long number, Argument& argument) const {
        argument.size = sizeof argument;
        return ::ioctl(connection_.device.get(), number, &argument);
    }

    /** The segment of a key. ENOENT: there is none. EINVAL: a region that is none has its name. */
    [[nodiscard]] int find_key(key_t key, struct stm_info& result) const;
    /** The segment of an id, also if it was removed and is in use. EINVAL, EIDRM. */
    [[nodiscard]] int find_id(int id, struct stm_info& result) const;
    /** The segment of an index as SHM_STAT takes it. EINVAL: there is none. */
    [[nodiscard]] int find_index(int index, struct stm_info& result) const;

    /**
     * All segments by rising index, also those that were removed and are in use. A segment's index
     * is how far its minor is from the highest one, which the module gives first.
     */
    [[nodiscard]] int list(List& result) const;

    [[nodiscard]] int index_of(const struct stm_info& segment) const {
        return static_cast<int>(limits().max_regions - 1 - segment.minor);
    }

private:
    [[nodiscard]] int next_id(std::uint64_t id, struct stm_info& result) const;
    /** The segment that has the minor, or that was removed and still has it. ENOENT. */
    [[nodiscard]] int find_minor(unsigned minor, struct stm_info& result) const;

    connection::Connection connection_{};
};

} // namespace stm::sysv
