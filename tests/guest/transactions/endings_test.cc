// SPDX-License-Identifier: GPL-2.0
// Transactions that are ended from outside: by a call in them that fails, by a close, by exec, by
// the end of a thread or of a process that shares the handle. What has ended has no effect at all,
// and what has not goes on as if nothing had been.
#include "transactions.hpp"

#include <atomic>
#include <csetjmp>
#include <cstdio>
#include <sys/socket.h>
#include <thread>

using namespace stm::test;

namespace {

long start(int fd, unsigned long flags = 0) {
    return ::ioctl(fd, STM_IOC_START, flags);
}
int error_of(long result) {
    return result < 0 ? errno : 0;
}

class Endings : public Transactions {
protected:
    static constexpr std::size_t kBytes = 64 * 1024; // of the region
    static constexpr off_t kFrom = 0;
    static constexpr off_t kTo = 100 * kStripe;

    // The transfer of the manual, by a program that checks nothing but what stm_commit says.
    static int transfer(int fd, int most_tries) {
        volatile int tries = 0;
        int result = 0;
        do {
            stm_start(fd);
            tries = tries + 1;
            long from = 0;
            long to = 0;
            (void)!::pread(fd, &from, sizeof from, kFrom);
            (void)!::pread(fd, &to, sizeof to, kTo);
            from -= 10;
            to += 10;
            (void)!::pwrite(fd, &from, sizeof from, kFrom);
            (void)!::pwrite(fd, &to, sizeof to, kTo);
            result = stm_commit(fd);
        } while (result != 0 && tries < most_tries);
        return result;
    }
};

TEST_F(Endings, AFailedCallCommitsNothingOfItsTransaction) {
    {
        Parameter limit("max_stripes", "1");
        Fd handle = another();
        EXPECT_EQ(transfer(handle.get(), 5), 1);
        EXPECT_EQ(errno, E2BIG);
        EXPECT_EQ(stm_abort_reason(handle.get()), STM_REASON_TOO_BIG);
    }
    EXPECT_EQ(get(fd(), kFrom), 0);
    EXPECT_EQ(get(fd(), kTo), 0);
    // A long call that fails in its middle.
    {
        Parameter limit("max_stripes", "100");
        Fd handle = another();
        std::vector<char> much(kBytes, 1);
        stm_start(handle.get());
        EXPECT_EQ(::pwrite(handle.get(), much.data(), much.size(), 0), -1);
        EXPECT_EQ(errno, E2BIG);
        EXPECT_EQ(stm_commit(handle.get()), 1);
        EXPECT_EQ(errno, E2BIG);
    }
    EXPECT_EQ(get(fd(), kFrom), 0);
    EXPECT_EQ(transfer(fd(), 1), 0);
    EXPECT_EQ(get(fd(), kTo), 10);
}

TEST_F(Endings, AWriteBehindTheEndFailsItsTransaction) {
    stm_start(fd());
    put(fd(), 5L);
    EXPECT_EQ(::pwrite(fd(), "x", 1, kBytes), -1);
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_EQ(::pwrite(fd(), "x", 1, 64), -1);
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_EQ(stm_commit(fd()), 1);
    EXPECT_EQ(errno, ENOSPC);
    EXPECT_EQ(get(fd()), 0);
}

TEST_F(Endings, ClosingADuplicateChangesNothing) {
    Mapping memory(fd(), kPage);
    ASSERT_TRUE(memory.ok());
    volatile int tries = 0;
    for (const int how : {0, 1, 2, 3}) {
        tries = 0;
        do {
            stm_start(fd());
            tries = tries + 1;
            put(fd(), long{how + 1}, kFrom);
            stm_defer_restarts();
            const int copy = ::dup(fd());
            if (how == 0)
                ::close(copy);
            else if (how == 1)
                std::fclose(::fdopen(copy, "r"));
            else if (how == 2)
                std::thread([copy] { ::close(copy); }).join();
            else
                ::dup2(STDERR_FILENO, copy), ::close(copy);
            stm_allow_restarts();
            put(fd(), long{how + 1}, kTo);
            *memory.at<volatile long>(kStripe) = how + 1;
        } while (stm_commit(fd()) != 0 && tries < 5);
        EXPECT_EQ(tries, 1) << how;
        EXPECT_EQ(get(fd(), kFrom), how + 1);
        EXPECT_EQ(get(fd(), kTo), how + 1);
        EXPECT_EQ(get(fd(), kStripe), how + 1);
    }
}

// Sends an open file through a socket and takes it out again.
class Mailbox {
public:
    Mailbox() { EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends_), 0); }
    ~Mailbox() {
        ::close(ends_[0]);
        ::close(ends_[1]);
    }
    Mailbox(const Mailbox&) = delete;
    Mailbox& operator=(const Mailbox&) = delete;

    void post(int fd) {
        Letter letter;
        struct cmsghdr* head = CMSG_FIRSTHDR(&letter.message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof fd);
        std::memcpy(CMSG_DATA(head), &fd, sizeof fd);
        EXPECT_EQ(::sendmsg(ends_[0], &letter.message, 0), 1);
    }
    Fd fetch() {
        Letter letter;
        EXPECT_EQ(::recvmsg(ends_[1], &letter.message, 0), 1);
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&letter.message)), sizeof fd);
        return Fd(fd);
    }

