// SPDX-License-Identifier: GPL-2.0
// Large transactions in mappings, and that nothing is left after many.
#include "mapped.hpp"

#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <sys/stat.h>

using namespace stm::test;

namespace {

constexpr std::size_t kManyPages = 1500;

class MappedLimits : public Mapped {
protected:
    MappedLimits() : Mapped((kManyPages + 64) * kPage) {}
};

long free_kib() {
    std::ifstream file("/proc/meminfo");
    std::string word;
    long free = 0;
    while (file >> word)
        if (word == "MemFree:") {
            file >> free;
            break;
        }
    return free;
}

struct stm_version module() {
    auto version = make<struct stm_version>();
    EXPECT_EQ(request(STM_IOC_VERSION, &version), 0);
    return version;
}

TEST_F(MappedLimits, ALongTransactionAndShortOnesBothFinish) {
    // A transaction that runs alone may take as long as it likes: on a slow machine 1500 pages take
    // longer than the lease, after which the short ones may overtake it again.
    Parameter lease("serial_lease_ms", "0");
    Child worker([&] {
        View view = another();
        for (long value = 1;; ++value) {
            do {
                stm_start(view.fd());
                const std::size_t at = static_cast<std::size_t>(value * 37) % kManyPages * kPage;
                view[at] = view[at] + 1;
                view[kManyPages * kPage] = value;
            } while (stm_commit(view.fd()) != 0);
        }
        return 0;
    });
    EXPECT_TRUE(eventually([&] { return number(kManyPages * kPage) > 10; }));
    volatile int attempts = 0;
    const long before = number(kManyPages * kPage);
    do {
        stm_start(fd());
        attempts = attempts + 1;
        for (std::size_t page = 0; page < kManyPages; ++page)
            number(page * kPage + 8) = number(page * kPage) + 1;
    } while (stm_commit(fd()) != 0);
    std::printf("%d attempts for %zu pages, beside %ld short ones\n", attempts, kManyPages,
                number(kManyPages * kPage) - before);
    EXPECT_LE(attempts, 24) << "longest row of conflicts: " << statistics(fd()).longest_streak;
    EXPECT_EQ(number(8) > 0, true);
    const long during = number(kManyPages * kPage);
    EXPECT_TRUE(eventually([&] { return number(kManyPages * kPage) > during + 10; }));
}

TEST_F(MappedLimits, NothingIsLeftAfterManyTransactions) {
    const auto run = [&](int transactions) {
        for (volatile int round = 0; round < transactions;) {
            stm_start(fd());
            for (std::size_t page = 0; page < 100; ++page)
                number(page * kPage) = number(page * kPage) + round;
            if (round % 2 == 0)
                ASSERT_EQ(stm_commit(fd()), 0);
            else
                stm_cancel(fd());
            round = round + 1;
        }
    };
    run(20);
    const long before = free_kib();
    const auto resident = module().resident_bytes;
    run(200);
    const auto after = module();
    EXPECT_EQ(after.resident_bytes, resident);
    // 200 transactions of 200 private pages are 160,000 KiB.
    EXPECT_GT(free_kib(), before - 16000);
    EXPECT_EQ(info_of(fd()).mappings, 1u);
    EXPECT_EQ(info_of(fd()).handles, 2u);
}

TEST_F(MappedLimits, WhatIsTooBigToCommitHasNoEffect) {
    const char* path = "/sys/module/stm/parameters/max_stripes";
    std::string before;
    std::ifstream(path) >> before;
    ASSERT_FALSE(before.empty()) << path;
    ASSERT_TRUE(std::ofstream(path) << 512) << path;
    View view = another(); // a context made from now on has the new limit
    stm_start(view.fd());
    std::memset(view.bytes(), 1, 16 * kPage); // 1024 stripes
    errno = 0;
    const int result = stm_commit(view.fd());
    const int error = errno;
    std::ofstream(path) << before;
    EXPECT_EQ(result, 1);
    EXPECT_EQ(error, E2BIG) << std::strerror(error);
    EXPECT_EQ(number(0), 0);
    EXPECT_EQ(view[0], 0);
    EXPECT_EQ(transaction(view.fd()).depth, 0u);
    EXPECT_EQ(transaction(view.fd()).last_reason, STM_REASON_TOO_BIG);
    store(view, 0, 5);
    EXPECT_EQ(number(0), 5);
}

// -- More pages than a transaction may touch --

constexpr std::size_t kAllowed = 2048 / 64; // pages, with this max_stripes
constexpr const char* kFewStripes = "2048";

TEST_F(MappedLimits, TouchingTooManyPagesEndsStmTryStartWithE2BIG) {
    const Parameter few("max_stripes", kFewStripes);
    View view = another(); // a context made from now on has the new limit
    volatile std::size_t page = 0;
    volatile int starts = 0;
    errno = 0;
    if (stm_try_start(view.fd()) == 0) {
        starts = starts + 1;
        for (std::size_t next = 0; next < 2 * kAllowed; ++next) {
            page = next;
            view[next * kPage] = 7;
        }
        ADD_FAILURE() << "all of them could be touched";
        stm_cancel(view.fd());
        return;
    }
    EXPECT_EQ(errno, E2BIG) << std::strerror(errno);
    EXPECT_EQ(starts, 1);
    EXPECT_GE(page, kAllowed);
    EXPECT_EQ(transaction(view.fd()).depth, 0u);
    EXPECT_EQ(number(0), 0);
    EXPECT_EQ(view[0], 0);
    store(view, 0, 5);
    EXPECT_EQ(number(0), 5);
}

TEST_F(MappedLimits, TouchingTooManyPagesEndsAProgramThatCanNotBeTold) {
    const Parameter few("max_stripes", kFewStripes);
    EXPECT_EQ(signal_of([&] {
                  View view = another();
                  stm_start(view.fd());
                  for (std::size_t page = 0; page < 2 * kAllowed; ++page)
                      view[page * kPage] = 7;
              }),
              SIGABRT);
    EXPECT_EQ(number(0), 0);
}

TEST_F(MappedLimits, ASystemCallThatTouchesTooManyPagesMakesTheCommitFail) {
    const Parameter few("max_stripes", kFewStripes);
    View view = another();
    Fd zero(::open("/dev/zero", O_RDONLY));
    stm_start(view.fd());
    view[0] = 1;
    EXPECT_LT(::read(zero.get(), view.bytes(), 2 * kAllowed * kPage),
              static_cast<ssize_t>(2 * kAllowed * kPage));
    errno = 0;
    EXPECT_EQ(stm_validate(view.fd()), -1);
    EXPECT_EQ(errno, E2BIG) << std::strerror(errno);
    EXPECT_EQ(stm_commit(view.fd()), 1);
    EXPECT_EQ(errno, E2BIG) << std::strerror(errno);
    EXPECT_EQ(number(0), 0);
}

// -- Memory --

/** A memory cgroup of its own, that the calling process enters for good. */
class MemoryGroup {
public:
    MemoryGroup() : path_("/sys/fs/cgroup/" + unique_name("group")) {
        made_ = ::mkdir(path_.c_str(), 0755) == 0;
        std::ofstream(path_ + "/cgroup.procs") << ::getpid();
        made_ = made_ && current() > 0;
        limit_ = Fd(::open((path_ + "/memory.max").c_str(), O_WRONLY | O_CLOEXEC));
    }
    [[nodiscard]] bool ok() const { return made_; }
    [[nodiscard]] const std::string& path() const { return path_; }
    [[nodiscard]] long current() const {
        long bytes = 0;
        std::ifstream(path_ + "/memory.current") >> bytes;
        return bytes;
    }
    void limit(const std::string& bytes) const { std::ofstream(path_ + "/memory.max") << bytes; }
    /** Also where the process has no byte left. */
    void lift() const { EXPECT_EQ(::pwrite(limit_.get(), "max", 3, 0), 3); }

private:
    std::string path_;
    bool made_ = false;
    Fd limit_;
};

constexpr int kNoGroups = 77;

/** Runs a function in a child in a memory cgroup of its own, or skips the test. */
template <typename Body>
void in_memory_group(const Body& body) {
    Child child([&] {
        const MemoryGroup group;
        if (!group.ok())
            return kNoGroups;
        body(group);
        return 0;
    });
    const int status = child.wait();
    if (status == kNoGroups)
        GTEST_SKIP() << "no memory cgroup can be made";
    EXPECT_EQ(status, 0);
}

// Touches what the process itself needs, so that it needs no more under a limit: its stack, and
// what a transaction writes.
[[gnu::noinline]] void prepare_for_a_limit(const View& view) {
    volatile char stack[128 * 1024];
    for (std::size_t place = 0; place < sizeof stack; place += 1024)
        stack[place] = 1;
    store(view, (kManyPages + 1) * kPage, 1);
}

TEST_F(MappedLimits, PagesAreChargedToTheMemoryCgroup) {
    in_memory_group([&](const MemoryGroup& group) {
        View view = another();
        store(view, 0, 1);
        const long before = group.current();
        do {
            stm_start(view.fd());
            for (std::size_t page = 0; page < 1000; ++page)
                view[page * kPage] = 1;
        } while (stm_commit(view.fd()) != 0);
        // The transaction's own are given back, but for a few.
        EXPECT_GE(group.current() - before, static_cast<long>(950 * kPage));
    });
}

TEST_F(MappedLimits, WithoutMemoryATransactionEndsWithENOMEM) {
    in_memory_group([&](const MemoryGroup& group) {
        View view = another();
        long sum = 0;
        for (std::size_t page = 0; page < kManyPages; ++page)
            sum += view[page * kPage];
        EXPECT_EQ(sum, 0);
        prepare_for_a_limit(view);
        group.limit(std::to_string(group.current() + (1 << 20)));
        volatile std::size_t page = 0;
        volatile bool whole = false;
        errno = 0;
        if (stm_try_start(view.fd()) == 0) {
            for (std::size_t next = 0; next < kManyPages; ++next) {
                page = next;
                view[next * kPage] = 7; // two pages each: 12 MB in all
            }
            whole = true;
            stm_cancel(view.fd());
        }
        const int error = errno;
        group.limit("max");
        EXPECT_FALSE(whole);
        EXPECT_EQ(error, ENOMEM) << std::strerror(error);
        EXPECT_GT(page, 10u);
        EXPECT_EQ(view[0], 0);
        store(view, 0, 5);
        EXPECT_EQ(view[0], 5);
    });
}

// Each store to such a page is a fault of its own, and needs memory for what the page held before
// the inner part.
TEST_F(MappedLimits, WithoutMemoryAStoreToWhatAnInnerPartHasLoadedEndsWithENOMEM) {
    in_memory_group([&](const MemoryGroup& group) {
        View view = another();
        prepare_for_a_limit(view);
        volatile std::size_t page = 0;
        volatile bool whole = false;
        errno = 0;
        if (stm_try_start(view.fd()) == 0) {
            stm_start(view.fd());
            for (std::size_t next = 0; next < kManyPages; ++next)
                EXPECT_EQ(view[next * kPage], 0);
            group.limit(std::to_string(group.current() + (1 << 20)));
            for (std::size_t next = 0; next < kManyPages; ++next) {
                page = next;
                view[next * kPage] = 7;
            }
            whole = true;
            stm_cancel(view.fd());
        }
        const int error = errno;
        group.limit("max");
        EXPECT_FALSE(whole);
        EXPECT_EQ(error, ENOMEM) << std::strerror(error);
        EXPECT_GT(page, 10u);
        EXPECT_EQ(view[0], 0);
        store(view, 0, 5);
        EXPECT_EQ(view[0], 5);
    });
}

TEST_F(MappedLimits,
       WithoutMemoryASystemCallThatStoresToWhatAnInnerPartHasLoadedMakesTheCommitFail) {
    in_memory_group([&](const MemoryGroup& group) {
        View view = another();
        prepare_for_a_limit(view);
        Fd zero(::open("/dev/zero", O_RDONLY));
        stm_start(view.fd());
        stm_start(view.fd());
        for (std::size_t next = 0; next < kManyPages; ++next)
            EXPECT_EQ(view[next * kPage], 0);
        group.limit(std::to_string(group.current() + (1 << 20)));
        const ssize_t stored = ::read(zero.get(), view.bytes(), kManyPages * kPage);
        group.lift();
        EXPECT_LT(stored, static_cast<ssize_t>(kManyPages * kPage));
        EXPECT_GT(stored, static_cast<ssize_t>(10 * kPage));
        errno = 0;
        EXPECT_EQ(stm_validate(view.fd()), -1);
        EXPECT_EQ(errno, ENOMEM) << std::strerror(errno);
        for (const char* part : {"inner", "outer"}) {
            errno = 0;
            EXPECT_EQ(stm_commit(view.fd()), 1) << part;
            EXPECT_EQ(errno, ENOMEM) << part << ": " << std::strerror(errno);
        }
        EXPECT_EQ(transaction(view.fd()).depth, 0u);
        EXPECT_EQ(view[0], 0);
    });
}

TEST_F(MappedLimits, WithoutMemoryACommitEndsWithENOMEM) {
    in_memory_group([&](const MemoryGroup& group) {
        View view = another();
        prepare_for_a_limit(view);
        // The pages exist in no region yet: the commit has to make them.
        stm_start(view.fd());
        for (std::size_t page = 0; page < kManyPages; ++page)
            view[page * kPage] = 7;
        group.limit(std::to_string(group.current() + (1 << 20)));
        errno = 0;
        const int result = stm_commit(view.fd());
        const int error = errno;
        group.limit("max");
        EXPECT_EQ(result, 1);
        EXPECT_EQ(error, ENOMEM) << std::strerror(error);
        EXPECT_EQ(view[0], 0);
        EXPECT_EQ(view[(kManyPages - 1) * kPage], 0);
        store(view, 0, 5);
        EXPECT_EQ(view[0], 5);
    });
}

} // namespace
