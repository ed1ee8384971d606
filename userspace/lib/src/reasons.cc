// SPDX-License-Identifier: LGPL-2.1-or-later
// Questions about transactions: why one ended, and how many there were.
#include <cerrno>
#include <stm/ioctl.h>
#include <stm/transaction.h>
#include <sys/ioctl.h>

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
        return "its thread ended, or called exec";
    case STM_REASON_SERIAL_WAIT:
        return "the serial token could not be had";
    case STM_REASON_OUT_OF_RANGE:
        return "outside of the region";
    case STM_REASON_FAULT:
        return "the program's own memory could not be read or written";
    case STM_REASON_CLOSED:
        return "its last descriptor was closed";
    case STM_REASON_SNAPSHOT_TOO_OLD:
        return "what it needs of its snapshot is not kept any more";
    default:
        return "unknown";
    }
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
