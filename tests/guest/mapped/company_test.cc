// SPDX-License-Identifier: GPL-2.0
// Warm mappings of a process whose address space others use in ways in which only the kernel does:
// tests/markers/run runs it, with the device of tests/markers/company.c.
#include "company.h"
#include "mapped.hpp"

#include <fcntl.h>
#include <string>
#include <sys/ioctl.h>

using namespace stm::test;

namespace {

class Company {
public:
    /** A kernel thread stores there, from now on until its end. */
    [[nodiscard]] bool stores_at(const void* at) const { return does(COMPANY_STORE, at) == 0; }
    void stop() const { does(COMPANY_STOP, nullptr); }
    [[nodiscard]] bool watches() const { return does(COMPANY_WATCH, nullptr) == 0; }
    [[nodiscard]] int times_told_of(const void* place) const { return does(COMPANY_TOLD, place); }

private:
    int does(unsigned long what, const void* place) const {
        return ::ioctl(device_.get(), what, place);
    }
    Fd device_{::open("/dev/stm-company", O_RDWR | O_CLOEXEC)};
};

class InCompany : public Mapped {
protected:
    void SetUp() override {
        Mapped::SetUp();
        ASSERT_EQ(stm_set_warm(fd(), 1), 0) << std::strerror(errno);
        for (int round = 0; round < 8; ++round)
            count([] {});
    }
    /** Always from one place in the program, so that the store is expected. */
    template <typename Body>
    void count(Body body) {
        do {
            stm_start(fd());
            number(0) = number(0) + 1;
            body();
        } while (stm_commit(fd()) != 0);
    }
    [[nodiscard]] long committed(std::size_t at) const {
        long value = 0;
        EXPECT_EQ(::pread(other_.fd(), &value, sizeof value, static_cast<off_t>(at)),
                  static_cast<ssize_t>(sizeof value));
        return value;
    }
    /** The page shows what is committed, and goes on to do so. */
    void expect_unchanged(std::size_t at) const {
        const long before = committed(at);
        for (int look = 0; look < 100'000; ++look)
            ASSERT_EQ(number(at), before);
        ASSERT_EQ(committed(at), before);
    }

    View other_ = another();
    Company company_;
};

// Where a page is not taken from it that shows only when the two run at the same time, on a busy
// machine in one of ten rounds.
TEST_F(InCompany, AKernelThreadThatStoresIsStoppedByTheCommit) {
    for (int round = 0; round < 96; ++round) {
        count([&] { EXPECT_TRUE(company_.stores_at(bytes(64))); });
        expect_unchanged(64);
        company_.stop();
    }
}

TEST_F(InCompany, WhatAKernelThreadStoresIsCommitted) {
    for (int round = 0; round < 16; ++round) {
        volatile long last = 0;
        count([&] {
            number(64) = 0;
            EXPECT_TRUE(company_.stores_at(bytes(64)));
            company_.stop();
            last = number(64);
        });
        EXPECT_GT(last, 0);
        EXPECT_EQ(committed(64), last);
        expect_unchanged(64);
    }
}

TEST_F(InCompany, AWatcherIsToldBeforeTheCommit) {
    // It comes in the middle of a transaction, when the page is there for stores.
    count([&] { EXPECT_TRUE(company_.watches()); });
    EXPECT_GT(company_.times_told_of(bytes()), 0);
    for (int round = 0; round < 8; ++round) {
        const int before = company_.times_told_of(bytes());
        count([] {});
        EXPECT_GT(company_.times_told_of(bytes()), before);
        EXPECT_EQ(number(0), committed(0));
    }
}

} // namespace
