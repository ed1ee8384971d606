// SPDX-License-Identifier: LGPL-2.1-or-later
#include "futile.hpp"

#include "give_up.hpp"

namespace stm::library {
namespace {

constexpr unsigned kMost = 100;

} // namespace

constinit thread_local Futile without_transaction = {};

void count_futile_commit(ThreadTransaction* transaction, int fd, int error) {
    Futile& futile = transaction != nullptr ? transaction->futile : without_transaction;
    const std::uint64_t site = transaction != nullptr ? transaction->registers.rip : 0;
    if (transaction != nullptr)
        transaction->clock_place = nullptr; // the next start has to look at the count
    if (futile.site != site)
        futile = {0, 0, site};
    futile.error = error;
    if (++futile.count >= 2 * kMost)
        give_up("stm: stm_commit(%d) has failed %u times in a row: %s\n", fd, futile.count,
                why_never(error));
}

void forget_futile_commits(ThreadTransaction* transaction) {
    without_transaction.count = 0;
    if (transaction != nullptr)
        transaction->futile.count = 0;
}

int futile_error(ThreadTransaction& transaction, const Registers& registers) {
    if (transaction.futile.count < kMost || transaction.futile.site != registers.rip)
        return 0;
    transaction.futile.count = 0;
    return transaction.futile.error;
}

} // namespace stm::library
