// SPDX-License-Identifier: LGPL-2.1-or-later
// The functions of stm/transaction.h.
#include "close.hpp"
#include "error.hpp"
#include "signals.hpp"
#include "thread_state.hpp"

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <pthread.h>
#include <stm/ioctl.h>
#include <stm/transaction.h>
#include <sys/ioctl.h>
#include <sys/single_threaded.h>
#include <unistd.h>
#include <utility>

namespace stm::library {
namespace {

// Neither memory nor stdio's locks can be relied on here: a transaction was interrupted anywhere.
[[noreturn, gnu::cold, gnu::format(printf, 1, 2)]] void give_up(const char* format, ...) {
    char message[512];
    std::va_list arguments;
    va_start(arguments, format);
    int length = std::vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (length > 0) [[maybe_unused]]
        ssize_t written = ::write(STDERR_FILENO, message, std::strlen(message));
    std::abort();
}

const char* why_not(int error) {
    switch (error) {
    case EBADF:
        return "it is not an open descriptor";
    case ENOTTY:
    case EINVAL:
        return "it is not a handle of a region, or the loaded module knows no transactions";
    case EOPNOTSUPP:
        return "its region is plain memory (STM_PLAIN), which has no transactions";
    case E2BIG:
        return "nested too deeply; was a transaction left without stm_commit or stm_cancel?";
    case ENOMEM:
        return "no memory left";
    case ENOSPC:
        return "more threads than the module allows have used this handle";
    default:
        return strerrordesc_np(error);
    }
}

const char* why_over(int error) {
    return error == E2BIG ? "it touched more pages than the module's max_stripes allows"
                          : "there is no memory for the pages it touched";
}

int start_failed(int fd, StartKind kind, int error) {
    if (kind == StartKind::start)
        give_up("stm: stm_start(%d): %s (stm_try_start would have returned)\n", fd, why_not(error));
    errno = error;
    return -1;
}

// Whether the program wants the pages that a transaction will touch to be mapped at its start.
bool wants_prediction() {
    static const bool wanted = [] {
        const char* value = secure_getenv("STM_PREDICT");
        return value == nullptr || std::strcmp(value, "0") != 0;
    }();
    return wanted;
}

// The number of the place that called stm_start: 32 bits of a multiplicative hash, never 0.
std::uint64_t site_of(const Registers& registers) {
    return (registers.rip * 0x9e3779b97f4a7c15 >> 32) | 1;
}

// 0: without one.
std::uint64_t wanted_site(const Registers& registers) {
    return wants_prediction() ? site_of(registers) : 0;
}

int request_start(int fd, unsigned flags, const Registers& registers) {
    return ::ioctl(fd, STM_IOC_START,
                   flags | STM_START_SIGNAL(kDoomSignal) | STM_START_SITE(wanted_site(registers)));
}

// Whether no number can have become another file's without a close that is counted. While there is
// but one thread a close is over before anything else happens, and the kernel has heard of it.
bool knows_closes() {
    static const bool counted = closes_are_counted();
    return counted || __libc_single_threaded != 0;
}

// Begins a transaction without a system call, if the kernel has offered that: see struct
// stm_start_cell. The kernel hears of it by the next one, or by a page fault.
bool start_by_offer(Context& context, unsigned closes, const Registers& registers) {
    StartCell* const cell = context.cell;
    // It must be an offer of the handle that has the number now.
    if (cell == nullptr || context.depth != 0 || context.closes != closes || !knows_closes())
        return false;
    const std::uint64_t offer = STM_CELL_OFFER(wanted_site(registers));
    if (cell->offer.load(std::memory_order_relaxed) != offer ||
        cell->begun.load(std::memory_order_relaxed) != 0) // a handler was left in between
        return false;
    context.detached = 0;
    cell->begun.store(offer, std::memory_order_seq_cst);
    if (cell->offer.load(std::memory_order_seq_cst) == offer)
        return true;
    // Taken back. If we were first it has begun all the same.
    return cell->begun.exchange(0, std::memory_order_seq_cst) == 0;
}

// After a start by a system call: makes sure that the kernel knows the cell, so that it can offer
// the next one. It forgets cells when a descriptor of the handle is closed, which may happen often:
// so not each time. That it can not be is no error.
void attach_cell(ThreadState& thread, Context* context, unsigned closes) {
    constexpr unsigned kPatience = 16;
    StartCell* const cell = thread.cell_of(context, closes);
    if (cell == nullptr)
        return;
    if (cell->offer.load(std::memory_order_relaxed) != 0) {
        context->detached = 0;
        return;
    }
    if (context->detached++ % kPatience != 0)
        return;
    struct stm_cell request {};
    request.size = sizeof request;
    request.address = reinterpret_cast<std::uintptr_t>(cell);
    request.signal = kDoomSignal;
    const int error = errno;
    ::ioctl(context->fd, STM_IOC_CELL, &request);
    errno = error;
}

// What the kernel says after an error of which it is not certain whether the transaction survived.
void correct_depth(ThreadState& thread, Context* context) {
    struct stm_transaction now {};
    now.size = sizeof now;
    if (::ioctl(context->fd, STM_IOC_TRANSACTION, &now) < 0 || now.depth == 0)
        thread.remove_running(context);
    else
        context->depth = static_cast<int>(now.depth);
}

void begun(ThreadState& thread, Context* context, StartKind kind, const Registers& registers,
           int depth) {
    // Depth 1, although we know of one: that one ended behind our back, with another descriptor of
    // the same number.
    if (depth == 1)
        thread.remove_running(context);
    if (context->depth == 0) {
        context->registers = registers;
        context->kind = kind;
        context->failure = 0; // one of before, whose restart the program has left by longjmp
        thread.add_running(context);
    }
    context->depth = depth;
}

bool limit_reached(Context* context, StartKind kind) {
    if (kind == StartKind::start || context->limit == 0 || context->attempts < context->limit)
        return false;
    context->attempts = 0;
    return true;
}

[[gnu::constructor]] void handle_forks() {
    pthread_atfork(lock_actions, unlock_actions, [] {
        ThreadState::forget_transactions();
        unlock_actions();
    });
}

} // namespace
} // namespace stm::library

