// SPDX-License-Identifier: LGPL-2.1-or-later
// Counts how often pages were changed. Who keeps copies of many pages looks at one number for each
// of them, instead of at 64 ownership records.
//
// A commit does P before C of the proof in transaction.hpp: it adds one to the counter of each page
// that it writes, after L for a stripe of that page. A reader that has loaded the clock as S has a
// copy of a page with its bytes at an earlier snapshot. Two rules make the number as good as the
// records:
//
// - The number that belongs to a copy was loaded before the records were, and these were all
//   unlocked and not newer than the snapshot of the copy. A commit that the number has counted had
//   locked one of them before that. So it is part of the copy, or was seen by that lock or its
//   version, or had given up, and counts again before it can change anything.
// - If the number is still the same after S, no other commit did P before. So none has a version
//   <= S, since it does P before C, and S read its C or a later one.
//
// A commit that gives up has counted, too: then the records are looked at for nothing. Pages may
// share a counter, with the same effect. A memory whose commits do not all count has no counters.
#pragma once

#include "runtime/protocol/stripe.hpp"
#include "runtime/support/atomic.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::protocol {

class PageChanges : runtime::NonCopyable {
    using u32 = runtime::u32;
    using u64 = runtime::u64;
    using Order = runtime::Order;

public:
    // P. The commit has locked a stripe that it writes in the page.
    void count(u64 page) noexcept { counters_[slot_of(page)].fetch_add(1, Order::release); }
    // How often the page was changed, or more often than that.
    [[nodiscard]] u64 of(u64 page) const noexcept {
        return counters_[slot_of(page)].load(Order::acquire);
    }

private:
    // Neighbours are in different cache lines, because two processes often change them at once.
    static constexpr u32 kLines = 128;
    static constexpr u32 kCountersOfLine = 8;
    static constexpr u64 slot_of(u64 page) noexcept {
        return page % kLines * kCountersOfLine + page / kLines % kCountersOfLine;
    }

    runtime::Atomic<u64> counters_[kLines * kCountersOfLine];
};

// What is noted of a copy whose records were not looked at.
inline constexpr runtime::u64 kNotCounted = ~runtime::u64{0};

// The counters of a memory that has a function for them, or null.
template <typename M>
[[nodiscard, gnu::always_inline]] inline PageChanges*
counters_of([[maybe_unused]] const M& memory) noexcept {
    if constexpr (requires { memory.page_changes(); })
        return memory.page_changes();
    else
        return nullptr;
}

} // namespace stm::protocol
