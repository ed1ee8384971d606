// SPDX-License-Identifier: GPL-2.0
// What a commit of given sets needs before its first lock, in each of its regions: to be one of
// many inside the gate, or the serial token.
//
// Invariants:
// - It never sleeps for one gate while it is inside another one, because the holder of a token
// waits
//   for those inside.
// - It never sleeps with a token that it keeps, because a kept token is not taken away. Two commits
//   would wait for each other for ever, or a third party for whoever holds another region's token.
//   So tokens are kept when nothing is to be waited for any more. Until then each has its lease.
// - Tokens are waited for in the order of the regions' addresses.
#pragma once

#include "kernel/core/context.hpp"
#include "kernel/core/given_sets.hpp"
#include "runtime/protocol/set_commit.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/span.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

inline constexpr runtime::u32 kMostRegions = STM_MAX_OTHERS + 1;

// A commit becomes one of those inside the region's gate, and waits while it is closed. The caller
// is inside no other one. Error::interrupted, Error::deadlock.
[[nodiscard]] runtime::Status await_gate(Region& region) noexcept;

class Passes : runtime::NonCopyable {
    using u32 = runtime::u32;

public:
    // One for each region, at most kMostRegions.
    explicit Passes(runtime::Span<GivenSets* const> members) noexcept : members_(members) {
        for (u32 i = 0; i < members_.size(); ++i)
            passes_[i] = Pass::none;
    }
    // Gives everything back.
    ~Passes() { give_back(); }

    // The calling thread has begun a transaction on each handle, which may hold its region's token.
    // If one of the tokens has been taken away, the others are given back: the commit is one like
    // any other. Error::invalid: there is no such transaction, or it has written something; the
    // error of one that has failed. From success on end_transactions() is due. Then `in_the_way` is
    // kMostRegions, or one in which another thread has stored something meanwhile, so that the
    // commit must fail.
    [[nodiscard]] runtime::Status adopt_transactions(u32& in_the_way) noexcept;
    // They end for that reason, or with what the commit has written. False: there are none.
    bool end_transactions(protocol::AbortReason reason) noexcept;

    // Gets what a commit on that path needs in the regions to which it writes. Error::interrupted,
    // Error::deadlock, Error::no_memory, Error::no_space: it has none of it.
    [[nodiscard]] runtime::Status get(protocol::Path path) noexcept;
    void give_back() noexcept;

private:
    enum class Pass : runtime::u8 {
        none,
        gate,
        token, // got by get(), and kept when get() has all
        kept,  // the token of an adopted transaction
    };

    // Enters all gates without waiting, or none; then `closed` is a region whose gate is closed.
    [[nodiscard]] bool try_enter_all(u32& closed) noexcept;
    [[nodiscard]] runtime::Status get_gates() noexcept;
    [[nodiscard]] runtime::Status get_tokens() noexcept;
    [[nodiscard]] runtime::Status get_token(u32 member) noexcept;
    // Keeps all of them, or gives back all.
    [[nodiscard]] bool keep_tokens() noexcept;
    [[nodiscard]] bool keep_adopted_tokens() noexcept;
    [[nodiscard]] bool is_missing(u32 member) const noexcept {
        return members_[member]->writes() && passes_[member] == Pass::none;
    }
    [[nodiscard]] SerialToken& token_of(u32 member) const noexcept {
        return members_[member]->region().versions().token;
    }

    const runtime::Span<GivenSets* const> members_;
    Pass passes_[kMostRegions];
    Context* contexts_[kMostRegions]; // of adopted transactions, and of tokens
    bool adopted_ = false;
};

} // namespace stm::kernel
