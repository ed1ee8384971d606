// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/passes.hpp"

#include "kernel/core/abort_error.hpp"
#include "kernel/core/lease.hpp"
#include "kernel/core/trace.hpp"

namespace stm::kernel {

using protocol::AbortReason;
using protocol::Path;
using runtime::Error;
using runtime::kSuccess;
using runtime::Result;
using runtime::Status;
using runtime::u32;
using Guard = Context::Guard;

Status await_gate(Region& region) noexcept {
    return traced_wait(region, STM_TRACE_WAIT_COMMIT, [&]() noexcept {
        return region.versions().token.enter({STM_WAIT_KILLABLE, lease_in(region), &region});
    });
}

Status Passes::adopt_transactions(u32& in_the_way) noexcept {
    in_the_way = kMostRegions;
    for (u32 i = 0; i < members_.size(); ++i) {
        Context* const context = members_[i]->handle().settled_context();
        if (context == nullptr || context->depth() != 1)
            return Error::invalid;
        const bool has_written = members_[i]->handle().view().has_written(*context);
        const Guard held(context->lock());
        // A conflict is its own: it has read nothing for this commit.
        const AbortReason failure = context->failure();
        if (failure != AbortReason::none && !protocol::is_conflict(failure))
            return error_of(failure);
        if (has_written)
            return Error::invalid;
        contexts_[i] = context;
    }
    adopted_ = true;
    for (u32 i = 0; i < members_.size(); ++i)
        members_[i]->handle().view().leave(*contexts_[i]);
    for (u32 i = 0; i < members_.size(); ++i) {
        const Guard held(contexts_[i]->lock());
        if (contexts_[i]->has_changed_pages())
            in_the_way = i;
    }
    if (in_the_way != kMostRegions || keep_adopted_tokens())
        return kSuccess;
    for (u32 i = 0; i < members_.size(); ++i) {
        const Guard held(contexts_[i]->lock());
        contexts_[i]->give_up_token();
        passes_[i] = Pass::none;
    }
    return kSuccess;
}

bool Passes::keep_adopted_tokens() noexcept {
    for (u32 i = 0; i < members_.size(); ++i) {
        const Guard held(contexts_[i]->lock());
        if (!contexts_[i]->keep_token())
            return false;
        passes_[i] = Pass::kept;
    }
    return true;
}

bool Passes::end_transactions(AbortReason reason) noexcept {
    if (!runtime::exchange(adopted_, false))
        return false;
    for (u32 i = 0; i < members_.size(); ++i) {
        const Guard held(contexts_[i]->lock());
        if (reason == AbortReason::none)
            contexts_[i]->end_committed(members_[i]->commit().version());
        else
            contexts_[i]->cancel(reason);
        if (passes_[i] == Pass::kept)
            passes_[i] = Pass::none;
    }
    return true;
}

Status Passes::get(Path path) noexcept {
    if (path == Path::concurrent)
        return get_gates();
    do {
        const Status got = get_tokens();
        if (!got.ok())
            return got;
    } while (!keep_tokens());
    return kSuccess;
}

void Passes::give_back() noexcept {
    for (u32 i = 0; i < members_.size(); ++i) {
        if (passes_[i] == Pass::gate)
            token_of(i).leave();
        else if (passes_[i] == Pass::token)
            contexts_[i]->give_back_token();
        if (passes_[i] != Pass::kept)
            passes_[i] = Pass::none;
    }
}

bool Passes::try_enter_all(u32& closed) noexcept {
    for (u32 i = 0; i < members_.size(); ++i) {
        if (!is_missing(i))
            continue;
        if (!token_of(i).try_enter()) {
            closed = i;
            give_back();
            return false;
        }
        passes_[i] = Pass::gate;
    }
    return true;
}

Status Passes::get_gates() noexcept {
    for (u32 closed = 0; !try_enter_all(closed);) {
        const Status entered = await_gate(members_[closed]->region());
        if (!entered.ok())
            return entered;
        passes_[closed] = Pass::gate;
    }
    return kSuccess;
}

Status Passes::get_token(u32 member) noexcept {
    const Result<Context*> context = members_[member]->handle().obtain_context();
    if (!context.ok())
        return context.error();
    {
        const Guard held((*context)->lock());
        (*context)->prepare_to_await_token();
    }
    const Status waited = traced_wait(members_[member]->region(), STM_TRACE_WAIT_TOKEN,
                                      [&]() noexcept { return (*context)->await_token(); });
    if (!waited.ok())
        return waited;
    contexts_[member] = *context;
    passes_[member] = Pass::token;
    return kSuccess;
}

bool Passes::keep_tokens() noexcept {
    bool all = true;
    for (u32 i = 0; i < members_.size(); ++i) {
        if (passes_[i] != Pass::token)
            continue;
        const Guard held(contexts_[i]->lock());
        if (!contexts_[i]->keep_awaited_token()) {
            passes_[i] = Pass::none;
            all = false;
        }
    }
    if (!all)
        give_back();
    return all;
}

Status Passes::get_tokens() noexcept {
    for (;;) {
        u32 next = kMostRegions;
        for (u32 i = 0; i < members_.size(); ++i) {
            if (is_missing(i) &&
                (next == kMostRegions || &members_[i]->region() < &members_[next]->region()))
                next = i;
        }
        if (next == kMostRegions)
            return kSuccess;
        const Status got = get_token(next);
        if (!got.ok()) {
            give_back();
            return got;
        }
    }
}

} // namespace stm::kernel
