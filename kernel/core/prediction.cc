// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/prediction.hpp"

#include "kernel/core/settings.hpp"

namespace stm::kernel {

using runtime::i32;
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

// What the predictions of one transaction have saved, less what they have cost.
class Gain {
public:
    void add(const PrivatePages::Page& page) noexcept {
        const bool stored = (page.touched & STM_TOUCHED_STORE) != 0;
        if (page.predicted) {
            mapped_ = true;
            if (page.touched == 0)
                sum_ -= Payoff::kCopy;
            else
                // Without that the store had its fault.
                sum_ += stored && page.allowed ? Payoff::kFaultOfStore : Payoff::kFaultOfLoad;
        } else if (page.allowed) {
            allowed_ = true;
            sum_ += stored ? Payoff::kAllowedStore : -Payoff::kAllow;
        }
    }
    [[nodiscard]] i32 in_all() const noexcept {
        if (mapped_)
            return sum_ - Payoff::kMapping;
        return allowed_ ? sum_ - Payoff::kCall : sum_;
    }

private:
    i32 sum_ = 0;
    bool mapped_ = false;
    bool allowed_ = false;
};

} // namespace

void Prediction::forget() noexcept {
    current_ = nullptr;
    for (Site& site : sites_) {
        site.number = 0;
        site.used = 0;
        site.covered = 0;
        site.payoff = {};
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
        current_->covered = 0;
        current_->payoff = {};
        current_->pages.clear(kMostPredictedPages);
    }
    current_->used = ++turn_;
}

void Prediction::learn(PrivatePages& touched, Ending ending, Touches touches, u32 most) noexcept {
    Site* const site = current_;
    current_ = nullptr;
    if (site == nullptr || (touched.empty() && site->pages.size() == 0))
        return;
    if (site->payoff.is_blind())
        return site->payoff.pass();
    u32 in_all = 0;
    u8 how = 0;
    Gain gain;
    touched.for_each_noted([&](u32 number) noexcept {
        const PrivatePages::Page& page = touched[number];
        in_all += page.touched != 0 ? 1 : 0;
        how |= page.touched;
        gain.add(page);
        return true;
    });
    if (!site->payoff.is_on())
        site->payoff.pass();
    else if (ending == Ending::whole && touches == Touches::known)
        site->payoff.add(gain.in_all());
    if (ending == Ending::whole && (how & STM_TOUCHED_STORE) != 0)
        strengthen(site->updates, kCertain);
    else if (ending == Ending::whole)
        weaken(site->updates);
    const bool covered = site->covered == touched.generation() && touched.kept() == touched.size();
    const u32 known = covered ? learn_covered(*site, touched, ending, touches)
                              : learn_known(*site, touched, ending, touches);
    if (known != in_all)
        learn_new(*site, touched, ending, runtime::min(most, kMostPredictedPages));
}

void Prediction::doubt(const PrivatePages& kept) noexcept {
    for (Site& site : sites_) {
        for (u32 i = 0; i < site.pages.size(); ++i) {
            Page& page = site.pages[i];
            if (kept.number_near(page.index, page.near) != PrivatePages::kNone)
                page.loads = runtime::min(page.loads, u8{kLikely - 1});
        }
    }
}

