// SPDX-License-Identifier: LGPL-2.1-or-later
// Reports of transactions that are aborted again and again, for who asks by the environment:
// STM_REPORT_ABORTS=N, and STM_REPORT_FILE=PATH if not on standard error.
//
// Each thread collects the conflicts of one transaction, from one commit to the next: reasons,
// places, whose commits came before. Nothing here allocates by malloc, takes a lock of this
// process, or uses stdio: a transaction may have been stopped anywhere.
#pragma once

#include <cstdint>

namespace stm::library {

// N; 0: no reports.
extern constinit unsigned aborts_to_report;
[[nodiscard]] inline bool reports_aborts() {
    return __builtin_expect(aborts_to_report != 0, false);
}

struct Conflict {
    int fd; // of the region in which it was
    int reason;
    bool has_place;
    std::uint64_t place; // bytes from the region's begin
    unsigned row;        // how many there were one after the other, this one included
    // Where the program began it; 0: who calls the library now.
    std::uint64_t site;
};

/** After a conflict. Keeps errno. Called by the thread, within a section if it is not typed. */
[[gnu::cold, gnu::noinline]] void note_conflict(const Conflict& conflict);
/** The same for the transaction of stm_start() on that descriptor, which has not been committed.
 * Another reason than a conflict does not count. */
[[gnu::cold, gnu::noinline]] void note_abort(int fd, unsigned row, std::uint64_t site);
/** The thread ends. */
void forget_conflicts();

} // namespace stm::library
