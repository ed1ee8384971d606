// SPDX-License-Identifier: LGPL-2.1-or-later
#include "actions.hpp"

#include "mask.hpp"
#include "signals.hpp"

#include <atomic>
#include <cerrno>
#include <linux/futex.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

// libc's own, which has this second name. The first one is replaced in sigaction.cc.
extern "C" int __sigaction(int signal, const struct sigaction* action, struct sigaction* old);

namespace stm::library {
namespace {

// Flags and masks are told as the kernel tells them: it adds the one, which says that libc gave it
// the way back from the handler, and never blocks the other.
constexpr int kRestorer = 0x04000000;
constexpr Mask kNeverBlocked = mask_of(SIGKILL) | mask_of(SIGSTOP);

// A writer holds the lock and blocks all signals, so no handler of its own thread can wait for it.
// The readers are signal handlers. There are two copies of each action, one of which nobody writes
// at any moment: so a reader waits for nobody, and copies again only if a writer went on meanwhile.
// Nobody spins until another thread has done something. That one may have a lower priority, and be
// on the same processor.
class Actions {
public:
    void lock() {
        int expected = kFree;
        if (state_.compare_exchange_strong(expected, kLocked, std::memory_order_acquire))
            return;
        const int error = errno;
        while (state_.exchange(kAwaited, std::memory_order_acquire) != kFree)
            futex(FUTEX_WAIT_PRIVATE, kAwaited);
        errno = error;
    }
    void unlock() {
        if (state_.exchange(kFree, std::memory_order_release) == kAwaited)
            futex(FUTEX_WAKE_PRIVATE, 1);
    }

    [[nodiscard]] struct sigaction read(int signal) const {
        for (;;) {
            const unsigned before = version_.load(std::memory_order_acquire);
            struct sigaction copy = wanted_[before & 1][signal];
            std::atomic_thread_fence(std::memory_order_acquire);
            if (version_.load(std::memory_order_relaxed) == before)
                return copy;
        }
    }

    void write_locked(int signal, const struct sigaction& action) {
        for (auto& copy : wanted_) {
            // Readers go to the other copy from here on. It is complete, and so seen by them.
            version_.fetch_add(1, std::memory_order_release);
            // Whoever sees a part of this copy's new contents sees the new version as well.
            std::atomic_thread_fence(std::memory_order_release);
            copy[signal] = action;
        }
    }

    [[nodiscard]] const struct sigaction& get_locked(int signal) const {
        return wanted_[0][signal];
    }

private:
    // The states of a lock as in Drepper, "Futexes Are Tricky", 2011.
    static constexpr int kFree = 0;
    static constexpr int kLocked = 1;
    static constexpr int kAwaited = 2; // locked, and perhaps somebody sleeps until it is free

    void futex(int operation, int value) {
        ::syscall(SYS_futex, &state_, operation, value, nullptr, nullptr, 0);
    }

