// SPDX-License-Identifier: GPL-2.0
// Starts in warm mappings that find news: others have committed to pages that this process keeps.
// The module brings the pages up to date and begins the transaction in the same call. Here much
// else happens in the middle of such a transaction, which must stay what it was.
#include "mapped.hpp"

#include <csetjmp>
#include <random>
#include <sys/syscall.h>
#include <thread>
#include <vector>

using namespace stm::test;

namespace {

constexpr std::size_t kPages = 4; // which are loaded all the time

class StartsWithNews : public Mapped {
protected:
    void SetUp() override {
        Mapped::SetUp();
        ASSERT_EQ(stm_set_warm(fd(), 1), 0) << std::strerror(errno);
        make_warm();
    }
    static std::size_t at(std::size_t page) { return page * kPage; }
    void make_warm() const {
        for (int round = 0; round < 8; ++round)
            do {
                stm_start(fd());
                for (std::size_t page = 0; page < kPages; ++page)
                    EXPECT_GE(number(at(page)), 0);
            } while (stm_commit(fd()) != 0);
    }
    /** What another open file of this process commits to a page, a new number each time. */
    long news(std::size_t page = 0) {
        store(other_, at(page), ++last_);
        return last_;
    }
    /** A transaction that begins in a call with news of page 0, after which no restart comes by
     * itself. `inside` ends it. */
    template <typename Inside>
    void in_transaction(const Inside& inside) {
        make_warm();
        const long now = news();
        stm_defer_restarts();
        ASSERT_EQ(stm_try_start(fd()), 0) << std::strerror(errno);
        EXPECT_EQ(number(0), now);
        inside();
        stm_allow_restarts();
    }
    /** Whether the transaction inside in_transaction() notices that what it loaded has changed, and
     * leaves nothing. */
    void expect_conflict() {
        const long now = news();
        number(at(kPages)) = now;
        EXPECT_EQ(stm_try_commit(fd()), 1);
        EXPECT_EQ(other_[at(kPages)], 0);
        expect_work();
    }
    void expect_commit() {
        const long now = number(0);
        number(at(1)) = now;
        EXPECT_EQ(stm_try_commit(fd()), 0) << std::strerror(errno);
        EXPECT_EQ(other_[at(1)], now);
        expect_work();
    }
    /** The next ones are as usual. */
    void expect_work() {
        for (int round = 0; round < 3; ++round) {
            const long now = news(2);
            ASSERT_EQ(stm_try_start(fd()), 0) << std::strerror(errno);
            EXPECT_EQ(number(at(2)), now);
            number(at(3)) = now;
            EXPECT_EQ(stm_try_commit(fd()), 0) << std::strerror(errno);
            EXPECT_EQ(other_[at(3)], now);
        }
    }
    /** Twice: the transaction goes on, and what it loaded before is still looked at. */
    template <typename Middle>
    void expect_unharmed(const Middle& middle) {
        in_transaction([&] {
            middle();
            expect_commit();
        });
        in_transaction([&] {
            middle();
            expect_conflict();
        });
    }

