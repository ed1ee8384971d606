// SPDX-License-Identifier: LGPL-2.1-or-later
#include "caller.hpp"

#include <cstdlib>
#include <linux/capability.h> // IWYU pragma: keep
#include <sys/syscall.h>
#include <unistd.h>

namespace stm::sysv {
namespace {

bool is_in_group(gid_t group) {
    if (::getegid() == group)
        return true;
    // Most processes are in a few groups; the kernel allows 65536.
    gid_t few[64];
    gid_t* list = few;
    int count = ::getgroups(sizeof few / sizeof few[0], few);
    if (count < 0) {
        const int all = ::getgroups(0, nullptr);
        list = static_cast<gid_t*>(std::calloc(static_cast<std::size_t>(all) + 1, sizeof *list));
        count = list == nullptr ? 0 : ::getgroups(all, list);
    }
    bool found = false;
    for (int place = 0; place < count; ++place)
        found = found || list[place] == group;
    if (list != few)
        std::free(list);
    return found;
}

} // namespace

bool has(Privilege privilege) {
    struct __user_cap_header_struct header {};
    header.version = _LINUX_CAPABILITY_VERSION_3;
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] {};
    if (::syscall(SYS_capget, &header, data) < 0)
        return false;
    return (data[0].effective & 1U << static_cast<unsigned>(privilege)) != 0;
}

bool is_owner(const struct stm_info& segment) {
    const uid_t caller = ::geteuid();
    return caller == segment.uid || caller == segment.creator_uid;
}

bool is_permitted(const struct stm_info& segment, unsigned flags) {
    const unsigned wanted = (flags >> 6 | flags >> 3 | flags) & 7;
    unsigned granted = segment.mode;
    if (is_owner(segment))
        granted >>= 6;
    else if (is_in_group(segment.creator_gid) || is_in_group(segment.gid))
        granted >>= 3;
    return (wanted & ~granted) == 0 || has(Privilege::ipc_owner);
}

} // namespace stm::sysv
