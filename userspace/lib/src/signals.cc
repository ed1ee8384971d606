// SPDX-License-Identifier: LGPL-2.1-or-later
// One handler for all of the library's signals. It asks the kernel whether the thread's
// transactions can still commit. If not, it changes the place that it returns to, so that the
// kernel itself restores the signal mask and the stack of the thread, and then stm_library_resume()
// goes on. If they can, the signal is the program's.
//
// The kernel is given the program's own flags and mask with our handler, so alternate stack, masks
// and nesting are what the program asked for without further ado; only SA_RESETHAND is imitated.
//
// What must hold: a restart never leaves a signal handler of the program half done, with its signal
// blocked for ever. So kDoomSignal is added to the mask of every handler of the process, of any
// signal: it waits until they have returned. That it is blocked where a fault happens tells that
// the fault is a handler's, which can not be left either.
#include "signals.hpp"

#include "thread_state.hpp"

#include <atomic>
#include <cerrno>
#include <pthread.h>
#include <sched.h>
#include <stm/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

// libc's own, which has this second name. The first one is replaced in sigaction.cc.
extern "C" int __sigaction(int signal, const struct sigaction* action, struct sigaction* old);

namespace stm::library {
namespace {

constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, kDoomSignal};
constexpr std::size_t kSignalCount = sizeof kSignals / sizeof kSignals[0];

void on_signal(int signal, siginfo_t* info, void* context);

int index_of(int signal) {
    for (std::size_t index = 0; index < kSignalCount; ++index)
        if (kSignals[index] == signal)
            return static_cast<int>(index);
    return -1;
}

// pthread_sigmask, again while the kernel can not read or write what it is given, which is only for
// want of memory: a mask that stays as it is would keep signals blocked for ever. Either changes
// the mask or tells it: a call for both may change it and then fail to tell what it was.
void signal_mask(int how, const sigset_t* set, sigset_t* now) {
    while (pthread_sigmask(how, set, now) == EFAULT) {
    }
}

// Blocks all of them; what was blocked before.
sigset_t block_signals() {
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    signal_mask(SIG_BLOCK, nullptr, &before);
    signal_mask(SIG_SETMASK, &all, nullptr);
    return before;
}

// While it lives, no handler interrupts this thread. Faults would, but there are none.
class SignalsBlocked {
public:
    SignalsBlocked() : before_(block_signals()) {}
    ~SignalsBlocked() { signal_mask(SIG_SETMASK, &before_, nullptr); }
    SignalsBlocked(const SignalsBlocked&) = delete;
    SignalsBlocked& operator=(const SignalsBlocked&) = delete;

private:
    sigset_t before_;
};

// What the program wants for each of the signals. Writers hold the lock, with all signals blocked,
// so that no handler of their own thread can wait for them. Readers are signal handlers: they copy
// and, if a writer was there meanwhile, copy again.
class Actions {
public:
    void lock() {
        while (locked_.test_and_set(std::memory_order_acquire))
            sched_yield();
    }
    void unlock() { locked_.clear(std::memory_order_release); }

    [[nodiscard]] struct sigaction read(int index) const {
        for (;;) {
            unsigned before = version_.load(std::memory_order_acquire);
            struct sigaction copy = wanted_[index];
            std::atomic_thread_fence(std::memory_order_acquire);
            if ((before & 1) == 0 && version_.load(std::memory_order_relaxed) == before)
                return copy;
        }
    }

    void write_locked(int index, const struct sigaction& action) {
        version_.fetch_add(1, std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_release);
        wanted_[index] = action;
        version_.fetch_add(1, std::memory_order_release);
    }

