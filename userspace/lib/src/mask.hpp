// SPDX-License-Identifier: LGPL-2.1-or-later
// The signal masks of threads that use transactions. A doomed transaction is told by signals, and a
// thread that blocks one of them dies at the next fault. So no transaction begins with any of them
// blocked. That costs no system call as long as the program has not blocked one since the last
// look: pthread_sigmask and its relatives are replaced by functions of this library, which say so.
//
// Only the thread itself and its signal handlers touch what is kept here.
#pragma once

#include <csignal>
#include <cstdint>

namespace stm::library {

/** What the kernel sends to a thread whose transaction cannot commit. See stm/transaction.h for
 * why this one. */
inline constexpr int kDoomSignal = SIGURG;

/** The signals that transactions need. */
inline constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, kDoomSignal};

/** A mask as the kernel has it: signal N is bit N - 1. */
using Mask = std::uint64_t;

constexpr Mask mask_of(int signal) {
    return Mask{1} << (signal - 1);
}
constexpr Mask mask_of_ours() {
    Mask all = 0;
    for (int signal : kSignals)
        all |= mask_of(signal);
    return all;
}
Mask to_mask(const sigset_t& set);
sigset_t to_set(Mask mask);

/** The thread's mask, as the kernel says. */
Mask current_mask();
/** rt_sigprocmask, until it succeeds. Never blocks what belongs to libc. */
void change_mask(int how, Mask mask);

/** While it lives, no handler interrupts this thread. Faults would, but there are none. */
class SignalsBlocked {
public:
    SignalsBlocked() : before_(current_mask()) { change_mask(SIG_SETMASK, ~Mask{0}); }
    ~SignalsBlocked() { change_mask(SIG_SETMASK, before_); }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;

private:
    Mask before_;
};

/** What is known of a thread's mask. All zeros in a new thread, of which nothing is known. */
class ThreadMask {
public:
    /** The calling thread's. For signal handlers too. */
    static ThreadMask& current();

    /** Before a transaction begins: blocks none of our signals any more. */
    void prepare() {
        has_mask_of_start_ = false;
        if (!is_known_) [[unlikely]]
            look();
    }
    /** Before a transaction begins again: it gets the mask that it began with. */
    void restore();
    /** The mask may be another one than it was. Returns whether that was known already. */
    bool forget();
    /** As before the forget() that returned `was_known`. */
    void know_again(bool was_known) { is_known_ = was_known; }

    /** pthread_sigmask for the program: an error number. `running`: within a transaction. */
    enum class Within { nothing, transaction };
    int change(int how, const sigset_t* set, sigset_t* old, Within within);

    /** What the program has blocked and prepare() has not left blocked. */
    [[nodiscard]] Mask withheld() const { return withheld_; }

private:
    void look();

    bool is_known_;
    bool has_mask_of_start_; // since the running transaction began the program has changed it
    Mask mask_of_start_;
    Mask withheld_;
};

/** Whether the program's changes of masks come here. If not, nothing is ever known. */
bool masks_are_seen();

/** sigprocmask(2) for the program: an error number. */
int program_mask(int how, const sigset_t* set, sigset_t* old);

} // namespace stm::library
