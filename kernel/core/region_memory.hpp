// SPDX-License-Identifier: GPL-2.0
// A region as the transaction engine sees it (runtime/protocol/memory.hpp), from one thread's
// context: its stripes, and the serial token as this context takes it.
#pragma once

#include "kernel/core/region_stripes.hpp"
#include "runtime/protocol/memory.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

class RegionMemory : public RegionStripes {
    using u32 = runtime::u32;
    using u64 = runtime::u64;

public:
    RegionMemory(Region& region, const Context& context, stm_thread* thread) noexcept
        : RegionStripes(region), context_(context), thread_(thread) {}

    // Sets the signals that end a wait for the token from now on, and how long others may have to
    // wait for the token.
    void set_wait(stm_wait_kind kind, const Lease& lease) noexcept {
        terms_ = {kind, lease, &region_};
    }
    // The context serves another thread now.
    void set_thread(stm_thread* thread) noexcept {
        thread_ = thread;
        losses_ = 0;
    }
    // Whether the context has the token at this moment.
    [[nodiscard]] bool holds_token() const noexcept { return versions_.token.is_held_by(context_); }

    // -- The rest of the concept Memory --

    [[nodiscard]] runtime::Status enter_commit() noexcept { return versions_.token.enter(terms_); }
    // The same without waiting.
    [[nodiscard]] bool try_enter_commit() noexcept { return versions_.token.try_enter(); }
    void leave_commit() noexcept { versions_.token.leave(); }
    [[nodiscard]] runtime::Status acquire_serial() noexcept {
        for (;;) {
            const runtime::Status acquired =
                versions_.token.acquire(context_, thread_, terms_, losses_);
            if (!acquired.ok() || !region_.direct()) [[likely]]
                return acquired;
            const runtime::Status idle = wait_until_idle(region_, context_, terms_.kind);
            if (!idle.ok())
                release_serial();
            if (!idle.ok() || holds_token())
                return idle;
        }
    }
    [[nodiscard]] bool keep_serial() noexcept {
        if (versions_.token.keep(context_))
            return true;
        release_serial();
        return false;
    }
    void release_serial() noexcept {
        losses_ = versions_.token.release(context_, terms_.lease, losses_);
    }

    // See old_versions.hpp.
    [[nodiscard]] bool stop_commits() noexcept {
        return !region_.direct() && versions_.snapshots.stop_commits(versions_.token);
    }
    void resume_commits() noexcept { versions_.snapshots.resume_commits(versions_.token); }
    [[nodiscard]] bool find_old(u64 stripe, u64 snapshot, protocol::OldStripe& to) noexcept {
        return versions_.snapshots.find(stripe, snapshot, to);
    }
    void dismiss(protocol::FixedSnapshot& snapshot) noexcept {
        versions_.snapshots.dismiss(snapshot);
    }

private:
    const Context& context_;
    stm_thread* thread_;
    SerialToken::Terms terms_;
    u32 losses_ = 0; // of the token, by its lease, in transactions of this context
};

static_assert(protocol::Memory<RegionMemory> && protocol::FixesSnapshots<RegionMemory>);

} // namespace stm::kernel
