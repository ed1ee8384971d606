// SPDX-License-Identifier: GPL-2.0
// Owns a region's identity: the inode by which Linux knows its pages, owner and mode.
#pragma once

#include "kernel/core/uapi.hpp"
#include "kernel/interface/services.h"
#include "runtime/support/result.hpp"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

class Identity : runtime::NonCopyable {
public:
    [[nodiscard]] static runtime::Result<Identity> create(const stm_birth& birth,
                                                          runtime::u32 region_flags) noexcept {
        stm_identity* identity = nullptr;
        const int executable = (region_flags & STM_REGION_EXEC) != 0 ? 1 : 0;
        const runtime::Status created =
            runtime::status_from_errno(stm_linux_identity_create(&birth, executable, &identity));
        if (!created.ok())
            return created.error();
        return Identity(identity);
    }
    Identity() noexcept = default;
    Identity(Identity&& other) noexcept : identity_(runtime::exchange(other.identity_, nullptr)) {}
    Identity& operator=(Identity&& other) noexcept {
        runtime::swap(identity_, other.identity_);
        return *this;
    }
    ~Identity() {
        if (identity_ != nullptr)
            stm_linux_identity_put(identity_);
    }

    [[nodiscard]] stm_identity* get() const noexcept { return identity_; }

private:
    explicit Identity(stm_identity* identity) noexcept : identity_(identity) {}

    stm_identity* identity_ = nullptr;
};

} // namespace stm::kernel
