// SPDX-License-Identifier: GPL-2.0
// The footprint of a transaction: the pages that it has touched in mappings, and the pages that
// were mapped for it because it will probably touch them. read and write calls use them, too. In a
// warm mapping it is there between transactions as well, and all of its pages belong to the next.
//
// Invariants: all of it is under the context's lock. Pages are mapped, and looked at in mappings,
// while the view is closed.
#pragma once

#include "kernel/core/prediction.hpp"
#include "kernel/core/private_pages.hpp"
#include "kernel/core/settings.hpp"
#include "kernel/core/statistics.hpp"
#include "kernel/core/uapi.hpp"
#include "runtime/protocol/abort_reason.hpp"
#include "runtime/protocol/transaction.hpp"
#include "runtime/support/types.hpp"

namespace stm::kernel {

class Footprint : runtime::NonCopyable {
    using u32 = runtime::u32;
    using u64 = runtime::u64;
    using AbortReason = protocol::AbortReason;

public:
    using Transaction = PrivatePages::Transaction;

    // For transactions that may touch that many stripes.
    explicit Footprint(u32 max_stripes) noexcept;
    // The limits of the transaction itself. Predicted pages are added to the program's limit, so a
    // wrong guess takes nothing from the program.
    [[nodiscard]] protocol::Limits limits(u32 max_stripes) const noexcept;

    [[nodiscard]] const PrivatePages& pages() const noexcept { return pages_; }
    // Calls function(first index, count) for stretches of pages: of all, or of those that cannot
    // stay in a mapping at the end.
    template <typename Function>
    void for_each_stretch(Function function) const noexcept {
        pages_.for_each_stretch([](const PrivatePages::Page&) noexcept { return true; }, function);
    }
    template <typename Function>
    void for_each_leaving_stretch(Function function) const noexcept {
        pages_.for_each_stretch(
            [](const PrivatePages::Page& page) noexcept { return page.is_to_be_taken_out(); },
            function);
    }
    // The transaction's page of that index, for a fault at that address.
    // `holders`: see PrivatePages::prepare_store().
    [[nodiscard]] AbortReason touch(Transaction& transaction, u64 index, u64 address, Use use,
                                    PrivatePages::Data data, u32 holders, stm_page*& page) noexcept;
    // Whether anything was stored to a page. What was predicted counts as far as it has been
    // examined.
    [[nodiscard]] bool has_stored() const noexcept;
    // Whether it has the page.
    [[nodiscard]] bool has(u64 index) const noexcept { return pages_.find(index) != nullptr; }
    // Whether a store to the page would be the first one.
    [[nodiscard]] bool is_unstored(u64 index) noexcept;

    // -- Prediction --

    // The transaction has begun at that site.
    void select(u32 site) noexcept { prediction_.select(site); }
    // What is to be mapped for it: pages that it will probably touch, or that were kept from
    // earlier ones. `protections`: they are in the mapping already, and some are to be stored to.
    // Predicted: whether predictions count.
    enum class ToMap { nothing, protections, pages };
    enum class Predicted { no, yes };
    [[nodiscard]] ToMap to_map(Predicted predicted) noexcept;
    // The same for a transaction that would begin at that site.
    [[nodiscard]] ToMap to_map_at(u32 site, Predicted predicted) noexcept;
    // What to_map() would say, if that is known from to_map_at(): nothing has changed since.
    [[nodiscard]] bool knows_to_map(u32 site, Predicted predicted, ToMap& what) const noexcept {
        what = next_.what;
        return next_.is_known && next_.site == site && next_.predicted == predicted;
    }
    // Makes these pages, at most that many, and maps them. A conflict dooms the transaction like
    // any other. Anything else that ends it early is `none`, because the missing pages may not be
    // needed at all.
    [[nodiscard]] AbortReason map_predicted(Transaction& transaction, stm_view* view,
                                            u32 most) noexcept;
    // The same where only protections are to be changed.
    void allow_predicted_stores(stm_view* view) noexcept;
    // Finds out which of them were touched so far. They are still mapped.
    void examine_predicted(stm_view* view) noexcept;
    // Forbids stores to the pages that were stored to, and to those that were mapped for stores.
    // The ones for which that is possible stay in the mapping; the others have to be taken out.
    // Nothing: all of them stay, and no page is to be examined, counted or settled.
    enum class Left { nothing, something };
    [[nodiscard]] Left forbid_stores() noexcept;
    // After that.
    void settle_stores() noexcept { pages_.settle_stores(); }
    // Once for each transaction, after that.
    void count_predicted(TransactionCounters& counters) noexcept;
    // Whether anything was read, as far as it is known: not what was mapped and not touched.
    [[nodiscard]] bool has_read(const Transaction& transaction) noexcept;
    // The transaction has ended for that reason; at most so many pages are remembered.
    void learn(AbortReason reason, u32 most) noexcept;
    // It belongs to another thread from now on.
    void forget_history() noexcept {
        next_.is_known = false;
        prediction_.forget();
    }