    [[nodiscard]] const struct sigaction& get_locked(int index) const { return wanted_[index]; }

private:
    std::atomic_flag locked_; // clear
    std::atomic<unsigned> version_ = 0;
    struct sigaction wanted_[kSignalCount] = {};
};

// Makes a static program that has this file also take sigaction.cc from the archive.
[[gnu::used]] int (*const replacement)(int, const struct sigaction*,
                                       struct sigaction*) = &::sigaction;

constinit Actions actions;
// Handlers, of signals that are not ours, that have kDoomSignal in their mask by the program's own
// wish. Protected by the lock of `actions`.
sigset_t masked_by_program;
bool installed = false; // protected by the lock of `actions`
pthread_once_t install_once = PTHREAD_ONCE_INIT;

bool is_default(const struct sigaction& action) {
    return action.sa_handler == SIG_DFL;
}
bool is_ignored(const struct sigaction& action) {
    return action.sa_handler == SIG_IGN;
}

int install(int signal, const struct sigaction& wanted) {
    struct sigaction ours {};
    if (is_default(wanted) || is_ignored(wanted)) {
        // On the alternate stack, if there is one: a transaction may run out of stack.
        ours.sa_flags = SA_ONSTACK | SA_RESTART;
        sigemptyset(&ours.sa_mask);
    } else {
        ours = wanted;
        ours.sa_flags &= ~SA_RESETHAND;
    }
    ours.sa_flags |= SA_SIGINFO;
    ours.sa_sigaction = on_signal;
    sigaddset(&ours.sa_mask, kDoomSignal);
    return __sigaction(signal, &ours, nullptr);
}

// For signals that are not ours: sigaction, but for the mask.
int install_foreign_locked(int signal, const struct sigaction* action, struct sigaction* old) {
    struct sigaction masked {};
    if (action != nullptr) {
        masked = *action;
        if (!is_default(masked) && !is_ignored(masked))
            sigaddset(&masked.sa_mask, kDoomSignal);
    }
    if (__sigaction(signal, action != nullptr ? &masked : nullptr, old) < 0)
        return -1;
    if (sigismember(&masked_by_program, signal) == 0)
        sigdelset(&old->sa_mask, kDoomSignal);
    if (action != nullptr) {
        if (sigismember(&action->sa_mask, kDoomSignal) == 1)
            sigaddset(&masked_by_program, signal);
        else
            sigdelset(&masked_by_program, signal);
    }
    return 0;
}

void install_all() {
    SignalsBlocked blocked;
    actions.lock();
    for (int signal = 1; signal < NSIG; ++signal) {
        struct sigaction before {};
        if (index_of(signal) >= 0 || __sigaction(signal, nullptr, &before) < 0 ||
            is_default(before) || is_ignored(before))
            continue;
        if (sigismember(&before.sa_mask, kDoomSignal) == 1)
            sigaddset(&masked_by_program, signal);
        sigaddset(&before.sa_mask, kDoomSignal);
        __sigaction(signal, &before, nullptr);
    }
    for (std::size_t index = 0; index < kSignalCount; ++index) {
        struct sigaction before {};
        __sigaction(kSignals[index], nullptr, &before);
        actions.write_locked(static_cast<int>(index), before);
        install(kSignals[index], before);
    }
    installed = true;
    actions.unlock();
}

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

void unblock_doom_signal() {
    sigset_t doom;
    sigemptyset(&doom);
    sigaddset(&doom, kDoomSignal);
    signal_mask(SIG_UNBLOCK, &doom, nullptr);
}

// Whether a handler of the program was interrupted, or code that blocks kDoomSignal itself.
bool is_within_handler(const void* context) {
    return sigismember(&static_cast<const ucontext_t*>(context)->uc_sigmask, kDoomSignal) == 1;
}

// The default action, for signals whose default is death with a core.
void die(int signal, siginfo_t* info) {
    struct sigaction action {};
    action.sa_handler = SIG_DFL;
    __sigaction(signal, &action, nullptr);
    // A fault happens again when the handler returns, now at the right place for the core.
    if (!is_fault(signal, info))
        ::syscall(SYS_rt_tgsigqueueinfo, ::getpid(), ::syscall(SYS_gettid), signal, info);
}

// Does what would have happened without us.
void do_programs_action(int signal, siginfo_t* info, void* context) {
    int index = index_of(signal);
    struct sigaction action = actions.read(index);
    // The kernel does not let a program ignore a fault.
    if (is_default(action) || (is_ignored(action) && is_fault(signal, info))) {
        if (signal != kDoomSignal) // whose default is nothing
            die(signal, info);
        return;
    }
    if (is_ignored(action))
        return;
    if ((action.sa_flags & SA_RESETHAND) != 0) {
        SignalsBlocked blocked;
        actions.lock();
        if (actions.get_locked(index).sa_sigaction == action.sa_sigaction) {
            struct sigaction reset {};
            reset.sa_handler = SIG_DFL;
            actions.write_locked(index, reset);
        }
        actions.unlock();
    }
    // Without transactions there is no need to keep kDoomSignal blocked: the handler may be left by
    // a longjmp that does not restore the mask.
    const ThreadState* thread = ThreadState::current();
    if ((thread == nullptr || !thread->is_running()) && signal != kDoomSignal &&
        sigismember(&action.sa_mask, kDoomSignal) == 0 && !is_within_handler(context))
        unblock_doom_signal();
    // As the kernel does, which gives all three arguments with SA_SIGINFO or without.
    action.sa_sigaction(signal, info, context);
}

// Restarts if a transaction of the thread can not commit.
void look_after_transactions(ucontext_t* interrupted) {
    ThreadState* thread = ThreadState::current();
    if (thread == nullptr)
        return;
    if (thread->is_busy()) {
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
    Context* target = thread.outermost();
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

    struct sigaction action = actions.read(index_of(signal));
    bool has_handler = !is_default(action) && !is_ignored(action);
    greg_t at = interrupted->uc_mcontext.gregs[REG_RIP];
    do_programs_action(signal, info, interrupted);
    // The handler has mended something, and the instruction would be executed again: but the
    // transaction that it belongs to is over.
    if (has_handler && interrupted->uc_mcontext.gregs[REG_RIP] == at)
        restart_after_handler(thread, target, interrupted);
    return Fault::done;
}

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
        !is_within_handler(context) &&
        on_fault(*thread, signal, info, interrupted) == Fault::done) {
        errno = error;
        return;
    }
    errno = error; // what the program's handler should see
    do_programs_action(signal, info, context);
    error = errno;
    // Two signals of one number may have become one.
    if (signal == kDoomSignal)
        look_after_transactions(interrupted);
    errno = error;
}

} // namespace

