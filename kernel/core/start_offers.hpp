// SPDX-License-Identifier: GPL-2.0
// Starts without a system call. When the module would have nothing to do at a thread's next start,
// it offers that start in the thread's cell (start_cell.hpp). View::settle() finds out what became
// of an offer. A start that was a call after all may be turned into one.
#pragma once

#include "kernel/core/context_table.hpp"
#include "kernel/core/descriptors.hpp"
#include "kernel/core/news.hpp"
#include "kernel/core/view.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

class StartOffers : runtime::NonCopyable {
public:
    StartOffers(ContextTable& contexts, View& view, const Descriptors& descriptors) noexcept
        : contexts_(contexts), view_(view), descriptors_(descriptors) {}

    // The bytes of a cell.
    [[nodiscard]] static constexpr runtime::u64 size_of(StartCell::Kind kind) noexcept {
        return kind == StartCell::Kind::warm ? sizeof(stm_warm_cell) : sizeof(stm_start_cell);
    }
    // Sets the address of the calling thread's cell; 0: it has none. With a warm one the thread's
    // mappings stay warm, otherwise not. `closes` is Descriptors::closes() at the beginning of the
    // call. Error::fault, Error::no_memory, Error::invalid.
    [[nodiscard]] runtime::Status attach_cell(Context& context, runtime::u64 address,
                                              StartCell::Kind kind, int signal,
                                              runtime::u64 closes) noexcept;
    // Called when the context's transaction has ended. Offers the next start to its thread, if that
    // would have nothing to do.
    void offer(Context& context) noexcept {
        if (context.has_cell())
            (void)offer(context, StartCell::Offer::open);
    }
    // The start of its thread at that site is a call, and has nothing to do but to bring pages up
    // to date. Does that, and takes an offer in place of the thread, so that the transaction can
    // end without a call, too. False: nothing was done that another start would not do.
    [[nodiscard]] bool begin(Context& context, int signal, runtime::u32 site, News& news) noexcept;
    // Called when a descriptor was closed. Its number may be another file's from now on, so no
    // thread may begin a transaction by an offer of this handle. Those that have begun go on.
    void withdraw_all() noexcept;

private:
    // Whether the offer was made.
    bool offer(Context& context, StartCell::Offer offer) noexcept;

    ContextTable& contexts_;
    View& view_;
    const Descriptors& descriptors_;
};

} // namespace stm::kernel
