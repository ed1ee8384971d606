// SPDX-License-Identifier: LGPL-2.1-or-later
// The end of a transaction, and what delays a restart.
#include "thread_state.hpp"

#include <cerrno>
#include <stm/ioctl.h>
#include <stm/transaction.h>
#include <sys/ioctl.h>

using namespace stm::library;

int stm_commit(int fd) {
    ThreadState* thread = ThreadState::current();
    if (thread == nullptr) // a transaction of the program's own system calls, or none
        return ::ioctl(fd, STM_IOC_COMMIT, 0) == 0 ? 0 : 1;

    Section section(*thread);
    Context* context = thread->running_on(fd);
    if (context != nullptr && context->phantoms > 0) {
        --context->phantoms;
        return 0;
    }
    int result = ::ioctl(fd, STM_IOC_COMMIT, 0);
    if (context == nullptr) {
        if (result == 0) {
            thread->look(); // whose number is not open any more is over
            return 0;
        }
        if ((context = thread->find(fd)) != nullptr)
            ++context->attempts;
        return 1;
    }
    if (context->depth > 1) {
        if (result == 0) {
            --context->depth;
            return 0;
        }
        int error = errno;
        if (error == EAGAIN && !thread->is_held())
            restart(*thread);
        thread->correct_depth(context);
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
    if (thread == nullptr) {
        ::ioctl(fd, STM_IOC_CANCEL, 0);
        return;
    }
    Section section(*thread);
    Context* context = thread->running_on(fd);
    if (context != nullptr && context->phantoms > 0) {
        --context->phantoms;
        return;
    }
    const int result = ::ioctl(fd, STM_IOC_CANCEL, 0);
    if (context == nullptr)
        return;
    if (result < 0) {
        int error = errno;
        thread->correct_depth(context);
        errno = error;
    } else if (context->depth > 1) {
        --context->depth;
    } else {
        thread->remove_running(context);
        context->attempts = 0;
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
