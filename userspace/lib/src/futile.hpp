// SPDX-License-Identifier: LGPL-2.1-or-later
// The loop "do { stm_start(fd); ... } while (stm_commit(fd));" ends, even if the program never
// looks at errno. Where another attempt cannot help, the next start says so instead of beginning.
#pragma once

#include "thread_state.hpp"

namespace stm::library {

// For a thread that commits what it never began. The initial-exec model: see this_thread.
[[gnu::tls_model("initial-exec")]] extern constinit thread_local Futile without_transaction;

/** Call this when stm_commit(fd) has returned an error other than a conflict. It gives up if that
 * happens again and again without a start. The transaction may be null. */
void count_futile_commit(ThreadTransaction* transaction, int fd, int error);
/** Call this when something was committed. The transaction may be null. */
void forget_futile_commits(ThreadTransaction* transaction);
/** The error because of which no transaction should begin there any more. The count then begins
 * from zero. 0: one may begin. */
int futile_error(ThreadTransaction& transaction, const Registers& registers);
/** Call this when a start has succeeded: commits without a start are over. */
inline void count_start() {
    without_transaction.count = 0;
}

} // namespace stm::library
