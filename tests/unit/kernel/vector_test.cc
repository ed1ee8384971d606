// SPDX-License-Identifier: GPL-2.0
// What the pieces of a call do.
#include "tests/unit/kernel/vector_test.hpp"

#include "tests/unit/kernel/threads.hpp"

#include <array>

namespace stm::test {
namespace {

class Vectors : public Transactions {
protected:
    static long put_two(const File& to, std::uint64_t first, std::uint64_t second,
                        std::uint64_t value) {
        return Pieces().write(first, &value, 8).write(second, &value, 8).access(to);
    }
};

TEST_F(Vectors, AreDoneInTheOrderOfTheirPieces) {
    put(file, 8, 1);
    for (const bool inside : {false, true}) {
        const std::uint64_t two = 2;
        const std::uint64_t three = 3;
        std::array<std::uint64_t, 4> seen{};
        const Pieces pieces = Pieces()
                                  .read(8, &seen[0], 8)
                                  .write(8, &two, 8)
                                  .read(8, &seen[1], 8)
                                  .write(12, &three, 4)
                                  .read(8, &seen[2], 8)
                                  .read(0, &seen[3], 8);
        if (inside) {
            EXPECT_EQ(start(file), 1);
        }
        EXPECT_EQ(pieces.access(file), 0);
        const std::uint64_t both = std::uint64_t{3} << 32 | 2;
        EXPECT_EQ(seen, (std::array<std::uint64_t, 4>{1, 2, both, 0}));
        if (inside) {
            EXPECT_EQ(get(other, 8), 1u) << "it is not committed";
            EXPECT_EQ(commit(file), 0);
        }
        EXPECT_EQ(get(other, 8), both);
        put(file, 8, 1);
    }
}

TEST_F(Vectors, AreATransactionOfTheirOwnWithoutOne) {
    const std::uint64_t value = 5;
    const auto calls = statistics_of(file).calls;
    EXPECT_EQ(Pieces().write(0, &value, 8).write(9 * kPage, &value, 8).access(file), 0);
    EXPECT_EQ(transaction_of(file).depth, 0u);
    EXPECT_EQ(statistics_of(file).calls, calls + 1) << "one for all pieces";
    EXPECT_EQ(get(other, 0), 5u);
    EXPECT_EQ(get(other, 9 * kPage), 5u);
}

TEST_F(Vectors, CountAsOneReadAndOneWrite) {
    const stm_info before = info_of(file);
    std::uint64_t value = 5;
    EXPECT_EQ(Pieces().write(0, &value, 8).write(64, &value, 8).access(file), 0);
    EXPECT_EQ(Pieces().read(0, &value, 8).write(64, &value, 8).access(file), 0);
    EXPECT_EQ(Pieces().access(file), 0);
    EXPECT_EQ(info_of(file).reads, before.reads + 1);
    EXPECT_EQ(info_of(file).writes, before.writes + 2);
}

// Lengths around those of a word, of the buffer on the stack (256 bytes) and of a round (64 KiB).
TEST_F(Vectors, HaveAnyLengthAndPlace) {
    for (const std::size_t bytes :
         {1u, 7u, 8u, 9u, 255u, 256u, 257u, 4096u, 65535u, 65536u, 65537u, 200'001u}) {
        for (const std::uint64_t offset : {0u, 3u, 4090u}) {
            SCOPED_TRACE(testing::Message() << bytes << " bytes at " << offset);
            const auto sent = pattern(bytes, static_cast<unsigned>(bytes + offset));
            std::vector<std::uint8_t> back(bytes + 2);
            const std::uint64_t word = 0x0102030405060708;
            std::uint64_t word_back = 0;
            const std::uint64_t far = 600'000;
            EXPECT_EQ(Pieces()
                          .write(far, &word, 8)
                          .write(offset, sent.data(), bytes)
                          .read(offset, back.data() + 1, bytes)
                          .read(far, &word_back, 8)
                          .access(file),
                      0);
            EXPECT_TRUE(std::equal(sent.begin(), sent.end(), back.begin() + 1));
            EXPECT_EQ(back.front(), 0) << "before it";
            EXPECT_EQ(back.back(), 0) << "behind it";
            EXPECT_EQ(word_back, word);
            std::vector<std::uint8_t> seen(bytes);
            EXPECT_EQ(read(other, offset, seen.data(), bytes), static_cast<long>(bytes));
            EXPECT_TRUE(seen == sent);
        }
    }
}

// Lists of words alone have a way of their own. Here they lie at all places of few stripes.
TEST_F(Vectors, OfWordsAreLikeReadsAndWrites) {
    std::uint64_t state = 1;
    const auto draw = [&](std::uint64_t below) {
        state = state * 6364136223846793005 + 1442695040888963407;
        return (state >> 33) % below;
    };
    constexpr std::size_t kWords = 40;
    std::vector<std::uint8_t> model(kPage + 400);
    for (int round = 0; round < 300; ++round) {
        SCOPED_TRACE(round);
        const bool within = draw(2) == 0;
        if (within) {
            ASSERT_EQ(start(file), 1);
        }
        for (std::size_t call = 0; call < 1 + draw(3); ++call) {
            std::uint64_t words[kWords] = {};
            std::uint64_t expected[kWords] = {};
            Pieces pieces;
            for (std::size_t i = 0; i < 1 + draw(kWords); ++i) {
                const std::uint64_t offset =
                    kPage - 200 + (draw(4) == 0 ? draw(400) : draw(50) * 8);
                if (draw(3) == 0) {
                    words[i] = expected[i] = draw(~0ull >> 34);
                    std::memcpy(model.data() + offset, &words[i], 8);
                    pieces.write(offset, &words[i], 8);
                } else {
                    std::memcpy(&expected[i], model.data() + offset, 8);
                    pieces.read(offset, &words[i], 8);
                }
            }
            ASSERT_EQ(pieces.access(file), 0);
            EXPECT_TRUE(std::equal(std::begin(words), std::end(words), expected));
        }
        if (within) {
            ASSERT_EQ(commit(file), 0);
        }
        std::vector<std::uint8_t> seen(model.size());
        ASSERT_EQ(read(other, 0, seen.data(), seen.size()), static_cast<long>(seen.size()));
        ASSERT_TRUE(seen == model);
    }
}

TEST_F(Vectors, OfWordsReadNothingNewBesideSomethingOld) {
    put(other, 0, 1);
    put(other, 64, 1);
    std::uint64_t first = 0;
    std::uint64_t second = 0;
    ASSERT_EQ(start(file), 1);
    EXPECT_EQ(Pieces().read(0, &first, 8).access(file), 0);
    std::thread([&] { put(other, 64, 2); }).join();
    EXPECT_EQ(Pieces().read(64, &second, 8).access(file), 0) << "the snapshot is extended";
    EXPECT_EQ(second, 2u);
    std::thread([&] {
        put(other, 0, 3);
        put(other, 128, 3);
    }).join();
    EXPECT_EQ(Pieces().read(128, &second, 8).access(file), -EAGAIN);
    EXPECT_EQ(cancel(file), 0);
}

TEST_F(Vectors, HaveUpTo1024Pieces) {
    std::vector<std::uint64_t> sent(STM_MAX_PIECES / 2);
    std::vector<std::uint64_t> back(sent.size());
    for (const std::size_t pairs : {7u, 8u, 9u, STM_MAX_PIECES / 2u}) { // 16 have room on the stack
        Pieces pieces;
        for (std::size_t pair = 0; pair < pairs; ++pair) {
            sent[pair] = 1000 * pairs + pair;
            pieces.write(pair * 1000, &sent[pair], 8).read(pair * 1000, &back[pair], 8);
        }
        EXPECT_EQ(pieces.access(file), 0);
        EXPECT_TRUE(
            std::equal(sent.begin(), sent.begin() + static_cast<long>(pairs), back.begin()));
    }
    Pieces many;
    while (many.size() < STM_MAX_PIECES + 1)
        many.write(0, &sent[0], 8);
    EXPECT_EQ(start(file), 1);
    put(file, 0, 9);
    EXPECT_EQ(many.access(file), -E2BIG);
    EXPECT_EQ(many.access_and_commit(file), -E2BIG);
    EXPECT_EQ(transaction_of(file).depth, 1u) << "not even the transaction has changed";
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(get(other, 0), 9u);
}

TEST_F(Vectors, MayBeEmpty) {
    EXPECT_EQ(Pieces().access(file), 0);
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(Pieces().access(file), 0);
    put(file, 0, 4);
    EXPECT_EQ(Pieces().access_and_commit(file), 0);
    EXPECT_EQ(get(other, 0), 4u);
}

TEST_F(Vectors, DoNothingInAPieceOfNoBytes) {
    // Its offset and its address mean nothing.
    std::uint64_t seen = 0;
    const std::uint64_t value = 3;
    const Pieces pieces = Pieces()
                              .write(~std::uint64_t{0}, nullptr, 0)
                              .write(0, &value, 8)
                              .read(kBytes + 1, nullptr, 0)
                              .read(0, &seen, 8)
                              .write(0, nullptr, 0);
    EXPECT_EQ(pieces.access(file), 0);
    EXPECT_EQ(seen, 3u);
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(Pieces().read(~std::uint64_t{0}, nullptr, 0).access(file), 0);
    EXPECT_EQ(transaction_of(file).doom, unsigned{STM_REASON_NONE});
    EXPECT_EQ(pieces.access_and_commit(file), 0);
}

TEST_F(Vectors, ReadNothingButWhatIsThere) {
    // A region's new bytes are zeros, also those that come through a buffer.
    std::vector<std::uint8_t> seen(100'000, 0xff);
    EXPECT_EQ(Pieces().read(1, seen.data(), 1).read(5, seen.data() + 1, 99'999).access(file), 0);
    EXPECT_TRUE(seen == std::vector<std::uint8_t>(100'000));
}

TEST_F(Vectors, AreRefusedOnAPlainRegion) {
    const File plain = open(control, "plain");
    std::uint64_t value = 1;
    EXPECT_EQ(Pieces().read(0, &value, 8).access(plain), -EOPNOTSUPP);
    EXPECT_EQ(Pieces().access_and_commit(plain), -EOPNOTSUPP);
}

TEST_F(Vectors, AreAUseOfTheDefaultRegion) {
    const File device = File::node(0);
    const std::uint64_t value = 1;
    EXPECT_EQ(Pieces().write(0, &value, 8).access(device), 0);
    EXPECT_EQ(info_of(device).handles, 1u);
}

TEST_F(Vectors, FollowTheFlagsThatAreKnown) {
    std::uint64_t value = 1;
    EXPECT_EQ(start(file), 1);
    Pieces pieces;
    pieces.write(0, &value, 8);
    EXPECT_EQ(pieces.access(file, STM_VECTOR_BEGIN | STM_VECTOR_COMMIT), -EINVAL);
    for (std::uint32_t flag = 2; flag != 0; flag <<= 1) {
        EXPECT_EQ(pieces.access(file, flag), flag == STM_VECTOR_BEGIN ? -EBUSY : -EINVAL);
        EXPECT_EQ(Pieces().write(0, &value, 8).add(0, &value, 8, flag).access(file), -EINVAL);
    }
    stm_vector reserved = pieces.argument();
    reserved.reserved = 1;
    EXPECT_EQ(request(file, STM_IOC_VECTOR, reserved), -EINVAL);
    EXPECT_EQ(transaction_of(file).doom, unsigned{STM_REASON_NONE});
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(get(other, 0), 0u);
}

TEST_F(Vectors, NeedTheRightsOfTheirPieces) {
    const File reader = open(control, "tx", STM_OPEN_READ, {0, 0, 0});
    const File writer = open(control, "tx", STM_OPEN_WRITE, {0, 0, 0});
    put(file, 0, 1);
    std::uint64_t seen = 7;
    const std::uint64_t value = 2;
    const Pieces reads = Pieces().read(0, &seen, 8).read(8, &seen, 8);
    const Pieces writes = Pieces().write(0, &value, 8);
    const Pieces both = Pieces().write(0, &value, 8).read(0, &seen, 8);
    EXPECT_EQ(writes.access(reader), -EBADF);
    EXPECT_EQ(both.access(reader), -EBADF);
    EXPECT_EQ(reads.access(writer), -EBADF);
    EXPECT_EQ(both.access(writer), -EBADF);
    EXPECT_EQ(seen, 7u) << "nothing was read";
    EXPECT_EQ(get(file, 0), 1u) << "nothing was written";

    EXPECT_EQ(start(reader), 1);
    EXPECT_EQ(writes.access(reader), -EBADF);
    EXPECT_EQ(both.access_and_commit(reader), -EBADF);
    EXPECT_EQ(transaction_of(reader).depth, 1u) << "not even the transaction has changed";
    EXPECT_EQ(reads.access_and_commit(reader), 0);
    EXPECT_EQ(writes.access(writer), 0);
    EXPECT_EQ(get(file, 0), 2u);
}

// -- In transactions --

TEST_F(Vectors, ArePartsOfATransactionThatCancelsThem) {
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(put_two(file, 0, 64, 1), 0);
    EXPECT_EQ(start(file), 2);
    EXPECT_EQ(put_two(file, 64, 128, 2), 0);
    EXPECT_EQ(cancel(file), 0);
    EXPECT_EQ(get(file, 64), 1u);
    EXPECT_EQ(get(file, 128), 0u);
    EXPECT_EQ(commit(file), 0);
    EXPECT_EQ(get(other, 0), 1u);
    EXPECT_EQ(get(other, 128), 0u);
}

TEST_F(Vectors, WithCommitEndTheInnermostPart) {
    const std::uint64_t value = 1;
    const Pieces pieces = Pieces().write(0, &value, 8).write(64, &value, 8);
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(start(file), 2);
    EXPECT_EQ(pieces.access_and_commit(file), 0);
    EXPECT_EQ(transaction_of(file).depth, 1u);
    EXPECT_EQ(get(other, 0), 0u) << "a part of what is not committed yet";
    EXPECT_EQ(pieces.access_and_commit(file), 0);
    EXPECT_EQ(transaction_of(file).depth, 0u);
    EXPECT_EQ(get(other, 0), 1u);
    EXPECT_EQ(pieces.access_and_commit(file), -EINVAL) << "there is none";
}

TEST_F(Vectors, WithCommitAndNoTransactionDoNothing) {
    std::uint64_t seen = 7;
    const std::uint64_t value = 1;
    const Pieces pieces = Pieces().write(0, &value, 8).read(0, &seen, 8);
    EXPECT_EQ(pieces.access_and_commit(file), -EINVAL);
    EXPECT_EQ(seen, 7u);
    EXPECT_EQ(get(other, 0), 0u);
    OtherThread thread;
    EXPECT_EQ(start(file), 1);
    {
        const AsThread as(thread);
        EXPECT_EQ(pieces.access_and_commit(file), -EINVAL) << "it is another thread's";
        EXPECT_EQ(pieces.access(file), 0) << "a call of its own";
    }
    EXPECT_EQ(cancel(file), 0);
}

TEST_F(Vectors, BeginATransactionThatIsCommittedWithOthers) {
    put(file, 0, 10);
    std::uint64_t seen = 0;
    EXPECT_EQ(Pieces().read(0, &seen, 8).access(file, STM_VECTOR_BEGIN), 0);
    EXPECT_EQ(seen, 10u);
    EXPECT_EQ(transaction_of(file).depth, 1u);
    EXPECT_EQ(Pieces().access(file, STM_VECTOR_BEGIN), -EBUSY) << "one runs";
    seen += 5;
    EXPECT_EQ(Pieces().write(0, &seen, 8).access(file), 0);
    EXPECT_EQ(get(other, 0), 10u);
    EXPECT_EQ(Pieces().write(64, &seen, 8).access_and_commit(file), 0);
    EXPECT_EQ(transaction_of(file).depth, 0u);
    EXPECT_EQ(get(other, 0), 15u);
    EXPECT_EQ(get(other, 64), 15u);
}

TEST_F(Vectors, ThatBeginAreToldOfAConflictByTheirResults) {
    std::uint64_t seen = 0;
    EXPECT_EQ(Pieces().read(0, &seen, 8).access(file, STM_VECTOR_BEGIN), 0);
    put(other, 0, 3);
    EXPECT_EQ(Pieces().write(64, &seen, 8).access_and_commit(file), -EAGAIN);
    EXPECT_EQ(transaction_of(file).depth, 0u);
    EXPECT_EQ(get(other, 64), 0u);
    EXPECT_EQ(Pieces().read(0, &seen, 8).access(file, STM_VECTOR_BEGIN), 0);
    EXPECT_EQ(seen, 3u);
    EXPECT_EQ(Pieces().access_and_commit(file), 0);
}

TEST_F(Vectors, ThatFailBeginNothing) {
    std::uint64_t seen = 0;
    EXPECT_EQ(Pieces().read(0, &seen, 8).read(~0ull - 8, &seen, 8).access(file, STM_VECTOR_BEGIN),
              -ENOSPC);
    EXPECT_EQ(transaction_of(file).depth, 0u);
    EXPECT_EQ(Pieces().read(0, reinterpret_cast<void*>(8), 8).access(file, STM_VECTOR_BEGIN),
              -EFAULT);
    EXPECT_EQ(transaction_of(file).depth, 0u);
    EXPECT_EQ(start(file), 1);
    EXPECT_EQ(cancel(file), 0);
}

// At each step of the engine somebody else commits.
TEST_F(Vectors, ThatBeginSeeOneMomentAndGoOnThere) {
    bool happened = true;
    std::uint64_t value = 0;
    for (std::size_t step = 1; happened; ++step) {
        SCOPED_TRACE(testing::Message() << "step " << step);
        happened = false;
        std::array<std::uint64_t, 2> seen{};
        {
            const simulated::InterleaveCommit between(step, [&] {
                happened = true;
                std::thread([&] { put_two(other, 0, kPage, ++value); }).join();
            });
            EXPECT_EQ(Pieces()
                          .read(0, &seen[0], 8)
                          .read(kPage, &seen[1], 8)
                          .access(file, STM_VECTOR_BEGIN),
                      0);
        }
        EXPECT_EQ(seen[0], seen[1]);
        EXPECT_EQ(transaction_of(file).depth, 1u);
        EXPECT_EQ(cancel(file), 0);
    }
}

TEST_F(Vectors, WorkInAMutexRegion) {
    const File mutex = open(control, "mutex", kCreate, {kPage, STM_REGION_MUTEX});
    std::uint64_t seen = 0;
    const std::uint64_t value = 6;
    const Pieces pieces = Pieces().write(0, &value, 8).read(0, &seen, 8);
    EXPECT_EQ(pieces.access(mutex), 0);
    EXPECT_EQ(start(mutex), 1);
    EXPECT_EQ(pieces.access(mutex), 0);
    EXPECT_EQ(pieces.access_and_commit(mutex), 0);
    EXPECT_EQ(seen, 6u);
    EXPECT_EQ(get(mutex, 0), 6u);
}

// -- In mappings --

class MappedVectors : public MappedTransactions {};

TEST_F(MappedVectors, SeeWhatWasStoredAndAreSeenByLoads) {
    EXPECT_EQ(start(file), 1);
    EXPECT_TRUE(store(file, 8, 1));
    EXPECT_EQ(load(file, 3 * kPage), 0u);
    // Across a page that is the transaction's own and two that are not, or only for loads.
    const auto sent = pattern(3 * kPage);
    std::uint64_t stored = 0;
    std::vector<std::uint8_t> back(sent.size());
    EXPECT_EQ(Pieces()
                  .read(8, &stored, 8)
                  .write(100, sent.data(), sent.size())
                  .read(100, back.data(), back.size())
                  .access(file),
              0);
    EXPECT_EQ(stored, 1u);
    EXPECT_TRUE(back == sent);
    EXPECT_EQ(load(file, 8), 1u);
    for (const std::uint64_t position : {kPage - 8, kPage, 2 * kPage, 3 * kPage}) {
        std::uint64_t expected = 0;
        std::memcpy(&expected, sent.data() + position - 100, 8);
        EXPECT_EQ(load(file, position), expected) << position;
    }
    EXPECT_EQ(read_string(other, 100, 16), std::string(16, '\0'));
    EXPECT_EQ(Pieces().access_and_commit(file), 0);
    EXPECT_EQ(get(other, 8), 1u);
    EXPECT_EQ(read(other, 100, back.data(), back.size()), static_cast<long>(back.size()));
    EXPECT_TRUE(back == sent);
}

TEST_F(MappedVectors, WithCommitTakeThePagesOutOfTheView) {
    EXPECT_EQ(start(file), 1);
    EXPECT_TRUE(store(file, 0, 1));
    const std::uint64_t value = 2;
    EXPECT_EQ(Pieces().write(kPage, &value, 8).access_and_commit(file), 0);
    EXPECT_EQ(simulated::mapped_page(file.view(), 0), nullptr);
    EXPECT_EQ(load(file, 0), 1u) << "what is committed";
    EXPECT_FALSE(store(file, 0, 3)) << "there is no transaction";
    EXPECT_EQ(load(other, kPage), 2u);
}

// -- With others --

// At each step of the engine somebody else commits.
TEST_F(Vectors, ReadWhatWasThereAtOneMoment) {
    std::vector<std::uint64_t> seen(8);
    Pieces pieces;
    for (std::size_t place = 0; place < seen.size(); ++place)
        pieces.read(place * (kPage + 64), &seen[place], 8);
    std::uint64_t value = 0;
    bool happened = true;
    for (std::size_t step = 1; happened; ++step) {
        SCOPED_TRACE(testing::Message() << "step " << step);
        happened = false;
        {
            const simulated::InterleaveCommit between(step, [&] {
                happened = true;
                std::thread([&] {
                    ++value;
                    Pieces writes;
                    for (std::size_t place = 0; place < seen.size(); ++place)
                        writes.write(place * (kPage + 64), &value, 8);
                    EXPECT_EQ(writes.access(other), 0);
                }).join();
            });
            EXPECT_EQ(pieces.access(file), 0);
        }
        for (const std::uint64_t each : seen)
            EXPECT_EQ(each, seen[0]);
        EXPECT_GE(seen[0] + 1, value);
    }
    EXPECT_GT(value, 10u);
}

// The same with writes, in more than a round, and the other one at each step at which no lock is
// held: while bytes are copied from and to the caller. (A large commit would keep it waiting.)
TEST_F(Vectors, AreOneTransactionOverAllRounds) {
    std::vector<std::uint8_t> sent(1000);
    std::vector<std::uint8_t> back(66'000);
    std::uint64_t before = 0;
    std::uint64_t after = 0;
    OtherThread thread;
    for (EachMoment moment; moment.next();) {
        sent.assign(sent.size(), static_cast<std::uint8_t>(moment.step()));
        moment.in_the_middle(
            [&] {
                const AsThread as(thread);
                EXPECT_EQ(put_two(other, 0, 900'000, moment.step()), 0);
            },
            [&] {
                EXPECT_EQ(Pieces()
                              .read(0, &before, 8)
                              .write(1000, sent.data(), sent.size())
                              .read(1000, back.data(), back.size())
                              .read(900'000, &after, 8)
                              .access(file),
                          0);
            });
        EXPECT_EQ(before, after);
        EXPECT_TRUE(std::equal(sent.begin(), sent.end(), back.begin()));
    }
}

// The buffer of one call is that of the next, whatever kind of call it is.
TEST_F(Vectors, AllocateNothingWhereACallWasBefore) {
    std::vector<std::uint64_t> words(1024);
    const auto all = [&] {
        return Pieces().read(64, words.data(), words.size() * sizeof(words[0])).access(file);
    };
    std::vector<std::uint8_t> bytes(10'000);
    put(file, 64, 1);
    ASSERT_EQ(all(), 0);
    ASSERT_EQ(read(file, 0, bytes.data(), bytes.size()), 10'000);
    for (std::size_t step = 1;; ++step) {
        const simulated::FailPoint point(step);
        static_cast<void>(all());
        ASSERT_NE(point.happened(), simulated::Failure::allocation) << step;
        if (point.happened() == simulated::Failure::none)
            break;
    }
    EXPECT_EQ(all(), 0);
    EXPECT_EQ(words[0], 1u);
}

TEST_F(Vectors, NobodySeesHalfOf) {
    const auto end = Clock::now() + milliseconds(200);
    in_threads(3, [&](int number) {
        const File own = open(control, "tx", kOpen, {0, 0, 0});
        std::array<std::uint64_t, 3> seen{};
        for (std::uint64_t round = 1; Clock::now() < end; ++round) {
            const std::uint64_t value = round * 4 + static_cast<std::uint64_t>(number);
            if (number < 2) {
                ASSERT_EQ(Pieces()
                              .write(0, &value, 8)
                              .write(kPage, &value, 8)
                              .write(300'000, &value, 8)
                              .access(own),
                          0);
                continue;
            }
            ASSERT_EQ(Pieces()
                          .read(300'000, &seen[2], 8)
                          .read(kPage, &seen[1], 8)
                          .read(0, &seen[0], 8)
                          .access(own),
                      0);
            ASSERT_TRUE(seen[0] == seen[1] && seen[1] == seen[2]);
        }
    });
}

} // namespace
} // namespace stm::test