void prepare_signals() {
    pthread_once(&install_once, install_all);
    unblock_doom_signal();
}

int program_action(int signal, const struct sigaction* action, struct sigaction* old) {
    int index = index_of(signal);
    struct sigaction wanted {};
    if (action != nullptr)
        wanted = *action;
    const struct sigaction* request = action != nullptr ? &wanted : nullptr;
    struct sigaction before {};
    int result = 0;
    {
        SignalsBlocked blocked;
        actions.lock();
        if (!installed) {
            result = __sigaction(signal, request, &before);
        } else if (index < 0) {
            result = install_foreign_locked(signal, request, &before);
        } else {
            before = actions.get_locked(index);
            if (action != nullptr) {
                // The handler may run in between, in another thread: the new wish is there first.
                actions.write_locked(index, wanted);
                result = install(signal, wanted);
                if (result < 0)
                    actions.write_locked(index, before);
            }
        }
        actions.unlock();
    }
    if (result == 0 && old != nullptr)
        *old = before;
    return result;
}

namespace {
sigset_t before_fork; // the mask of the thread that forks; protected by the lock of `actions`
} // namespace

void lock_actions() {
    // A handler that runs meanwhile could call sigaction.
    const sigset_t before = block_signals();
    actions.lock();
    before_fork = before;
}

void unlock_actions() {
    const sigset_t before = before_fork;
    actions.unlock();
    signal_mask(SIG_SETMASK, &before, nullptr);
}

} // namespace stm::library