    // -- By calls --

    // Like the functions of the transaction, with what was stored to private pages. After a write
    // that fails, `written` of its bytes are in the transaction.
    [[nodiscard]] AbortReason read(Transaction& transaction, u64 offset, void* to,
                                   u64 bytes) noexcept {
        return pages_.empty() ? transaction.read(offset, to, bytes)
                              : read_over_pages(transaction, offset, to, bytes);
    }
    // Whether these are the functions of the transaction.
    [[nodiscard]] bool has_no_pages() const noexcept { return pages_.empty(); }
    [[nodiscard]] AbortReason write(Transaction& transaction, u64 offset, const void* from,
                                    u64 bytes, u64& written) noexcept {
        if (!pages_.empty())
            return write_over_pages(transaction, offset, from, bytes, written);
        const AbortReason reason = transaction.write(offset, from, bytes);
        written = reason == AbortReason::none ? bytes : 0;
        return reason;
    }

    // A nested part, beside the same functions of the transaction.
    [[nodiscard]] AbortReason begin_nested(Transaction& transaction) noexcept;
    void commit_nested(Transaction& transaction) noexcept;
    void cancel_nested(Transaction& transaction) noexcept;

    // -- The end --

    // Hands what was stored over to the transaction. The pages are in no mapping.
    [[nodiscard]] AbortReason collect(Transaction& transaction) noexcept {
        return pages_.empty() ? AbortReason::none : pages_.collect(transaction);
    }
    void clear() noexcept;

    // -- Warm --

    // Between transactions, in place of clear(): none of the pages is kept any more.
    void give_up() noexcept {
        // Predictions would bring them back, and never learn whether they are loaded.
        if (is_worn_out())
            prediction_.doubt(pages_);
        clear();
    }

    // Whether it is small enough to be kept, where that many pages are, kMostWarmPages at most.
    [[nodiscard]] bool may_be_kept(u32 most) const noexcept { return pages_.size() <= most; }
    // Whether starts have copied more pages for nothing than there are, and some, as far as anybody
    // knows which of them the program still loads. To fault these in again costs no more than what
    // was spent, so the cost is at most about twice what it is for who knows.
    [[nodiscard]] bool is_worn_out() const noexcept {
        return pages_.copied_unused() > pages_.size() + 8;
    }
    // Whether pages that it has kept cannot be used: see PrivatePages.
    [[nodiscard]] bool is_spoilt() const noexcept { return pages_.is_spoilt(); }
    // In place of clear(): see PrivatePages.
    void keep(const Transaction& transaction, u64 version, PrivatePages::Effect effect) noexcept;
    [[nodiscard]] bool renew(Transaction& transaction) noexcept {
        return pages_.renew(transaction);
    }
    void keep_in(Transaction& transaction) noexcept { pages_.keep_in(transaction); }
    void note_unmapped() noexcept {
        next_.is_known = false;
        pages_.note_unmapped();
    }
    // The version of the pages that were kept last, until they are renewed. STM_NO_SNAPSHOT: there
    // are none.
    [[nodiscard]] u64 kept_version() const noexcept {
        return pages_.kept() == 0 ? STM_NO_SNAPSHOT : pages_.kept_version();
    }

private:
    template <u32 kMost, typename Choice, typename Function>
    void for_each_noted_run(Choice chooses, Function function) noexcept;
    template <typename Likely>
    [[nodiscard]] ToMap to_map(const Likely& for_each_to_prepare) noexcept;

    [[nodiscard]] AbortReason read_over_pages(Transaction& transaction, u64 offset, void* to,
                                              u64 bytes) noexcept;
    [[nodiscard]] AbortReason write_over_pages(Transaction& transaction, u64 offset,
                                               const void* from, u64 bytes, u64& written) noexcept;
    template <typename OnPage, typename OnRegion>
    [[nodiscard]] AbortReason walk(u64 offset, u64 bytes, OnPage on_page,
                                   OnRegion on_region) noexcept;

    PrivatePages pages_;
    Prediction prediction_;
    const u32 page_limit_; // of those that the program has touched
    u32 predicted_ = 0;    // of the pages, made for being predicted
    // Whether the mappings were looked at, at the end.
    Prediction::Touches touches_ = Prediction::Touches::partly_known;
    // What to_map_at() has found. It is forgotten before anything changes of what that depends on:
    // the pages, which of them are in the mapping and how, and the predictions.
    struct Next {
        bool is_known = false;
        Predicted predicted = Predicted::no;
        ToMap what = ToMap::nothing;
        u32 site = 0;
    };
    Next next_;
    // Where it is `protections`: the numbers of the pages that are to be allowed stores.
    static constexpr u32 kWords = kMostWarmPages / 64;
    u64 to_allow_[kWords] = {};
};

} // namespace stm::kernel
