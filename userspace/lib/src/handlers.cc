// SPDX-License-Identifier: LGPL-2.1-or-later
#include "handlers.hpp"

#include "mask.hpp"
#include "thread_state.hpp"

namespace stm::library {

constinit thread_local OutermostHandler outermost{};

namespace {

bool is_on_alternate_stack(const void* address) {
    const char* at = static_cast<const char*>(address);
    return at >= outermost.alternate && at < outermost.alternate + outermost.alternate_bytes;
}

void fence() {
    __atomic_signal_fence(__ATOMIC_SEQ_CST);
}

} // namespace

bool is_in_handler(const void* stack) {
    const void* mark = const_cast<const std::uint64_t*>(outermost.mark);
    if (mark == nullptr)
        return false;
    // Code on the alternate stack belongs to a handler. Code on another stack was not interrupted
    // by a handler there.
    const bool on_alternate = is_on_alternate_stack(stack);
    if (on_alternate != is_on_alternate_stack(mark))
        return on_alternate;
    return stack <= mark && *outermost.mark == outermost.value;
}

bool is_in_handler(const ucontext_t& interrupted) {
    return is_in_handler(reinterpret_cast<const void*>(interrupted.uc_mcontext.gregs[REG_RSP]));
}

// kDoomSignal is blocked when this begins and when it ends. So a restart finds the thread either as
// it was interrupted, or in the handler that is noted here.
void call_handler(const struct sigaction& action, int signal, siginfo_t* info,
                  ucontext_t* interrupted) {
    constexpr Mask kDoom = mask_of(kDoomSignal);
    volatile std::uint64_t mark = outermost.value;
    const bool is_outermost = !is_in_handler(const_cast<const std::uint64_t*>(&mark));
    if (is_outermost) {
        const stack_t& stack = interrupted->uc_stack;
        const bool has_stack = (stack.ss_flags & SS_DISABLE) == 0;
        outermost.mark = nullptr;
        fence();
        outermost.alternate = has_stack ? static_cast<const char*>(stack.ss_sp) : nullptr;
        outermost.alternate_bytes = has_stack ? stack.ss_size : 0;
        mark = ++outermost.value;
        fence();
        outermost.mark = &mark;
    }
    // The handler may be left by a longjmp that does not restore the mask. So it runs with the
    // program's own mask.
    const bool blocked_by_program = (to_mask(interrupted->uc_sigmask) & kDoom) != 0 ||
                                    sigismember(&action.sa_mask, kDoomSignal) == 1 ||
                                    (signal == kDoomSignal && (action.sa_flags & SA_NODEFER) == 0);
    const bool was_known = ThreadMask::current().forget();
    if (!blocked_by_program)
        change_mask(SIG_UNBLOCK, kDoom);

    // All three arguments are passed without SA_SIGINFO, too.
    action.sa_sigaction(signal, info, interrupted);

    const ThreadState* thread = ThreadState::current();
    if (!blocked_by_program && thread != nullptr && thread->is_running())
        change_mask(SIG_BLOCK, kDoom);
    if ((to_mask(interrupted->uc_sigmask) & mask_of_ours()) == 0) // the handler may have changed it
        ThreadMask::current().know_again(was_known);
    if (is_outermost)
        forget_handlers();
}

} // namespace stm::library