[[gnu::always_inline]] inline bool Prediction::learn_page(Site& site, Page& page,
                                                          PrivatePages::Page* found, Ending ending,
                                                          Touches touches) noexcept {
    // It may have been loaded, without anybody's knowledge, if it was there before in a warm
    // mapping, or nobody has looked. After a conflict a predicted one counts as not touched all the
    // same: otherwise one that others change all the time may be the reason again and again.
    const bool is_known = touches == Touches::known || ending == Ending::conflict;
    if (found != nullptr && found->touched == 0 &&
        (!is_known || (found->kept && !found->predicted))) {
        weaken(page.stores);
        weaken(page.recent);
        return false;
    }
    const bool used = found != nullptr && found->touched != 0;
    const bool stored = used && (found->touched & STM_TOUCHED_STORE) != 0;
    if (stored)
        page.note_store();
    else if (found != nullptr)
        weaken(page.recent);
    else
        page.recent = 0; // there is no copy that could be allowed stores
    if (used) {
        found->known = true;
        page.address = found->address;
        strengthen(page.loads, kCertain);
        if (stored)
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
    return used;
}

u32 Prediction::learn_known(Site& site, PrivatePages& touched, Ending ending,
                            Touches touches) noexcept {
    u32 known = 0;
    bool unlikely = false;
    for (u32 i = 0; i < site.pages.size(); ++i) {
        Page& page = site.pages[i];
        known += learn_page(site, page, touched.find_near(page.index, i), ending, touches) ? 1 : 0;
        unlikely = unlikely || page.is_unlikely();
    }
    if (unlikely)
        forget_unlikely(site);
    return known;
}

// With those that nothing happened to there is nothing to do, except that the last store to them
// was longer ago.
u32 Prediction::learn_covered(Site& site, PrivatePages& touched, Ending ending,
                              Touches touches) noexcept {
    u32 known = 0;
    bool unlikely = false;
    site.for_each_store([&](u32 position) noexcept {
        Page& page = site.pages[position];
        if (!touched.is_noted(page.near)) {
            weaken(page.stores);
            weaken(page.recent);
            site.note_stores(position);
        }
        return true;
    });
    touched.for_each_noted([&](u32 number) noexcept {
        const u32 position = position_near(site, touched[number].index, number);
        if (position == PrivatePages::kNone)
            return true;
        Page& page = site.pages[position];
        known += learn_page(site, page, &touched[number], ending, touches) ? 1 : 0;
        site.note_stores(position);
        unlikely = unlikely || page.is_unlikely();
        return true;
    });
    if (unlikely)
        forget_unlikely(site);
    return known;
}

void Prediction::forget_unlikely(Site& site) noexcept {
    u32 left = 0;
    for (u32 i = 0; i < site.pages.size(); ++i) {
        if (!site.pages[i].is_unlikely())
            site.pages[left++] = site.pages[i];
    }
    site.covered = 0;
    site.pages.truncate(left);
}

bool Prediction::cover_now(Site& site, const PrivatePages& pages) noexcept {
    site.covered = 0;
    for (u64& word : site.stores)
        word = 0;
    for (u32 i = 0; i < site.pages.size(); ++i) {
        Page& page = site.pages[i];
        page.near = pages.number_near(page.index, page.near);
        if (page.near >= pages.kept())
            return false;
        site.note_stores(i);
    }
    site.covered = pages.generation();
    return true;
}

u32 Prediction::position_near(const Site& site, u64 index, u32 position) noexcept {
    if (position < site.pages.size() && site.pages[position].index == index) [[likely]]
        return position;
    u32 begin = 0;
    for (u32 end = site.pages.size(); begin < end;) {
        const u32 middle = begin + (end - begin) / 2;
        if (site.pages[middle].index == index)
            return middle;
        if (site.pages[middle].index < index)
            begin = middle + 1;
        else
            end = middle;
    }
    return PrivatePages::kNone;
}

void Prediction::learn_new(Site& site, PrivatePages& touched, Ending ending, u32 most) noexcept {
    const bool likely = ending != Ending::whole || site.trust >= kLikely;
    const u8 first = likely ? kLikely : u8{kLikely - 1};
    site.covered = 0;
    for (u32 i = 0; i < touched.size() && site.pages.size() < most; ++i) {
        const PrivatePages::Page& found = touched[i];
        if (found.touched == 0 || found.known)
            continue;
        if (!site.pages.reserve(site.pages.size() + u64{1}, kMostPredictedPages).ok())
            return;
        const bool stored = (found.touched & STM_TOUCHED_STORE) != 0;
        site.pages.next() = {.index = found.index,
                             .address = found.address,
                             .near = i,
                             .loads = first,
                             .stores = stored ? kLikely : u8{0},
                             .fresh = ending == Ending::whole,
                             .recent = stored ? kSoon : u8{0},
                             .again = false};
        site.pages.commit_append();
        for (u32 at = site.pages.size() - 1;
             at != 0 && site.pages[at].index < site.pages[at - 1].index; --at)
            runtime::swap(site.pages[at], site.pages[at - 1]);
    }
}

} // namespace stm::kernel
