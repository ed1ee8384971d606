// SPDX-License-Identifier: LGPL-2.1-or-later
// sigaction, signal and their relatives, in the place of libc's. With them the handlers of the
// program and of this library do not replace each other. For other signals, and as long as the
// process has begun no transaction, they do exactly what libc's do.
//
// They are exported without a symbol version. So they stand for libc's in every object that is
// searched after this library.
#include "actions.hpp"
#include "mask.hpp"

#include <cerrno>

using stm::library::program_action;
using stm::library::program_mask;

namespace {

// The signals that interrupt system calls, by siginterrupt().
sigset_t interrupting;

int install(int signal, sighandler_t handler, int flags, const sigset_t& mask,
            struct sigaction& old) {
    struct sigaction action {};
    action.sa_handler = handler;
    action.sa_flags = flags;
    action.sa_mask = mask;
    return program_action(signal, &action, &old);
}

sighandler_t install(int signal, sighandler_t handler, int flags, const sigset_t& mask) {
    struct sigaction old {};
    return install(signal, handler, flags, mask, old) < 0 ? SIG_ERR : old.sa_handler;
}

sighandler_t not_valid() {
    errno = EINVAL;
    return SIG_ERR;
}

sigset_t none() {
    sigset_t set;
    sigemptyset(&set);
    return set;
}

} // namespace

#pragma GCC visibility push(default)
extern "C" {

int sigaction(int signal, const struct sigaction* action, struct sigaction* old) noexcept {
    return program_action(signal, action, old);
}

sighandler_t signal(int number, sighandler_t handler) noexcept {
    sigset_t itself = none();
    if (handler == SIG_ERR || sigaddset(&itself, number) < 0)
        return not_valid();
    const int flags = sigismember(&interrupting, number) == 1 ? 0 : SA_RESTART;
    return install(number, handler, flags, itself);
}

sighandler_t bsd_signal(int number, sighandler_t handler) noexcept {
    return signal(number, handler);
}

sighandler_t ssignal(int number, sighandler_t handler) noexcept {
    return signal(number, handler);
}

sighandler_t sysv_signal(int number, sighandler_t handler) noexcept {
    if (handler == SIG_ERR)
        return not_valid();
    return install(number, handler, static_cast<int>(SA_RESETHAND) | SA_NODEFER, none());
}

sighandler_t __sysv_signal(int number, sighandler_t handler) noexcept {
    return sysv_signal(number, handler);
}

int sigignore(int number) noexcept {
    struct sigaction old {};
    return install(number, SIG_IGN, 0, none(), old);
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
    sigset_t one = none();
    sigset_t before = none();
    struct sigaction old {};
    if (sigaddset(&one, number) < 0)
        return SIG_ERR;
    const bool hold = disposition == SIG_HOLD;
    if ((hold ? program_action(number, nullptr, &old)
              : install(number, disposition, 0, none(), old)) < 0)
        return SIG_ERR;
    // A pending signal goes to the new handler.
    if (const int error = program_mask(hold ? SIG_BLOCK : SIG_UNBLOCK, &one, &before)) {
        errno = error;
        return SIG_ERR;
    }
    return sigismember(&before, number) == 1 ? SIG_HOLD : old.sa_handler;
}

} // extern "C"
#pragma GCC visibility pop
