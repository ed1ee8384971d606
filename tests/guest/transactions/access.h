/* SPDX-License-Identifier: GPL-2.0 */
/* Accounts in a region, used by C through <stm/access.h>. */
#ifndef STM_TESTS_ACCESS_H
#define STM_TESTS_ACCESS_H

#ifdef __cplusplus
extern "C" {
#endif

enum { ACCOUNTS = 8, ACCOUNT_BYTES = 1000 };

/* 0, or -1 with errno. Tries again after a conflict. */
int transfer(int fd, unsigned int from, unsigned int to, long amount);
/* All accounts as they are at one moment, by one call without a transaction. 0, or -1 with errno.
 */
int read_accounts(int fd, long balances[ACCOUNTS]);

#ifdef __cplusplus
}
#endif

#endif /* STM_TESTS_ACCESS_H */