using namespace stm::library;

// The first return of stm_start. Called by it in transaction_start.S.
int stm_library_start(int fd, StartKind kind, const Registers* registers) {
    ThreadState* thread = ThreadState::current();
    if (thread == nullptr) {
        thread = ThreadState::current_or_new();
        if (thread == nullptr)
            return start_failed(fd, kind, ENOMEM);
        prepare_signals();
    }
    if (fd < 0)
        return start_failed(fd, kind, EBADF);

    Section section(*thread);
    Context* context = thread->find_or_add(fd);
    if (context == nullptr)
        return start_failed(fd, kind, ENOMEM);
    if (context->depth == 0 && limit_reached(context, kind)) {
        errno = EAGAIN;
        return -1;
    }
    const unsigned closes = closes_of(fd); // before whatever the system call goes to
    if (start_by_offer(*context, closes, *registers)) {
        begun(*thread, context, kind, *registers, 1);
        return 0;
    }
    unsigned flags = 0;
    int depth = 0;
    while ((depth = request_start(fd, flags, *registers)) < 0) {
        if (errno == EAGAIN) { // within a transaction that can not commit
            thread->look();    // removes what does not run any more
            if (thread->is_running())
                restart(*thread);
            flags = STM_START_RESTART; // begun past us
        } else if (errno != EINTR) {
            return start_failed(fd, kind, errno);
        } else if (thread->has_notice() && thread->look() == Doom::doomed) {
            restart(*thread); // what we wait inside of will not commit
        }
    }
    begun(*thread, context, kind, *registers, depth);
    if (depth == 1)
        attach_cell(*thread, context, closes);
    return 0;
}

