// SPDX-License-Identifier: GPL-2.0
// Steps that begin and end transactions.
#include "tests/fuzz/core/steps.hpp"

#include <utility>

namespace stm::fuzz {

namespace {

struct StartArgument {
    std::uint64_t flags;
    std::uint64_t signal;
    std::uint64_t site;

    explicit StartArgument(const Step& step)
        : flags((step.flags & 7) == 1   ? STM_START_RESTART
                : (step.flags & 7) == 2 ? step.large
                : (step.flags & 7) == 3 ? STM_START_SERIAL
                : (step.flags & 7) == 4 ? STM_START_FIXED
                                        : 0),
          signal((step.flags & 8) != 0 ? STM_START_SIGNAL(step.small % 66) : 0),
          site(STM_START_SITE(step.large >> 3 & 3)) {}

    bool restarts() const { return (flags & STM_START_RESTART) != 0; }
};

void not_started(World& world, File& file, long result, std::size_t depth, bool restart) {
    if (result == -EBUSY) {
        const std::size_t viewer = file.viewers[world.process()];
        STM_FUZZ_EXPECT(viewer != kNobody && viewer != world.who);
    }
    const std::size_t left = world.tell_transaction(file).depth;
    STM_FUZZ_EXPECT(left == depth || (restart && left == 0));
    if (left == 0)
        world.forget(file, world.who);
}

void started_nested(Transaction& own) {
    ++own.depth;
    if (own.seen)
        own.seen->begin_nested();
}

} // namespace

void started(World& world, std::size_t place, std::optional<Observer> seen, bool predicted) {
    File& file = *world.files[place];
    Region& region = world.region_of(place);
    world.forget(file, world.who);
    auto fresh = std::make_unique<Transaction>();
    if (region.history && seen)
        fresh->seen = std::move(seen);
    else if (region.history)
        fresh->seen.emplace(*region.history);
    // Predicted pages are there from the start.
    fresh->touched.resize(region.size / kPage, predicted);
    file.transactions[world.who] = std::move(fresh);
    if (file.was_mapped)
        file.viewers[world.process()] = world.who;
}

void start(World& world, const Step& step, std::size_t place) {
    File& file = *world.files[place];
    const StartArgument argument(step);
    world.look_at_size(place);
    std::optional<Observer> seen;
    if (world.region_of(place).history && world.region_of(place).size != 0)
        seen.emplace(*world.region_of(place).history);
    const Transaction* const before = world.transaction(file);
    const std::size_t depth = before != nullptr ? before->depth : 0;
    const long result =
        world.control(file, STM_IOC_START, argument.flags | argument.signal | argument.site);
    STM_FUZZ_EXPECT(result >= 0 ||
                    world.expected(result, {EINVAL, EOPNOTSUPP, EINTR, E2BIG, EBUSY, EAGAIN, ENOSPC,
                                            EDEADLK, EACCES, EFBIG, ECANCELED}));
    world.look_at_size(place);
    if (world.region_of(place).plain)
        STM_FUZZ_EXPECT(result < 0);
    if (result < 0) {
        not_started(world, file, result, depth, argument.restarts());
    } else if (!argument.restarts() && depth != 0) {
        STM_FUZZ_EXPECT(result == static_cast<long>(depth + 1));
        started_nested(*world.transaction(file));
    } else {
        STM_FUZZ_EXPECT(result == 1);
        started(world, place, std::move(seen), argument.site != 0);
    }
}

namespace {

void note_commit(World& world, Transaction& own, Region& region) {
    const std::optional<Bytes> actual = world.contents(region);
    if (!actual)
        region.history.reset(); // without a name nobody can look
    else if (own.seen)
        own.seen->committed(*region.history, *actual);
    else
        region.history->replace(*actual);
}

} // namespace

void ended_by_commit(World& world, std::size_t place, Transaction& own, long result) {
    Region& region = world.region_of(place);
    if (world.in_between(region))
        own.seen.reset();
    if (own.seen)
        expect_reason(result, *own.seen);
    if (result == 0 && region.history)
        note_commit(world, own, region);
    world.forget(*world.files[place], world.who);
    if (!region.history)
        world.forget_model(region);
}

void commit(World& world, const Step& step, std::size_t place) {
    File& file = *world.files[place];
    const std::uint64_t argument = (step.flags & 7) == 7 ? step.large : 0;
    const long failure = world.transaction(file) != nullptr ? world.failure_of(file) : 0;
    const long result = world.control(file, STM_IOC_COMMIT, argument);
    STM_FUZZ_EXPECT(result == 0 || world.expected(result, {EINVAL, EAGAIN, EINTR, E2BIG, EDEADLK,
                                                           ENOSPC, ECANCELED}));
    Transaction* own = world.transaction(file);
    if (argument != 0 || own == nullptr) {
        STM_FUZZ_EXPECT(result == -EINVAL);
        return;
    }
    if (own->depth > 1) {
        STM_FUZZ_EXPECT(result == failure || world.disturbed);
        --own->depth;
        if (own->seen)
            own->seen->commit_nested();
        return;
    }
    STM_FUZZ_EXPECT(result != -EINVAL);
    if (failure != 0)
        STM_FUZZ_EXPECT(result == failure);
    ended_by_commit(world, place, *own, result);
}

void cancel(World& world, const Step& step, std::size_t place) {
    File& file = *world.files[place];
    const std::uint64_t argument = (step.flags & 7) == 7   ? step.large
                                   : (step.flags & 7) == 5 ? STM_CANCEL_ALL | STM_CANCEL_KEEP
                                   : (step.flags & 1) != 0 ? STM_CANCEL_ALL
                                                           : 0;
    const long result = world.control(file, STM_IOC_CANCEL, argument);
    Transaction* own = world.transaction(file);
    if (own == nullptr || argument > STM_CANCEL_FLAGS || argument == STM_CANCEL_KEEP) {
        STM_FUZZ_EXPECT(result == -EINVAL);
        return;
    }
    STM_FUZZ_EXPECT(result == 0);
    if (argument == STM_CANCEL_FLAGS) {
        STM_FUZZ_EXPECT(world.tell_transaction(file).doom != STM_REASON_NONE);
        world.give_up_view(file);
        return;
    }
    if (own->depth == 1 || argument == STM_CANCEL_ALL) {
        world.forget(file, world.who);
        return;
    }
    --own->depth;
    if (own->seen)
        own->seen->cancel_nested();
}

void validate(World& world, const Step& step, std::size_t place) {
    File& file = *world.files[place];
    const std::uint64_t argument = (step.flags & 7) == 7 ? 2 : step.flags & STM_VALIDATE_GO_ON;
    const long result = world.control(file, STM_IOC_VALIDATE, argument);
    Transaction* own = world.transaction(file);
    if (own == nullptr || argument > STM_VALIDATE_GO_ON) {
        STM_FUZZ_EXPECT(result == -EINVAL);
        return;
    }
    if (result == -EAGAIN && argument == STM_VALIDATE_GO_ON)
        own->seen.reset(); // what it sees from here on need not fit together
    STM_FUZZ_EXPECT(result == 0 || result == -EAGAIN || result == world.failure_of(file));
    if (own->seen)
        expect_reason(result, *own->seen);
}

void wait(World& world, const Step& step, std::size_t place) {
    File& file = *world.files[place];
    stm_wait argument{};
    argument.flags = (step.flags & 7) == 7 ? 4 : step.flags >> 3 & (STM_WAIT_KEEP | STM_WAIT_UNTIL);
    argument.timeout_ns = (step.flags & 1) != 0 ? STM_WAIT_FOREVER : step.large;
    const bool keeps = argument.flags < 4 && (argument.flags & STM_WAIT_KEEP) != 0;
    constexpr long kCallAgain = -512; // ERESTARTSYS, which Linux keeps to itself
    const Transaction* const own = world.transaction(file);
    const std::size_t depth = own != nullptr ? own->depth : 0;
    const long result = world.control(step, file, STM_IOC_WAIT, argument);
    STM_FUZZ_EXPECT(
        result == 0 || (result == kCallAgain && keeps) ||
        world.expected(result, {EINVAL, E2BIG, ETIMEDOUT, EINTR, EDEADLK, ENOSPC, ECANCELED}));
    if (result == 0 && own != nullptr && own->seen)
        STM_FUZZ_EXPECT(own->seen->may_conflict());
    if (own == nullptr)
        STM_FUZZ_EXPECT(result < 0 && result != -ETIMEDOUT);
    const std::size_t left = world.tell_transaction(file).depth;
    STM_FUZZ_EXPECT(left == 0 || left == depth);
    if (result == 0)
        STM_FUZZ_EXPECT(left == 0);
    if (result == -ETIMEDOUT)
        STM_FUZZ_EXPECT(left == (keeps ? depth : 0));
    if (left == 0)
        world.forget(file, world.who);
    else if (keeps && (result == -ETIMEDOUT || result == kCallAgain))
        world.give_up_view(file);
}

void transaction_info(World& world, const Step& step, std::size_t place) {
    File& file = *world.files[place];
    stm_transaction argument{};
    argument.flags = (step.flags & 7) == 7 ? 1 : 0;
    const long result = world.control(step, file, STM_IOC_TRANSACTION, argument);
    STM_FUZZ_EXPECT(result == 0 || world.expected(result, {EINVAL, E2BIG}));
    const Transaction* const own = world.transaction(file);
    if (result == 0)
        STM_FUZZ_EXPECT(argument.depth == (own != nullptr ? own->depth : 0));
}

} // namespace stm::fuzz
