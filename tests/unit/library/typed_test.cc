// SPDX-License-Identifier: GPL-2.0
// The functions of <stm/tx.h> with a module that this program plays: it answers ioctl, and sees
// which requests are made, in which order, with what.
#include "userspace/lib/src/typed/region.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstdarg>
#include <cstring>
#include <functional>
#include <stm/ioctl.h>
#include <string>
#include <vector>

namespace {

std::vector<std::string> requests;
// errno for the next request of that name; 0: it succeeds.
std::function<int(const std::string&)> answer;

std::string name_of(unsigned long number) {
    switch (number) {
    case STM_IOC_START:
        return "start";
    case STM_IOC_CANCEL:
        return "cancel";
    case STM_IOC_COMMIT_SETS:
        return "commit";
    case STM_IOC_WAIT_SETS:
        return "wait";
    default:
        return "other";
    }
}

std::string text_of(const struct stm_sets& sets) {
    return "(" + std::to_string(sets.read_count) + " read, " + std::to_string(sets.write_count) +
           " written)";
}

} // namespace

// In the place of libc's.
extern "C" int ioctl(int fd, unsigned long number, ...) noexcept {
    std::va_list arguments;
    va_start(arguments, number);
    void* const argument = va_arg(arguments, void*);
    va_end(arguments);
    const std::string name = name_of(number);
    std::string text = name + " " + std::to_string(fd);
    if (name == "commit") {
        const auto* const request = static_cast<const struct stm_commit_sets*>(argument);
        text += (request->flags & STM_COMMIT_SERIAL) != 0 ? " serial " : " ";
        text += text_of(request->sets);
        for (unsigned i = 0; i < request->other_count; ++i) {
            const auto& other = reinterpret_cast<const struct stm_sets*>(request->others)[i];
            text += " " + std::to_string(other.handle) + text_of(other);
        }
    }
    requests.push_back(text);
    const int error = answer ? answer(name) : 0;
    if (error == 0)
        return 0;
    errno = error;
    return -1;
}

namespace {

using stm::library::typed::Atomic;
using stm::library::typed::u64;
using stm::library::typed::u8;
using stm::library::typed::View;

// A region in this program's memory. Its handle is a number that nobody opens.
class PlayedRegion {
public:
    explicit PlayedRegion(int fd, bool may_write = true) {
        region.place.view = View(records, bytes, &clock, sizeof bytes);
        region.place.region = region.place.place = static_cast<u64>(fd);
        region.handle = stm::connection::Descriptor(fd);
        region.may_write = may_write;
    }
    ~PlayedRegion() { static_cast<void>(region.handle.release()); }
    operator stm_region*() { return &region; }

    // Another transaction commits to the stripe.
    void change(u64 stripe) {
        clock.fetch_add(1, stm::runtime::Order::relaxed);
        records[stripe].store(clock.load(stm::runtime::Order::relaxed) << 1,
                              stm::runtime::Order::relaxed);
    }

    stm_region region;
    alignas(64) u8 bytes[4096] = {};
    Atomic<u64> records[64];
    Atomic<u64> clock{5};
};

class TypedRequests : public testing::Test {
protected:
    TypedRequests() {
        requests.clear();
        answer = {};
    }
    static int add(stm_tx* tx, stm_region* region, u64 offset) {
        long value = 0;
        if (const int result = stm_tx_load(tx, region, offset, &value, sizeof value); result != 0)
            return result;
        ++value;
        return stm_tx_store(tx, region, offset, &value, sizeof value);
    }
    static std::vector<std::string> taken() { return std::exchange(requests, {}); }
    using Texts = std::vector<std::string>;

