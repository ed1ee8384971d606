// SPDX-License-Identifier: GPL-2.0
// Threads and mapped handles: one handle for each is right; what a shared one does is as written.
#include "death.hpp"
#include "mapped.hpp"

#include <thread>

using namespace stm::test;

namespace {

class MappedThreads : public Mapped {};

TEST_F(MappedThreads, ASecondThreadIsToldToOpenAHandleOfItsOwn) {
    const Death death = death_of([&] {
        stm_start(fd());
        number(0) = 1;
        std::thread([&] { stm_start(fd()); }).join();
    });
    EXPECT_EQ(death.signal, SIGABRT);
    EXPECT_NE(death.said.find("each thread needs a handle of its own, by stm_open"),
              std::string::npos)
        << death.said;
    stm_start(fd());
    number(0) = 1;
    std::thread([&] {
        EXPECT_EQ(stm_try_start(fd()), -1);
        EXPECT_EQ(errno, EBUSY);
    }).join();
    EXPECT_EQ(stm_commit(fd()), 0);
}

TEST_F(MappedThreads, AHandleForEachIsAsAnotherProcess) {
    stm_start(fd());
    number(0) = 42;
    std::thread([&] {
        const View own = another();
        EXPECT_EQ(own[0], 0) << "nothing of what is not committed";
        stm_start(own.fd());
        own[kPage] = 77;
        EXPECT_EQ(stm_commit(own.fd()), 0);
    }).join();
    EXPECT_EQ(stm_commit(fd()), 0);
    EXPECT_EQ(number(0), 42);
    EXPECT_EQ(number(kPage), 77);
}

TEST_F(MappedThreads, ASharedViewIsThatOfTheTransaction) {
    stm_start(fd());
    number(0) = 42;
    std::thread([&] {
        EXPECT_EQ(number(0), 42);
        number(8) = 77; // becomes a part
    }).join();
    stm_cancel(fd());
    EXPECT_EQ(number(0), 0);
    EXPECT_EQ(number(8), 0);
}

} // namespace
