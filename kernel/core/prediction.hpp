// SPDX-License-Identifier: GPL-2.0
// Predicts which pages a thread's next transaction will touch in mappings, from the transactions
// before it.
//
// A transaction begins at a site: a number that stands for the place in the program that began it.
// For each of the last sites a list of pages is kept, each with two counters that saturate, one for
// loads and one for stores, as branches are predicted (Smith, "A Study of Branch Prediction
// Strategies", ISCA 1981): a page is likely as long as its counter is in the upper half. A page
// that was touched for the first time is likely at once, unless the site's such pages are not seen
// again: `trust` counts that in the same way. So a steady transaction is known after one run, what
// it leaves out is forgotten after three, and pages chosen at random are not predicted at all.
//
// In a warm mapping a page that is there anyway is allowed stores for next to nothing, while a
// store that comes unexpectedly costs a fault. So where a site's transactions store at all, each
// page is likely there that was stored to not long ago.
//
// Invariants: the context's lock protects all of it. It is only a guess: an address in it is
// checked before it is used.
#pragma once

#include "kernel/core/private_pages.hpp"
#include "runtime/protocol/growing_array.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

class Prediction : runtime::NonCopyable {
    using u8 = runtime::u8;
    using u32 = runtime::u32;
    using u64 = runtime::u64;

public:
    struct Page {
        u64 index;
        u64 address; // where it was touched last
        u8 loads;
        u8 stores;
        bool fresh; // it was new in the last run
        u8 recent;  // counts down from kRecent since it was last stored to
    };

    // Another thread's, from now on.
    void forget() noexcept;
    // A transaction has begun at that site.
    void select(u32 site) noexcept;
    // Whether a page is likely at all, or only worth something if there is a copy of it already.
    enum class Where { anywhere, kept };
    // Calls function(page, use, where) for the pages that are likely to be touched, in the order of
    // their indices, until it returns false.
    template <typename Function>
    void for_each_likely(Function function) const noexcept {
        if (current_ != nullptr)
            for_each_likely_of(*current_, function);
    }
    // The same for a transaction that would begin at that site.
    template <typename Function>
    void for_each_likely_at(u32 number, Function function) const noexcept {
        for (const Site& site : sites_) {
            if (site.number == number && number != 0)
                return for_each_likely_of(site, function);
        }
    }

    enum class Ending {
        whole,    // the program ended it
        conflict, // it was cut short by a change of something that it had read
        cut       // it was cut short by something else
    };
    // The transaction that began at the selected site has ended, and has touched these pages. At
    // most `most` are kept. It may be called without a transaction.
    void learn(PrivatePages& touched, Ending ending, u32 most) noexcept;

private:
    static constexpr u8 kLikely = 2;
    static constexpr u8 kCertain = 3;
    static constexpr u8 kRecent = 12;
    static constexpr u32 kSites = 16;

    struct Site {
        u32 number = 0; // 0: none
        u64 used = 0;   // when, for the choice of the one to be replaced
        u8 trust = kLikely;
        u8 updates = 0; // kLikely or more: most of its transactions store something
        protocol::GrowingArray<Page, 4> pages; // in the order of their indices
    };

    template <typename Function>
    static void for_each_likely_of(const Site& site, Function function) noexcept {
        for (u32 i = 0; i < site.pages.size(); ++i) {
            const Page& page = site.pages[i];
            const bool awaited = page.recent != 0 && site.updates == kCertain;
            if (page.loads < kLikely && !awaited)
                continue;
            const Use use = page.stores >= kLikely || awaited ? Use::store : Use::load;
            if (!function(page, use, page.loads < kLikely ? Where::kept : Where::anywhere))
                return;
        }
    }

    // How many of the touched pages were known.
    u32 learn_known(Site& site, PrivatePages& touched, Ending ending) noexcept;
    void learn_new(Site& site, PrivatePages& touched, Ending ending, u32 most) noexcept;

    Site sites_[kSites];
    Site* current_ = nullptr;
    u64 turn_ = 0;
};

} // namespace stm::kernel
