// SPDX-License-Identifier: GPL-2.0
// What one user owns, for the per-user limits. It exists while the user owns a region. The registry
// lock protects it, except for what is atomic.
#pragma once

#include "runtime/support/atomic.hpp"
#include "runtime/support/hash.hpp"
#include "runtime/support/intrusive_hash.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

struct UserAccount : public runtime::HashLink<UserAccount> {
    explicit UserAccount(runtime::u32 of_user) noexcept : user(of_user) {}

    struct ByUser {
        using Key = runtime::u32;
        static Key key(const UserAccount& account) noexcept { return account.user; }
        static runtime::u64 hash(Key key) noexcept { return runtime::mix(key); }
        static bool equal(Key left, Key right) noexcept { return left == right; }
    };

    const runtime::u32 user;
    runtime::u32 regions = 0;
    runtime::u64 bytes = 0;
    // Kept for fixed snapshots in the user's regions.
    runtime::Atomic<runtime::u64> old_stripes{0};
};

} // namespace stm::kernel
