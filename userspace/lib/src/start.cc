// SPDX-License-Identifier: LGPL-2.1-or-later
// Starting and restarting: the first return of stm_start, and the later ones.
#include "aborts.hpp"
#include "actions.hpp"
#include "at_once.hpp"
#include "close.hpp"
#include "futile.hpp"
#include "give_up.hpp"
#include "handlers.hpp"
#include "mask.hpp"
#include "module_version.hpp"
#include "offer.hpp"
#include "thread_state.hpp"
#include "warm.hpp"

#include <cerrno>
#include <cstring>
#include <pthread.h>
#include <stm/ioctl.h>
#include <stm/transaction.h>
#include <sys/ioctl.h>
#include <utility>

namespace stm::library {
namespace {

int start_failed(int fd, StartKind kind, int error) {
    if (kind == StartKind::start) {
        const int minor = error == EINVAL || error == ENOTTY ? older_minor(fd) : -1;
        if (minor >= 0)
            give_up(
                "stm: stm_start(%d): %s; the module speaks version %d.%d of the interface, this "
                "library %d.%d: load the module that belongs to the library\n",
                fd, strerrordesc_np(error), STM_ABI_MAJOR, minor, STM_ABI_MAJOR, STM_ABI_MINOR);
        give_up("stm: stm_start(%d): %s (stm_try_start would have returned)\n", fd, why_not(error));
    }
    errno = error;
    return -1;
}

int request_start(int fd, unsigned flags, std::uint64_t site) {
    const std::uint64_t without_site = flags | STM_START_SIGNAL(kDoomSignal);
    const int depth = ::ioctl(fd, STM_IOC_START, without_site | STM_START_SITE(site));
    if (depth >= 0 || errno != EINVAL || site == 0 || !module_is_before_sites(fd))
        return depth;
    return ::ioctl(fd, STM_IOC_START, without_site);
}

void begun(ThreadState& thread, ThreadTransaction* transaction, StartKind kind,
           const Registers& registers, int depth) {
    if (depth == 1) {
        // We may still know of a transaction by this number. It ended behind our back, with another
        // descriptor of that number.
        thread.remove_running(transaction);
    } else if (transaction->depth != depth - 1 || thread.runs_several()) {
        // This is a part of a transaction that began by another number of the same open file.
        // Whatever began by this number is gone then.
        ThreadTransaction* const owner = thread.running_on(transaction->fd);
        if (owner != nullptr && owner != transaction) {
            thread.remove_running(transaction);
            transaction = owner;
        }
    }
    if (transaction->depth == 0) {
        transaction->registers = registers;
        transaction->kind = kind;
        transaction->failure = 0; // an earlier restart, which the program left by longjmp
        thread.add_running(transaction);
    }
    transaction->depth = depth;
}

bool limit_reached(ThreadTransaction* transaction, StartKind kind) {
    if (kind == StartKind::start || transaction->limit == 0 ||
        transaction->attempts < transaction->limit)
        return false;
    transaction->attempts = 0;
    return true;
}

[[gnu::constructor]] void handle_forks() {
    pthread_atfork(lock_actions, unlock_actions, [] {
        ThreadState::forget_transactions();
        adopt_warm();
        unlock_actions_in_child();
    });
}

} // namespace
} // namespace stm::library

using namespace stm::library;

namespace {

// Begins a transaction by system calls, within a section. `depth`: what the first one has returned,
// with errno; kNotCalled: there was none yet.
constexpr int kNotCalled = 0;
[[gnu::noinline]] int start_by_calls(ThreadState& thread, ThreadTransaction* transaction,
                                     StartKind kind, const Registers& registers, unsigned closes,
                                     int depth) {
    const int fd = transaction->fd;
    const std::uint64_t site = wanted_site(registers);
    unsigned flags = 0;
    if (depth == kNotCalled)
        depth = request_start(fd, flags, site);
    for (; depth < 0; depth = request_start(fd, flags, site)) {
        const int error = errno;
        if (error == EINTR) {
            if (thread.has_notice() && !thread.is_held() && thread.look() == Doom::doomed)
                restart(thread); // the transaction around this part will not commit
            continue;
        }
        const Doom doom = thread.look();
        if (error == EAGAIN && doom == Doom::doomed && !thread.is_held())
            restart(thread);
        ThreadTransaction* const owner = thread.running_on(fd);
        // The transaction around this part cannot commit. The program learns that when it ends.
        if (owner != nullptr &&
            (error == EAGAIN ||
             (kind == StartKind::start && doom == Doom::failed && error == thread.failure()))) {
            thread.add_phantom(owner);
            return 0;
        }
        if (error == EDEADLK && owner == nullptr && kind == StartKind::start)
            restart_deadlocked(thread, fd);
        // The transaction was begun past us, or was lost with its descriptor.
        if (owner != nullptr || (error != EAGAIN && error != ECANCELED))
            return start_failed(fd, kind, error);
        flags = STM_START_RESTART;
    }
    begun(thread, transaction, kind, registers, depth);
    count_start();
    if (depth == 1)
        attach_cell(thread, transaction, closes);
    return 0;
}

[[gnu::noinline]] int start_slowly(int fd, StartKind kind, const Registers* registers,
                                   const void* frame) {
    ThreadState* thread = ThreadState::current();
    if (thread == nullptr) {
        thread = ThreadState::current_or_new();
        if (thread == nullptr)
            return start_failed(fd, kind, ENOMEM);
        install_handlers();
    }
    if (fd < 0)
        return start_failed(fd, kind, EBADF);

    Section section(*thread, frame);
    ThreadTransaction* transaction = thread->find_or_add(fd);
    if (transaction == nullptr)
        return start_failed(fd, kind, ENOMEM);
    if (transaction->depth == 0 && limit_reached(transaction, kind)) {
        errno = EAGAIN;
        return -1;
    }
    if (const int error = transaction->depth == 0 ? futile_error(*transaction, *registers) : 0) {
        if (kind == StartKind::start)
            give_up("stm: stm_start(%d): what begins here is not committed, again and again: %s "
                    "(stm_try_commit tells that from a conflict)\n",
                    fd, why_never(error));
        errno = error;
        return -1;
    }
    if (thread->has_left(registers->rsp)) {
        thread->look(); // that transaction may be over
        if (thread->has_left(registers->rsp))
            give_up("stm: stm_start(%d): the function that called stm_start(%d) before has "
                    "returned without stm_commit or stm_cancel\n",
                    fd, thread->outermost()->fd);
    }
    if (!thread->is_running()) {
        forget_handlers();
        ThreadMask::current().prepare();
    }
    const unsigned closes = closes_of(fd); // first: the system call below may go to another file
    const std::uint64_t site = wanted_site(*registers);
    if (start_by_offer(*transaction, closes, site)) {
        begun(*thread, transaction, kind, *registers, 1);
        count_start();
        return 0;
    }
    return start_by_calls(*thread, transaction, kind, *registers, closes, kNotCalled);
}

// Where begin_at_once() wants a system call.
[[gnu::noinline]] int start_by_call(ThreadState& thread, ThreadTransaction& transaction,
                                    StartKind kind, const Registers& registers) {
    const Cell& cell = *transaction.cell;
    const int depth = ::ioctl(transaction.fd, STM_IOC_START,
                              STM_START_SIGNAL(kDoomSignal) | STM_START_SITE(site_of(registers)));
    int result = 0;
    // Where the kernel does not know the cell any more it has to be told.
    if (depth == 1 && cell.offer.load(std::memory_order_relaxed) != 0 &&
        transaction.clock_place->load(std::memory_order_relaxed) == transaction.clock) [[likely]]
        thread.run_alone(transaction, kind, registers);
    else
        result = start_by_calls(thread, &transaction, kind, registers, transaction.closes, depth);
    thread.leave_last();
    return result;
}

} // namespace

