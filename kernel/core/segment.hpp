// SPDX-License-Identifier: GPL-2.0
// What a System V segment has in addition to a plain region: its creator, its times, and the rights
// that follow from them.
//
// Invariants: the creator and the bytes never change; all else is touched under the registry lock.
// Rights are asked outside of it.
#pragma once

#include "kernel/core/uapi.hpp"

#include "kernel/core/identity.hpp"
#include "kernel/interface/services.h"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

// What happened to a segment's mappings.
enum class AttachEvent { attach, detach };

class Segment : runtime::NonCopyable {
public:
    // The caller is the creator.
    Segment(const Identity& identity, runtime::u64 bytes) noexcept;
    ~Segment() {
        if (last_process_ != nullptr)
            stm_linux_process_put(last_process_);
    }

    // Error::access: by the rules of System V the caller may not have this access (STM_ACCESS_*).
    [[nodiscard]] runtime::Status permission(runtime::u32 access) const noexcept;
    // Whether the caller may change and destroy it.
    [[nodiscard]] bool owned_by_caller() const noexcept;

    // Whether the caller may give it the mark of SHM_LOCK, or take it away.
    [[nodiscard]] bool may_be_locked_by_caller() const noexcept {
        return stm_linux_caller_has(STM_PRIVILEGE_IPC_LOCK) != 0 || is_of_caller();
    }

    // Registry lock:
    // Returns the process that was the last one before, whose reference is the caller's now.
    [[nodiscard]] stm_process* note(AttachEvent event, stm_process* process,
                                    runtime::u64 now) noexcept {
        (event == AttachEvent::attach ? attached_ns_ : detached_ns_) = now;
        return runtime::exchange(last_process_, process);
    }
    void note_change(runtime::u64 now) noexcept { changed_ns_ = now; }
    void set_locked(bool locked) noexcept { locked_ = locked; }
    void describe(stm_info& info) const noexcept;

private:
    [[nodiscard]] bool is_of_caller() const noexcept;

    const Identity& identity_;
    const runtime::u64 bytes_; // as the creator asked for them
    stm_ids creator_;
    runtime::u64 attached_ns_ = 0; // 0: never
    runtime::u64 detached_ns_ = 0;
    runtime::u64 changed_ns_;
    stm_process* last_process_ = nullptr; // a reference, or null
    bool locked_ = false;
};

} // namespace stm::kernel
