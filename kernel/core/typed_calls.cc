// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/typed_calls.hpp"

#include "kernel/core/deadline.hpp"
#include "kernel/core/given_sets.hpp"
#include "kernel/core/passes.hpp"
#include "kernel/core/trace.hpp"
#include "runtime/support/allocate.hpp"

namespace stm::kernel {

using protocol::AbortReason;
using protocol::Path;
using runtime::Error;
using runtime::i32;
using runtime::kSuccess;
using runtime::Result;
using runtime::Span;
using runtime::Status;
using runtime::u32;
using runtime::u64;
using runtime::Unique;

namespace {

using Members = Span<GivenSets* const>;

// -- What the caller gives --

// The sets of all regions: those of the request, which are on the stack, and of others.
class AllSets : runtime::NonCopyable {
public:
    [[nodiscard]] Status take(const Request& request, const stm_sets& sets, u64 others,
                              u32 count) noexcept {
        if (count > STM_MAX_OTHERS)
            return Error::too_big;
        if (sets.handle != -1)
            return Error::invalid;
        const Status taken = own_.take(request.registry, request.handle, sets);
        if (!taken.ok() || count == 0)
            return taken;
        auto made = runtime::make<Several>();
        if (!made.ok())
            return made.error();
        several_ = runtime::move(*made);
        several_->add(own_);
        return take_others(request, others, count);
    }

    [[nodiscard]] Members members() const noexcept {
        return several_ ? several_->members() : Members(&first_, 1);
    }

private:
    class Several {
    public:
        void add(GivenSets& sets) noexcept { all_[size_++] = &sets; }
        [[nodiscard]] Result<GivenSets*> make_next() noexcept {
            auto made = runtime::make<GivenSets>();
            if (!made.ok())
                return made.error();
            Unique<GivenSets>& place = others_[size_ - 1];
            place = runtime::move(*made);
            return place.get();
        }
        [[nodiscard]] bool has(const Region& region) const noexcept {
            for (u32 i = 0; i < size_; ++i) {
                if (&all_[i]->region() == &region)
                    return true;
            }
            return false;
        }
        [[nodiscard]] Members members() const noexcept { return {all_, size_}; }

    private:
        Unique<GivenSets> others_[STM_MAX_OTHERS];
        GivenSets* all_[kMostRegions] = {};
        u32 size_ = 0;
    };

    [[nodiscard, gnu::noinline]] Status take_others(const Request& request, u64 address,
                                                    u32 count) noexcept {
        for (u32 i = 0; i < count; ++i) {
            stm_sets sets;
            const Status copied = runtime::status_from_errno(
                stm_linux_copy_in(&sets, address + i * sizeof(sets), sizeof(sets)));
            if (!copied.ok())
                return copied;
            const Result<GivenSets*> next = several_->make_next();
            if (!next.ok())
                return next.error();
            if (const Status taken = (*next)->take_named(request.registry, sets); !taken.ok())
                return taken;
            // Its records would be locked twice.
            if (several_->has((*next)->region()))
                return Error::invalid;
            several_->add(**next);
        }
        return kSuccess;
    }

