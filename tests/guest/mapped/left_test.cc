// SPDX-License-Identifier: GPL-2.0
// What a mapping shows when it is made inside of a transaction, and when the transaction is left
// without an end: by its thread's end, or by a close of the file.
#include "mapped.hpp"

#include <thread>
#include <unistd.h>

using namespace stm::test;

namespace {

class MappedLeft : public Mapped {
protected:
    // What an ended thread stored leaves the mappings of its process when the watchdog comes by,
    // every 10 ms.
    bool becomes_zero(std::size_t offset) {
        for (int tries = 0; tries < 500 && number(offset) != 0; ++tries)
            ::usleep(10'000);
        return number(offset) == 0;
    }
};

TEST_F(MappedLeft, AMappingMadeInsideBelongsToTheTransaction) {
    // Begun past the library: no signal, so no restart.
    Fd handle(stm_open(region_.name().c_str(), 0, 0, 0));
    ASSERT_EQ(::ioctl(handle.get(), STM_IOC_START, 0), 1);
    Mapping late(handle.get(), size_);
    ASSERT_TRUE(late.ok());
    volatile long* first = late.at<volatile long>();
    EXPECT_EQ(*first, 0);
    elsewhere([&] { store(another(), 0, 6); });
    EXPECT_EQ(*first, 0) << "what was loaded once changed";
    EXPECT_EQ(signal_of([&] { *first = 1; }), SIGSEGV) << "the child has no transaction";
    EXPECT_EQ(::ioctl(handle.get(), STM_IOC_CANCEL, 0), 0);
    EXPECT_EQ(*first, 6);
}

TEST_F(MappedLeft, AnEndedThreadLeavesNothingInTheMapping) {
    for (int round = 0; round < 3; ++round) {
        std::thread([&] {
            stm_start(fd());
            number(0) = 666;
            EXPECT_EQ(number(kPage), 0);
        }).join();
        EXPECT_TRUE(becomes_zero(0));
        EXPECT_EQ(number(2 * kPage), 0);
        EXPECT_EQ(signal_of_store(bytes()), SIGSEGV);
        elsewhere([&] { EXPECT_EQ(number(0), 0); });
        ASSERT_EQ(stm_try_start(fd()), 0) << std::strerror(errno);
        EXPECT_EQ(number(0), 0);
        stm_cancel(fd());
    }
}

TEST_F(MappedLeft, AfterAnEndedThreadAStoreIsRefusedInTheSameProcess) {
    EXPECT_EQ(signal_of([&] {
                  std::thread([&] {
                      (void)::ioctl(fd(), STM_IOC_START, 0);
                      number(0) = 666;
                  }).join();
                  EXPECT_TRUE(becomes_zero(0));
                  number(0) = 667; // this thread has no transaction
              }),
              SIGSEGV);
    EXPECT_EQ(number(0), 0);
}

TEST_F(MappedLeft, ACloseInsideLeavesNothingInTheMapping) {
    View view = another();
    stm_start(view.fd());
    view[0] = 666;
    EXPECT_EQ(view[kPage], 0);
    view.close();
    EXPECT_EQ(view[0], 0);
    EXPECT_EQ(view[2 * kPage], 0);
    EXPECT_EQ(signal_of([&] { view[0] = 1; }), SIGSEGV);
    elsewhere([&] { store(another(), 0, 5); });
    EXPECT_EQ(view[0], 5);
    EXPECT_EQ(number(0), 5);
}

} // namespace
