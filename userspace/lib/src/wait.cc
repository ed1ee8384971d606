// SPDX-License-Identifier: LGPL-2.1-or-later
// stm_wait: sleeps until something changes.
#include "thread_state.hpp"

#include <cerrno>
#include <ctime>
#include <pthread.h>
#include <stm/ioctl.h>
#include <stm/transaction.h>
#include <sys/ioctl.h>

using namespace stm::library;

namespace {

constexpr unsigned long kSecond = 1'000'000'000;

// Sets the end of the wait, as a time of CLOCK_MONOTONIC, so that signals do not prolong the wait.
// Returns false if `timeout` is no valid time.
bool set_timeout(struct stm_wait& wait, const struct timespec* timeout) {
    wait.timeout_ns = STM_WAIT_FOREVER;
    if (timeout == nullptr)
        return true;
    if (timeout->tv_sec < 0 || timeout->tv_nsec < 0 ||
        static_cast<unsigned long>(timeout->tv_nsec) >= kSecond)
        return false;
    struct timespec now {};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const auto seconds =
        static_cast<unsigned long>(now.tv_sec) + static_cast<unsigned long>(timeout->tv_sec);
    // More than 500 years count as forever.
    if (seconds < STM_WAIT_FOREVER / kSecond - 2)
        wait.timeout_ns = seconds * kSecond + static_cast<unsigned long>(now.tv_nsec) +
                          static_cast<unsigned long>(timeout->tv_nsec);
    return true;
}

// Sleeps. Returns 0 or an error number. The thread can be cancelled meanwhile, as in the waits of
// libc.
int sleep_on(int fd, struct stm_wait& wait, const struct timespec* timeout) {
    int type = 0;
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
    int error = ::ioctl(fd, STM_IOC_WAIT, &wait) == 0 ? 0 : errno;
    if (error == EINVAL) { // an older module, or no transaction
        struct stm_wait older {};
        older.size = sizeof older;
        older.timeout_ns = STM_WAIT_FOREVER;
        if (timeout != nullptr && wait.timeout_ns != STM_WAIT_FOREVER)
            older.timeout_ns = static_cast<unsigned long>(timeout->tv_sec) * kSecond +
                               static_cast<unsigned long>(timeout->tv_nsec);
        error = ::ioctl(fd, STM_IOC_WAIT, &older) == 0 ? 0 : errno;
    }
    pthread_setcanceltype(type, nullptr);
    return error;
}

bool has_read_nothing(int fd) {
    struct stm_transaction now {};
    now.size = sizeof now;
    return ::ioctl(fd, STM_IOC_TRANSACTION, &now) == 0 && now.stripes_read == 0 && now.doom == 0;
}

} // namespace

int stm_wait(int fd, const struct timespec* timeout) {
    pthread_testcancel();
    struct stm_wait wait {};
    wait.size = sizeof wait;
    wait.flags = STM_WAIT_KEEP | STM_WAIT_UNTIL;
    ThreadState* thread = ThreadState::current();
    if (!set_timeout(wait, timeout) || thread == nullptr || thread->running_on(fd) == nullptr) {
        errno = EINVAL;
        return -1;
    }
    const Section section(*thread);
    thread->look(); // forgets transactions that have ended, so that the way back exists
    ThreadTransaction* const transaction = thread->running_on(fd);
    const bool alone = !thread->runs_several();
    if (transaction == nullptr || (!alone && has_read_nothing(fd))) {
        errno = transaction == nullptr ? EINVAL : EDEADLK;
        return -1;
    }
    // The other transactions may hold a region's lock. Processes that would change something here
    // may wait for it.
    thread->undo_others(transaction);
    const int error = sleep_on(fd, wait, timeout);
    if (error == 0)
        restart(*thread);
    if (alone && (error == EDEADLK || error == EFAULT || error == EINVAL)) {
        if (error == EINVAL)
            thread->correct_depth(transaction);
    } else {
        if (error != ETIMEDOUT)
            thread->undo_others(nullptr);
        thread->forget_running();
        ++transaction->attempts;
    }
    errno = error;
    return -1;
}