// The first return of stm_start. transaction_start.S calls it.
int stm_library_start(int fd, StartKind kind, const Registers* registers) {
    ThreadState* const thread = ThreadState::current();
    const void* const frame = __builtin_frame_address(0);
    if (thread == nullptr) [[unlikely]]
        return start_slowly(fd, kind, registers, frame);
    const ThreadState::AtOnce begun = thread->begin_at_once(fd, kind, *registers, frame);
    if (begun.what == ThreadState::AtOnce::left) [[unlikely]]
        return start_slowly(fd, kind, registers, frame);
    if (begun.what == ThreadState::AtOnce::called_for)
        return start_by_call(*thread, *begun.transaction, kind, *registers);
    return 0;
}

// A later return of stm_start. transaction_start.S calls it, on the stack of stm_start's caller.
int stm_library_restarted(ThreadTransaction* transaction) {
    ThreadState& thread = *ThreadState::current();
    ThreadMask::current().restore();
    thread.cancel_others(transaction);
    ++transaction->attempts;
    if (const int failure = std::exchange(transaction->failure, 0)) {
        ::ioctl(transaction->fd, STM_IOC_CANCEL, STM_CANCEL_ALL);
        thread.remove_running(transaction);
        thread.leave_at_once();
        transaction->attempts = 0;
        transaction->deadlocks = 0;
        if (transaction->kind == StartKind::start && failure == EDEADLK)
            give_up("stm: the transaction of stm_start(%d) cannot go on: what stm_start(%d) begins "
                    "within it would wait for it forever, since both are on one region; use one "
                    "handle for both (stm_try_start would have returned)\n",
                    transaction->fd, transaction->deadlocked_by);
        if (transaction->kind == StartKind::start)
            give_up("stm: the transaction of stm_start(%d) cannot go on: %s (stm_try_start would "
                    "have returned)\n",
                    transaction->fd, why_over(failure));
        errno = failure;
        return -1;
    }
    if (reports_aborts())
        note_abort(transaction->fd, transaction->attempts, transaction->registers.rip);
    if (limit_reached(transaction, transaction->kind)) {
        ::ioctl(transaction->fd, STM_IOC_CANCEL, STM_CANCEL_ALL);
        thread.remove_running(transaction);
        thread.leave_at_once();
        errno = EAGAIN;
        return -1;
    }
    const std::uint64_t site = wanted_site(transaction->registers);
    int depth = 0;
    while ((depth = request_start(transaction->fd, STM_START_RESTART, site)) < 0) {
        if (errno == EINTR || errno == EAGAIN)
            continue;
        int error = errno;
        thread.remove_running(transaction);
        thread.leave_at_once();
        return start_failed(transaction->fd, transaction->kind, error);
    }
    begun(thread, transaction, transaction->kind, Registers(transaction->registers), depth);
    thread.leave();
    return 0;
}

void stm_retry(int fd) {
    ThreadState* thread = ThreadState::current();
    if (thread != nullptr && thread->is_running()) {
        Section section(*thread);
        thread->look(); // forgets transactions that have ended
        if (thread->running_on(fd) != nullptr)
            restart(*thread);
    }
    give_up("stm: stm_retry(%d): this thread has no transaction on it\n", fd);
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
        install_handlers();
    }
    Section section(*thread);
    ThreadTransaction* transaction = thread->find_or_add(fd);
    if (transaction == nullptr)
        return -1;
    transaction->limit = attempts;
    transaction->attempts = 0;
    if (attempts != 0)
        transaction->clock_place = nullptr; // a start has to count
    return 0;
}
