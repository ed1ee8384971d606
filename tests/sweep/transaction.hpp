// SPDX-License-Identifier: GPL-2.0
// Transactions of the calling thread, by the requests themselves: the library would restart them.
#pragma once

#include "site.hpp"

#include <sys/ioctl.h>

namespace stm::sweep {

inline void start(Try& attempt, unsigned long how = 0) {
    if (::ioctl(attempt.fd.get(), STM_IOC_START, how) < 0)
        attempt.wrong(std::string("no transaction begins: ") + std::strerror(errno));
}

inline void commit(Try& attempt) {
    if (::ioctl(attempt.fd.get(), STM_IOC_COMMIT, 0) != 0)
        attempt.wrong(std::string("the transaction is not committed: ") + std::strerror(errno));
}

inline void cancel(Try& attempt) {
    if (::ioctl(attempt.fd.get(), STM_IOC_CANCEL, STM_CANCEL_ALL) != 0)
        attempt.wrong(std::string("the transaction is not cancelled: ") + std::strerror(errno));
}

inline unsigned depth_of(const test::Fd& fd) {
    auto now = test::make<struct stm_transaction>();
    ::ioctl(fd.get(), STM_IOC_TRANSACTION, &now);
    return now.depth;
}

} // namespace stm::sweep
