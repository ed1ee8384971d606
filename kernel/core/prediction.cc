// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/prediction.hpp"

#include "kernel/core/settings.hpp"

namespace stm::kernel {

using runtime::u32;
using runtime::u64;
using runtime::u8;

namespace {

void strengthen(u8& counter, u8 most) noexcept {
    if (counter < most)
        ++counter;
}
void weaken(u8& counter) noexcept {
    if (counter != 0)
        --counter;
}

} // namespace

void Prediction::forget() noexcept {
    current_ = nullptr;
    for (Site& site : sites_) {
        site.number = 0;
        site.used = 0;
        site.pages.clear(0);
    }
}

void Prediction::select(u32 number) noexcept {
    current_ = nullptr;
    if (number == 0)
        return;
    Site* oldest = &sites_[0];
    for (Site& site : sites_) {
        if (site.number == number) {
            current_ = &site;
            break;
        }
        if (site.used < oldest->used)
            oldest = &site;
    }
    if (current_ == nullptr) {
        current_ = oldest;
        current_->number = number;
        current_->trust = kLikely;
        current_->updates = 0;
        current_->pages.clear(kMostPredictedPages);
    }
    current_->used = ++turn_;
}

void Prediction::learn(PrivatePages& touched, Ending ending, u32 most) noexcept {
    Site* const site = current_;
    current_ = nullptr;
    if (site == nullptr || (touched.empty() && site->pages.size() == 0))
        return;
    u32 in_all = 0;
    u8 how = 0;
    for (u32 i = 0; i < touched.size(); ++i) {
        in_all += touched[i].touched != 0 ? 1 : 0;
        how |= touched[i].touched;
    }
    if (ending == Ending::whole && (how & STM_TOUCHED_STORE) != 0)
        strengthen(site->updates, kCertain);
    else if (ending == Ending::whole)
        weaken(site->updates);
    if (learn_known(*site, touched, ending) != in_all)
        learn_new(*site, touched, ending, runtime::min(most, kMostPredictedPages));
}

u32 Prediction::learn_known(Site& site, PrivatePages& touched, Ending ending) noexcept {
    u32 kept = 0;
    u32 known = 0;
    for (u32 i = 0; i < site.pages.size(); ++i) {
        Page page = site.pages[i];
        PrivatePages::Page* const found = touched.find_near(page.index, i);
        // In a warm mapping it may have been loaded, without anybody's knowledge.
        if (found != nullptr && found->was_kept() && !found->predicted && found->touched == 0) {
            weaken(page.stores);
            weaken(page.recent);
            site.pages[kept++] = page;
            continue;
        }
        const bool used = found != nullptr && found->touched != 0;
        if (used && (found->touched & STM_TOUCHED_STORE) != 0)
            page.recent = kRecent;
        else
            weaken(page.recent);
        if (used) {
            ++known;
            found->known = true;
            page.address = found->address;
            strengthen(page.loads, kCertain);
            if ((found->touched & STM_TOUCHED_STORE) != 0)
                strengthen(page.stores, kCertain);
            else
                weaken(page.stores);
        } else if (ending == Ending::whole || (ending == Ending::conflict && found != nullptr)) {
            // After a conflict: what was copied for nothing may have been the reason.
            weaken(page.loads);
        }
        if (page.fresh && (used || ending == Ending::whole)) {
            page.fresh = false;
            if (used)
                strengthen(site.trust, kCertain);
            else
                weaken(site.trust);
        }
        if (page.loads != 0 || page.recent != 0)
            site.pages[kept++] = page;
    }
    site.pages.truncate(kept);
    return known;
}

void Prediction::learn_new(Site& site, PrivatePages& touched, Ending ending, u32 most) noexcept {
    const bool likely = ending != Ending::whole || site.trust >= kLikely;
    const u8 first = likely ? kLikely : u8{kLikely - 1};
    for (u32 i = 0; i < touched.size() && site.pages.size() < most; ++i) {
        const PrivatePages::Page& found = touched[i];
        if (found.touched == 0 || found.known)
            continue;
        if (!site.pages.reserve(site.pages.size() + u64{1}, kMostPredictedPages).ok())
            return;
        const bool stored = (found.touched & STM_TOUCHED_STORE) != 0;
        site.pages.next() = {found.index,
                             found.address,
                             first,
                             stored ? kLikely : u8{0},
                             ending == Ending::whole,
                             stored ? kRecent : u8{0}};
        site.pages.commit_append();
        for (u32 at = site.pages.size() - 1;
             at != 0 && site.pages[at].index < site.pages[at - 1].index; --at)
            runtime::swap(site.pages[at], site.pages[at - 1]);
    }
}

} // namespace stm::kernel
