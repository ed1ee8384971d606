// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/view.hpp"

#include "kernel/core/settings.hpp"

namespace stm::kernel {

using protocol::AbortReason;
using runtime::Error;
using runtime::kSuccess;
using runtime::Status;
using runtime::u32;
using runtime::u64;

namespace {

// While it lives, no fault in the view's mappings in that address space is in progress.
class ClosedView : runtime::NonCopyable {
public:
    // Whether pages are entered in the mappings meanwhile.
    enum class Enters { some, none };
    ClosedView(stm_view* view, stm_memory* memory, Enters pages = Enters::some) noexcept
        : ClosedView(memory, pages == Enters::some
                                 ? stm_linux_view_close(view, memory)
                                 : stm_linux_view_close_without_entering(view, memory)) {}
    // Does not wait for others, and perhaps says so.
    ClosedView(stm_view* view, stm_memory* memory, bool& busy) noexcept
        : ClosedView(memory, stm_linux_view_try_close(view, memory)) {
        busy = result_ < 0;
    }
    ~ClosedView() {
        if (memory_ != nullptr)
            stm_linux_view_open(memory_);
    }

private:
    ClosedView(stm_memory* memory, int result) noexcept
        : memory_(result > 0 ? memory : nullptr), result_(result) {}

    stm_memory* const memory_; // null: it has ended, so there are no faults at all; or it is busy
    const int result_;
};

class HeldMemory : runtime::NonCopyable {
public:
    explicit HeldMemory(stm_memory* memory) noexcept : memory_(memory) {
        if (memory_ != nullptr)
            stm_linux_memory_hold(memory_);
    }
    HeldMemory(HeldMemory&& other) noexcept : memory_(runtime::exchange(other.memory_, nullptr)) {}
    ~HeldMemory() {
        if (memory_ != nullptr)
            stm_linux_memory_drop(memory_);
    }
    [[nodiscard]] stm_memory* get() const noexcept { return memory_; }

private:
    stm_memory* memory_;
};

} // namespace

// -- Who has it --

Context* View::lock_viewer(stm_memory* memory) noexcept STM_NO_LOCK_ANALYSIS {
    while (Context* context = contexts_.find_viewer(memory)) {
        Context::Guard held(context->lock());
        settle(*context);
        // If not, its transaction has just ended.
        if (context->stage().viewing() != memory)
            continue;
        if (context->is_orphan()) {
            watchdog_.look_soon();
            return nullptr;
        }
        held.release();
        return context;
    }
    return nullptr;
}

void View::settle_offer(Context& context) noexcept {
    u32 site = 0;
    if (!context.withdraw_offer(site)) {
        context.forget_offer();
        return;
    }
    const u64 changes = news_.now(); // before the snapshot
    // If it is mapped nowhere yet: note_mapping() finds the offer, or the transaction.
    if (context.begin_by_offer(site, mapped_.load(Order::acquire) ? ViewStage::Mapped::somewhere
                                                                  : ViewStage::Mapped::nowhere))
        news_.note(changes);
    if (context.wants_signal() || context.stage().viewing() != nullptr)
        watchdog_.watch();
}

void View::count_exposure() noexcept {
    exposures_.fetch_add(1, Order::seq_cst);
    runtime::fence(Order::seq_cst);
}

bool View::is_taken(const ContextTable::Guard& held, const stm_memory* memory) noexcept {
    held.expects_holds(contexts_.lock());
    if (!mapped_.load(Order::relaxed))
        return false;
    for (const Context& context : contexts_.all()) {
        if (context.stage().may_view(memory))
            return true;
    }
    return false;
}

Status View::note_mapping() noexcept {
    stm_memory* const memory = stm_linux_memory_current();
    const ContextTable::Guard held(contexts_.lock());
    // A transaction that runs in this address space gets the view, if there is only one: it may
    // have begun when the handle had no mapping anywhere, and the first one of this address space
    // may not be the first of all. The caller holds mmap_lock for writing, so nobody loads from the
    // mapping yet.
    const bool first = !mapped_.load(Order::relaxed);
    Context* running = nullptr;
    // A start that finds another context warm cools that one down, and takes the view by itself.
    bool is_kept = false;
    for (Context& context : contexts_.all()) {
        // Offers that stand before the first mapping were made without a thought of the view: none
        // of them goes on.
        const ViewStage::Now seen = context.stage().now();
        if (seen.memory != memory && !(first && seen.stage == Stage::offered))
            continue;
        const Context::Guard also(context.lock());
        settle(context);
        const Stage stage = context.stage().stage();
        is_kept = is_kept || stage == Stage::warm || stage == Stage::ending;
        if (!context.stage().claims_view_in(memory) || context.is_orphan())
            continue;
        // What is only running does not hold its address space. If its thread is in the middle of
        // exec, this one may have got the same place.
        if (stage == Stage::running && stm_linux_thread_is_in(context.thread(), memory) == 0)
            continue;
        if (running != nullptr)
            return Error::busy;
        running = &context;
    }
    mapped_.store(true, Order::release);
    if (running == nullptr || is_kept)
        return kSuccess;
    const Context::Guard also(running->lock());
    // If not, it has ended meanwhile, or has the view.
    if (running->stage().stage() == Stage::running && running->stage().claims_view_in(memory)) {
        running->get_view();
        watchdog_.watch();
    }
    return kSuccess;
}

// Gives the context the view in that address space, unless another one has it: Error::busy. Or
// that one is `in_the_way`: its program is not there any more, or it is only warm.
Status View::take(Context& context, stm_memory* memory, Context*& in_the_way) noexcept {
    const ContextTable::Guard held(contexts_.lock());
    in_the_way = nullptr;
    if (!mapped_.load(Order::relaxed))
        return kSuccess;
    for (Context& other : contexts_.all()) {
        if (&other == &context || !other.stage().may_view(memory))
            continue;
        const Context::Guard also(other.lock());
        settle(other);
        if (other.stage().viewing() != memory)
            continue;
        if (!other.is_orphan() && other.stage().stage() != Stage::warm)
            return Error::busy;
        in_the_way = &other;
        return kSuccess;
    }
    const Context::Guard own(context.lock());
    // If not, note_mapping() was first.
    if (context.stage().stage() == Stage::running)
        context.get_view();
    return kSuccess;
}

// -- By the thread of a transaction --

Status View::enter(Context& context) noexcept {
    stm_memory* const memory = stm_linux_memory_current();
    if (memory == nullptr)
        return kSuccess;
    Context* in_the_way = nullptr;
    do {
        // One that began warm has it already.
        const Status taken =
            context.began_warm() ? Status(kSuccess) : take(context, memory, in_the_way);
        if (!taken.ok())
            return taken;
        if (in_the_way != nullptr) {
            retire(*in_the_way);
            cool(*in_the_way);
        }
    } while (in_the_way != nullptr);
    if (context.stage().viewing() == nullptr)
        return kSuccess;
    runtime::fence(Order::seq_cst);
    if (is_unexposed_for(context))
        return kSuccess;
    // Committed pages are in the mappings, or about to be. No fault of this address space is in
    // progress between close and open, and each later one finds the context.
    const ClosedView closed(view_, memory);
    context.set_exposures_seen(exposures_.load(Order::acquire));
    empty();
    const Context::Guard held(context.lock());
    context.footprint().note_unmapped();
    return kSuccess;
}

void View::predict(Context& context, u32 site) noexcept {
    const u32 most = current(region_.settings().predicted_pages);
    stm_memory* const memory = context.stage().viewing();
    if (memory == nullptr || memory != stm_linux_memory_current())
        return;
    auto to_map = Footprint::ToMap::nothing;
    {
        const Context::Guard held(context.lock());
        to_map = context.to_map(site);
    }
    if (to_map == Footprint::ToMap::nothing)
        return;
    // No fault is in progress from here to the end, and the mappings stay as they are.
    const ClosedView closed(view_, memory,
                            to_map == Footprint::ToMap::pages ? ClosedView::Enters::some
                                                              : ClosedView::Enters::none);
    const Context::Guard held(context.lock());
    if (context.stage().viewing() == memory && context.failure() == AbortReason::none)
        context.map_predicted(view_, to_map, most);
}

// Asks again when it is known which of the predicted pages were touched.
template <typename Question>
bool View::ask(Context& context, Question question) noexcept {
    {
        const Context::Guard held(context.lock());
        if (question(context))
            return true;
        if (context.footprint().pages().empty() ||
            context.stage().viewing() != stm_linux_memory_current())
            return false;
    }
    const ClosedView closed(view_, stm_linux_memory_current());
    const Context::Guard held(context.lock());
    context.footprint().examine_predicted(view_);
    return question(context);
}

bool View::has_read(Context& context) noexcept {
    return ask(context, [](Context& asked) noexcept {
        asked.lock().is_held();
        return asked.has_read();
    });
}

bool View::has_written(Context& context) noexcept {
    return ask(context, [](Context& asked) noexcept {
        asked.lock().is_held();
        return asked.has_written();
    });
}

void View::leave(Context& context, Context::Stays most) noexcept {
    auto stays = Context::Stays::nothing;
    HeldMemory memory = [&] {
        const Context::Guard held(context.lock());
        stays = context.leave_view(most);
        return HeldMemory(context.stage().has_pages_to_take_out() ? context.stage().viewing()
                                                                  : nullptr);
    }();
    if (memory.get() == nullptr)
        return;
    // Before the context's lock, as in a fault.
    const ClosedView closed(view_, memory.get(), ClosedView::Enters::none);
    const Context::Guard held(context.lock());
    // Other threads may have loaded more pages until now.
    if (!context.footprint().may_be_kept(current(region_.settings().warm_pages)))
        stays = Context::Stays::nothing;
    if (stays == Context::Stays::all_pages &&
        context.footprint().forbid_stores() == Footprint::Left::nothing) {
        context.pages_are_out(stays);
        return;
    }
    if (memory.get() == stm_linux_memory_current())
        context.count_predicted(view_);
    const auto unmap = [&](u64 first, u64 count) {
        stm_linux_view_unmap(view_, first, count);
        stm_linux_breathe();
    };
    if (stays == Context::Stays::nothing)
        context.footprint().for_each_stretch(unmap);
    else
        context.footprint().for_each_leaving_stretch(unmap);
    context.footprint().settle_stores();
    // Last: another thread that begins then does not close the address space if nothing was
    // exposed, and would load and store in these pages without a fault.
    context.pages_are_out(stays);
}

// -- By others --

bool View::end_from_outside(Context& context, ContextTable::Condition condition, End end,
                            Patience patience) noexcept {
    for (;;) {
        HeldMemory memory = [&] {
            const Context::Guard held(context.lock());
            if (context.stage().stage() == Stage::lent)
                settle(context);
            const bool ends = condition(context);
            stm_memory* const viewing = context.stage().viewing();
            if (ends && viewing == nullptr)
                end(context);
            return HeldMemory(ends ? viewing : nullptr);
        }();
        if (memory.get() == nullptr)
            return true;
        const auto end_in_view = [&] {
            const Context::Guard held(context.lock());
            if (context.stage().stage() == Stage::lent)
                settle(context);
            // What was decided without the view is decided again.
            if (context.stage().viewing() != memory.get() || !condition(context))
                return false;
            empty();
            end(context);
            return true;
        };
        if (patience == Patience::waits || memory.get() == stm_linux_memory_current()) {
            const ClosedView closed(view_, memory.get());
            if (end_in_view())
                return true;
        } else {
            bool busy = false;
            const ClosedView closed(view_, memory.get(), busy);
            if (busy)
                return false;
            if (end_in_view())
                return true;
        }
    }
}

void View::cool(Context& context, ContextTable::Condition condition, Patience patience) noexcept {
    if (!context.stage().is_warm())
        return;
    (void)end_from_outside(
        context, condition,
        [](Context& warm) noexcept {
            warm.lock().is_held();
            warm.cool();
        },
        patience);
}

bool View::retire(Context& context, Patience patience) noexcept {
    return end_from_outside(
        context, is_orphan,
        [](Context& orphan) noexcept {
            orphan.lock().is_held();
            orphan.discard();
        },
        patience);
}

} // namespace stm::kernel
