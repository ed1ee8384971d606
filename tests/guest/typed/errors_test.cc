// SPDX-License-Identifier: GPL-2.0
// What the functions of <stm/tx.h> refuse, and how.
#include "typed.hpp"

#include <climits>

using namespace stm::test;

namespace {

int error_of_attach(stm_region* region) {
    const int error = errno;
    if (region == nullptr)
        return error;
    stm_region_close(region);
    return 0;
}

TEST(TypedErrors, OfAttaching) {
    EXPECT_EQ(error_of_attach(stm_region_open(unique_name("none").c_str(), 0, 0, 0)), ENOENT);
    EXPECT_EQ(error_of_attach(stm_region_open("", kPage, STM_CREATE, 0600)), EINVAL);
    EXPECT_EQ(error_of_attach(stm_region_open(unique_name("plain").c_str(), kPage,
                                              STM_CREATE | STM_PLAIN, 0600)),
              EOPNOTSUPP);
    const Region plain("plain", kPage, STM_PLAIN);
    EXPECT_EQ(error_of_attach(stm_region_attach(plain.fd())), EOPNOTSUPP);
    EXPECT_EQ(error_of_attach(stm_region_attach(-1)), EBADF);
    EXPECT_EQ(error_of_attach(stm_region_attach(STDERR_FILENO)), EBADF);
}

struct Row {
    const char* what;
    int error;
    int flags;
    std::function<int(stm_tx*, stm_region*)> operation;
};

// An operation that fails is the end: all that follows fails for the same reason.
TEST(TypedErrors, FailTheTransaction) {
    const TypedRegion region("errors", kPage);
    const Attached read_only(region.name(), STM_RDONLY);
    static char bytes[2 * kPage];
    const Row rows[] = {
        {"load behind the end", ERANGE, 0,
         [](stm_tx* tx, stm_region* at) { return stm_tx_load(tx, at, kPage, bytes, 1); }},
        {"load beyond the end", ERANGE, 0,
         [](stm_tx* tx, stm_region* at) { return stm_tx_load(tx, at, 8, bytes, kPage); }},
        {"load of too many", ERANGE, 0,
         [](stm_tx* tx, stm_region* at) { return stm_tx_load(tx, at, 8, bytes, SIZE_MAX); }},
        {"load far away", ERANGE, 0,
         [](stm_tx* tx, stm_region* at) { return stm_tx_load(tx, at, UINT64_MAX - 7, bytes, 8); }},
        {"store beyond the end", ERANGE, 0,
         [](stm_tx* tx, stm_region* at) { return stm_tx_store(tx, at, kPage - 4, bytes, 8); }},
        {"store in one that only reads", EROFS, STM_TX_READ_ONLY,
         [](stm_tx* tx, stm_region* at) { return stm_tx_store(tx, at, 0, bytes, 8); }},
        {"store by a handle that may not", EROFS, 0,
         [&](stm_tx* tx, stm_region*) { return stm_tx_store(tx, read_only, 0, bytes, 8); }},
        {"nested too deeply", EFBIG, 0,
         [](stm_tx* tx, stm_region*) {
             for (int i = 0; i < 10'000; ++i) {
                 if (const int result = stm_tx_nest(tx); result != 0)
                     return result;
             }
             return 0;
         }},
    };
    for (const Row& row : rows) {
        SCOPED_TRACE(row.what);
        stm_tx* const tx = stm_tx_begin(region, row.flags);
        ASSERT_NE(tx, nullptr);
        long value = 0;
        EXPECT_EQ(stm_tx_load(tx, region, 0, &value, sizeof value), 0);
        EXPECT_EQ(row.operation(tx, region), -1);
        EXPECT_EQ(errno, row.error);
        errno = 0;
        EXPECT_EQ(stm_tx_load(tx, region, 0, &value, sizeof value), -1);
        EXPECT_EQ(errno, row.error);
        EXPECT_EQ(stm_tx_store(tx, region, 0, &value, sizeof value), -1);
        EXPECT_EQ(errno, row.error);
        EXPECT_EQ(stm_tx_current(), tx);
        errno = 0;
        EXPECT_EQ(stm_tx_commit(tx), -1);
        EXPECT_EQ(errno, row.error);
        EXPECT_EQ(stm_tx_current(), nullptr);
    }
    EXPECT_EQ(value_at(region, 0), 0);
}

TEST(TypedErrors, NothingAtAllIsNoError) {
    const TypedRegion region("nothing", kPage);
    EXPECT_TRUE(atomically(region, 0, [&](stm_tx* tx) {
        char byte = 0;
        EXPECT_EQ(stm_tx_load(tx, region, kPage, &byte, 0), 0);
        EXPECT_EQ(stm_tx_store(tx, region, kPage, &byte, 0), 0);
    }));
    EXPECT_TRUE(atomically(region, 0, [](stm_tx*) {}));
}

TEST(TypedErrors, OfTheBegin) {
    const TypedRegion region("begin", kPage);
    EXPECT_EQ(stm_tx_begin(region, 0x40), nullptr);
    EXPECT_EQ(errno, EINVAL);
    stm_tx* const tx = stm_tx_begin(region, 0);
    EXPECT_EQ(stm_tx_begin(region, 0), nullptr);
    EXPECT_EQ(errno, EBUSY);
    EXPECT_EQ(stm_tx_commit(tx), 0);
    // It is over.
    long value = 0;
    EXPECT_EQ(stm_tx_load(tx, region, 0, &value, sizeof value), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(stm_tx_store(tx, region, 0, &value, sizeof value), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(stm_tx_commit(tx), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(stm_tx_wait(tx, 0), -1);
    EXPECT_EQ(errno, EINVAL);
    stm_tx_cancel(tx);
    stm_tx_restart(tx);
    EXPECT_EQ(stm_tx_current(), nullptr);
}

TEST(TypedErrors, AReadOnlyHandleReads) {
    const TypedRegion region("read_only", kPage);
    set_value(region, 0, 4);
    const Attached read_only(region.name(), STM_RDONLY);
    EXPECT_EQ(value_at(read_only, 0), 4);
    // The other handle of the same region may write, in the same transaction.
    EXPECT_TRUE(atomically(read_only, 0, [&](stm_tx* tx) {
        long value = 0;
        EXPECT_EQ(stm_tx_load(tx, read_only, 0, &value, sizeof value), 0);
        EXPECT_EQ(add(tx, region, 0, 1), 0);
    })) << std::strerror(errno);
    EXPECT_EQ(value_at(region, 0), 5);
    // And if it is serial.
    EXPECT_TRUE(atomically(read_only, STM_TX_SERIAL, [&](stm_tx* tx) {
        return add(tx, region, 0, 1);
    })) << std::strerror(errno);
    EXPECT_EQ(value_at(region, 0), 6);
}

TEST(TypedErrors, CommittedBytesCannotBeWritten) {
    const TypedRegion region("protected", kPage);
    EXPECT_EQ(signal_of_store(const_cast<void*>(stm_region_committed(region))), SIGSEGV);
    EXPECT_EQ(
        ::mprotect(const_cast<void*>(stm_region_committed(region)), kPage, PROT_READ | PROT_WRITE),
        -1);
}

} // namespace
