// SPDX-License-Identifier: LGPL-2.1-or-later
// The signal masks of threads that use transactions. Signals tell a transaction that it is doomed,
// and a thread that blocks one of them dies at the next fault. So no transaction begins with any of
// them blocked. This costs no system call unless the program has blocked one since the last look:
// the library replaces pthread_sigmask and its relatives by functions that note it.
//
// Only the thread itself and its signal handlers touch what is kept here.
#pragma once

#include <csignal>
#include <cstdint>

namespace stm::library {

/** The kernel sends this to a thread whose transaction cannot commit. stm/transaction.h tells why
 * it is this one. */
inline constexpr int kDoomSignal = SIGURG;

/** The signals that transactions need. */
inline constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, kDoomSignal};

/** A mask in the kernel's form: signal N is bit N - 1. */
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

/** The thread's mask, from the kernel. */
Mask current_mask();
/** Calls rt_sigprocmask until it succeeds. Never blocks the signals of libc. */
void change_mask(int how, Mask mask);

/** While it lives, no handler interrupts this thread. (A fault would, but none happens.) */
class SignalsBlocked {
public:
    SignalsBlocked() : before_(current_mask()) { change_mask(SIG_SETMASK, ~Mask{0}); }
    ~SignalsBlocked() { change_mask(SIG_SETMASK, before_); }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;

private:
    Mask before_;
};

/** What is known of a thread's mask. All zeros in a new thread: nothing is known. */
class ThreadMask {
public:
    /** The calling thread's. Signal handlers may call it. */
    static ThreadMask& current();

    /** Before a transaction begins: unblocks our signals. */
    void prepare() {
        prepare_known();
        if (!is_known_) [[unlikely]]
            look();
    }
    /** The same if it is_known(). */
    void prepare_known() { has_mask_of_start_ = false; }
    /** Before a transaction begins again: gives the thread the mask with which the transaction
     * began. */
    void restore();
    /** The mask may have changed. Returns whether it was known before. */
    bool forget();
    /** Undoes the forget() that returned `was_known`. */
    void know_again(bool was_known) { is_known_ = was_known; }

    /** pthread_sigmask for the program. Returns an error number. */
    enum class Within { nothing, transaction };
    int change(int how, const sigset_t* set, sigset_t* old, Within within);

    /** Whether prepare() has nothing to look at. */
    [[nodiscard]] bool is_known() const { return is_known_; }

    /** What the program has blocked and prepare() has unblocked. */
    [[nodiscard]] Mask withheld() const { return withheld_; }

private:
    void look();

    bool is_known_;
    bool has_mask_of_start_; // the program has changed it since the running transaction began
    Mask mask_of_start_;
    Mask withheld_;
};

// The initial-exec model: see this_thread in thread_state.hpp.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local ThreadMask this_mask;

inline ThreadMask& ThreadMask::current() {
    return this_mask;
}

/** Whether the program's changes of masks are noted. If not, no mask is ever known. */
bool masks_are_seen();

/** sigprocmask(2) for the program. Returns an error number. */
int program_mask(int how, const sigset_t* set, sigset_t* old);

} // namespace stm::library
