// SPDX-License-Identifier: GPL-2.0
#include "kernel/core/typed_calls.hpp"

#include "kernel/core/control.hpp"
#include "kernel/core/deadline.hpp"
#include "kernel/core/given_sets.hpp"
#include "kernel/core/journals.hpp"
#include "kernel/core/passes.hpp"
#include "kernel/core/trace.hpp"
#include "runtime/support/allocate.hpp"
#include "runtime/support/scope_exit.hpp"

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

// So many regions are on the stack, and committed together on a short way.
constexpr u32 kFewRegions = 4;

// Where a request says that the sets of other regions are.
struct Others {
    u64 address;
    u32 count;
};

// Sets of several regions. Those of the request come first.
template <u32 kMost>
class Several : runtime::NonCopyable {
public:
    explicit Several(GivenSets& own) noexcept { all_[size_++] = &own; }

    // Takes the sets of a further region, into that object.
    [[nodiscard]] Status add(const Request& request, const stm_sets& sets, GivenSets& place,
                             SmallSets& room) noexcept {
        const Status taken = place.take_named(request.registry, sets, room);
        if (!taken.ok())
            return taken;
        for (u32 i = 0; i < size_; ++i) {
            // Its records would be locked twice.
            if (&all_[i]->region() == &place.region())
                return Error::invalid;
        }
        all_[size_++] = &place;
        return kSuccess;
    }
    [[nodiscard]] Members members() const noexcept { return {all_, size_}; }
    // When there are as many as there may be.
    [[nodiscard]] Members all() const noexcept { return Members(all_); }

private:
    GivenSets* all_[kMost];
    u32 size_ = 0;
};

struct ManySets : runtime::NonCopyable {
    Unique<GivenSets> sets[STM_MAX_OTHERS];
};

// One object, because each has some room around it where a kernel looks for overruns.
struct First : runtime::NonCopyable {
    First() noexcept : all{&sets} {}

    GivenSets* const all[1];
    GivenSets sets;
    SmallSets room;
};

// Act: see with_sets(). The mangled names are short: objtool of Linux 6.1 knows only 128
// characters.
template <u32 kOthers, typename Act>
[[nodiscard, gnu::noinline]] Status few(const Request& request, const Others& given, First& first,
                                        Act act) noexcept {
    constexpr u32 kWords = sizeof(stm_sets) / sizeof(u64);
    __attribute__((uninitialized)) stm_sets sets[kOthers];
    const Status copied = runtime::status_from_errno(
        stm_linux_copy_words_in(reinterpret_cast<__u64*>(sets), given.address, kOthers * kWords));
    if (!copied.ok())
        return copied;
    __attribute__((uninitialized)) GivenSets others[kOthers];
    __attribute__((uninitialized)) Several<kOthers + 1> all(first.sets);
    for (u32 i = 0; i < kOthers; ++i) {
        if (const Status added = all.add(request, sets[i], others[i], first.room); !added.ok())
            return added;
    }
    return act(all.all());
}

template <typename Act>
[[nodiscard, gnu::noinline]] Status many(const Request& request, const Others& given, First& first,
                                         Act act) noexcept {
    auto others = runtime::make<ManySets>();
    if (!others.ok())
        return others.error();
    __attribute__((uninitialized)) Several<kMostRegions> all(first.sets);
    for (u32 i = 0; i < given.count; ++i) {
        stm_sets sets;
        const Status copied = runtime::status_from_errno(
            stm_linux_copy_in(&sets, given.address + i * sizeof(sets), sizeof(sets)));
        if (!copied.ok())
            return copied;
        auto made = runtime::make<GivenSets>();
        if (!made.ok())
            return made.error();
        Unique<GivenSets>& place = (*others)->sets[i];
        place = runtime::move(*made);
        if (const Status added = all.add(request, sets, *place, first.room); !added.ok())
            return added;
    }
    return act(all.members());
}

// Takes all sets, those of the request into the stack frame of the caller, and calls act(members).
// Each number of regions has stack frames of its own.
template <typename Argument, typename Act>
[[nodiscard, gnu::always_inline]] inline Status
with_sets(const Request& request, const Argument& argument, Act act) noexcept {
    if (argument.other_count > STM_MAX_OTHERS)
        return Error::too_big;
    if (argument.sets.handle != -1)
        return Error::invalid;
    __attribute__((uninitialized)) First first; // its constructor sets what is looked at
    const Status taken =
        first.sets.take(request.registry, request.handle, argument.sets, first.room);
    if (!taken.ok())
        return taken;
    if (argument.other_count == 0) [[likely]]
        return act(Members(first.all));
    const Others given{argument.others, argument.other_count};
    switch (given.count) {
    case 1:
        return few<1>(request, given, first, act);
    case 2:
        return few<2>(request, given, first, act);
    case kFewRegions - 1:
        return few<kFewRegions - 1>(request, given, first, act);
    default:
        return many(request, given, first, act);
    }
}

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

