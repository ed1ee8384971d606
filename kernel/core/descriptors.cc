// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/descriptors.hpp"

namespace stm::kernel {

using protocol::AbortReason;
using runtime::u64;

namespace {

// Its thread has a transaction that it has not begun to end, and the descriptors of the calling
// one.
[[nodiscard]] bool depends_on_descriptors(const Context& context) noexcept {
    return context.stage().is_open() && stm_linux_thread_shares_descriptors(context.thread()) != 0;
}

// The same for pages that it has kept from one.
[[nodiscard]] bool keeps_by_descriptors(const Context& context) noexcept {
    return context.stage().is_warm() && stm_linux_thread_shares_descriptors(context.thread()) != 0;
}

} // namespace

void Descriptors::note_close(const stm_file* file) noexcept {
    file_.store(file, Order::relaxed);
    closes_.fetch_add(1, Order::release);
}

void Descriptors::lose_transactions(const stm_file* file) noexcept {
    // Of this and a start one comes first: the transaction is found here, or the close there.
    runtime::fence(Order::seq_cst);
    Context* context = contexts_.find_next(nullptr, depends_on_descriptors);
    Context* warm = contexts_.find_next(nullptr, keeps_by_descriptors);
    if ((context == nullptr && warm == nullptr) || stm_linux_file_has_descriptor(file) != 0)
        return;
    for (; warm != nullptr; warm = contexts_.find_next(warm, keeps_by_descriptors))
        view_.cool(*warm, keeps_by_descriptors, View::Patience::waits);
    for (; context != nullptr; context = contexts_.find_next(context, depends_on_descriptors))
        (void)view_.end_from_outside(
            *context, depends_on_descriptors,
            [](Context& lost) noexcept {
                lost.lock().is_held();
                lost.lose(AbortReason::closed);
            },
            View::Patience::waits);
}

bool Descriptors::any_left(Context& context) noexcept {
    runtime::fence(Order::seq_cst);
    // Before the look at the descriptors: what is closed after it counts as another close.
    const u64 closes = closes_.load(Order::acquire);
    if (closes == context.closes_seen()) [[likely]]
        return true;
    const stm_file* const file = file_.load(Order::relaxed);
    if (file != nullptr && stm_linux_file_has_descriptor(file) == 0)
        return false;
    context.set_closes_seen(closes);
    return true;
}

} // namespace stm::kernel
