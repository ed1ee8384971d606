// SPDX-License-Identifier: GPL-2.0
#include "access.h"

#include <stm/access.h>
#include <stm/stm.h>

int transfer(int fd, unsigned int from, unsigned int to, long amount) {
    long source, target;
    const struct stm_piece loads[] = {
        stm_read_piece(from * ACCOUNT_BYTES, &source, sizeof source),
        stm_read_piece(to * ACCOUNT_BYTES, &target, sizeof target),
    };
    const struct stm_piece stores[] = {
        stm_write_piece(from * ACCOUNT_BYTES, &source, sizeof source),
        stm_write_piece(to * ACCOUNT_BYTES, &target, sizeof target),
    };
    int result;
    do {
        stm_start(fd);
        if (stm_access(fd, loads, 2) < 0) {
            stm_cancel(fd);
            return -1;
        }
        source -= amount;
        target += amount;
        result = stm_access_and_commit(fd, stores, 2);
    } while (result > 0);
    return result;
}

int read_accounts(int fd, long balances[ACCOUNTS]) {
    struct stm_piece pieces[ACCOUNTS];
    for (unsigned int account = 0; account < ACCOUNTS; ++account)
        pieces[account] =
            stm_read_piece(account * ACCOUNT_BYTES, &balances[account], sizeof balances[account]);
    return stm_access(fd, pieces, ACCOUNTS);
}
