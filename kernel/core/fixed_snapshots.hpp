// SPDX-License-Identifier: GPL-2.0
// The fixed snapshots of a region, and the old versions that are kept for them
// (runtime/protocol/old_versions.hpp): their lock, their memory, and the bounds of that.
//
// Two bounds are parameters: of the bytes for one region, and for all regions of one user. At seven
// eighths of either the oldest snapshot of the region ends, whose transaction finds that out when
// it needs what is not there any more. What reaches the bound itself is not kept.
#pragma once

#include "kernel/core/lock.hpp"
#include "kernel/interface/settings.h"
#include "runtime/protocol/old_versions.hpp"
#include "runtime/support/atomic.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

class SerialToken;

class FixedSnapshots : runtime::NonCopyable {
    using u32 = runtime::u32;
    using u64 = runtime::u64;

public:
    explicit FixedSnapshots(const stm_settings& settings) noexcept
        : settings_(settings), lock_(STM_RANK_SNAPSHOTS) {}
    ~FixedSnapshots() { forget_user(); }

    // What the user has in all regions counts there, too, from now on until forget_user(). Before
    // any handle of the region exists, and after the last one is gone.
    void set_user(runtime::Atomic<u64>& stripes) noexcept { of_user_ = &stripes; }
    void forget_user() noexcept;

    [[nodiscard]] protocol::OldVersions& old_versions() noexcept { return old_versions_; }

    // -- Of commits --

    // Room for one more, or null. See KeepsOldVersions.
    [[nodiscard]] protocol::OldStripe* make(bool may_sleep) noexcept;
    void free(protocol::OldStripe* old) noexcept;
    // After each commit, outside of the gate: nothing is kept for nobody, or beyond the bounds.
    [[gnu::always_inline]] void tidy() noexcept {
        if (stripes_.load(runtime::Order::relaxed) != 0) [[unlikely]]
            tidy_up();
    }

    // -- Of their readers. See FixesSnapshots --

    [[nodiscard]] bool stop_commits(SerialToken& token) noexcept;
    void resume_commits(SerialToken& token) noexcept;
    [[nodiscard]] bool find(u64 stripe, u64 snapshot, protocol::OldStripe& to) noexcept
        STM_EXCLUDES(lock_);
    void dismiss(protocol::FixedSnapshot& snapshot) noexcept STM_EXCLUDES(lock_);

private:
    [[nodiscard]] bool get_ready() noexcept STM_EXCLUDES(lock_);
    [[gnu::noinline]] void tidy_up() noexcept STM_EXCLUDES(lock_);
    void collect() noexcept STM_EXCLUDES(lock_);
    void collect_all() noexcept STM_EXCLUDES(lock_);
    [[nodiscard]] bool is_over() const noexcept;
    // Whether there is less than so many eighths of what the bounds allow.
    [[nodiscard]] bool is_below(u64 eighths) const noexcept;

    const stm_settings& settings_;
    runtime::Atomic<u64> stripes_{0};     // made and not freed
    runtime::Atomic<u32> collections_{0}; // asked for and not done
    runtime::Atomic<u64>* of_user_ = nullptr;
    // Protects old_versions_, except for what commits call; they do not take it inside the gate. It
    // also keeps what commits load away from what they store above.
    Mutex lock_;
    protocol::OldVersions old_versions_;
};

} // namespace stm::kernel
