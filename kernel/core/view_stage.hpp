// SPDX-License-Identifier: GPL-2.0
// The stage of a context with respect to the view, which is all mappings of its handle.
//
// At most one context of an address space has the view and keeps it (see [4]). Then each fault in
// the mappings there is part of its transaction, and gets private pages; every other fault gets
// committed pages, which cannot be stored to.
//
//  stage     transaction       view             a load that faults gets    a store that faults
//  --------  ----------------  ---------------  -------------------------  -------------------
//  outside   none              no               the committed page         SIGSEGV
//  calling   a single call's   no               the committed page         SIGSEGV
//  offered   perhaps one       no               settle the offer, then as the new stage says
//  running   the program's     no, may get it   the committed page         SIGSEGV
//  viewing   the program's     has it           a private page             a private page
//  leaving   ends              has it           a private page             a private page
//  left      ends or is over   no, gets none    the committed page         SIGSEGV
//  given_up  over              has it           the committed page         SIGSEGV
//  ending    ends              has it           the committed page         SIGSEGV
//  warm      none              has it           the committed page         SIGSEGV
//  lent      perhaps one       has it           settle the offer, then as the new stage says
//
// In the last three the pages that the transaction has loaded, and none that it has stored to, are
// still in the mappings, for loads alone. They do not fault.
//
// A transaction that has failed, or is doomed, is in the same stage as before: the context's
// failure() tells, and a fault that would get a private page gets the reason instead.
//
//  from      to        what happens                                  caused by
//  --------  --------  --------------------------------------------  --------------------------
//  outside   calling   a read or write call begins one of its own    its thread
//  outside   running   STM_IOC_START                                 its thread
//  outside   offered   its next start is offered                     its thread             [1]
//  offered   outside   the offer is taken back                       whoever needs to know
//  offered   running   ... but was taken; nothing is mapped          whoever needs to know
//  offered   viewing   ... but was taken; the handle has a mapping   whoever needs to know
//  running   viewing   the end of a start; or the first mapping      its thread; mmap       [1]
//  running   left      its end begins                                its thread
//  viewing   leaving   its end begins, with private pages            its thread
//  viewing   left      its end begins, without any                   its thread
//  leaving   left      its private pages are in no mapping           its thread             [2]
//  running   given_up  its thread closes its last descriptor         its thread             [5]
//  viewing   given_up  the same; its pages are in no mapping         its thread             [2]
//  given_up  left      its end begins; its pages are in no mapping   its thread             [2]
//  viewing   ending    its end begins, and nothing was stored to     its thread
//  leaving   ending    the pages stored to are in no mapping         its thread             [2]
//  ending    warm      it has ended                                  its thread
//  warm      viewing   STM_IOC_START                                 its thread
//  warm      lent      its next start is offered                     its thread             [1]
//  lent      warm      the offer is taken back                       whoever needs to know
//  lent      viewing   ... but was taken                             whoever needs to know
//  warm      outside   its pages are in no mapping                   whoever needs that     [2]
//  any       outside   it has ended: commit, cancel, or its          its thread, or whoever
//                      program is gone                               finds it gone          [3]
//
// Every transition holds the context's lock. [1] also the handle's CONTEXTS lock, so that at most
// one context gets the view. [2] with the view closed, unless there is no private page. [3] the
// same, if it has the view. [4] mmap may give the view to a start while another context is still
// `leaving`. That start waits for nothing; if the other one has not left at its end, it fails with
// EBUSY. [5] if its thread is still in the address space where it began, in which nothing is mapped
// then. That one is not held: it does not count in which order exec closes and leaves.
//
// Stage and address space are one word. So whoever looks without the lock sees both as they were at
// one moment; whoever acts on it looks again under the lock. From `offered` to what comes of it
// there is one step: a fault that looks sees the offer or the transaction, never neither.
#pragma once

#include "kernel/interface/services.h"
#include "runtime/support/assert.hpp"
#include "runtime/support/atomic.hpp"
#include "runtime/support/types.hpp"
#include "runtime/support/utility.hpp"