    PlayedRegion first{101};
    PlayedRegion second{102};
};

TEST_F(TypedRequests, AreNoneForReads) {
    for (const int flags : {0, STM_TX_READ_ONLY}) {
        stm_tx* const tx = stm_tx_begin(first, flags);
        long value = 0;
        EXPECT_EQ(stm_tx_load(tx, first, 8, &value, sizeof value), 0);
        EXPECT_EQ(stm_tx_commit(tx), 0);
    }
    EXPECT_EQ(taken(), Texts{});
}

TEST_F(TypedRequests, IsOneForACommit) {
    stm_tx* const tx = stm_tx_begin(first, 0);
    EXPECT_EQ(add(tx, first, 8), 0);
    EXPECT_EQ(add(tx, first, 640), 0);
    EXPECT_EQ(stm_tx_commit(tx), 0);
    EXPECT_EQ(taken(), Texts{"commit 101 (2 read, 2 written)"});
}

TEST_F(TypedRequests, IsOneForTwoRegions) {
    stm_tx* const tx = stm_tx_begin(second, 0);
    long value = 0;
    EXPECT_EQ(stm_tx_load(tx, second, 8, &value, sizeof value), 0);
    EXPECT_EQ(add(tx, first, 8), 0);
    EXPECT_EQ(stm_tx_commit(tx), 0);
    EXPECT_EQ(taken(), Texts{"commit 102 (1 read, 0 written) 101(1 read, 1 written)"});
}

// After 16 conflicts in a row all tokens are taken, in ascending order, before the first load.
TEST_F(TypedRequests, TakeTheTokensAfterManyConflicts) {
    answer = [](const std::string& name) { return name == "commit" ? EAGAIN : 0; };
    stm_tx* const tx = stm_tx_begin(second, 0);
    const auto body = [&] {
        EXPECT_EQ(add(tx, second, 8), 0);
        EXPECT_EQ(add(tx, first, 8), 0);
    };
    for (unsigned i = 1; i <= 16; ++i) {
        body();
        EXPECT_EQ(stm_tx_commit(tx), STM_TX_AGAIN);
        EXPECT_EQ(stm_tx_conflicts(tx), i);
    }
    EXPECT_EQ(requests.size(), 18u);
    EXPECT_EQ(requests[16], "start 101");
    EXPECT_EQ(requests[17], "start 102");
    static_cast<void>(taken());
    answer = {};
    // One of the two is not touched this time, and its token is given back, too.
    EXPECT_EQ(add(tx, second, 8), 0);
    EXPECT_EQ(stm_tx_commit(tx), 0);
    EXPECT_EQ(taken(), Texts{"commit 102 serial (1 read, 1 written) 101(0 read, 0 written)"});
    EXPECT_EQ(stm_tx_current(), nullptr);
    // The next one is an ordinary one.
    EXPECT_EQ(stm_tx_begin(second, 0), tx);
    EXPECT_EQ(stm_tx_conflicts(tx), 0u);
    stm_tx_cancel(tx);
    EXPECT_EQ(taken(), Texts{});
}

TEST_F(TypedRequests, GiveTheTokenBack) {
    stm_tx* const tx = stm_tx_begin(first, STM_TX_SERIAL);
    EXPECT_EQ(stm_tx_commit(tx), 0);
    EXPECT_EQ(taken(), (Texts{"start 101", "cancel 101"}));
    static_cast<void>(stm_tx_begin(first, STM_TX_SERIAL));
    stm_tx_cancel(tx);
    EXPECT_EQ(taken(), (Texts{"start 101", "cancel 101"}));
    // A region that joins: all again, in the order of the regions.
    static_cast<void>(stm_tx_begin(second, STM_TX_SERIAL));
    EXPECT_EQ(add(tx, first, 0), STM_TX_AGAIN);
    EXPECT_EQ(stm_tx_commit(tx), STM_TX_AGAIN);
    EXPECT_EQ(taken(), (Texts{"start 102", "cancel 102", "start 101", "start 102"}));
    answer = [](const std::string& name) { return name == "commit" ? ENOMEM : 0; };
    EXPECT_EQ(add(tx, first, 0), 0);
    EXPECT_EQ(stm_tx_commit(tx), -1);
    EXPECT_EQ(errno, ENOMEM);
    EXPECT_EQ(taken(), (Texts{"commit 102 serial (0 read, 0 written) 101(1 read, 1 written)",
                              "cancel 102", "cancel 101"}));
}

TEST_F(TypedRequests, EndTheTransactionIfTheyFail) {
    const struct {
        int error;
        int expected;
    } rows[] = {
        {ENOSPC, ENOSPC}, {ENOMEM, ENOMEM}, {E2BIG, EFBIG}, {EINTR, EINTR}, {EDEADLK, EDEADLK}};
    for (const auto& row : rows) {
        answer = [&](const std::string&) { return row.error; };
        stm_tx* const tx = stm_tx_begin(first, 0);
        EXPECT_EQ(add(tx, first, 8), 0);
        EXPECT_EQ(stm_tx_commit(tx), -1);
        EXPECT_EQ(errno, row.expected);
        EXPECT_EQ(stm_tx_current(), nullptr);
    }
    answer = [](const std::string&) { return EINTR; };
    EXPECT_EQ(stm_tx_begin(first, STM_TX_SERIAL), nullptr);
    EXPECT_EQ(errno, EINTR);
    EXPECT_EQ(stm_tx_current(), nullptr);
}

// What a transaction that only reads has not noted, it cannot wait for: it is repeated first.
TEST_F(TypedRequests, OfAWaitNameWhatWasRead) {
    stm_tx* const tx = stm_tx_begin(first, STM_TX_READ_ONLY);
    long value = 0;
    EXPECT_EQ(stm_tx_load(tx, first, 8, &value, sizeof value), 0);
    EXPECT_EQ(stm_tx_wait(tx, -1), STM_TX_AGAIN);
    EXPECT_EQ(taken(), Texts{});
    EXPECT_EQ(stm_tx_load(tx, first, 8, &value, sizeof value), 0);
    EXPECT_EQ(stm_tx_wait(tx, -1), STM_TX_AGAIN);
    EXPECT_EQ(taken(), Texts{"wait 101"});
    stm_tx_cancel(tx);
}

TEST_F(TypedRequests, AreMadeByAHandleThatMayWrite) {
    PlayedRegion reader(103, false);
    reader.region.place.region = 101;
    stm_tx* const tx = stm_tx_begin(reader, 0);
    long value = 0;
    EXPECT_EQ(stm_tx_load(tx, reader, 0, &value, sizeof value), 0);
    EXPECT_EQ(add(tx, first, 8), 0);
    EXPECT_EQ(stm_tx_commit(tx), 0);
    EXPECT_EQ(taken(), Texts{"commit 101 (1 read, 1 written)"});
}

TEST_F(TypedRequests, ChangesAreSeenBetweenLoads) {
    stm_tx* const tx = stm_tx_begin(first, 0);
    long value = 0;
    EXPECT_EQ(stm_tx_load(tx, first, 0, &value, sizeof value), 0);
    first.change(1);
    EXPECT_EQ(stm_tx_load(tx, first, 64, &value, sizeof value), 0);
    EXPECT_EQ(stm_tx_valid(tx), 1);
    first.change(0);
    EXPECT_EQ(stm_tx_valid(tx), 0);
    EXPECT_EQ(stm_tx_load(tx, first, 64, &value, sizeof value), STM_TX_AGAIN);
    EXPECT_EQ(stm_tx_store(tx, first, 64, &value, sizeof value), STM_TX_AGAIN);
    EXPECT_EQ(stm_tx_nest(tx), STM_TX_AGAIN);
    EXPECT_EQ(stm_tx_commit(tx), STM_TX_AGAIN);
    EXPECT_EQ(stm_tx_commit(tx), 0);
}

} // namespace
