// SPDX-License-Identifier: LGPL-2.1-or-later
// The loop "do { stm_start(fd); ... } while (stm_commit(fd));" ends, also if nobody looks at errno:
// where trying again cannot help, the next start says so instead of beginning.
#pragma once

#include "thread_state.hpp"

namespace stm::library {

/** stm_commit(fd) has told the program an error other than a conflict. Gives up if it does so
 * again and again without a start. The transaction may be null. */
void count_futile_commit(ThreadTransaction* transaction, int fd, int error);
/** Something was committed. The transaction may be null. */
void forget_futile_commits(ThreadTransaction* transaction);
/** Why no transaction should begin there any more; 0: it may. Counts from zero then. */
int futile_error(ThreadTransaction& transaction, const Registers& registers);
/** A start has succeeded: commits without one are over. */
void count_start();

} // namespace stm::library