private:
    struct Letter {
        char byte = 'x';
        struct iovec content {
            &byte, 1
        };
        alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
        struct msghdr message {
            nullptr, 0, &content, 1, control, sizeof control, 0
        };
    };
    int ends_[2] = {-1, -1};
};

TEST_F(Endings, AfterTheLastCloseNothingTakesEffectCallByCall) {
    Mailbox mailbox;
    Fd handle = another();
    const auto lose = [&] {
        ASSERT_EQ(start(handle.get()), 1);
        put(handle.get(), 1L, kFrom);
        mailbox.post(handle.get());
        handle.reset();
        handle = mailbox.fetch();
    };
    lose();
    long value = 2;
    EXPECT_EQ(error_of(::pwrite(handle.get(), &value, sizeof value, kTo)), ECANCELED);
    EXPECT_EQ(error_of(::pread(handle.get(), &value, sizeof value, kTo)), ECANCELED);
    EXPECT_EQ(error_of(start(handle.get())), ECANCELED);
    EXPECT_EQ(get(fd(), kFrom), 0);
    EXPECT_EQ(error_of(::ioctl(handle.get(), STM_IOC_COMMIT, 0)), ECANCELED);
    EXPECT_EQ(get(fd(), kTo), 0);
    lose();
    EXPECT_EQ(start(handle.get(), STM_START_RESTART), 1);
    put(handle.get(), 3L, kTo);
    EXPECT_EQ(::ioctl(handle.get(), STM_IOC_COMMIT, 0), 0);
    EXPECT_EQ(get(fd(), kFrom), 0);
    EXPECT_EQ(get(fd(), kTo), 3);
    EXPECT_EQ(statistics(fd()).aborts[STM_REASON_CLOSED], 2u);
}

TEST_F(Endings, AfterTheLastCloseTheMappingShowsNothing) {
    Mailbox mailbox;
    Fd handle = another();
    Mapping memory(handle.get(), kPage);
    ASSERT_TRUE(memory.ok());
    auto* word = memory.at<volatile long>();
    ASSERT_EQ(start(handle.get()), 1);
    *word = 5;
    mailbox.post(handle.get());
    handle.reset();
    EXPECT_EQ(get(fd()), 0);
    // In a child, which has no transaction, as everywhere else.
    EXPECT_EQ(signal_of([&] { EXPECT_EQ(*word, 0); }), 0);
    handle = mailbox.fetch();
    EXPECT_EQ(error_of(::ioctl(handle.get(), STM_IOC_COMMIT, 0)), ECANCELED);
    EXPECT_EQ(*word, 0) << "and now it is told";
    EXPECT_EQ(get(fd()), 0);
}

// The contexts of a handle are older than the program that calls, and a watchdog looks at them.
STM_HELPER(long_reads) {
    const int fd = std::stoi(words.at(0));
    std::atomic<bool> over{false};
    std::atomic<bool> running{false};
    struct sigaction nothing {};
    nothing.sa_handler = [](int) {};
    ::sigaction(SIGUSR1, &nothing, nullptr);
    std::thread other([&] {
        EXPECT_EQ(start(fd, STM_START_SIGNAL(SIGUSR1)), 1);
        running = true;
        while (!over)
            ::usleep(1000);
        EXPECT_EQ(::ioctl(fd, STM_IOC_CANCEL, 0), 0);
    });
    while (!running)
        ::usleep(1000);
    std::vector<char> bytes(16 << 20);
    const double end = seconds() + 2;
    while (seconds() < end)
        EXPECT_EQ(::pread(fd, bytes.data(), bytes.size(), 0), ssize_t(bytes.size()));
    over = true;
    other.join();
    return 0;
}