namespace stm::kernel {

enum class Stage : runtime::u8 {
    outside,
    calling,
    offered,
    running,
    viewing,
    leaving,
    left,
    given_up,
    ending,
    warm,
    lent
};

class ViewStage : runtime::NonCopyable {
    using Order = runtime::Order;

public:
    ViewStage() noexcept = default;
    ~ViewStage() { end(); }

    // -- Any thread may ask --

    struct Now {
        Stage stage;
        // Where the offer stands, the transaction began, or the view is; null in other stages. The
        // address space of a running one is not held: it is only compared.
        stm_memory* memory;
    };
    [[nodiscard]] Now now() const noexcept {
        const runtime::uptr word = word_.load(Order::acquire);
        return {static_cast<Stage>(word & kStageMask),
                reinterpret_cast<stm_memory*>(word & ~kStageMask)};
    }
    [[nodiscard]] Stage stage() const noexcept { return now().stage; }

    // The address space in which it has the view, or null. The object behind the pointer is held as
    // long as that lasts, so no other address space has the same pointer.
    [[nodiscard]] stm_memory* viewing() const noexcept {
        const Now seen = now();
        return has_view(seen.stage) ? seen.memory : nullptr;
    }
    // Whether a fault there may belong to it.
    [[nodiscard]] bool may_view(const stm_memory* memory) const noexcept {
        const Now seen = now();
        return seen.memory == memory && (has_view(seen.stage) || seen.stage == Stage::offered);
    }
    // Whether an offer stands.
    [[nodiscard]] bool is_offered() const noexcept {
        const Stage seen = stage();
        return seen == Stage::offered || seen == Stage::lent;
    }
    // Whether it has the view, without a transaction that the module knows of.
    [[nodiscard]] bool is_warm() const noexcept {
        const Stage seen = stage();
        return seen == Stage::warm || seen == Stage::lent;
    }
    // Whether its end has begun, and pages have to leave the mappings.
    [[nodiscard]] bool has_pages_to_take_out() const noexcept {
        const Stage seen = stage();
        return seen == Stage::leaving || seen == Stage::given_up;
    }
    // Whether a fault is part of its transaction.
    [[nodiscard]] bool has_faults() const noexcept {
        const Stage seen = stage();
        return seen == Stage::viewing || seen == Stage::leaving;
    }
    // Whether it is a transaction that has the view there, or gets it when there is a mapping.
    [[nodiscard]] bool claims_view_in(const stm_memory* memory) const noexcept {
        const Now seen = now();
        return seen.memory == memory && (is_open(seen.stage) || seen.stage == Stage::given_up);
    }
    // Whether it is a transaction of the program that its thread has not begun to end.
    [[nodiscard]] bool is_open() const noexcept { return is_open(stage()); }

    // -- Transitions, under the context's lock --