    View other_{another()};

private:
    long last_ = 0;
};

TEST_F(StartsWithNews, AreTransactionsLikeOthers) {
    expect_unharmed([] {});
}

// Loads alone, and one of what has changed since: that is of another time than the first.
TEST_F(StartsWithNews, ShowOneMoment) {
    for (int round = 0; round < 20; ++round)
        in_transaction([&] {
            const long first = number(0);
            const long second = number(at(1));
            do {
                stm_start(other_.fd());
                other_[0] = 0;
                other_[at(1)] = 5;
            } while (stm_commit(other_.fd()) != 0);
            EXPECT_EQ(number(0), first);
            EXPECT_EQ(number(at(1)), second);
            EXPECT_EQ(stm_try_commit(fd()), 0) << "it was right at its start, and stored nothing";
            store(other_, at(1), 0);
        });
}

TEST_F(StartsWithNews, MayForkAChildThatHasItsOwn) {
    expect_unharmed([&] {
        const long now = number(0);
        number(at(1)) = -5;
        EXPECT_EQ(Child::doing([&] {
                      EXPECT_EQ(transaction(fd()).depth, 0u);
                      EXPECT_NE(number(at(1)), -5);
                      EXPECT_EQ(stm_try_commit(fd()), -1);
                      EXPECT_EQ(signal_of_store(bytes(at(1))), SIGSEGV);
                      for (int round = 0; round < 3; ++round) {
                          ASSERT_EQ(stm_try_start(fd()), 0);
                          EXPECT_EQ(number(0), now);
                          number(at(kPages + 1)) = number(at(kPages + 1)) + 1;
                          EXPECT_EQ(stm_try_commit(fd()), 0);
                      }
                  }).wait(),
                  0);
        EXPECT_EQ(number(at(1)), -5);
    });
}

TEST_F(StartsWithNews, MayForkAChildBehindTheLibrary) {
    expect_unharmed([&] {
        const long now = number(0);
        const pid_t child = static_cast<pid_t>(::syscall(SYS_fork));
        if (child == 0) {
            bool right = stm_try_commit(fd()) == -1 && stm_try_start(fd()) == 0 && number(0) == now;
            right = right && transaction(fd()).depth == 1 && stm_try_commit(fd()) == 0;
            ::_exit(right ? 0 : 1);
        }
        int status = -1;
        EXPECT_EQ(::waitpid(child, &status, 0), child);
        EXPECT_EQ(status, 0);
    });
}

TEST_F(StartsWithNews, MayWaitForAChildOfVfork) {
    expect_unharmed([&] {
        const pid_t child = ::vfork();
        if (child == 0)
            ::_exit(0);
        EXPECT_EQ(::waitpid(child, nullptr, 0), child);
        EXPECT_EQ(transaction(fd()).depth, 1u);
    });
}

STM_HELPER(nothing_is_left) {
    const int fd = std::stoi(words.at(0));
    if (transaction(fd).depth != 0 || stm_try_commit(fd) != -1)
        return 1;
    Mapping map(fd, kPages * kPage);
    if (!map.ok() || *map.at<long>(kPage) == -5)
        return 2;
    stm_start(fd);
    *map.at<volatile long>(kPage) = 9;
    return stm_commit(fd);
}

TEST_F(StartsWithNews, EndWithExec) {
    Child child([&] {
        in_transaction([&] {
            number(at(1)) = -5;
            const std::string descriptor = std::to_string(::dup(fd()));
            ::execl("/proc/self/exe", "/proc/self/exe", "--helper", "nothing_is_left",
                    descriptor.c_str(), nullptr);
        });
        return 3;
    });
    EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(other_[at(1)], 9);
    in_transaction([&] { expect_commit(); });
}

TEST_F(StartsWithNews, EndWithTheProcessAndTheThread) {
    Child child([&] {
        in_transaction([&] {
            number(at(1)) = -5;
            ::raise(SIGKILL);
        });
        return 0;
    });
    EXPECT_EQ(child.wait(), 128 + SIGKILL);
    std::thread([&] { in_transaction([&] { number(at(1)) = -5; }); }).join();
    EXPECT_EQ(other_[at(1)], 0);
    // The watchdog sees it, which comes by every 10 ms.
    EXPECT_TRUE(eventually([&] { return number(at(1)) == 0; }));
    EXPECT_EQ(signal_of_store(bytes()), SIGSEGV);
    in_transaction([&] { expect_conflict(); });
}

TEST_F(StartsWithNews, AreLeftByAJump) {
    static std::jmp_buf before;
    volatile int rounds = 4;
    while (rounds > 0) {
        rounds = rounds - 1;
        if (setjmp(before) == 0)
            in_transaction([&] {
                number(at(1)) = -5;
                std::longjmp(before, 1);
            });
        stm_cancel(fd());
        stm_allow_restarts();
        EXPECT_EQ(number(at(1)), 0);
    }
    in_transaction([&] { expect_commit(); });
}

TEST_F(StartsWithNews, MayHaveNoPageInTheTableAnyMore) {
    expect_unharmed([&] {
        const long now = number(0);
        number(at(2)) = now;
        ASSERT_EQ(::madvise(bytes(), kPages * kPage, MADV_DONTNEED), 0);
        EXPECT_EQ(number(0), now);
        EXPECT_EQ(number(at(2)), now);
        ASSERT_EQ(::madvise(bytes(), kPages * kPage, MADV_DONTNEED), 0);
    });
}

TEST_F(StartsWithNews, MayBeUnmappedAndMappedAgain) {
    expect_unharmed([&] {
        const long now = number(0);
        number(at(2)) = now;
        ASSERT_EQ(::munmap(bytes(), 3 * kPage), 0);
        void* const again =
            ::mmap(bytes(), 3 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd(), 0);
        ASSERT_EQ(again, bytes());
        EXPECT_EQ(number(0), now);
        EXPECT_EQ(number(at(2)), now);
    });
}

TEST_F(StartsWithNews, MayBeMoved) {
    expect_unharmed([&] {
        const long now = number(0);
        Mapping place(-1, size_, PROT_NONE, 0, MAP_PRIVATE | MAP_ANONYMOUS);
        ASSERT_TRUE(place.ok());
        const auto move = [&](void* from, void* to) {
            ASSERT_EQ(::mremap(from, size_, size_, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
        };
        move(bytes(), place.data());
        EXPECT_EQ(*place.at<volatile long>(), now);
        *place.at<volatile long>(at(2)) = now;
        move(place.data(), bytes());
        place.release();
        EXPECT_EQ(number(at(2)), now);
    });
}

TEST_F(StartsWithNews, MayBeProtectedForAWhile) {
    expect_unharmed([&] {
        const long now = number(0);
        ASSERT_EQ(::mprotect(bytes(), 3 * kPage, PROT_NONE), 0);
        ASSERT_EQ(::mprotect(bytes(), 3 * kPage, PROT_READ), 0);
        EXPECT_EQ(number(0), now);
        EXPECT_EQ(number(at(2)), other_[at(2)]);
        ASSERT_EQ(::mprotect(bytes(), 3 * kPage, PROT_READ | PROT_WRITE), 0);
    });
}

TEST_F(StartsWithNews, MayHavePartsThatAreCancelledAndCalls) {
    expect_unharmed([&] {
        const long now = number(0);
        ASSERT_EQ(stm_try_start(fd()), 0);
        number(0) = -5;
        put(fd(), -5L, static_cast<off_t>(at(1)));
        EXPECT_EQ(number(at(1)), -5);
        stm_cancel(fd());
        EXPECT_EQ(number(0), now);
        EXPECT_EQ(get(fd()), now);
        put(fd(), now, static_cast<off_t>(at(2)));
        EXPECT_EQ(number(at(2)), now);
    });
}

TEST_F(StartsWithNews, AreRefusedToAnotherThread) {
    expect_unharmed([&] {
        std::thread([&] {
            EXPECT_EQ(stm_try_start(fd()), -1);
            EXPECT_EQ(errno, EBUSY);
            EXPECT_EQ(number(0), get(other_.fd()));
        }).join();
    });
}

// The transaction is the handle's, and the number is another region's now.
TEST_F(StartsWithNews, AreNotThoseOfAnotherRegionWithTheNumber) {
    Region second("second", 16 * kPage, kTransactional);
    const int keep = ::dup(fd());
    in_transaction([&] {
        number(at(1)) = -5;
        ASSERT_EQ(::dup2(second.fd(), fd()), fd());
        EXPECT_EQ(stm_try_commit(fd()), -1);
        EXPECT_EQ(errno, EINVAL);
        EXPECT_EQ(other_[at(1)], 0);
        EXPECT_EQ(transaction(keep).depth, 1u);
        ASSERT_EQ(::dup2(keep, fd()), fd());
        stm_cancel(fd());
        EXPECT_EQ(transaction(keep).depth, 0u);
    });
    ::close(keep);
    in_transaction([&] { expect_commit(); });
}

TEST_F(StartsWithNews, GoOnWhileTheHandleGetsCold) {
    in_transaction([&] {
        const int said = stm_set_warm(fd(), 0);
        EXPECT_TRUE(said == 0 || errno == EBUSY) << std::strerror(errno);
        expect_conflict();
    });
}

// A child has the handle first, maps, and keeps pages. The parent's are others.
TEST_F(StartsWithNews, OnAHandleThatAnotherProcessHasMappedFirst) {
    Fd shared(stm_open(region_.name().c_str(), 0, 0, 0));
    int ready[2];
    int go[2];
    ASSERT_EQ(::pipe(ready), 0);
    ASSERT_EQ(::pipe(go), 0);
    const auto increments = [&](int times) {
        Mapping map(shared.get(), size_);
        ASSERT_TRUE(map.ok());
        ASSERT_EQ(stm_set_warm(shared.get(), 1), 0);
        for (int round = 0; round < times; ++round) {
            do {
                stm_start(shared.get());
                *map.at<volatile long>() = *map.at<volatile long>() + 1;
                EXPECT_EQ(*map.at<volatile long>(at(1)), 0);
            } while (stm_commit(shared.get()) != 0);
            if (round == 0) {
                char byte = 0;
                EXPECT_EQ(::write(ready[1], "x", 1), 1);
                EXPECT_EQ(::read(go[0], &byte, 1), 1);
            }
        }
    };
    Child child = Child::doing([&] { increments(200); });
    char byte = 0;
    ASSERT_EQ(::read(ready[0], &byte, 1), 1);
    ASSERT_EQ(::write(go[1], "xx", 2), 2);
    increments(200);
    EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(get(fd()), 400);
    for (const int end : {ready[0], ready[1], go[0], go[1]})
        ::close(end);
}

// Whatever is done in the middle, in any order: what commits was right, and what was right commits.
TEST_F(StartsWithNews, AnyOrderOfWhatIsDoneInTheMiddleMatchesAModel) {
    std::minstd_rand random(20261130);
    const auto below = [&](unsigned limit) { return static_cast<unsigned>(random() % limit); };
    std::vector<long> committed(kPages, 0);
    stm_defer_restarts();
    const int rounds = static_cast<int>(600 / time_scale());
    int conflicts = 0;
    int commits = 0;
    for (int round = 0; round < rounds && !HasFailure(); ++round) {
        if (below(4) != 0) {
            const unsigned page = below(kPages);
            committed[page] = news(page);
        }
        ASSERT_EQ(stm_try_start(fd()), 0) << std::strerror(errno);
        const std::vector<long> snapshot = committed;
        std::vector<long> mine = committed;
        std::vector<bool> loaded(kPages, false);
        bool stored = false;
        bool disturbed = false; // what it has loaded is no longer so
        // A page that is kept counts as loaded, and so does one that is older than what is there.
        bool may_fail = false;
        for (unsigned steps = below(8); steps > 0; --steps) {
            const unsigned page = below(kPages);
            switch (below(9)) {
            case 0:
            case 1:
                if (committed[page] != snapshot[page] && !loaded[page])
                    break;
                EXPECT_EQ(number(at(page)), mine[page]);
                loaded[page] = true;
                break;
            case 2:
                if (committed[page] != snapshot[page])
                    break;
                mine[page] = 1000000 + round;
                number(at(page)) = mine[page];
                loaded[page] = true; // a store into a page tells of the loads in it, too
                stored = true;
                break;
            case 3:
                if (mine[page] == snapshot[page]) {
                    committed[page] = news(page);
                    disturbed = disturbed || loaded[page];
                    may_fail = true;
                }
                break;
            case 4:
                ASSERT_EQ(::madvise(bytes(at(page)), kPage, MADV_DONTNEED), 0);
                break;
            case 5:
                ASSERT_EQ(::mmap(bytes(at(page)), kPage, PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_FIXED, fd(), static_cast<off_t>(at(page))),
                          bytes(at(page)));
                break;
            case 6:
                ASSERT_EQ(::mprotect(bytes(at(page)), kPage, PROT_READ), 0);
                ASSERT_EQ(::mprotect(bytes(at(page)), kPage, PROT_READ | PROT_WRITE), 0);
                break;
            case 7:
                EXPECT_EQ(
                    Child::doing([&] { EXPECT_EQ(number(at(page)), committed[page]); }).wait(), 0);
                break;
            default:
                ASSERT_EQ(stm_try_start(fd()), 0);
                EXPECT_EQ(stm_try_commit(fd()), 0);
            }
        }
        const int status = stm_try_commit(fd());
        if (status == 0 && stored) {
            EXPECT_FALSE(disturbed);
            for (std::size_t page = 0; page < kPages; ++page)
                if (mine[page] != snapshot[page])
                    committed[page] = mine[page];
        }
        EXPECT_TRUE(status == 0 || may_fail) << "round " << round;
        conflicts += status != 0;
        commits += status == 0;
        for (std::size_t page = 0; page < kPages; ++page)
            EXPECT_EQ(other_[at(page)], committed[page]) << "round " << round;
    }
    stm_allow_restarts();
    EXPECT_GT(conflicts, 0);
    EXPECT_GT(commits, rounds / 2);
}

} // namespace