// At most kMost of them.
template <u32 kMost>
[[nodiscard, gnu::always_inline]] inline Outcome commit_on(Path path, Members members) noexcept {
    __attribute__((uninitialized)) GivenSets::Commit* parts[kMost];
    const u32 count = static_cast<u32>(members.size());
    for (u32 i = 0; i < count; ++i)
        parts[i] = &members[i]->commit();
    const protocol::SetsResult result = protocol::commit_sets(parts, count, path);
    return {result.reason, result.part};
}

[[gnu::noinline]] void wake_waiters(GivenSets::Commit& commit) noexcept {
    if (const protocol::WaitMask mask = commit.waiters(); mask != 0)
        commit.memory().wake(mask);
}

// Behind a commit that has written there.
[[gnu::always_inline]] inline void tell_others(GivenSets& sets) noexcept {
    GivenSets::Commit& commit = sets.commit();
    if (!commit.memory().wait_filter().idle()) [[unlikely]]
        wake_waiters(commit);
    sets.region().versions().changed();
}

[[gnu::always_inline]] inline void tell_all_others(Members members) noexcept {
    for (GivenSets* const member : members) {
        if (member->commit().version() != 0)
            tell_others(*member);
    }
}

// Outside of all gates.
[[gnu::always_inline]] inline void tidy_all(Members members) noexcept {
    for (GivenSets* const member : members)
        member->region().versions().snapshots.tidy();
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
    outcome = commit_on<kMostRegions>(path, members);
    if (outcome.reason == AbortReason::none)
        tell_all_others(members);
    passes.give_back();
    return kSuccess;
}

