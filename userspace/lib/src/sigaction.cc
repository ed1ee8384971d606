// SPDX-License-Identifier: LGPL-2.1-or-later
// sigaction, signal and their relatives, in the place of libc's: so that the handlers of the
// program and of this library do not take each other's place. For other signals, and as long as the
// process has begun no transaction, they do nothing but what libc's do.
//
// They are exported without a symbol version, so that they stand for libc's in every object that is
// searched after this library.
#include "actions.hpp"
#include "mask.hpp"

#include <cerrno>
#include <pthread.h>

using stm::library::program_action;
using stm::library::program_mask;

namespace {

// The signals whose system calls siginterrupt() wants to be interrupted.
sigset_t interrupting;

sighandler_t install(int signal, sighandler_t handler, int flags) {
    struct sigaction action {};
    struct sigaction old {};
    if (handler == SIG_ERR) {
        errno = EINVAL;
        return SIG_ERR;
    }
    action.sa_handler = handler;
    action.sa_flags = flags;
    sigemptyset(&action.sa_mask);
    return program_action(signal, &action, &old) < 0 ? SIG_ERR : old.sa_handler;
}

} // namespace

#pragma GCC visibility push(default)
extern "C" {

int sigaction(int signal, const struct sigaction* action, struct sigaction* old) noexcept {
    return program_action(signal, action, old);
}

sighandler_t signal(int number, sighandler_t handler) noexcept {
    int flags = sigismember(&interrupting, number) == 1 ? 0 : SA_RESTART;
    sighandler_t old = install(number, handler, flags);
    return old;
}

sighandler_t bsd_signal(int number, sighandler_t handler) noexcept {
    return signal(number, handler);
}

sighandler_t ssignal(int number, sighandler_t handler) noexcept {
    return signal(number, handler);
}

sighandler_t sysv_signal(int number, sighandler_t handler) noexcept {
    return install(number, handler, static_cast<int>(SA_RESETHAND) | SA_NODEFER);
}

sighandler_t __sysv_signal(int number, sighandler_t handler) noexcept {
    return sysv_signal(number, handler);
}

int sigignore(int number) noexcept {
    return install(number, SIG_IGN, 0) == SIG_ERR ? -1 : 0;
}

int siginterrupt(int number, int interrupt) noexcept {
    struct sigaction action {};
    if (program_action(number, nullptr, &action) < 0)
        return -1;
    if (interrupt != 0) {
        sigaddset(&interrupting, number);
        action.sa_flags &= ~SA_RESTART;
    } else {
        sigdelset(&interrupting, number);
        action.sa_flags |= SA_RESTART;
    }
    return program_action(number, &action, nullptr);
}

sighandler_t sigset(int number, sighandler_t disposition) noexcept {
    sigset_t one;
    sigset_t before;
    struct sigaction old {};
    if (disposition == SIG_ERR) {
        errno = EINVAL;
        return SIG_ERR;
    }
    sigemptyset(&one);
    sigemptyset(&before);
    if (sigaddset(&one, number) < 0)
        return SIG_ERR;
    const bool hold = disposition == SIG_HOLD;
    if (hold) {
        if (program_action(number, nullptr, &old) < 0)
            return SIG_ERR;
    } else {
        old.sa_handler = install(number, disposition, 0);
        if (old.sa_handler == SIG_ERR)
            return SIG_ERR;
    }
    // What was pending goes to the new handler.
    if (const int error = program_mask(hold ? SIG_BLOCK : SIG_UNBLOCK, &one, &before)) {
        errno = error;
        return SIG_ERR;
    }
    return sigismember(&before, number) == 1 ? SIG_HOLD : old.sa_handler;
}

} // extern "C"
#pragma GCC visibility pop
