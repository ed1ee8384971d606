// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/start_offers.hpp"

namespace stm::kernel {

using runtime::Status;
using runtime::u64;

Status StartOffers::attach_cell(Context& context, u64 address, StartCell::Kind kind, int signal,
                                u64 closes) noexcept {
    stm_pin* pin = nullptr;
    void* words = nullptr;
    if (address != 0) {
        // May fault, perhaps in a mapping of this handle: no lock is held.
        const Status pinned =
            runtime::status_from_errno(stm_linux_pin(address, size_of(kind), &pin, &words));
        if (!pinned.ok())
            return pinned;
    }
    const Context::Guard held(context.lock());
    context.detach_cell();
    context.set_warmth(kind == StartCell::Kind::warm ? Context::Warmth::warm
                                                     : Context::Warmth::cold);
    if (pin != nullptr)
        context.cell().attach(pin, words, kind, signal, closes);
    return runtime::kSuccess;
}

bool StartOffers::begin(Context& context, int signal, runtime::u32 site, News& news) noexcept {
    // Where the last end has made no offer, as before stores that are likely, there is none now.
    // Those who watch are told of each start.
    if (!context.was_offered() || !context.stage().is_warm() || !context.has_cell() ||
        stm_linux_traced() != 0)
        return false;
    {
        const Context::Guard held(context.lock());
        context.set_site(site);
        if (context.cell().signal() != signal || !context.may_begin_by_offer())
            return false;
        news.look(); // before the snapshot: what is committed in between is news
        if (!context.renew_between())
            return false;
    }
    return offer(context, StartCell::Offer::taken);
}

bool StartOffers::offer(Context& context, StartCell::Offer offer) noexcept {
    // Where stores are to be allowed at each start of a warm one there is never an offer.
    if (context.stage().is_warm()) {
        const Context::Guard held(context.lock());
        if (!context.may_begin_by_offer())
            return false;
    }
    // With the lock of all contexts an offer and what forbids it, another thread's or a closed
    // descriptor, come one after the other; and so do an offer and a fault, which counts its
    // exposure before it looks for offers.
    const ContextTable::Guard held(contexts_.lock());
    const Context::Guard also(context.lock());
    if (!context.has_cell())
        return false;
    if (!context.cell().is_current(descriptors_.closes())) {
        context.detach_cell();
        return false;
    }
    // Only one thread of an address space has the view, now or by an offer. One that is warm is
    // the one.
    const bool possible =
        context.may_begin_by_offer() && view_.is_unexposed_for(context) &&
        (context.stage().is_warm() || !view_.is_taken(held, context.cell().memory()));
    if (possible)
        context.offer_start(offer);
    return possible;
}

void StartOffers::withdraw_all() noexcept {
    const ContextTable::Guard held(contexts_.lock());
    for (Context& context : contexts_.all()) {
        // One without an offer is forgotten when it would get one.
        if (!context.stage().is_offered())
            continue;
        const Context::Guard also(context.lock());
        view_.settle(context);
        context.detach_cell();
    }
}

} // namespace stm::kernel
