// SPDX-License-Identifier: LGPL-2.1-or-later
// The end of a transaction, and what delays a restart.
#include "futile.hpp"
#include "thread_state.hpp"

#include <cerrno>
#include <stm/ioctl.h>
#include <stm/transaction.h>
#include <sys/ioctl.h>

using namespace stm::library;

namespace {

// 0, or why not.
int commit(ThreadState& thread, ThreadTransaction* transaction, int fd) {
    if (transaction != nullptr && transaction->phantoms > 0) {
        --transaction->phantoms;
        return 0;
    }
    const int error = ::ioctl(fd, STM_IOC_COMMIT, 0) == 0 ? 0 : errno;
    if (transaction == nullptr) {
        if (error == 0)
            thread.look(); // a transaction whose number is closed is over
        return error;
    }
    if (transaction->depth > 1) {
        if (error == 0)
            --transaction->depth;
        else if (error == EAGAIN && !thread.is_held())
            restart(thread);
        else
            thread.correct_depth(transaction);
        return error;
    }
    thread.remove_running(transaction);
    if (error == 0)
        transaction->deadlocks = 0;
    else if (error == EDEADLK)
        restart_deadlocked(thread, fd);
    transaction->attempts = error == 0 ? 0 : transaction->attempts + 1;
    return error;
}

enum class Teller { stm_commit, stm_try_commit };

int commit_and_tell(int fd, Teller teller) {
    ThreadState* const thread = ThreadState::current();
    int error = 0;
    ThreadTransaction* transaction = nullptr;
    if (thread == nullptr) { // the program made a transaction by system calls, or none
        error = ::ioctl(fd, STM_IOC_COMMIT, 0) == 0 ? 0 : errno;
    } else {
        const Section section(*thread);
        transaction = thread->running_on(fd);
        error = commit(*thread, transaction, fd);
        if (transaction == nullptr)
            transaction = thread->find(fd);
    }
    if (error == 0)
        forget_futile_commits(transaction);
    else if (error != EAGAIN && teller == Teller::stm_commit)
        count_futile_commit(transaction, fd, error);
    if (error != 0)
        errno = error;
    return error;
}

} // namespace

int stm_commit(int fd) {
    return commit_and_tell(fd, Teller::stm_commit) == 0 ? 0 : 1;
}

int stm_try_commit(int fd) {
    const int error = commit_and_tell(fd, Teller::stm_try_commit);
    if (error == 0)
        return 0;
    return error == EAGAIN ? 1 : -1;
}

void stm_cancel(int fd) {
    ThreadState* thread = ThreadState::current();
    if (thread == nullptr) {
        ::ioctl(fd, STM_IOC_CANCEL, 0);
        return;
    }
    Section section(*thread);
    ThreadTransaction* transaction = thread->running_on(fd);
    if (transaction != nullptr && transaction->phantoms > 0) {
        --transaction->phantoms;
        return;
    }
    const int result = ::ioctl(fd, STM_IOC_CANCEL, 0);
    if (transaction == nullptr)
        return;
    if (result < 0) {
        int error = errno;
        thread->correct_depth(transaction);
        errno = error;
    } else if (transaction->depth > 1) {
        --transaction->depth;
    } else {
        thread->remove_running(transaction);
        transaction->attempts = 0;
        transaction->deadlocks = 0;
    }
}

int stm_validate(int fd) {
    ThreadState* thread = ThreadState::current();
    if (thread == nullptr)
        return ::ioctl(fd, STM_IOC_VALIDATE, 0);
    Section section(*thread);
    return ::ioctl(fd, STM_IOC_VALIDATE, 0);
}

void stm_defer_restarts(void) {
    ThreadState::hold();
}

void stm_allow_restarts(void) {
    ThreadState::release();
}
