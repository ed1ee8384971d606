// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/segment.hpp"

namespace stm::kernel {

using runtime::Error;
using runtime::kSuccess;
using runtime::Status;
using runtime::u32;
using runtime::u64;

namespace {

constexpr u32 kMayRead = 4;
constexpr u32 kMayWrite = 2;

stm_ids caller() noexcept {
    stm_ids ids;
    stm_linux_caller_ids(&ids);
    return ids;
}

} // namespace

Segment::Segment(const Identity& identity, u64 bytes) noexcept
    : identity_(identity), bytes_(bytes), creator_(caller()), changed_ns_(stm_linux_realtime_ns()) {
}

bool Segment::is_of_caller() const noexcept {
    stm_ids owner;
    stm_linux_identity_ids(identity_.get(), &owner);
    const u32 uid = caller().uid;
    return uid == owner.uid || uid == creator_.uid;
}

Status Segment::permission(u32 access) const noexcept {
    stm_ids owner;
    stm_owner shown;
    stm_linux_identity_ids(identity_.get(), &owner);
    stm_linux_identity_owner(identity_.get(), &shown);
    u32 granted = shown.mode;
    if (is_of_caller())
        granted >>= 6;
    else if (stm_linux_caller_in_group(creator_.gid) != 0 ||
             stm_linux_caller_in_group(owner.gid) != 0)
        granted >>= 3;
    const u32 wanted = ((access & STM_ACCESS_READ) != 0 ? kMayRead : 0u) |
                       ((access & STM_ACCESS_WRITE) != 0 ? kMayWrite : 0u);
    if ((wanted & ~granted) == 0 || stm_linux_caller_has(STM_PRIVILEGE_IPC_OWNER) != 0)
        return kSuccess;
    return Error::access;
}

bool Segment::owned_by_caller() const noexcept {
    return is_of_caller() || stm_linux_caller_has(STM_PRIVILEGE_ADMIN) != 0;
}

void Segment::describe(stm_info& info) const noexcept {
    char command[16];
    stm_ids creator = creator_;
    stm_linux_ids_for_caller(&creator);
    info.segment_bytes = bytes_;
    info.attached_ns = attached_ns_;
    info.detached_ns = detached_ns_;
    info.changed_ns = changed_ns_;
    info.last_pid =
        last_process_ == nullptr ? 0 : stm_linux_process_describe(last_process_, command);
    info.creator_uid = creator.uid;
    info.creator_gid = creator.gid;
    info.state |= locked_ ? STM_STATE_LOCKED : 0u;
}

} // namespace stm::kernel
