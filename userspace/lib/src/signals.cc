// SPDX-License-Identifier: LGPL-2.1-or-later
// One handler for all of the library's signals. It asks the kernel whether the thread's
// transactions can still commit. If they can, the signal is the program's. If not, the handler
// changes the place to which it returns. The kernel itself then restores the thread's signal mask
// and stack, and stm_library_resume() goes on.
//
// Invariant: a restart never leaves a signal handler of the program half done, with its signal
// blocked forever. So all handlers of the program are called from here, and noted while they run.
// kDoomSignal is in the mask of each until it is noted; after that a restart waits for the
// handler's end.
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

// Whether the interrupted instruction itself caused a fault, which would happen again if it were
// executed again. False for signals of kill() and its relatives, and for reports of bad memory
// elsewhere.
bool is_fault(int signal, const siginfo_t* info) {
    return signal != kDoomSignal && info->si_code > 0 &&
           !(signal == SIGBUS && info->si_code == BUS_MCEERR_AO);
}

bool is_from_the_module(int signal, const siginfo_t* info) {
    return signal == kDoomSignal && info->si_code == SI_QUEUE && info->si_pid == 0 &&
           info->si_value.sival_int == STM_SIGNAL_COOKIE;
}

// Takes the default action of signals whose default is death with a core.
void die(int signal, siginfo_t* info) {
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    system_action(signal, &action, nullptr);
    // A fault happens again when the handler returns, and then the core shows the right place.
    if (!is_fault(signal, info))
        ::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), ::syscall(SYS_gettid), signal, info);
}

// Does what would happen without the library.
void do_programs_action(int signal, siginfo_t* info, ucontext_t* interrupted) {
    struct sigaction action = wanted_action(signal);
    // The kernel does not let a program ignore a fault.
    if (is_default(action) || (is_ignored(action) && is_fault(signal, info))) {
        if (signal != kDoomSignal) // its default is to be ignored
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
        if (!thread->has_notice()) // no signal came while we looked
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
    // The handler has repaired something, and the instruction would be executed again. But the
    // transaction that it belongs to is over.
    if (has_handler && interrupted->uc_mcontext.gregs[REG_RIP] == at)
        restart_after_handler(thread, target, interrupted);
    return Fault::done;
}

// After a handler of the program for which a restart has waited.
void act_on_notice(ucontext_t* interrupted) {
    const ThreadState* thread = ThreadState::current();
    if (thread != nullptr && thread->is_running() && thread->has_notice())
        look_after_transactions(interrupted);
}

// While restarts are held back: from now on the kernel maps what was committed last for a
// transaction that cannot commit.
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
    errno = error; // the program's handler should see it
    do_programs_action(signal, info, interrupted);
    error = errno;
    // Linux may have merged two signals of one number.
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