    GivenSets own_;
    GivenSets* const first_ = &own_;
    Unique<Several> several_;
};

// -- The commit --

struct Outcome {
    AbortReason reason = AbortReason::none;
    u32 region = 0;
};

[[nodiscard]] bool writes(Members members) noexcept {
    for (GivenSets* const member : members) {
        if (member->writes())
            return true;
    }
    return false;
}

// Nothing is locked, so there is no hurry.
[[nodiscard]] Outcome validate_all(Members members) noexcept {
    for (u32 i = 0; i < members.size(); ++i) {
        const AbortReason reason = members[i]->commit().validate(Path::serial);
        if (reason != AbortReason::none)
            return {reason, i};
    }
    return {};
}

[[nodiscard]] u64 cost(Members members) noexcept {
    u64 sum = 0;
    for (GivenSets* const member : members)
        sum += member->commit().cost();
    return sum;
}

[[nodiscard]] Path path_for(Members members) noexcept {
    return cost(members) <= protocol::kMaxConcurrentCost ? Path::concurrent : Path::serial;
}

[[nodiscard]] Outcome commit_on(Path path, Members members) noexcept {
    __attribute__((uninitialized)) GivenSets::Commit* parts[kMostRegions];
    const u32 count = static_cast<u32>(members.size());
    for (u32 i = 0; i < count; ++i)
        parts[i] = &members[i]->commit();
    const protocol::SetsResult result = protocol::commit_sets(parts, count, path);
    return {result.reason, result.part};
}

void tell_others(GivenSets& sets) noexcept {
    if (sets.commit().version() == 0)
        return;
    if (const protocol::WaitMask mask = sets.commit().waiters(); mask != 0)
        sets.commit().memory().wake(mask);
    sets.region().versions().changed();
}

// With the transactions that have been adopted, or none.
[[nodiscard]] Status commit_with(Passes& passes, Members members, Outcome& outcome) noexcept {
    if (!writes(members)) {
        outcome = validate_all(members);
        return kSuccess;
    }
    const Path path = path_for(members);
    const Status got = passes.get(path);
    if (!got.ok())
        return got;
    outcome = commit_on(path, members);
    for (u32 i = 0; i < members.size() && outcome.reason == AbortReason::none; ++i)
        tell_others(*members[i]);
    passes.give_back();
    return kSuccess;
}

// What those are told who watch.
[[gnu::cold, gnu::noinline]] void trace(GivenSets& member, AbortReason reason) noexcept {
    GivenSets::Commit& commit = member.commit();
    const stm_trace_region region = traced(member.region());
    if (stm_linux_traces_accesses() != 0) {
        for (const u64 word : commit.reads()) {
            const protocol::ReadRun run = protocol::ReadRun::from_word(word);
            stm_linux_trace_access(region, run.first * protocol::kStripeBytes,
                                   run.count * protocol::kStripeBytes, 0);
        }
        for (const protocol::StripeWrite& write : commit.writes())
            stm_linux_trace_access(region, write.stripe * protocol::kStripeBytes,
                                   protocol::kStripeBytes, 1);
    }
    if (reason == AbortReason::none)
        stm_linux_trace_commit(region, STM_TRACE_TYPED, commit.owner(), commit.version(),
                               commit.stripes_read(), commit.stripes_written());
    else
        stm_linux_trace_abort(region, STM_TRACE_TYPED, commit.owner(), static_cast<u32>(reason),
                              traced_conflict(commit.memory(), commit.in_the_way()), 0);
}

void count(GivenSets& member, AbortReason reason) noexcept {
    member.handle().typed_counters().count(reason, member.commit().version());
    if (stm_linux_traced() != 0)
        trace(member, reason);
}

void count_all(Members members, const Outcome& outcome) noexcept {
    for (u32 i = 0; i < members.size(); ++i) {
        // A conflict is one region's.
        if (outcome.reason == AbortReason::none || i == outcome.region)
            count(*members[i], outcome.reason);
    }
}

enum class Mode { concurrent, serial };

[[nodiscard, gnu::noinline]] Status commit_with_passes(Members members, Mode mode,
                                                       Outcome& outcome) noexcept {
    __attribute__((uninitialized)) protocol::WritePlace places[GivenSets::kInlineWrites];
    for (GivenSets* const member : members) {
        const Status ready = member->prepare(members.size() == 1 ? places : nullptr);
        if (!ready.ok())
            return ready;
    }
    __attribute__((uninitialized)) Passes passes(members);
    u32 in_the_way = kMostRegions;
    if (mode == Mode::serial) {
        const Status adopted = passes.adopt_transactions(in_the_way);
        if (!adopted.ok())
            return adopted;
    }
    Status status = kSuccess;
    if (in_the_way == kMostRegions)
        status = commit_with(passes, members, outcome);
    else
        outcome = {AbortReason::commit_validation, in_the_way};
    // What they count is the commit.
    const bool counted =
        passes.end_transactions(status.ok() ? outcome.reason : AbortReason::signal);
    if (status.ok() && !counted)
        count_all(members, outcome);
    return status;
}

// One region, which is what most commits have, without any other transaction of the thread. There
// is one gate, so there is nothing that the passes would have to see to.
[[nodiscard, gnu::noinline]] Status commit_alone(GivenSets& sets, Outcome& outcome) noexcept {
    // Here, and not among the sets, because all of it together would be too much for one stack
    // frame.
    __attribute__((uninitialized)) protocol::WritePlace places[GivenSets::kInlineWrites];
    const Status ready = sets.prepare(places);
    if (!ready.ok())
        return ready;
    SerialToken& token = sets.region().versions().token;
    if (!token.try_enter()) [[unlikely]] {
        const Status entered = await_gate(sets.region());
        if (!entered.ok())
            return entered;
    }
    GivenSets::Commit* const part = &sets.commit();
    outcome.reason = protocol::commit_sets(&part, 1, Path::concurrent).reason;
    if (outcome.reason == AbortReason::none)
        tell_others(sets);
    token.leave();
    count(sets, outcome.reason);
    return kSuccess;
}

[[nodiscard]] Status commit(Members members, Mode mode, Outcome& outcome) noexcept {
    const bool alone = members.size() == 1 && mode == Mode::concurrent && members[0]->writes() &&
                       path_for(members) == Path::concurrent;
    return alone ? commit_alone(*members[0], outcome) : commit_with_passes(members, mode, outcome);
}

// -- The wait --

// A commit looks at sets up to this cost itself, before it wakes their thread. It does so with the
// queue's lock held and interrupts off, so this times many sleepers has to stay short.
constexpr u64 kQuickWait = 8;

[[nodiscard, gnu::noinline]] Status sleep_until_change(Members members, u64 timeout_ns) noexcept {
    stm_bed beds[kMostRegions];
    for (u32 i = 0; i < members.size(); ++i) {
        Versions& versions = members[i]->region().versions();
        beds[i] = versions.readers.bed(members[i]->commit().wait_mask());
        members[i]->handle().typed_counters().count_wait();
        versions.wait_filter.announce(beds[i].keys);
        protocol::clock_meet(members[i]->commit().memory().clock());
    }
    auto has_changed = [&]() noexcept {
        for (GivenSets* const member : members) {
            if (!member->commit().is_unchanged())
                return true;
        }
        return false;
    };
    // A commit that wrote to other stripes with the same keys wakes nobody, if that is quick to
    // see.
    const stm_wait_asks asks = cost(members) <= kQuickWait ? STM_ASKS_WAKER : STM_ASKS_SLEEPER;
    const Status waited = traced_wait(members[0]->region(), STM_TRACE_WAIT_CHANGE, [&]() noexcept {
        return WaitQueue::wait_on(Span<const stm_bed>(beds, members.size()), has_changed, asks,
                                  timeout_ns, STM_WAIT_INTERRUPTIBLE);
    });
    for (u32 i = 0; i < members.size(); ++i)
        members[i]->region().versions().wait_filter.withdraw(beds[i].keys);
    return waited;
}

} // namespace

Result<i32> commit_given_sets(const Request& request, stm_commit_sets& argument) noexcept {
    if ((argument.flags & ~u32{STM_COMMIT_FLAGS}) != 0 || argument.reserved != 0)
        return Error::invalid;
    __attribute__((uninitialized)) AllSets all; // its constructor sets what is looked at
    const Status taken = all.take(request, argument.sets, argument.others, argument.other_count);
    if (!taken.ok())
        return taken.error();
    Outcome outcome;
    const Mode mode = (argument.flags & STM_COMMIT_SERIAL) != 0 ? Mode::serial : Mode::concurrent;
    const Status status = commit(all.members(), mode, outcome);
    if (!status.ok())
        return status.error();
    if (outcome.reason != AbortReason::none) {
        argument.reason = static_cast<u32>(outcome.reason);
        argument.region = outcome.region;
        argument.stripe = all.members()[outcome.region]->commit().in_the_way();
        const Status answered = answer(request, argument);
        return answered.ok() ? Error::again : answered.error();
    }
    // It is committed, whatever becomes of the answer.
    (void)stm_linux_put_u64(request.argument + __builtin_offsetof(stm_commit_sets, version),
                            all.members()[0]->commit().version());
    return 0;
}

Result<i32> wait_for_given_sets(const Request& request, stm_wait_sets& argument) noexcept {
    if ((argument.flags & ~u32{STM_WAIT_UNTIL}) != 0 || argument.reserved != 0)
        return Error::invalid;
    __attribute__((uninitialized)) AllSets all; // its constructor sets what is looked at
    const Status taken = all.take(request, argument.sets, argument.others, argument.other_count);
    if (!taken.ok())
        return taken.error();
    if (writes(all.members()))
        return Error::invalid;
    u64 reads = 0;
    for (GivenSets* const member : all.members())
        reads += member->commit().stripes_read();
    if (reads == 0)
        return Error::deadlock;
    return done(
        sleep_until_change(all.members(), remaining_ns(argument.timeout_ns, argument.flags)));
}

} // namespace stm::kernel