// A further return of stm_start. Called in transaction_start.S, on the stack of stm_start's caller.
int stm_library_restarted(Context* context) {
    ThreadState& thread = *ThreadState::current();
    thread.cancel_others(context);
    ++context->attempts;
    if (const int failure = std::exchange(context->failure, 0)) {
        ::ioctl(context->fd, STM_IOC_CANCEL, STM_CANCEL_ALL);
        thread.remove_running(context);
        thread.leave_at_once();
        context->attempts = 0;
        if (context->kind == StartKind::start)
            give_up("stm: the transaction of stm_start(%d) can not go on: %s (stm_try_start would "
                    "have returned)\n",
                    context->fd, why_over(failure));
        errno = failure;
        return -1;
    }
    if (limit_reached(context, context->kind)) {
        ::ioctl(context->fd, STM_IOC_CANCEL, STM_CANCEL_ALL);
        thread.remove_running(context);
        thread.leave_at_once();
        errno = EAGAIN;
        return -1;
    }
    int depth = 0;
    while ((depth = request_start(context->fd, STM_START_RESTART, context->registers)) < 0) {
        if (errno == EINTR || errno == EAGAIN)
            continue;
        int error = errno;
        thread.remove_running(context);
        thread.leave_at_once();
        return start_failed(context->fd, context->kind, error);
    }
    begun(thread, context, context->kind, Registers(context->registers), depth);
    thread.leave();
    return 0;
}

int stm_commit(int fd) {
    ThreadState* thread = ThreadState::current();
    Context* context = thread != nullptr ? thread->find(fd) : nullptr;
    if (context == nullptr) // a transaction of the program's own system calls, or none
        return ::ioctl(fd, STM_IOC_COMMIT, 0) == 0 ? 0 : 1;

    Section section(*thread);
    int result = ::ioctl(fd, STM_IOC_COMMIT, 0);
    if (context->depth > 1) {
        if (result == 0) {
            --context->depth;
            return 0;
        }
        if (errno == EAGAIN)
            restart(*thread);
        int error = errno;
        correct_depth(*thread, context);
        errno = error;
        return 1;
    }
    thread->remove_running(context);
    if (result == 0)
        context->attempts = 0;
    else
        ++context->attempts;
    return result == 0 ? 0 : 1;
}

void stm_cancel(int fd) {
    ThreadState* thread = ThreadState::current();
    Context* context = thread != nullptr ? thread->find(fd) : nullptr;
    if (context == nullptr) {
        ::ioctl(fd, STM_IOC_CANCEL, 0);
        return;
    }
    Section section(*thread);
    if (::ioctl(fd, STM_IOC_CANCEL, 0) < 0) {
        int error = errno;
        correct_depth(*thread, context);
        errno = error;
    } else if (context->depth > 1) {
        --context->depth;
    } else {
        thread->remove_running(context);
        context->attempts = 0;
    }
}

void stm_retry(int fd) {
    ThreadState* thread = ThreadState::current();
    Context* context = thread != nullptr ? thread->find(fd) : nullptr;
    if (context != nullptr) {
        Section section(*thread);
        thread->look(); // removes what does not run any more
        if (context->depth > 0)
            restart(*thread);
    }
    give_up("stm: stm_retry(%d): this thread has no transaction on it\n", fd);
}

