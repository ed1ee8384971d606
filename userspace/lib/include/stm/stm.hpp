// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Typed transactions
 *
 *	struct bank {
 *	    stm::var<long> accounts[1024];
 *	};
 *	auto region = stm::region::create("bank", 65536);
 *	bank& b = region.root<bank>();
 *	stm::atomically(region, [&](stm::transaction& tx) {
 *	    tx[b.accounts[1]] -= 10;
 *	    tx[b.accounts[2]] += 10;
 *	});
 *
 * Everything in the region is made of variables (<stm/var.hpp>), in structures and arrays, and is
 * used by way of a transaction. Loads are checked, so a transaction never sees half of another one.
 * The same program commits without a system call if the region is made with STM_DIRECT:
 * create("bank", 65536, STM_DIRECT).
 * The library is <stm/tx.h> and <stm/heap.h>; these headers need C++20 with exceptions.
 */
#pragma once

#include <stm/atomically.hpp>    // IWYU pragma: export
#include <stm/layout.hpp>        // IWYU pragma: export
#include <stm/map.hpp>           // IWYU pragma: export
#include <stm/queue.hpp>         // IWYU pragma: export
#include <stm/region.hpp>        // IWYU pragma: export
#include <stm/string.hpp>        // IWYU pragma: export
#include <stm/transaction.hpp>   // IWYU pragma: export
#include <stm/unordered_map.hpp> // IWYU pragma: export
#include <stm/var.hpp>           // IWYU pragma: export
#include <stm/vector.hpp>        // IWYU pragma: export
