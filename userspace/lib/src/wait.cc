// SPDX-License-Identifier: LGPL-2.1-or-later
// stm_wait: sleeping until something changes.
#include "thread_state.hpp"

#include <cerrno>
#include <stm/ioctl.h>
#include <stm/transaction.h>
#include <sys/ioctl.h>

using namespace stm::library;

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
    Context* context = thread != nullptr ? thread->running_on(fd) : nullptr;
    if (context == nullptr) {
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
        thread->correct_depth(context);
        errno = EINVAL;
    }
    return -1;
}