    void begin_call() noexcept { move({Stage::outside}, Stage::calling, nullptr); }
    // In that address space; null if the caller has none.
    void begin(stm_memory* memory) noexcept { move({Stage::outside}, Stage::running, memory); }
    void begin_warm() noexcept { move({Stage::warm}, Stage::viewing, now().memory); }
    // The cell, whose memory that is, holds it.
    void offer(stm_memory* memory) noexcept {
        if (stage() == Stage::warm)
            move({Stage::warm}, Stage::lent, now().memory);
        else
            move({Stage::outside}, Stage::offered, memory);
    }
    void withdraw_offer() noexcept {
        if (stage() == Stage::lent)
            move({Stage::lent}, Stage::warm, now().memory);
        else
            move({Stage::offered}, Stage::outside, nullptr);
    }
    enum class Mapped { nowhere, somewhere };
    void take_offer(Mapped mapped) noexcept {
        if (stage() == Stage::lent)
            move({Stage::lent}, Stage::viewing, now().memory);
        else if (mapped == Mapped::somewhere)
            take_view({Stage::offered}, Stage::viewing);
        else
            move({Stage::offered}, Stage::running, now().memory);
    }
    void get_view() noexcept { take_view({Stage::running}, Stage::viewing); }
    // Its thread ends it, and may have private pages in mappings. Where it keeps the view,
    // pages_are_out() follows. Nothing changes if nothing is there to be ended.
    enum class Pages { none, some };
    void leave(Pages pages) noexcept {
        const Now seen = now();
        if (seen.stage == Stage::ending || is_warm())
            return;
        if (seen.stage == Stage::running)
            move({Stage::running}, Stage::left, nullptr);
        else if (has_view(seen.stage) && pages == Pages::none)
            drop_view({Stage::viewing, Stage::given_up}, Stage::left);
        else if (seen.stage == Stage::viewing)
            move({Stage::viewing}, Stage::leaving, seen.memory);
    }
    void pages_are_out() noexcept { drop_view({Stage::leaving, Stage::given_up}, Stage::left); }
    // The same, but what was only loaded stays in the mappings. pages_are_out_but_loaded() follows
    // where pages have to be taken out.
    void leave_warm(Pages stored) noexcept {
        move({Stage::viewing}, stored == Pages::none ? Stage::ending : Stage::leaving,
             now().memory);
    }
    void pages_are_out_but_loaded() noexcept {
        move({Stage::leaving}, Stage::ending, now().memory);
    }
    // Its end, after that.
    void stay_warm() noexcept { move({Stage::ending}, Stage::warm, now().memory); }
    // By its own thread, whose address space that is, or null. It keeps the view, or gets it, so
    // that what the thread goes on to store is not for the transaction of another one. An address
    // space that the thread has left may be gone: a running one does not hold it.
    void give_up(const stm_memory* current) noexcept {
        const Now seen = now();
        if (seen.stage == Stage::viewing)
            move({Stage::viewing}, Stage::given_up, seen.memory);
        else if (seen.stage == Stage::running && seen.memory != nullptr && seen.memory == current)
            take_view({Stage::running}, Stage::given_up);
    }
    void end() noexcept {
        const Now seen = now();
        word_.store(word_of(Stage::outside, nullptr), Order::release);
        if (has_view(seen.stage))
            stm_linux_memory_drop(seen.memory);
    }

private:
    static constexpr runtime::uptr kStageMask = 15;

    [[nodiscard]] static constexpr bool has_view(Stage stage) noexcept {
        return stage == Stage::viewing || stage == Stage::leaving || stage >= Stage::given_up;
    }
    [[nodiscard]] static constexpr bool is_open(Stage stage) noexcept {
        return stage == Stage::running || stage == Stage::viewing;
    }
    [[nodiscard]] static runtime::uptr word_of(Stage stage, stm_memory* memory) noexcept {
        return reinterpret_cast<runtime::uptr>(memory) | static_cast<runtime::uptr>(stage);
    }

    // One of up to two stages.
    struct From {
        Stage one;
        Stage other;
        constexpr From(Stage only) noexcept : one(only), other(only) {}
        constexpr From(Stage first, Stage second) noexcept : one(first), other(second) {}
    };
    void expects_stage(From from) const noexcept {
        const Stage before = stage();
        runtime::expects(before == from.one || before == from.other,
                         "ViewStage: a transition that is not in the table");
    }
    void move(From from, Stage to, stm_memory* memory) noexcept {
        expects_stage(from);
        word_.store(word_of(to, memory), Order::release);
    }
    void take_view(From from, Stage to) noexcept {
        expects_stage(from);
        stm_memory* const memory = now().memory;
        stm_linux_memory_hold(memory);
        word_.store(word_of(to, memory), Order::release);
    }
    void drop_view(From from, Stage to) noexcept {
        stm_memory* const memory = now().memory;
        move(from, to, nullptr);
        stm_linux_memory_drop(memory);
    }

    runtime::Atomic<runtime::uptr> word_{0};
};

} // namespace stm::kernel