// What those are told who watch.
[[gnu::cold, gnu::noinline]] void trace(GivenSets& member, AbortReason reason) noexcept {
    GivenSets::Commit& commit = member.commit();
    const stm_trace_region region = traced(member.region());
    stm_linux_trace_start(region, STM_TRACE_TYPED, commit.owner(), commit.snapshot());
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

[[gnu::always_inline]] inline void count(GivenSets& member, AbortReason reason) noexcept {
    member.handle().typed_counters().count(reason, member.commit().version());
    if (stm_linux_traced() != 0)
        trace(member, reason);
}

[[gnu::always_inline]] inline void count_all(Members members, const Outcome& outcome) noexcept {
    for (u32 i = 0; i < members.size(); ++i) {
        // A conflict is one region's.
        if (outcome.reason == AbortReason::none || i == outcome.region)
            count(*members[i], outcome.reason);
    }
}

[[gnu::always_inline]] inline void forget_places(Members members) noexcept {
    for (GivenSets* const member : members)
        member->forget_places();
}

enum class Mode { concurrent, serial };

[[nodiscard, gnu::noinline]] Status commit_with_passes(Members members, Mode mode,
                                                       Outcome& outcome) noexcept {
    __attribute__((uninitialized)) SmallPlaces places;
    const runtime::ScopeExit forget([&]() noexcept { forget_places(members); });
    for (GivenSets* const member : members) {
        const Status ready = member->prepare(places);
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
    tidy_all(members);
    if (status.ok() && !counted)
        count_all(members, outcome);
    return status;
}

// One region, which is what most commits have, without any other transaction of the thread. There
// is one gate, so there is nothing that the passes would have to see to.
[[nodiscard, gnu::noinline]] Status commit_alone(GivenSets& sets, Outcome& outcome) noexcept {
    __attribute__((uninitialized)) SmallPlaces places;
    const runtime::ScopeExit forget([&]() noexcept { sets.forget_places(); });
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
    sets.region().versions().snapshots.tidy();
    count(sets, outcome.reason);
    return kSuccess;
}

[[gnu::always_inline]] inline void leave_all(Members members) noexcept {
    for (GivenSets* const member : members) {
        if (member->writes())
            member->region().versions().token.leave();
    }
}

// Enters the gates of all regions that are written to, without waiting, or none.
[[nodiscard, gnu::always_inline]] inline bool try_enter_all(Members members) noexcept {
    for (u32 i = 0; i < members.size(); ++i) {
        if (!members[i]->writes() || members[i]->region().versions().token.try_enter()) [[likely]]
            continue;
        leave_all(Members(members.data(), i));
        return false;
    }
    return true;
}

// The same for few regions, whose gates are open. False: one was closed, and nothing was done.
[[nodiscard, gnu::always_inline]] inline Result<bool> commit_together(Members members,
                                                                      Outcome& outcome) noexcept {
    __attribute__((uninitialized)) SmallPlaces places;
    const runtime::ScopeExit forget([&]() noexcept { forget_places(members); });
    for (GivenSets* const member : members) {
        const Status ready = member->prepare(places);
        if (!ready.ok())
            return ready.error();
    }
    if (!try_enter_all(members)) [[unlikely]]
        return false;
    outcome = commit_on<kFewRegions>(Path::concurrent, members);
    if (outcome.reason == AbortReason::none) [[likely]]
        tell_all_others(members);
    leave_all(members);
    tidy_all(members);
    count_all(members, outcome);
    return true;
}

// Of so many regions, so that few loops are left.
template <u32 kCount>
[[nodiscard, gnu::noinline]] Result<bool> commit_few(GivenSets* const* members,
                                                     Outcome& outcome) noexcept {
    return commit_together(Members(members, kCount), outcome);
}

[[nodiscard, gnu::always_inline]] inline Status commit(Members members, Mode mode,
                                                       Outcome& outcome) noexcept {
    if (mode == Mode::concurrent && members.size() <= kFewRegions && writes(members) &&
        path_for(members) == Path::concurrent) [[likely]] {
        if (members.size() == 1)
            return commit_alone(*members[0], outcome);
        const Result<bool> done = members.size() == 2 ? commit_few<2>(members.data(), outcome)
                                  : members.size() == 3
                                      ? commit_few<3>(members.data(), outcome)
                                      : commit_few<kFewRegions>(members.data(), outcome);
        if (!done.ok())
            return done.error();
        if (*done)
            return kSuccess;
    }
    return commit_with_passes(members, mode, outcome);
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
    // A thread may stop between its commit to a direct region and STM_IOC_WAKE.
    Wakes wakes = Wakes::always;
    for (GivenSets* const member : members) {
        if (member->region().direct())
            wakes = Wakes::mostly;
    }
    const Status waited = traced_wait(members[0]->region(), STM_TRACE_WAIT_CHANGE, [&]() noexcept {
        return wait_and_look(wakes, timeout_ns, [&](u64 nanoseconds) noexcept {
            return WaitQueue::wait_on(Span<const stm_bed>(beds, members.size()), has_changed, asks,
                                      nanoseconds, STM_WAIT_INTERRUPTIBLE);
        });
    });
    for (u32 i = 0; i < members.size(); ++i)
        members[i]->region().versions().wait_filter.withdraw(beds[i].keys);
    return waited;
}

} // namespace

namespace {

[[gnu::cold, gnu::noinline]] Status tell_conflict(const Request& request, stm_commit_sets& argument,
                                                  Members members,
                                                  const Outcome& outcome) noexcept {
    argument.reason = static_cast<u32>(outcome.reason);
    argument.region = outcome.region;
    argument.stripe = members[outcome.region]->commit().in_the_way();
    // Whoever has locked it may be gone.
    const Region& region = members[outcome.region]->region();
    if (region.direct() && outcome.reason == AbortReason::commit_locked)
        (void)region.journals()->settle(argument.stripe);
    const Status answered = answer(request, argument);
    return answered.ok() ? Status(Error::again) : answered;
}

struct Commit {
    const Request& request;
    stm_commit_sets& argument;

    [[gnu::always_inline]] Status operator()(Members members) const noexcept {
        Outcome outcome;
        const Mode mode =
            (argument.flags & STM_COMMIT_SERIAL) != 0 ? Mode::serial : Mode::concurrent;
        const Status status = commit(members, mode, outcome);
        if (!status.ok())
            return status;
        if (outcome.reason != AbortReason::none) [[unlikely]]
            return tell_conflict(request, argument, members, outcome);
        // It is committed, whatever becomes of the answer.
        (void)stm_linux_put_u64(request.argument + __builtin_offsetof(stm_commit_sets, version),
                                members[0]->commit().version());
        return kSuccess;
    }
};

[[nodiscard, gnu::always_inline]] inline Status
commit_and_answer(const Request& request, stm_commit_sets& argument) noexcept {
    if ((argument.flags & ~u32{STM_COMMIT_FLAGS}) != 0 || argument.reserved != 0)
        return Error::invalid;
    return with_sets(request, argument, Commit{request, argument});
}

} // namespace

Result<i32> commit_given_sets(const Request& request, stm_commit_sets& argument) noexcept {
    return done(commit_and_answer(request, argument));
}

Result<i32> commit_given_sets_at(Registry& registry, Handle& handle, u64 address) noexcept {
    __attribute__((uninitialized)) stm_commit_sets argument;
    u32 given = 0;
    Status status = runtime::status_from_errno(
        stm_linux_copy_sized_in(reinterpret_cast<__u64*>(&argument), address,
                                kCommitSetsRead / sizeof(u64), sizeof(argument), &given));
    if (status.ok()) [[likely]] {
        if (given != sizeof(argument)) [[unlikely]]
            return control_by_table(registry, handle, STM_IOC_COMMIT_SETS, address);
        argument.version = 0;
        status = commit_and_answer({registry, handle, address, sizeof(argument)}, argument);
    }
    return done(status);
}

Result<i32> wait_for_given_sets(const Request& request, stm_wait_sets& argument) noexcept {
    if ((argument.flags & ~u32{STM_WAIT_UNTIL}) != 0 || argument.reserved != 0)
        return Error::invalid;
    return done(with_sets(request, argument, [&](Members members) noexcept -> Status {
        if (writes(members))
            return Error::invalid;
        u64 reads = 0;
        for (GivenSets* const member : members)
            reads += member->commit().stripes_read();
        if (reads == 0)
            return Error::deadlock;
        return sleep_until_change(members, remaining_ns(argument.timeout_ns, argument.flags));
    }));
}

} // namespace stm::kernel
