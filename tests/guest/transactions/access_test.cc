// SPDX-License-Identifier: GPL-2.0
// Several reads and writes by one call: <stm/access.h>.
#include "access.h"
#include "transactions.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>
#include <random>
#include <stm/access.h>
#include <thread>

using namespace stm::test;

namespace {

class Access : public Transactions {
protected:
    // Results with errno behind them: 0, 1, or the error.
    template <std::size_t kCount>
    static int access(int fd, const stm_piece (&pieces)[kCount]) {
        return stm_access(fd, pieces, kCount) == 0 ? 0 : errno;
    }
    template <std::size_t kCount>
    static int access_and_commit(int fd, const stm_piece (&pieces)[kCount]) {
        errno = 0;
        const int result = stm_access_and_commit(fd, pieces, kCount);
        if (result == 1) {
            EXPECT_EQ(errno, EAGAIN);
        }
        return result == -1 ? errno : result;
    }
    static int put_two(int fd, long value) {
        const stm_piece pieces[] = {stm_write_piece(0, &value, sizeof value),
                                    stm_write_piece(kPage, &value, sizeof value)};
        return access(fd, pieces);
    }
    // Both numbers that put_two writes have changed, in another process.
    void change_both() {
        elsewhere([&] {
            const Fd handle = another();
            EXPECT_EQ(put_two(handle.get(), get(handle.get()) + 1), 0);
        });
    }
};

// -- One thread --

TEST_F(Access, APieceReadsWhatThoseBeforeItWrote) {
    const long one = 1;
    const int half = 2;
    long first = -1;
    long second = -1;
    const stm_piece pieces[] = {
        stm_read_piece(8, &first, sizeof first),
        stm_write_piece(8, &one, sizeof one),
        stm_write_piece(12, &half, sizeof half),
        stm_read_piece(8, &second, sizeof second),
    };
    EXPECT_EQ(access(fd(), pieces), 0);
    EXPECT_EQ(first, 0);
    EXPECT_EQ(second, 2L << 32 | 1);
    EXPECT_EQ(get(fd(), 8), second);
}

TEST_F(Access, IsAPartOfTheTransaction) {
    stm_start(fd());
    put(fd(), 3L, 64);
    EXPECT_EQ(put_two(fd(), 1), 0);
    elsewhere([&] {
        const Fd handle = another();
        EXPECT_EQ(get(handle.get()), 0);
    });
    long seen[2];
    const stm_piece pieces[] = {stm_read_piece(64, &seen[0], 8),
                                stm_read_piece(kPage, &seen[1], 8)};
    EXPECT_EQ(access(fd(), pieces), 0);
    EXPECT_EQ(seen[0], 3);
    EXPECT_EQ(seen[1], 1);
    stm_cancel(fd());
    EXPECT_EQ(get(fd()), 0);
    EXPECT_EQ(get(fd(), 64), 0);
}

TEST_F(Access, AndCommitMakesAllVisible) {
    const long value = 5;
    const stm_piece pieces[] = {stm_write_piece(0, &value, sizeof value)};
    stm_start(fd());
    put(fd(), 6L, kPage);
    EXPECT_EQ(access_and_commit(fd(), pieces), 0);
    EXPECT_EQ(transaction(fd()).depth, 0u);
    elsewhere([&] {
        const Fd handle = another();
        EXPECT_EQ(get(handle.get()), 5);
        EXPECT_EQ(get(handle.get(), kPage), 6);
    });
}

TEST_F(Access, AndCommitEndsTheInnermostPart) {
    const long value = 5;
    const stm_piece pieces[] = {stm_write_piece(0, &value, sizeof value)};
    stm_start(fd());
    stm_start(fd());
    EXPECT_EQ(access_and_commit(fd(), pieces), 0);
    EXPECT_EQ(transaction(fd()).depth, 1u);
    elsewhere([&] {
        const Fd handle = another();
        EXPECT_EQ(get(handle.get()), 0);
    });
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(get(fd()), 5);
}

TEST_F(Access, TakesMuchAndNothing) {
    std::vector<char> out(50'000, 'x');
    std::vector<char> in(out.size());
    const stm_piece both[] = {stm_write_piece(3000, out.data(), out.size()),
                              stm_write_piece(0, nullptr, 0),
                              stm_read_piece(3000, in.data(), in.size())};
    EXPECT_EQ(access(fd(), both), 0);
    EXPECT_EQ(in, out);

    std::vector<long> values(1025, 7);
    std::vector<stm_piece> many;
    for (long& value : values)
        many.push_back(stm_write_piece(8 * many.size(), &value, sizeof value));
    EXPECT_EQ(stm_access(fd(), many.data(), 1024), 0);
    EXPECT_EQ(get(fd(), 8 * 1023), 7);
    EXPECT_EQ(stm_access(fd(), many.data(), 1025), -1);
    EXPECT_EQ(errno, E2BIG);
    EXPECT_EQ(stm_access(fd(), nullptr, 0), 0);
    stm_start(fd());
    EXPECT_EQ(stm_access_and_commit(fd(), nullptr, 0), 0);
    EXPECT_EQ(transaction(fd()).depth, 0u);
}

TEST_F(Access, OfMoreThanFourGigabytesIsOfTooMany) {
    long value = 0;
    const stm_piece piece = stm_read_piece(0, &value, std::size_t{1} << 32 | 8);
    EXPECT_GT(piece.bytes, 8u) << "not the number without its upper half";
    const stm_piece pieces[] = {piece};
    EXPECT_EQ(access(fd(), pieces), ENOSPC) << "more than the region";
}

TEST_F(Access, WorksInMappings) {
    const Mapping map(fd(), 4 * kPage);
    long* const place = map.at<long>();
    stm_start(fd());
    place[0] = 4;
    long seen = 0;
    const long value = 5;
    const stm_piece pieces[] = {stm_read_piece(0, &seen, 8), stm_write_piece(8, &value, 8),
                                // The program's memory may be the region, too.
                                stm_write_piece(2 * kPage, place, 8)};
    EXPECT_EQ(access(fd(), pieces), 0);
    EXPECT_EQ(seen, 4);
    EXPECT_EQ(place[1], 5);
    EXPECT_EQ(place[2 * kPage / 8], 4);
    const stm_piece into[] = {stm_read_piece(8, &place[3 * kPage / 8], 8)};
    EXPECT_EQ(access(fd(), into), 0);
    EXPECT_EQ(place[3 * kPage / 8], 5);
    EXPECT_EQ(stm_commit(fd()), 0);
    for (const auto& [at, expected] :
         {std::pair<off_t, long>{0, 4}, {8, 5}, {2 * kPage, 4}, {3 * kPage, 5}})
        EXPECT_EQ(get(fd(), at), expected) << at;
    EXPECT_EQ(place[1], 5);
    const stm_piece outside[] = {stm_read_piece(0, &place[0], 8)};
    EXPECT_EQ(access(fd(), outside), EFAULT) << "a store outside of a transaction";
}

// -- What fails --

TEST_F(Access, ThatFailsTellsWhyAndDoesNothing) {
    const long one = 1;
    long seen = 0;
    const Fd reader(stm_open(region_.name().c_str(), 0, STM_RDONLY, 0));
    ASSERT_TRUE(reader);
    const stm_piece behind[] = {stm_write_piece(0, &one, 8),
                                stm_read_piece(64 * 1024 - 7, &seen, 8)};
    const stm_piece nowhere[] = {stm_write_piece(0, &one, 8), stm_read_piece(0, nullptr, 8)};
    const stm_piece from_nowhere[] = {stm_write_piece(0, &one, 8), stm_write_piece(8, nullptr, 8)};
    const stm_piece writes[] = {stm_write_piece(0, &one, 8)};
    const auto bad_list = reinterpret_cast<const stm_piece*>(8);
    stm_piece unknown[] = {stm_write_piece(0, &one, 8)};
    unknown[0].flags |= 2;

    const auto expect_error = [&](int handle, const stm_piece* pieces, unsigned count, int error) {
        EXPECT_EQ(stm_access(handle, pieces, count), -1);
        EXPECT_EQ(errno, error);
        EXPECT_EQ(get(fd()), 0) << "it has not happened";
        // As the end of a transaction, and of a part.
        for (const int depth : {1, 2}) {
            for (int part = 0; part < depth; ++part)
                ASSERT_EQ(stm_try_start(handle), 0);
            EXPECT_EQ(stm_access_and_commit(handle, pieces, count), -1);
            EXPECT_EQ(errno, error);
            EXPECT_EQ(transaction(handle).depth, static_cast<unsigned>(depth) - 1);
            if (depth == 2)
                stm_cancel(handle);
            EXPECT_EQ(transaction(handle).depth, 0u);
            EXPECT_EQ(get(fd()), 0) << "it has not happened";
        }
    };
    expect_error(fd(), behind, 2, ENOSPC);
    expect_error(fd(), nowhere, 2, EFAULT);
    expect_error(fd(), from_nowhere, 2, EFAULT);
    expect_error(fd(), bad_list, 1, EFAULT);
    expect_error(fd(), unknown, 1, EINVAL);
    expect_error(fd(), writes, 1025, E2BIG);
    expect_error(reader.get(), writes, 1, EBADF);
    EXPECT_EQ(put_two(fd(), 1), 0) << "all of that left nothing behind";
}

TEST_F(Access, ThatFailsFailsTheTransaction) {
    const long one = 1;
    const stm_piece pieces[] = {stm_write_piece(0, &one, 8), stm_write_piece(8, nullptr, 8)};
    stm_start(fd());
    put(fd(), 3L, 64);
    EXPECT_EQ(access(fd(), pieces), EFAULT);
    long value = 0;
    EXPECT_EQ(::pread(fd(), &value, sizeof value, 0), -1);
    EXPECT_EQ(errno, EFAULT);
    EXPECT_EQ(stm_try_commit(fd()), -1);
    EXPECT_EQ(errno, EFAULT);
    EXPECT_EQ(get(fd(), 64), 0);
    EXPECT_EQ(get(fd()), 0);
}

TEST_F(Access, IsForHandlesOfTransactionalRegions) {
    long value = 0;
    const stm_piece pieces[] = {stm_read_piece(0, &value, 8)};
    const Region plain("plain");
    EXPECT_EQ(access(plain.fd(), pieces), EOPNOTSUPP);
    EXPECT_EQ(access_and_commit(plain.fd(), pieces), EOPNOTSUPP);
    const Fd null(::open("/dev/null", O_RDWR));
    EXPECT_EQ(access(null.get(), pieces), ENOTTY);
    EXPECT_EQ(access_and_commit(null.get(), pieces), ENOTTY);
    EXPECT_EQ(access(-1, pieces), EBADF);
    EXPECT_EQ(access_and_commit(-1, pieces), EBADF);
    EXPECT_EQ(access_and_commit(fd(), pieces), EINVAL) << "there is no transaction";
}

TEST_F(Access, OfAnotherThreadIsNotAPart) {
    stm_start(fd());
    EXPECT_EQ(put_two(fd(), 1), 0);
    stm_defer_restarts();
    std::thread([&] {
        long seen = -1;
        const stm_piece pieces[] = {stm_read_piece(0, &seen, 8)};
        EXPECT_EQ(access(fd(), pieces), 0) << "the thread's first call";
        EXPECT_EQ(seen, 0);
        EXPECT_EQ(access_and_commit(fd(), pieces), EINVAL);
    }).join();
    stm_allow_restarts();
    EXPECT_EQ(stm_commit(fd()), 0);
}

TEST_F(Access, OfAChildIsNotAPartOfItsParentsTransaction) {
    const long two = 2;
    const stm_piece stores[] = {stm_write_piece(64, &two, 8)};
    stm_start(fd());
    EXPECT_EQ(put_two(fd(), 1), 0);
    elsewhere([&] {
        long seen = -1;
        const stm_piece pieces[] = {stm_read_piece(0, &seen, 8)};
        EXPECT_EQ(access(fd(), pieces), 0);
        EXPECT_EQ(seen, 0);
        EXPECT_EQ(access_and_commit(fd(), stores), EINVAL);
        EXPECT_EQ(access(fd(), stores), 0);
        stm_start(fd());
        EXPECT_EQ(access(fd(), pieces), 0);
        EXPECT_EQ(access_and_commit(fd(), stores), 0);
    });
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(get(fd()), 1);
    EXPECT_EQ(get(fd(), 64), 2);
}

// -- Conflicts --

TEST_F(Access, RestartsATransactionThatConflicts) {
    volatile int attempts = 0;
    volatile int returned = 0;
    long seen = 0;
    stm_start(fd());
    attempts = attempts + 1;
    const long first = get(fd());
    if (attempts == 1)
        change_both();
    const stm_piece pieces[] = {stm_read_piece(kPage, &seen, 8)};
    EXPECT_EQ(access(fd(), pieces), 0);
    returned = returned + 1;
    EXPECT_EQ(seen, first);
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(attempts, 2);
    EXPECT_EQ(returned, 1) << "it does not return from the attempt that cannot succeed";
}

TEST_F(Access, AndCommitTellsAConflict) {
    for (const bool found_by_a_read : {false, true}) {
        const long added = found_by_a_read ? 20 : 10;
        volatile int attempts = 0;
        volatile int result = -1;
        do {
            stm_defer_restarts();
            stm_start(fd());
            attempts = attempts + 1;
            const long value = get(fd()) + added;
            if (attempts == 1)
                change_both();
            long seen = 0;
            const stm_piece pieces[] = {
                stm_write_piece(2 * kPage, &value, 8),
                stm_read_piece(found_by_a_read ? kPage : 3 * kPage, &seen, 8)};
            result = access_and_commit(fd(), pieces);
            if (attempts == 1) {
                EXPECT_EQ(result, 1);
                EXPECT_EQ(transaction(fd()).depth, 0u);
                EXPECT_NE(get(fd(), 2 * kPage), value);
            }
            stm_allow_restarts();
        } while (result > 0);
        EXPECT_EQ(result, 0);
        EXPECT_EQ(attempts, 2);
        EXPECT_EQ(get(fd(), 2 * kPage), get(fd()) + added);
    }
}

TEST_F(Access, TellsAConflictWhereRestartsAreHeld) {
    volatile int attempts = 0;
    do {
        stm_start(fd());
        attempts = attempts + 1;
        stm_defer_restarts();
        get(fd());
        long seen = -1;
        const stm_piece pieces[] = {stm_read_piece(kPage, &seen, 8)};
        if (attempts == 1) {
            change_both();
            EXPECT_EQ(access(fd(), pieces), EAGAIN);
            // A part that begins now cannot do anything either.
            stm_start(fd());
            EXPECT_EQ(access(fd(), pieces), EAGAIN);
            EXPECT_EQ(access_and_commit(fd(), pieces), 1);
            EXPECT_EQ(seen, -1);
            EXPECT_EQ(transaction(fd()).depth, 1u);
        }
        stm_allow_restarts();
        EXPECT_EQ(access(fd(), pieces), 0);
        EXPECT_EQ(attempts, 2) << "what was due came with the release";
    } while (stm_commit(fd()) != 0);
}

TEST_F(Access, OfADoomedPartRestartsFromTheBeginning) {
    volatile int attempts = 0;
    const long value = 8;
    stm_start(fd());
    attempts = attempts + 1;
    get(fd());
    stm_start(fd());
    if (attempts == 1)
        change_both();
    long seen = 0;
    const stm_piece pieces[] = {stm_write_piece(2 * kPage, &value, 8),
                                stm_read_piece(kPage, &seen, 8)};
    EXPECT_EQ(access_and_commit(fd(), pieces), 0);
    EXPECT_EQ(attempts, 2);
    EXPECT_EQ(seen, 1);
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(get(fd(), 2 * kPage), 8);
}

// -- Transactions that begin by their accesses --

class BeginningAccess : public Access {
protected:
    template <std::size_t kCount>
    static int begin(int fd, const stm_piece (&pieces)[kCount]) {
        return stm_begin_access(fd, pieces, kCount) == 0 ? 0 : errno;
    }
};

TEST_F(BeginningAccess, IsCommittedWithOthers) {
    for (const bool offered : {false, true}) {
        for (int round = 0; round < 3 && offered; ++round) {
            stm_start(fd());
            get(fd());
            EXPECT_EQ(stm_commit(fd()), 0);
        }
        put(fd(), 10L);
        long seen = 0;
        const stm_piece loads[] = {stm_read_piece(0, &seen, sizeof seen)};
        EXPECT_EQ(begin(fd(), loads), 0);
        EXPECT_EQ(seen, 10);
        EXPECT_EQ(transaction(fd()).depth, 1u);
        EXPECT_EQ(begin(fd(), loads), EBUSY);
        seen += 5;
        const stm_piece stores[] = {stm_write_piece(0, &seen, sizeof seen)};
        EXPECT_EQ(access_and_commit(fd(), stores), 0);
        EXPECT_EQ(transaction(fd()).depth, 0u);
        EXPECT_EQ(get(fd()), 15);
    }
    stm_start(fd());
    long seen = 0;
    const stm_piece loads[] = {stm_read_piece(0, &seen, sizeof seen)};
    EXPECT_EQ(begin(fd(), loads), EBUSY);
    EXPECT_EQ(stm_commit(fd()), 0);
}

TEST_F(BeginningAccess, TellsAConflictByItsResults) {
    long seen[2] = {};
    const stm_piece loads[] = {stm_read_piece(0, &seen[0], 8)};
    const stm_piece more[] = {stm_read_piece(kPage, &seen[1], 8)};
    int attempts = 0;
    int result = -1;
    do {
        ++attempts;
        ASSERT_EQ(begin(fd(), loads), 0);
        if (attempts == 1) {
            change_both();
            EXPECT_EQ(access(fd(), more), EAGAIN);
            stm_cancel(fd());
            EXPECT_EQ(transaction(fd()).depth, 0u);
            ASSERT_EQ(begin(fd(), loads), 0);
            change_both();
        }
        const stm_piece stores[] = {stm_write_piece(2 * kPage, &seen[0], 8)};
        result = access_and_commit(fd(), stores);
        EXPECT_EQ(transaction(fd()).depth, 0u);
    } while (result == 1);
    EXPECT_EQ(result, 0);
    EXPECT_EQ(attempts, 2);
    EXPECT_EQ(get(fd(), 2 * kPage), 2);
}

TEST_F(BeginningAccess, ThatFailsBeginsNothing) {
    long seen = 0;
    const auto bad_list = reinterpret_cast<const stm_piece*>(8);
    const stm_piece behind[] = {stm_read_piece(64 * 1024 - 7, &seen, 8)};
    const stm_piece nowhere[] = {stm_read_piece(0, nullptr, 8)};
    const stm_piece loads[] = {stm_read_piece(0, &seen, 8)};
    EXPECT_EQ(begin(fd(), behind), ENOSPC);
    EXPECT_EQ(begin(fd(), nowhere), EFAULT);
    EXPECT_EQ(stm_begin_access(fd(), bad_list, 1), -1);
    EXPECT_EQ(errno, EFAULT);
    EXPECT_EQ(stm_begin_access(fd(), loads, 1025), -1);
    EXPECT_EQ(errno, E2BIG);
    EXPECT_EQ(begin(-1, loads), EBADF);
    EXPECT_EQ(transaction(fd()).depth, 0u);
    EXPECT_EQ(access_and_commit(fd(), loads), EINVAL) << "there is none";
    EXPECT_EQ(stm_begin_access(fd(), nullptr, 0), 0);
    EXPECT_EQ(access_and_commit(fd(), loads), 0);
}

// -- Processes --

long sum_of(const long (&balances)[ACCOUNTS]) {
    return std::accumulate(std::begin(balances), std::end(balances), 0L);
}

TEST_F(Access, MoneyIsNeitherLostNorMadeByProcessesThatAreKilled) {
    const auto work = [&](unsigned seed) {
        const Fd handle = another();
        std::mt19937 random(seed);
        for (;;) {
            const auto from = static_cast<unsigned>(random() % ACCOUNTS);
            const auto to =
                static_cast<unsigned>((from + 1 + random() % (ACCOUNTS - 1)) % ACCOUNTS);
            if (transfer(handle.get(), from, to, static_cast<long>(random() % 100)) != 0)
                return 1;
        }
    };
    std::array<std::optional<Child>, 3> workers;
    unsigned seed = 0;
    const auto begin = [&](std::optional<Child>& worker) {
        ++seed;
        worker.emplace([&] { return work(seed); });
    };
    for (auto& worker : workers)
        begin(worker);
    std::mt19937 random(7);
    long balances[ACCOUNTS];
    const auto commits = [&] { return statistics(fd()).commits; };
    for (int round = 0; round < 25; ++round) {
        for (int audit = 0; audit < 20; ++audit) {
            ASSERT_EQ(read_accounts(fd(), balances), 0) << std::strerror(errno);
            ASSERT_EQ(sum_of(balances), 0);
        }
        const auto before = commits();
        ASSERT_TRUE(eventually([&] { return commits() > before; }));
        std::optional<Child>& victim = workers[random() % workers.size()];
        victim->kill(SIGKILL);
        EXPECT_EQ(victim->wait(), 128 + SIGKILL);
        begin(victim);
    }
    for (auto& worker : workers)
        worker.reset();
    ASSERT_EQ(read_accounts(fd(), balances), 0);
    EXPECT_EQ(sum_of(balances), 0);
}

TEST_F(Access, AllValuesOfACallAreOfOneMoment) {
    const auto write_all = [&](long step) {
        const Fd handle = another();
        for (long value = step;; value += 2) {
            stm_piece pieces[ACCOUNTS];
            for (unsigned place = 0; place < ACCOUNTS; ++place)
                pieces[place] = stm_write_piece(place * ACCOUNT_BYTES, &value, sizeof value);
            if (stm_access(handle.get(), pieces, ACCOUNTS) != 0)
                return 1;
        }
    };
    const Child one([&] { return write_all(1); });
    const Child two([&] { return write_all(2); });
    long seen[ACCOUNTS] = {};
    std::size_t changes = 0;
    EXPECT_TRUE(eventually([&] {
        for (int round = 0; round < 200; ++round) {
            const long before = seen[0];
            if (read_accounts(fd(), seen) != 0 ||
                std::any_of(seen, seen + ACCOUNTS, [&](long each) { return each != seen[0]; })) {
                ADD_FAILURE() << "not one moment";
                return true;
            }
            changes += seen[0] != before ? 1 : 0;
        }
        return changes > 100;
    }));
}

TEST_F(Access, HalfOfALargeCallIsNeverSeenWhenItsProcessIsKilled) {
    constexpr std::size_t kHalf = 30'000;
    const auto write_both = [&] {
        const Fd handle = another();
        for (char value = 1;; ++value) {
            const std::vector<char> bytes(kHalf, value);
            const stm_piece pieces[] = {stm_write_piece(0, bytes.data(), kHalf),
                                        stm_write_piece(kHalf + 100, bytes.data(), kHalf)};
            if (access(handle.get(), pieces) != 0)
                return 1;
        }
    };
    std::mt19937 random(3);
    for (int round = 0; round < 20; ++round) {
        Child writer(write_both);
        ::usleep(static_cast<useconds_t>(random() % 3000));
        writer.kill(SIGKILL);
        EXPECT_EQ(writer.wait(), 128 + SIGKILL);
        std::vector<char> first(kHalf);
        std::vector<char> second(kHalf);
        const stm_piece pieces[] = {stm_read_piece(0, first.data(), kHalf),
                                    stm_read_piece(kHalf + 100, second.data(), kHalf)};
        ASSERT_EQ(access(fd(), pieces), 0);
        ASSERT_EQ(first, second);
        ASSERT_EQ(first, std::vector<char>(kHalf, first[0]));
    }
}

// -- Rights, limits, kinds --

TEST_F(Access, NeedsNoMoreThanTheRightOfItsPieces) {
    const Fd reader(stm_open(region_.name().c_str(), 0, STM_RDONLY, 0));
    long seen[2] = {-1, -1};
    const stm_piece pieces[] = {stm_read_piece(0, &seen[0], 8), stm_read_piece(kPage, &seen[1], 8)};
    EXPECT_EQ(put_two(fd(), 4), 0);
    EXPECT_EQ(access(reader.get(), pieces), 0);
    EXPECT_EQ(seen[0] + seen[1], 8);
    stm_start(reader.get());
    EXPECT_EQ(access_and_commit(reader.get(), pieces), 0);
    EXPECT_EQ(put_two(reader.get(), 5), EBADF);
}

class AccessWithAMutex : public Access {
protected:
    AccessWithAMutex() = default;
    const Region mutex_{"mutex", 64 * 1024, STM_MUTEX};
};

TEST_F(AccessWithAMutex, IsTheSame) {
    EXPECT_EQ(transfer(mutex_.fd(), 0, 1, 5), 0);
    long balances[ACCOUNTS];
    EXPECT_EQ(read_accounts(mutex_.fd(), balances), 0);
    EXPECT_EQ(balances[0], -5);
    EXPECT_EQ(balances[1], 5);
}

} // namespace
