// SPDX-License-Identifier: LGPL-2.1-or-later
// One handler for all of the library's signals. It asks the kernel whether the thread's
// transactions can still commit. If not, it changes the place that it returns to, so that the
// kernel itself restores the signal mask and the stack of the thread, and then stm_library_resume()
// goes on. If they can, the signal is the program's.
//
// What must hold: a restart never leaves a signal handler of the program half done, with its signal
// blocked forever. So all handlers of the program are called from here, which notes that they run,
// and kDoomSignal is in the mask of each until it is noted: then it waits for their end.
#include "signals.hpp"

#include "actions.hpp"
#include "give_up.hpp"
#include "handlers.hpp"
#include "mask.hpp"
#include "thread_state.hpp"

#include <cerrno>
#include <stm/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace stm::library {
namespace {

// A fault of the instruction that was interrupted, which would happen again if it were executed
// again. Not what kill() and its relatives send; nor a report of bad memory somewhere.
bool is_fault(int signal, const siginfo_t* info) {
    return signal != kDoomSignal && info->si_code > 0 &&
           !(signal == SIGBUS && info->si_code == BUS_MCEERR_AO);
}

bool is_from_the_module(int signal, const siginfo_t* info) {
    return signal == kDoomSignal && info->si_code == SI_QUEUE && info->si_pid == 0 &&
           info->si_value.sival_int == STM_SIGNAL_COOKIE;
}

// The default action, for signals whose default is death with a core.
void die(int signal, siginfo_t* info) {
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    system_action(signal, &action, nullptr);
    // A fault happens again when the handler returns, now at the right place for the core.
    if (!is_fault(signal, info))
        ::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), ::syscall(SYS_gettid), signal, info);
}

// Does what would have happened without us.
void do_programs_action(int signal, siginfo_t* info, ucontext_t* interrupted) {
    struct sigaction action = wanted_action(signal);
    // The kernel does not let a program ignore a fault.
    if (is_default(action) || (is_ignored(action) && is_fault(signal, info))) {
        if (signal != kDoomSignal) // whose default is nothing
            die(signal, info);
        return;
    }
    if (is_ignored(action))
        return;
    if ((action.sa_flags & SA_RESETHAND) != 0)
        reset_action(signal, action);
    call_handler(action, signal, info, interrupted);
}

// Restarts if a transaction of the thread cannot commit.
void look_after_transactions(ucontext_t* interrupted) {
    ThreadState* thread = ThreadState::current();
    if (thread == nullptr)
        return;
    if (thread->is_busy() || is_in_handler(*interrupted)) {
        thread->notice_later();
        return;
    }
    while (thread->is_running()) {
        thread->enter(__builtin_frame_address(0));
        thread->forget_notice();
        if (thread->look() == Doom::doomed) {
            restart_after_handler(*thread, thread->outermost(), interrupted);
            return;
        }
        thread->leave_at_once();
        if (!thread->has_notice()) // none came while we looked
            return;
    }
}

enum class Fault { done, outside_of_transactions };

Fault on_fault(ThreadState& thread, int signal, siginfo_t* info, ucontext_t* interrupted) {
    thread.enter(__builtin_frame_address(0));
    const Doom doom = thread.look();
    ThreadTransaction* target = thread.outermost();
    if (doom == Doom::failed && signal == SIGBUS)
        target->failure = thread.failure();
    if (doom == Doom::doomed || (doom == Doom::failed && signal == SIGBUS)) {
        restart_after_handler(thread, target, interrupted);
        return Fault::done;
    }
    thread.cancel_others(nullptr);
    thread.leave_at_once();
    if (target == nullptr)
        return Fault::outside_of_transactions;

    struct sigaction action = wanted_action(signal);
    bool has_handler = !is_default(action) && !is_ignored(action);
    greg_t at = interrupted->uc_mcontext.gregs[REG_RIP];
    do_programs_action(signal, info, interrupted);
    // The handler has mended something, and the instruction would be executed again: but the
    // transaction that it belongs to is over.
    if (has_handler && interrupted->uc_mcontext.gregs[REG_RIP] == at)
        restart_after_handler(thread, target, interrupted);
    return Fault::done;
}

// After a handler of the program, which a restart has waited for.
void act_on_notice(ucontext_t* interrupted) {
    const ThreadState* thread = ThreadState::current();
    if (thread != nullptr && thread->is_running() && thread->has_notice())
        look_after_transactions(interrupted);
}

// While restarts are held back. Of a transaction that cannot commit, the kernel maps from now on
// what there is.
Fault on_held_fault(ThreadState& thread, int signal) {
    const Doom doom = thread.look();
    if (doom == Doom::doomed && (signal == SIGSEGV || signal == SIGBUS) && thread.go_on()) {
        thread.notice_later();
        return Fault::done;
    }
    if (is_default(wanted_action(signal))) {
        if (doom == Doom::doomed)
            say("stm: a fault after stm_defer_restarts, in a transaction that has read what is "
                "not valid any more: what it reads from then on must be checked by stm_validate\n");
        else if (doom == Doom::failed && signal == SIGBUS)
            say("stm: a page of a mapping cannot be had after stm_defer_restarts: %s\n",
                why_over(thread.failure()));
    }
    return Fault::outside_of_transactions;
}

} // namespace

void on_signal(int signal, siginfo_t* info, void* context) {
    int error = errno;
    auto* interrupted = static_cast<ucontext_t*>(context);
    if (is_from_the_module(signal, info)) {
        look_after_transactions(interrupted);
        errno = error;
        return;
    }
    ThreadState* thread = ThreadState::current();
    if (is_fault(signal, info) && thread != nullptr && thread->is_running() && !thread->is_busy() &&
        !is_in_handler(*interrupted) &&
        on_fault(*thread, signal, info, interrupted) == Fault::done) {
        errno = error;
        return;
    }
    if (is_fault(signal, info) && thread != nullptr && thread->is_running() && thread->is_held() &&
        !thread->is_in_section() && !is_in_handler(*interrupted) &&
        on_held_fault(*thread, signal) == Fault::done) {
        errno = error;
        return;
    }
    errno = error; // what the program's handler should see
    do_programs_action(signal, info, interrupted);
    error = errno;
    // Two signals of one number may have become one.
    if (signal == kDoomSignal)
        look_after_transactions(interrupted);
    else
        act_on_notice(interrupted);
    errno = error;
}

void on_other_signal(int signal, siginfo_t* info, void* context) {
    auto* interrupted = static_cast<ucontext_t*>(context);
    call_handler(wanted_action(signal), signal, info, interrupted);
    const int error = errno;
    act_on_notice(interrupted);
    errno = error;
}

} // namespace stm::library