int stm_wait(int fd, const struct timespec* timeout) {
    constexpr long kSecond = 1'000'000'000;
    struct stm_wait wait {};
    wait.size = sizeof wait;
    wait.timeout_ns = STM_WAIT_FOREVER;
    if (timeout != nullptr) {
        if (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= kSecond) {
            errno = EINVAL;
            return -1;
        }
        // More than 500 years are as good as for ever.
        if (static_cast<unsigned long>(timeout->tv_sec) < STM_WAIT_FOREVER / kSecond - 1)
            wait.timeout_ns = static_cast<unsigned long>(timeout->tv_sec) * kSecond +
                              static_cast<unsigned long>(timeout->tv_nsec);
    }
    ThreadState* thread = ThreadState::current();
    Context* context = thread != nullptr ? thread->find(fd) : nullptr;
    if (context == nullptr || context->depth == 0) {
        errno = EINVAL;
        return -1;
    }
    Section section(*thread);
    thread->look(); // removes what does not run any more: the way back must exist
    if (::ioctl(fd, STM_IOC_WAIT, &wait) == 0)
        restart(*thread);
    if (errno != EDEADLK && errno != EINVAL && errno != EFAULT) {
        thread->remove_running(context);
        ++context->attempts;
    } else if (errno == EINVAL) {
        correct_depth(*thread, context);
        errno = EINVAL;
    }
    return -1;
}

void stm_defer_restarts(void) {
    if (ThreadState* thread = ThreadState::current())
        thread->hold();
}

void stm_allow_restarts(void) {
    if (ThreadState* thread = ThreadState::current())
        thread->release();
}

int stm_validate(int fd) {
    ThreadState* thread = ThreadState::current();
    if (thread == nullptr)
        return ::ioctl(fd, STM_IOC_VALIDATE, 0);
    Section section(*thread);
    return ::ioctl(fd, STM_IOC_VALIDATE, 0);
}

int stm_abort_reason(int fd) {
    struct stm_transaction now {};
    now.size = sizeof now;
    if (::ioctl(fd, STM_IOC_TRANSACTION, &now) < 0)
        return -1;
    return static_cast<int>(now.doom != STM_REASON_NONE ? now.doom : now.last_reason);
}

const char* stm_reason_text(int reason) {
    switch (reason) {
    case STM_REASON_NONE:
        return "none";
    case STM_REASON_READ_LOCKED:
        return "data to read was being committed";
    case STM_REASON_READ_VALIDATION:
        return "data read before has changed, seen by a read";
    case STM_REASON_COMMIT_LOCKED:
        return "data to write was being committed";
    case STM_REASON_COMMIT_VALIDATION:
        return "data read has changed, seen by the commit";
    case STM_REASON_TOO_BIG:
        return "larger than the limits allow";
    case STM_REASON_NO_MEMORY:
        return "no memory";
    case STM_REASON_CANCEL:
        return "cancelled";
    case STM_REASON_RETRY:
        return "retry";
    case STM_REASON_SIGNAL:
        return "a signal interrupted the commit";
    case STM_REASON_KILLED:
        return "killed, or the file was closed";
    case STM_REASON_SERIAL_WAIT:
        return "the serial token could not be had";
    case STM_REASON_OUT_OF_RANGE:
        return "outside of the region";
    case STM_REASON_FAULT:
        return "the program's own memory could not be read or written";
    default:
        return "unknown";
    }
}

int stm_set_retry_limit(int fd, unsigned attempts) {
    if (fd < 0) {
        errno = EBADF;
        return -1;
    }
    ThreadState* thread = ThreadState::current();
    if (thread == nullptr) {
        thread = ThreadState::current_or_new();
        if (thread == nullptr)
            return -1;
        prepare_signals();
    }
    Section section(*thread);
    Context* context = thread->find_or_add(fd);
    if (context == nullptr)
        return -1;
    context->limit = attempts;
    context->attempts = 0;
    return 0;
}

int stm_statistics(int fd, struct stm_statistics* result) {
    if (result == nullptr) {
        errno = EFAULT;
        return -1;
    }
    struct stm_statistics request {};
    request.size = sizeof request;
    request.flags = STM_BY_HANDLE;
    if (::ioctl(fd, STM_IOC_STATISTICS, &request) < 0)
        return -1;
    *result = request;
    return 0;
}
