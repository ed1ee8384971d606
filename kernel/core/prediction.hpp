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
// In a warm mapping a page that is there anyway is allowed stores for a quarter of what a store
// costs that comes unexpectedly, with a fault. So where a site's transactions store at all, a page
// to which two stores have come close to each other is allowed a third one for a while.
//
// Where that costs more than it saves nothing is predicted for a while: see payoff.hpp.
//
// Where all pages of a site are kept in a warm mapping, only those count that something happens to,
// and those that stores may come to. So what a transaction costs does not grow with what is kept.
//
// Invariants: the context's lock protects all of it. It is only a guess: an address in it is
// checked before it is used.
#pragma once

#include "kernel/core/payoff.hpp"
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
        u32 near;    // probably its number among the private pages
        u8 loads;
        u8 stores;
        bool fresh; // it was new in the last run
        u8 recent;  // counts down since it was last stored to, from kRecent or kSoon
        bool again; // from kRecent: that was soon after the store before
        [[nodiscard]] bool is_unlikely() const noexcept { return loads == 0 && recent == 0; }
        // Whether another store may come, where transactions store at all.
        [[nodiscard]] bool is_store_awaited() const noexcept { return again && recent != 0; }
        void note_store() noexcept {
            again = recent != 0;
            recent = again ? kRecent : kSoon;
        }
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
    // The same, without those that are kept and likely to be loaded only. Or for a transaction that
    // would begin at that site.
    template <typename Function>
    void for_each_to_prepare(const PrivatePages& pages, Function function) noexcept {
        if (current_ != nullptr)
            for_each_to_prepare_of(*current_, pages, function);
    }
    template <typename Function>
    void for_each_to_prepare_at(u32 number, const PrivatePages& pages, Function function) noexcept {
        for (Site& site : sites_) {
            if (site.number == number && number != 0)
                return for_each_to_prepare_of(site, pages, function);
        }
    }

    enum class Ending {
        whole,    // the program ended it
        conflict, // it was cut short by a change of something that it had read
        cut       // it was cut short by something else
    };
    // Whether it is known which of the pages were touched that were there before.
    enum class Touches { partly_known, known };
    // The transaction that began at the selected site has ended, and has touched these pages. At
    // most `most` are kept. It may be called without a transaction.
    void learn(PrivatePages& touched, Ending ending, Touches touches, u32 most) noexcept;
    // No transaction runs. These pages were kept, and copied too often for nothing. At each site
    // they are likely again when they are touched.
    void doubt(const PrivatePages& kept) noexcept;

private:
    static constexpr u8 kLikely = 2;
    static constexpr u8 kCertain = 3;
    // In transactions of the site.
    static constexpr u8 kRecent = 12;
    static constexpr u8 kSoon = 4;
    static constexpr u32 kSites = 16;

    struct Site {
        u32 number = 0; // 0: none
        u64 used = 0;   // when, for the choice of the one to be replaced
        u8 trust = kLikely;
        u8 updates = 0; // kLikely or more: most of its transactions store something
        Payoff payoff;
        protocol::GrowingArray<Page, 4> pages; // in the order of their indices
        // Not 0: each of its pages is among the kept ones of that generation, where `near` is its
        // number. Then these are the positions of the pages that were stored to not long ago.
        u64 covered = 0;
        u64 stores[kMostPredictedPages / 64] = {};

        void note_stores(u32 position) noexcept {
            const u64 bit = u64{1} << position % 64;
            if (pages[position].stores != 0 || pages[position].recent != 0)
                stores[position / 64] |= bit;
            else
                stores[position / 64] &= ~bit;
        }
        template <typename Function>
        void for_each_store(Function function) const noexcept {
            for (u32 first = 0; first < pages.size(); first += 64) {
                for (u64 left = stores[first / 64]; left != 0; left &= left - 1) {
                    if (!function(first + static_cast<u32>(__builtin_ctzll(left))))
                        return;
                }
            }
        }
    };

    // False: the function says that this was enough.
    template <typename Function>
    [[gnu::always_inline]] static bool call_if_likely(const Site& site, const Page& page,
                                                      Function& function) noexcept {
        const bool awaited = page.is_store_awaited() && site.updates == kCertain;
        if (page.loads < kLikely && !awaited)
            return true;
        const Use use = page.stores >= kLikely || awaited ? Use::store : Use::load;
        return function(page, use, page.loads < kLikely ? Where::kept : Where::anywhere);
    }
    template <typename Function>
    static void for_each_likely_of(const Site& site, Function function) noexcept {
        if (!site.payoff.is_on())
            return;
        for (u32 i = 0; i < site.pages.size(); ++i) {
            if (!call_if_likely(site, site.pages[i], function))
                return;
        }
    }
    template <typename Function>
    static void for_each_to_prepare_of(Site& site, const PrivatePages& pages,
                                       Function function) noexcept {
        if (!site.payoff.is_on())
            return;
        if (!cover(site, pages))
            return for_each_likely_of(site, function);
        site.for_each_store([&](u32 position) noexcept {
            return call_if_likely(site, site.pages[position], function);
        });
    }
    // Whether the site is covered by the pages that are kept.
    [[nodiscard]] static bool cover(Site& site, const PrivatePages& pages) noexcept {
        return site.covered == pages.generation() || (pages.kept() != 0 && cover_now(site, pages));
    }
    [[nodiscard]] static bool cover_now(Site& site, const PrivatePages& pages) noexcept;
    // Where it has the page, probably there; PrivatePages::kNone: it has not.
    [[nodiscard]] static u32 position_near(const Site& site, u64 index, u32 position) noexcept;
    static void forget_unlikely(Site& site) noexcept;

    // How many of the touched pages were known.
    u32 learn_known(Site& site, PrivatePages& touched, Ending ending, Touches touches) noexcept;
    u32 learn_covered(Site& site, PrivatePages& touched, Ending ending, Touches touches) noexcept;
    // Whether it was touched. Null: the transaction has no such page.
    static bool learn_page(Site& site, Page& page, PrivatePages::Page* found, Ending ending,
                           Touches touches) noexcept;
    void learn_new(Site& site, PrivatePages& touched, Ending ending, u32 most) noexcept;

    Site sites_[kSites];
    Site* current_ = nullptr;
    u64 turn_ = 0;
};

} // namespace stm::kernel
