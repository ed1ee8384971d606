// SPDX-License-Identifier: GPL-2.0
// Starts without a system call: when the module would have nothing to do at a thread's next start,
// it offers that start in the thread's cell (start_cell.hpp). What becomes of an offer is found out
// by View::settle().
#pragma once

#include "kernel/core/context_table.hpp"
#include "kernel/core/descriptors.hpp"
#include "kernel/core/view.hpp"
#include "runtime/support/result.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

class StartOffers : runtime::NonCopyable {
public:
    StartOffers(ContextTable& contexts, View& view, const Descriptors& descriptors) noexcept
        : contexts_(contexts), view_(view), descriptors_(descriptors) {}

    // The calling thread's cell is at that address; 0: it has none. `closes` is what
    // Descriptors::closes() said first of all. Error::fault, Error::no_memory, Error::invalid.
    [[nodiscard]] runtime::Status attach_cell(Context& context, runtime::u64 address, int signal,
                                              runtime::u64 closes) noexcept;
    // The context's transaction has ended: offers the next start to its thread, if there would be
    // nothing to do at it.
    void offer(Context& context) noexcept;
    // A descriptor was closed: its number may be another file's from now on, so no thread may begin
    // a transaction by what it knows of this handle. Those that have begun go on.
    void withdraw_all() noexcept;

private:
    ContextTable& contexts_;
    View& view_;
    const Descriptors& descriptors_;
};

} // namespace stm::kernel