TEST_F(Endings, ACallAfterExecIsNotTakenForOneOfTheProgramBefore) {
    const Region large("large", 16 << 20, kTransactional);
    const pid_t pid = ::fork();
    if (pid == 0) {
        char byte = 0;
        if (::pread(large.fd(), &byte, 1, 0) != 1)
            ::_exit(1);
        const std::string number = std::to_string(large.fd());
        ::fcntl(large.fd(), F_SETFD, 0);
        ::execl("/proc/self/exe", "/proc/self/exe", "--helper", "long_reads", number.c_str(),
                nullptr);
        ::_exit(127);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
}

// Threads of one process end while those of another, which shares the handle, begin.
TEST_F(Endings, AProcessThatEndsLeavesTheTransactionsOfOthersAlone) {
    const double end = seconds() + 3;
    long rounds = 0;
    std::atomic<bool> failed{false};
    while (seconds() < end && !failed) {
        ++rounds;
        Child dying([&] {
            EXPECT_EQ(start(fd()), 1);
            put(fd(), -1L, kFrom);
            return 0;
        });
        for (int turn = 0; turn < 4; ++turn) {
            std::thread([&, value = rounds * 4 + turn] {
                if (start(fd()) != 1)
                    return;
                put(fd(), value, kFrom);
                ::sched_yield();
                put(fd(), value, kTo);
                if (::ioctl(fd(), STM_IOC_COMMIT, 0) != 0 && errno != EAGAIN) {
                    ADD_FAILURE() << "it was ended by somebody else: " << std::strerror(errno);
                    failed = true;
                }
                Fd other = another();
                long both[2];
                volatile int tries = 0;
                do {
                    stm_start(other.get());
                    tries = tries + 1;
                    both[0] = get(other.get(), kFrom);
                    both[1] = get(other.get(), kTo);
                } while (stm_commit(other.get()) != 0);
                EXPECT_EQ(both[0], both[1]);
            }).join();
        }
        EXPECT_EQ(dying.wait(), 0);
    }
    std::printf("[  rounds  ] %ld\n", rounds);
}

// Threads that only look fault while the transaction of another one, which has ended, is taken out.
TEST_F(Endings, NothingOfAnEndedThreadStaysInAMapping) {
    constexpr std::size_t kPages = kBytes / kPage;
    Fd handle = another();
    Mapping memory(handle.get(), kBytes);
    ASSERT_TRUE(memory.ok());
    const auto word = [&](std::size_t page) { return memory.at<volatile long>(page * kPage); };
    std::atomic<bool> over{false};
    std::vector<std::thread> lookers;
    for (int i = 0; i < 2; ++i)
        lookers.emplace_back([&] {
            long sum = 0;
            while (!over)
                for (std::size_t page = 0; page < kPages; ++page)
                    sum += *word(page);
            static std::atomic<long> sink;
            sink += sum;
        });
    const double end = seconds() + 3;
    long rounds = 0;
    while (seconds() < end && !HasFailure()) {
        ++rounds;
        std::thread([&] {
            if (start(handle.get()) != 1)
                return;
            for (std::size_t page = 0; page < kPages; ++page)
                put(handle.get(), 12345L, static_cast<off_t>(page * kPage));
        }).join();
        EXPECT_TRUE(eventually([&] {
            for (std::size_t page = 0; page < kPages; ++page)
                if (*word(page) != 0)
                    return false;
            return true;
        })) << "round "
            << rounds;
    }
    over = true;
    for (std::thread& looker : lookers)
        looker.join();
    std::printf("[  rounds  ] %ld\n", rounds);
}

TEST_F(Endings, AMappingIsPartOfTheTransactionThoughAnotherProcessHadTheFirst) {
    ASSERT_EQ(start(fd()), 1);
    EXPECT_EQ(get(fd(), 0), 0);
    EXPECT_EQ(Child::doing([&] {
                  const Mapping first(fd(), kBytes);
                  EXPECT_TRUE(first.ok());
              }).wait(),
              0);
    const Mapping memory(fd(), kBytes);
    ASSERT_TRUE(memory.ok());
    EXPECT_EQ(Child::doing([&] {
                  Fd other = another();
                  put(other.get(), 1L, 0);
                  put(other.get(), 1L, kPage);
              }).wait(),
              0);
    EXPECT_EQ(signal_of([&] {
                  // A child has no transaction: it sees what was committed.
                  EXPECT_EQ(*memory.at<volatile long>(kPage), 1);
              }),
              0);
    static sigjmp_buf back;
    struct sigaction jump {};
    struct sigaction before {};
    jump.sa_handler = [](int) { ::siglongjmp(back, 1); };
    ::sigaction(SIGSEGV, &jump, &before);
    volatile bool refused = false;
    if (sigsetjmp(back, 1) == 0)
        EXPECT_EQ(*memory.at<volatile long>(kPage), 0) << "two states in one transaction";
    else
        refused = true;
    ::sigaction(SIGSEGV, &before, nullptr);
    EXPECT_TRUE(refused) << "what was read before has changed";
    EXPECT_EQ(error_of(::ioctl(fd(), STM_IOC_COMMIT, 0)), EAGAIN);
    EXPECT_EQ(*memory.at<volatile long>(kPage), 1);
}

} // namespace
