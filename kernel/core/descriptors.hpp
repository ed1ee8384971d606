// SPDX-License-Identifier: GPL-2.0
// What closing a descriptor of a handle's file means for the transactions on it. A program ends a
// transaction through a descriptor; when it has none left its transactions can only be over.
#pragma once

#include "kernel/core/context_table.hpp"
#include "kernel/core/view.hpp"
#include "kernel/interface/services.h"
#include "runtime/support/atomic.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

// Any thread, without a lock, unless said otherwise.
class Descriptors : runtime::NonCopyable {
    using Order = runtime::Order;

public:
    Descriptors(ContextTable& contexts, View& view) noexcept : contexts_(contexts), view_(view) {}

    // How often one was closed. What a program knows by a number counts only for as long.
    [[nodiscard]] runtime::u64 closes() const noexcept { return closes_.load(Order::acquire); }

    // One was closed in the calling process; its number may be another file's already.
    void note_close(const stm_file* file) noexcept;
    // After that: if the process has none left, its threads cannot end their transactions any
    // more. These are over, and everything that their threads, which may get the file again, do
    // with the handle fails until they have been told so.
    void lose_transactions(const stm_file* file) noexcept;
    // Whether the calling thread, whose transaction has just begun, still has a descriptor. If not,
    // it was closed while the start was waiting, perhaps too early for lose_transactions() to find
    // the transaction.
    [[nodiscard]] bool any_left(Context& context) noexcept;

private:
    ContextTable& contexts_;
    View& view_;
    runtime::Atomic<runtime::u64> closes_{0};
    // The handle's own, known when the first descriptor was closed; only compared.
    runtime::Atomic<const stm_file*> file_{nullptr};
};

} // namespace stm::kernel