    std::atomic<int> state_ = kFree;
    std::atomic<unsigned> version_ = 0; // even: the first copy is right
    struct sigaction wanted_[2][NSIG] = {};
};

// Makes a static program that has this file also take the others from the archive.
[[gnu::used]] int (*const replacement)(int, const struct sigaction*,
                                       struct sigaction*) = &::sigaction;
[[gnu::used]] int (*const mask_replacement)(int, const sigset_t*, sigset_t*) = &::pthread_sigmask;
[[gnu::used]] int (*const exec_replacement)(const char*, char* const*, char* const*) = &::execve;

constinit Actions actions;
bool installed = false; // protected by the lock of `actions`
pthread_once_t install_once = PTHREAD_ONCE_INIT;

// Whose memory this is. A child of vfork finds another process's; a child of fork has a copy, in
// which the word is 0, whichever function made it.
struct Owner {
    pid_t process;                 // protected by the lock of `actions`
    volatile pid_t* not_in_copies; // null: could not be had
};
constinit Owner owner{};

void own_memory_locked() {
    owner.process = ::getpid();
    if (owner.not_in_copies != nullptr)
        *owner.not_in_copies = owner.process;
}

bool is_memory_of_parent_locked() {
    const pid_t self = ::getpid();
    if (owner.process == self)
        return false;
    if (owner.not_in_copies == nullptr || *owner.not_in_copies != 0)
        return true;
    own_memory_locked();
    return false;
}

void (*handler_for(int signal))(int, siginfo_t*, void*) {
    return is_ours(signal) ? on_signal : on_other_signal;
}

bool has_handler(const struct sigaction& action) {
    return !is_default(action) && !is_ignored(action);
}

// What the kernel is told, once the library's handlers are installed.
int install(int signal, const struct sigaction& wanted) {
    struct sigaction ours = wanted;
    if (has_handler(wanted)) {
        if (is_ours(signal))
            ours.sa_flags &= ~SA_RESETHAND;
    } else if (is_ours(signal)) {
        // On the alternate stack, if there is one: a transaction may run out of stack.
        ours.sa_flags = SA_ONSTACK | SA_RESTART;
        sigemptyset(&ours.sa_mask);
    } else {
        return __sigaction(signal, &ours, nullptr);
    }
    ours.sa_flags |= SA_SIGINFO;
    ours.sa_sigaction = handler_for(signal);
    sigaddset(&ours.sa_mask, kDoomSignal);
    return __sigaction(signal, &ours, nullptr);
}

struct sigaction as_told(struct sigaction action) {
    action.sa_flags |= kRestorer;
    action.sa_mask = to_set(to_mask(action.sa_mask) & ~kNeverBlocked);
    return action;
}

// Translates what the kernel says of a signal to what the program has asked for.
struct sigaction told_locked(int signal, const struct sigaction& kernels) {
    if ((kernels.sa_flags & SA_SIGINFO) != 0 && kernels.sa_sigaction == handler_for(signal))
        return actions.get_locked(signal);
    struct sigaction told = kernels;
    // After SA_RESETHAND only the handler is gone.
    const struct sigaction& last = actions.get_locked(signal);
    if (is_default(kernels) && (kernels.sa_flags & SA_RESETHAND) != 0 && has_handler(last)) {
        told = last;
        told.sa_handler = SIG_DFL;
    }
    return told;
}

void install_all() {
    SignalsBlocked blocked;
    actions.lock();
    void* word =
        ::mmap(nullptr, sizeof(pid_t), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (word != MAP_FAILED && ::madvise(word, sizeof(pid_t), MADV_WIPEONFORK) == 0)
        owner.not_in_copies = static_cast<volatile pid_t*>(word);
    own_memory_locked();
    for (int signal = 1; signal < NSIG; ++signal) {
        struct sigaction before {};
        if (__sigaction(signal, nullptr, &before) < 0 || (!is_ours(signal) && !has_handler(before)))
            continue;
        actions.write_locked(signal, before);
        install(signal, before);
    }
    installed = true;
    actions.unlock();
}

// As sigaction(2), but without the library's handlers in what is told.
int action_of_vfork_child_locked(int signal, const struct sigaction* action,
                                 struct sigaction* old) {
    if (__sigaction(signal, action, old) < 0)
        return -1;
    *old = told_locked(signal, *old);
    return 0;
}

int action_locked(int signal, const struct sigaction* action, struct sigaction* old) {
    struct sigaction kernels {};
    if (__sigaction(signal, nullptr, &kernels) < 0) // not a number of a signal
        return -1;
    *old = told_locked(signal, kernels);
    if (action == nullptr)
        return 0;
    const struct sigaction before = actions.get_locked(signal);
    const struct sigaction wanted = as_told(*action);
    // The handler may run in between, in another thread: the new wish is there first. One that was
    // called already, when the signal is not to be handled any more, still finds the last handler.
    const bool is_recorded = is_ours(signal) || has_handler(wanted);
    if (is_recorded)
        actions.write_locked(signal, wanted);
    if (install(signal, wanted) == 0)
        return 0;
    if (is_recorded)
        actions.write_locked(signal, before);
    return -1;
}

Mask before_fork; // the mask of the thread that forks; protected by the lock of `actions`

} // namespace

bool is_default(const struct sigaction& action) {
    return action.sa_handler == SIG_DFL;
}

bool is_ignored(const struct sigaction& action) {
    return action.sa_handler == SIG_IGN;
}

bool is_ours(int signal) {
    return signal > 0 && signal < NSIG && (mask_of_ours() & mask_of(signal)) != 0;
}

int system_action(int signal, const struct sigaction* action, struct sigaction* old) {
    return __sigaction(signal, action, old);
}

void install_handlers() {
    pthread_once(&install_once, install_all);
}

struct sigaction wanted_action(int signal) {
    return actions.read(signal);
}

void reset_action(int signal, const struct sigaction& called) {
    SignalsBlocked blocked;
    actions.lock();
    if (actions.get_locked(signal).sa_sigaction == called.sa_sigaction) {
        struct sigaction reset = actions.get_locked(signal);
        reset.sa_handler = SIG_DFL;
        actions.write_locked(signal, reset);
    }
    actions.unlock();
}

int program_action(int signal, const struct sigaction* action, struct sigaction* old) {
    struct sigaction wanted {};
    if (action != nullptr)
        wanted = *action;
    const struct sigaction* request = action != nullptr ? &wanted : nullptr;
    struct sigaction before {};
    int result = 0;
    {
        SignalsBlocked blocked;
        actions.lock();
        if (!installed)
            result = __sigaction(signal, request, &before);
        else if (is_memory_of_parent_locked())
            result = action_of_vfork_child_locked(signal, request, &before);
        else
            result = action_locked(signal, request, &before);
        actions.unlock();
    }
    if (result == 0 && old != nullptr)
        *old = before;
    return result;
}

Mask ignore_for_exec() {
    Mask ignored = 0;
    for (int signal : kSignals) {
        struct sigaction now {};
        if (!is_ignored(actions.read(signal)) || __sigaction(signal, nullptr, &now) < 0 ||
            now.sa_sigaction != on_signal)
            continue;
        struct sigaction ignore {};
        ignore.sa_handler = SIG_IGN;
        if (__sigaction(signal, &ignore, nullptr) == 0)
            ignored |= mask_of(signal);
    }
    return ignored;
}

void handle_again(Mask signals) {
    for (int signal : kSignals)
        if ((signals & mask_of(signal)) != 0)
            install(signal, actions.read(signal));
}

void lock_actions() {
    // A handler that runs meanwhile could call sigaction.
    const Mask before = current_mask();
    change_mask(SIG_SETMASK, ~Mask{0});
    actions.lock();
    before_fork = before;
}

void unlock_actions() {
    const Mask before = before_fork;
    actions.unlock();
    change_mask(SIG_SETMASK, before);
}

void unlock_actions_in_child() {
    if (installed)
        own_memory_locked();
    unlock_actions();
}

} // namespace stm::library
