// SPDX-License-Identifier: GPL-2.0
// Calls with several pieces of which one fails, or conflicts.
#include "tests/unit/kernel/vector_test.hpp"

#include <cstdio>
#include <string>

namespace stm::test {
namespace {

constexpr std::uint64_t kOne = 1;

class FailedVectors : public MappedTransactions {
protected:
    std::uint64_t seen = 0;

    // A transaction in which that call has failed is over.
    void expect_failed(long error, std::uint32_t reason) {
        EXPECT_EQ(transaction_of(file).depth, 1u);
        EXPECT_EQ(transaction_of(file).doom, reason);
        EXPECT_EQ(Pieces().read(0, &seen, 8).access(file), error);
        std::uint64_t value = 0;
        EXPECT_EQ(read(file, 0, &value, sizeof(value)), error);
        EXPECT_EQ(commit(file), error);
        EXPECT_EQ(transaction_of(file).depth, 0u);
        expect_nothing();
    }
    void expect_nothing() {
        EXPECT_TRUE(read_string(other, 0, 4 * kPage) == std::string(4 * kPage, '\0'));
    }
};

// Each way in which a piece fails; the pieces before and behind it write.
struct Broken {
    const char* name;
    Pieces pieces;
    long error;
    std::uint32_t reason;
};

std::vector<Broken> broken_pieces(std::uint64_t size, std::uint64_t& seen) {
    const auto between = [&](auto add) {
        Pieces pieces;
        pieces.write(0, &kOne, 8);
        add(pieces);
        pieces.write(kPage, &kOne, 8);
        return pieces;
    };
    static std::vector<std::uint8_t> much(100'000);
    return {
        {"a read at the end", between([&](Pieces& all) { all.read(size, &seen, 1); }), -ENOSPC,
         STM_REASON_OUT_OF_RANGE},
        {"a read across the end", between([&](Pieces& all) { all.read(size - 7, &seen, 8); }),
         -ENOSPC, STM_REASON_OUT_OF_RANGE},
        {"a write across the end", between([&](Pieces& all) { all.write(size - 7, &kOne, 8); }),
         -ENOSPC, STM_REASON_OUT_OF_RANGE},
        {"a write far away",
         between([&](Pieces& all) { all.write(~std::uint64_t{0} - 3, &kOne, 8); }), -ENOSPC,
         STM_REASON_OUT_OF_RANGE},
        {"more bytes than there are", between([&](Pieces& all) { all.read(8, &seen, 0xffffffff); }),
         -ENOSPC, STM_REASON_OUT_OF_RANGE},
        {"a read to nowhere", between([&](Pieces& all) { all.read(0, nullptr, 8); }), -EFAULT,
         STM_REASON_FAULT},
        {"a write from nowhere", between([&](Pieces& all) { all.write(64, nullptr, 8); }), -EFAULT,
         STM_REASON_FAULT},
        {"a read to nowhere in a later round",
         between([&](Pieces& all) { all.read(0, much.data(), much.size()).read(0, nullptr, 9); }),
         -EFAULT, STM_REASON_FAULT},
        {"a write from nowhere in a later round", between([&](Pieces& all) {
             all.write(64, much.data(), much.size()).write(64, nullptr, 9);
         }),
         -EFAULT, STM_REASON_FAULT},
    };
}

TEST_F(FailedVectors, DoNothingIfTheyAreAlone) {
    for (const Broken& broken : broken_pieces(kBytes, seen)) {
        SCOPED_TRACE(broken.name);
        const auto aborts = statistics_of(file).aborts[broken.reason];
        const stm_info before = info_of(file);
        EXPECT_EQ(broken.pieces.access(file), broken.error);
        EXPECT_EQ(transaction_of(file).depth, 0u);
        EXPECT_EQ(statistics_of(file).aborts[broken.reason], aborts + 1);
        EXPECT_EQ(info_of(file).reads, before.reads);
        EXPECT_EQ(info_of(file).writes, before.writes);
        expect_nothing();
    }
}

TEST_F(FailedVectors, FailTheirTransaction) {
    for (const Broken& broken : broken_pieces(kBytes, seen)) {
        SCOPED_TRACE(broken.name);
        EXPECT_EQ(start(file), 1);
        put(file, 2 * kPage, 1);
        EXPECT_EQ(broken.pieces.access(file), broken.error);
        expect_failed(broken.error, broken.reason);
    }
}

TEST_F(FailedVectors, WithCommitEndTheirTransactionWithoutEffect) {
    for (const bool mapped : {false, true}) {
        for (const Broken& broken : broken_pieces(kBytes, seen)) {
            SCOPED_TRACE(broken.name);
            EXPECT_EQ(start(file), 1);
            put(file, 2 * kPage, 1);
            if (mapped) {
                EXPECT_TRUE(store(file, 3 * kPage, 1));
            }
            EXPECT_EQ(broken.pieces.access_and_commit(file), broken.error);
            EXPECT_EQ(transaction_of(file).depth, 0u);
            EXPECT_EQ(simulated::mapped_page(file.view(), 3), nullptr);
            expect_nothing();
        }
    }
}

TEST_F(FailedVectors, WithCommitEndANestedPartAndFailWhatIsAroundIt) {
    for (const Broken& broken : broken_pieces(kBytes, seen)) {
        SCOPED_TRACE(broken.name);
        EXPECT_EQ(start(file), 1);
        put(file, 2 * kPage, 1);
        EXPECT_EQ(start(file), 2);
        EXPECT_EQ(broken.pieces.access_and_commit(file), broken.error);
        expect_failed(broken.error, broken.reason);
    }
}

TEST_F(FailedVectors, HaveChangedNothingIfTheirListCannotBeRead) {
    EXPECT_EQ(start(file), 1);
    put(file, 5 * kPage, 1);
    for (const std::uint32_t count : {1u, 16u, 17u, 1024u}) {
        auto vector = argument_of<stm_vector>(0);
        vector.pieces = 8;
        vector.count = count;
        EXPECT_EQ(request(file, STM_IOC_VECTOR, vector), -EFAULT);
        vector.flags = STM_VECTOR_COMMIT;
        EXPECT_EQ(request(file, STM_IOC_VECTOR, vector), -EFAULT);
    }
    EXPECT_EQ(transaction_of(file).depth, 1u);
    EXPECT_EQ(transaction_of(file).doom, unsigned{STM_REASON_NONE});
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(get(other, 5 * kPage), 1u);
}

TEST_F(FailedVectors, MayHaveFilledTheMemoryOfReads) {
    const simulated::ReadOnlyMemory protected_memory(&seen, 8);
    std::uint64_t first = 7;
    EXPECT_EQ(Pieces().write(0, &kOne, 8).read(0, &first, 8).read(0, &seen, 8).access(file),
              -EFAULT);
    EXPECT_TRUE(first == 7 || first == 1) << first;
    EXPECT_EQ(seen, 0u);
    expect_nothing();
}

TEST_F(FailedVectors, OfMoreStripesThanAllowedAreTooBig) {
    settings.max_stripes = 4;
    const File small = open(control, "tx", kOpen, {0, 0, 0});
    Pieces pieces;
    for (std::uint64_t piece = 0; piece < 5; ++piece)
        pieces.write(piece * 64, &kOne, 8);
    EXPECT_EQ(pieces.access(small), -E2BIG);
    EXPECT_EQ(start(small), 1);
    EXPECT_EQ(pieces.access_and_commit(small), -E2BIG);
    EXPECT_EQ(transaction_of(small).depth, 0u);
    EXPECT_EQ(start(small), 1);
    EXPECT_EQ(pieces.access(small), -E2BIG);
    EXPECT_EQ(commit(small), -E2BIG);
    settings.max_stripes = usual_settings().max_stripes;
    expect_nothing();
}

// -- Each service fails in turn --

struct Form {
    const char* name;
    unsigned depth; // of the transaction in which the call is made
    std::uint32_t flags;
    bool large; // needs memory for its list and for its bytes
};
constexpr Form kForms[] = {
    {"alone", 0, 0, false},
    {"alone, large", 0, 0, true},
    {"in a transaction", 1, 0, false},
    {"in a transaction, large", 1, 0, true},
    {"with commit", 1, STM_VECTOR_COMMIT, false},
    {"with commit, large", 1, STM_VECTOR_COMMIT, true},
    {"with commit, nested", 2, STM_VECTOR_COMMIT, false},
    {"with begin", 0, STM_VECTOR_BEGIN, false},
    {"with begin, large", 0, STM_VECTOR_BEGIN, true},
};

TEST_F(FailedVectors, SurviveEachFailureWhole) {
    const auto sent = pattern(5000);
    std::vector<std::uint8_t> back(sent.size());
    for (const Form& form : kForms) {
        const std::size_t bytes = form.large ? sent.size() : 100;
        Pieces pieces;
        for (const std::uint64_t page : {0, 9, 17, 40}) {
            pieces.write(page * kPage + 90, sent.data(), bytes);
            pieces.read(page * kPage + 90, back.data(), bytes);
        }
        while (form.large && pieces.size() < 40)
            pieces.read(0, nullptr, 0);
        std::size_t points = 0;
        for (;; ++points) {
            SCOPED_TRACE(testing::Message() << form.name << ", point " << points + 1);
            const File fresh = open(control, "fresh", kCreate | STM_OPEN_EXCL, {kBytes, 0});
            for (unsigned depth = 1; depth <= form.depth; ++depth)
                EXPECT_EQ(start(fresh), static_cast<long>(depth));
            long result = 0;
            Failure failure = Failure::none;
            {
                const FailPoint point(points + 1);
                result = pieces.access(fresh, form.flags);
                failure = point.happened();
            }
            EXPECT_EQ(result, failure == Failure::none ? 0 : simulated::errno_of(failure));
            if (form.flags == STM_VECTOR_BEGIN) {
                EXPECT_EQ(transaction_of(fresh).depth, result == 0 ? 1u : 0u);
            }
            // What a program does that did not look: nothing of it may happen, or it had no part in
            // the failure.
            const bool refused = transaction_of(fresh).depth == form.depth &&
                                 transaction_of(fresh).doom == STM_REASON_NONE;
            long ended = 0;
            while (transaction_of(fresh).depth != 0)
                ended = commit(fresh);
            if (result == 0) {
                EXPECT_EQ(ended, 0);
                EXPECT_TRUE(std::equal(back.begin(), back.begin() + static_cast<long>(bytes),
                                       sent.begin()));
            } else if (!refused && (form.flags == 0 || form.depth == 2) && form.depth != 0) {
                EXPECT_EQ(ended, result);
            }
            EXPECT_EQ(read_string(fresh, 17 * kPage + 90, 100),
                      result == 0 ? std::string(sent.begin(), sent.begin() + 100)
                                  : std::string(100, '\0'));
            // And it works again.
            EXPECT_EQ(pieces.access(fresh), 0);
            EXPECT_EQ(destroy_handle(fresh), 0);
            if (failure == Failure::none)
                break;
        }
        std::printf("[  points  ] %-34s %zu\n", form.name, points);
        EXPECT_GE(points, form.large ? 6u : 4u);
    }
}

// Broken pieces begin no transaction, and nothing of one is left.
TEST_F(FailedVectors, ThatBeginLeaveNoTransaction) {
    for (const Broken& each : broken_pieces(kBytes, seen)) {
        SCOPED_TRACE(each.name);
        EXPECT_EQ(each.pieces.access(file, STM_VECTOR_BEGIN), each.error);
        EXPECT_EQ(transaction_of(file).depth, 0u);
        EXPECT_FALSE(store(file, 0, 1)) << "outside of transactions";
        EXPECT_EQ(commit(file), -EINVAL);
    }
    expect_nothing();
}

TEST_F(FailedVectors, ThatBeginOnLostDescriptorsOrInAViewOfOthersLeaveNone) {
    OtherThread thread;
    std::size_t closed = 0;
    std::size_t busy = 0;
    for (const bool closes : {true, false}) {
        for (EachMoment moment; moment.next();) {
            SCOPED_TRACE(testing::Message() << "step " << moment.step());
            const File fresh = open(control, "fresh", kCreate | STM_OPEN_EXCL, {kBytes, 0});
            if (!closes) {
                ASSERT_EQ(map(fresh, 0, kBytes / kPage, STM_MAP_WRITE), 0);
            }
            long result = 0;
            long others = -1;
            moment.in_the_middle(
                [&] {
                    const AsThread as(thread);
                    if (closes)
                        stm_core_flush(fresh.get(), simulated::closed_for_good());
                    else
                        others = start(fresh);
                },
                [&] {
                    result = Pieces()
                                 .write(0, &kOne, 8)
                                 .read(64, &seen, 8)
                                 .access(fresh, STM_VECTOR_BEGIN);
                });
            const stm_transaction now = transaction_of(fresh);
            EXPECT_TRUE(result == 0 || result == (closes ? -ECANCELED : -EBUSY)) << result;
            EXPECT_EQ(now.depth, result == 0 ? 1u : 0u);
            closed += closes && result != 0;
            busy += !closes && result != 0;
            if (others == 1) {
                EXPECT_EQ(result, -EBUSY);
                const AsThread as(thread);
                EXPECT_EQ(commit(fresh), 0);
            }
            if (now.depth != 0)
                (void)cancel(fresh);
            EXPECT_EQ(get(fresh, 0), 0u);
            EXPECT_EQ(destroy_handle(fresh), 0);
        }
    }
    EXPECT_GT(closed, 0u);
    EXPECT_GT(busy, 0u);
}

// -- Conflicts --

TEST_F(FailedVectors, AloneAreTriedAgainAfterAConflict) {
    // Between its pieces and its commit, each time, until it is over before the other one comes.
    put(file, 0, 100);
    std::uint64_t now = 100;
    OtherThread thread;
    std::size_t conflicts = 0;
    for (EachMoment moment; moment.next();) {
        std::uint64_t value = 1000 + moment.step();
        const stm_statistics before = statistics_of(file);
        bool disturbed = false;
        moment.in_the_middle(
            [&] {
                const AsThread as(thread);
                put(other, 0, ++now);
                disturbed = true;
            },
            [&] { EXPECT_EQ(Pieces().read(0, &seen, 8).write(64, &value, 8).access(file), 0); });
        EXPECT_EQ(get(other, 64), value);
        EXPECT_EQ(get(other, 0), now);
        EXPECT_TRUE(seen == now || (disturbed && seen == now - 1));
        for (unsigned reason = 0; reason < STM_REASONS; ++reason)
            conflicts += statistics_of(file).aborts[reason] - before.aborts[reason];
    }
    EXPECT_GT(conflicts, 0u);
}

// What it writes is copied from the caller's memory for each attempt, and what it read is written
// there again.
TEST_F(FailedVectors, ThatAreTriedAgainReadTheirMemoryAgain) {
    OtherThread thread;
    std::size_t again = 0;
    for (EachMoment moment; moment.next();) {
        put(file, 0, 1);
        std::uint64_t value = 1;
        const auto attempts = statistics_of(file).aborts[STM_REASON_COMMIT_VALIDATION];
        moment.in_the_middle(
            [&] {
                const AsThread as(thread);
                put(other, 0, 2);
                value = 2;
            },
            [&] { EXPECT_EQ(Pieces().read(0, &seen, 8).write(64, &value, 8).access(file), 0); });
        if (statistics_of(file).aborts[STM_REASON_COMMIT_VALIDATION] == attempts)
            continue;
        ++again;
        EXPECT_EQ(seen, 2u);
        EXPECT_EQ(get(other, 64), 2u);
    }
    EXPECT_GT(again, 0u);
}

class ConflictingVectors : public FailedVectors {
protected:
    // A transaction that has read what has changed since, and cannot have a later snapshot.
    void doom(std::uint64_t argument = 0) {
        EXPECT_EQ(start(file, argument), 1);
        EXPECT_EQ(get(file, 0), get(other, 0));
        disturb(0, get(other, 0) + 1);
        disturb(64, get(other, 64) + 1);
    }
};

TEST_F(ConflictingVectors, DoomTheirTransaction) {
    doom();
    EXPECT_EQ(Pieces().write(2 * kPage, &kOne, 8).read(64, &seen, 8).access(file), -EAGAIN);
    EXPECT_EQ(transaction_of(file).depth, 1u);
    EXPECT_EQ(transaction_of(file).doom, unsigned{STM_REASON_READ_VALIDATION});
    EXPECT_EQ(commit(file), -EAGAIN);
    EXPECT_EQ(get(other, 2 * kPage), 0u);
}

TEST_F(ConflictingVectors, SendTheSignalThatTheTransactionAskedFor) {
    doom(STM_START_SIGNAL(10));
    EXPECT_EQ(Pieces().read(64, &seen, 8).access(file), -EAGAIN);
    EXPECT_EQ(simulated::take_signals(), std::vector<int>{10});
    EXPECT_EQ(Pieces().read(64, &seen, 8).access(file), -EAGAIN);
    EXPECT_EQ(simulated::take_signals(), std::vector<int>{}) << "once for each transaction";
    EXPECT_EQ(cancel(file), 0);
}

TEST_F(ConflictingVectors, WithCommitEndTheirTransaction) {
    doom();
    EXPECT_EQ(Pieces().write(2 * kPage, &kOne, 8).read(64, &seen, 8).access_and_commit(file),
              -EAGAIN);
    EXPECT_EQ(transaction_of(file).depth, 0u);
    doom();
    EXPECT_EQ(Pieces().write(2 * kPage, &kOne, 8).access_and_commit(file), -EAGAIN)
        << "found by the commit";
    EXPECT_EQ(transaction_of(file).depth, 0u);
    EXPECT_EQ(get(other, 2 * kPage), 0u);
}

TEST_F(ConflictingVectors, WithCommitEndANestedPartOfADoomedTransaction) {
    doom();
    EXPECT_EQ(start(file), 2);
    EXPECT_EQ(Pieces().write(2 * kPage, &kOne, 8).read(64, &seen, 8).access_and_commit(file),
              -EAGAIN);
    EXPECT_EQ(transaction_of(file).depth, 1u);
    EXPECT_EQ(commit(file), -EAGAIN);
    EXPECT_EQ(get(other, 2 * kPage), 0u);
}

// -- Ends from outside --

TEST_F(FailedVectors, OfATransactionWithoutADescriptorAreTold) {
    const Pieces pieces = Pieces().write(0, &kOne, 8).read(0, &seen, 8);
    const auto lose = [&] {
        EXPECT_EQ(start(file), 1);
        put(file, 2 * kPage, 1);
        stm_core_flush(file.get(), simulated::kLastDescriptor);
    };
    lose();
    EXPECT_EQ(pieces.access(file), -ECANCELED);
    EXPECT_EQ(Pieces().read(kBytes, &seen, 8).access(file), -ECANCELED) << "the first reason";
    EXPECT_EQ(Pieces().read(0, nullptr, 8).access(file), -ECANCELED);
    EXPECT_EQ(transaction_of(file).depth, 1u);
    EXPECT_EQ(pieces.access_and_commit(file), -ECANCELED);
    EXPECT_EQ(transaction_of(file).depth, 0u);
    lose();
    EXPECT_EQ(Pieces().read(kBytes, &seen, 8).access_and_commit(file), -ECANCELED);
    lose();
    EXPECT_EQ(Pieces().access_and_commit(file), -ECANCELED);
    expect_nothing();
}

TEST_F(FailedVectors, OfAThreadThatEndsHaveNoEffect) {
    {
        OtherThread thread;
        const AsThread as(thread);
        EXPECT_EQ(start(file), 1);
        EXPECT_EQ(Pieces().write(0, &kOne, 8).write(kPage, &kOne, 8).access(file), 0);
    }
    expect_nothing();
    EXPECT_EQ(Pieces().read(0, &seen, 8).access(file), 0);
    EXPECT_EQ(transaction_of(file).depth, 0u);
}

TEST_F(FailedVectors, AloneEndWhenTheirProcessIsKilled) {
    OtherThread thread;
    // It conflicts, and would be tried again.
    bool interrupted = false;
    for (EachMoment moment; moment.next();) {
        const simulated::Dying dying;
        long result = 0;
        moment.in_the_middle(
            [&] {
                const AsThread as(thread);
                put(other, 0, moment.step() + 1);
            },
            [&] { result = Pieces().read(0, &seen, 8).write(64, &kOne, 8).access(file); });
        EXPECT_TRUE(result == 0 || result == -EINTR) << result;
        interrupted |= result == -EINTR;
        if (result != 0) {
            EXPECT_EQ(get(other, 64), 0u);
        }
        put(other, 64, 0);
    }
    EXPECT_TRUE(interrupted);
}

} // namespace
} // namespace stm::test
