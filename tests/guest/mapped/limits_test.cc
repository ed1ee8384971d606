// SPDX-License-Identifier: GPL-2.0
// Large transactions in mappings, and that nothing is left after many.
#include "mapped.hpp"

#include <fstream>

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
    EXPECT_LE(attempts, 24);
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
    if (before.empty() || !(std::ofstream(path) << 512))
        GTEST_SKIP() << path << " can not be set";
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

} // namespace
