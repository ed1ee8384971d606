// SPDX-License-Identifier: GPL-2.0
// The functions of <stm/tx.h> with a module that this program plays: it answers ioctl, and sees
// which requests are made, in which order, with what.
#include "userspace/lib/src/typed/region.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstdarg>
#include <cstring>
#include <functional>
#include <stm/ioctl.h>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <vector>
#include <x86intrin.h>

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

// As the module: no write is of no bytes.
bool is_well_formed(const struct stm_sets& sets) {
    for (unsigned i = 0; i < sets.write_count; ++i) {
        if (reinterpret_cast<const struct stm_stripe_write*>(sets.writes)[i].mask == 0)
            return false;
    }
    return true;
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
    bool malformed = false;
    if (name == "commit") {
        const auto* const request = static_cast<const struct stm_commit_sets*>(argument);
        malformed = !is_well_formed(request->sets);
        text += (request->flags & STM_COMMIT_SERIAL) != 0 ? " serial " : " ";
        text += text_of(request->sets);
        for (unsigned i = 0; i < request->other_count; ++i) {
            const auto& other = reinterpret_cast<const struct stm_sets*>(request->others)[i];
            text += " " + std::to_string(other.handle) + text_of(other);
        }
    }
    requests.push_back(text);
    const int error = answer ? answer(name) : malformed ? EINVAL : 0;
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

// One for each view.
u64 new_place() {
    static u64 last = 0;
    return ++last;
}

// A region in this program's memory. Its handle is a number that nobody opens.
class PlayedRegion {
public:
    explicit PlayedRegion(int fd, bool may_write = true) {
        region.place.view = View(records, bytes, &clock, sizeof bytes);
        region.place.region = static_cast<u64>(fd);
        region.place.place = new_place();
        region.place.writable = may_write ? sizeof bytes : 0;
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
    alignas(64) u8 bytes[8192] = {};
    Atomic<u64> records[128];
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

TEST_F(TypedRequests, LeaveOutRegionsThatNothingWasDoneIn) {
    stm_tx* const tx = stm_tx_begin(first, 0);
    EXPECT_EQ(add(tx, second, 8), 0);
    EXPECT_EQ(stm_tx_commit(tx), 0);
    EXPECT_EQ(taken(), Texts{"commit 102 (1 read, 1 written)"});
}

// Each access is to the other region than the one before.
TEST_F(TypedRequests, IsOneForRegionsByTurns) {
    PlayedRegion third(103);
    for (int round = 0; round < 3; ++round) {
        stm_tx* const tx = stm_tx_begin(first, 0);
        for (const u64 offset : {8u, 640u, 8u})
            for (PlayedRegion* const region : {&first, &second, &third})
                EXPECT_EQ(add(tx, *region, offset), 0);
        for (PlayedRegion* const region : {&third, &first, &second}) {
            long value = 0;
            EXPECT_EQ(stm_tx_load(tx, *region, 8, &value, sizeof value), 0);
            EXPECT_EQ(value, 2) << "it was stored twice";
            EXPECT_EQ(stm_tx_load(tx, *region, 16, &value, sizeof value), 0);
            EXPECT_EQ(value, 0) << "another word of the stripe";
        }
        EXPECT_EQ(stm_tx_commit(tx), 0);
        for (const std::string& text : taken())
            EXPECT_TRUE(text.starts_with("commit 101 (") && text.ends_with(" 2 written)")) << text;
        EXPECT_EQ(stm_tx_store(tx, second, 8, "abcdefgh", 8), -1) << "none runs";
        EXPECT_EQ(errno, EINVAL);
    }
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

// It wanted tokens, and was cancelled before it could take them.
TEST_F(TypedRequests, TakeNoTokenForWhatAnotherTransactionWanted) {
    stm_tx* tx = stm_tx_begin(first, STM_TX_SERIAL);
    EXPECT_EQ(add(tx, first, 8), 0);
    EXPECT_EQ(add(tx, second, 8), STM_TX_AGAIN);
    stm_tx_cancel(tx);
    static_cast<void>(taken());
    tx = stm_tx_begin(first, 0);
    EXPECT_EQ(add(tx, first, 8), 0);
    EXPECT_EQ(add(tx, second, 8), 0);
    EXPECT_EQ(stm_tx_commit(tx), 0);
    EXPECT_EQ(taken(), Texts{"commit 101 (1 read, 1 written) 102(1 read, 1 written)"});
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

// ---- Loads that are compiled into the program --------------------------------------------------

using Load = int (*)(stm_tx* tx, stm_region* region, u64 offset, u64* to);

int load(stm_tx* tx, stm_region* region, u64 offset, u64* to) {
    return stm_tx_load(tx, region, offset, to, sizeof *to);
}
int load_by_view(stm_tx* tx, stm_region*, u64 offset, u64* to) {
    const stm_tx_view view = stm_tx_view_of(tx);
    return stm_tx_view_load_word(&view, offset, to);
}

class CompiledLoads : public TypedRequests, public testing::WithParamInterface<Load> {
protected:
    // The word there, or what the load has returned instead of 0.
    u64 word(stm_tx* tx, u64 offset) {
        u64 value = 0;
        const int result = GetParam()(tx, first, offset, &value);
        return result == 0 ? value : static_cast<u64>(result);
    }
    static int store(stm_tx* tx, stm_region* region, u64 offset, u64 value) {
        return stm_tx_store(tx, region, offset, &value, sizeof value);
    }
    void put(u64 offset, u64 value) { std::memcpy(first.bytes + offset, &value, sizeof value); }
};

INSTANTIATE_TEST_SUITE_P(, CompiledLoads,
                         testing::Values(Load{load}, Load{stm_tx_load_word}, Load{load_by_view}));

TEST_P(CompiledLoads, GiveWhatTheTransactionHasStored) {
    put(8, 1);
    put(640, 2);
    stm_tx* const tx = stm_tx_begin(first, 0);
    EXPECT_EQ(word(tx, 8), 1u);
    EXPECT_EQ(store(tx, first, 8, 3), 0);
    EXPECT_EQ(word(tx, 8), 3u);
    EXPECT_EQ(word(tx, 640), 2u);
    EXPECT_EQ(stm_tx_nest(tx), 0);
    EXPECT_EQ(store(tx, first, 8, 4), 0);
    EXPECT_EQ(store(tx, first, 640, 5), 0);
    EXPECT_EQ(word(tx, 8), 4u);
    EXPECT_EQ(word(tx, 640), 5u);
    stm_tx_undo(tx);
    EXPECT_EQ(word(tx, 8), 3u);
    EXPECT_EQ(word(tx, 640), 2u);
    EXPECT_EQ(store(tx, first, 16, 6), 0);
    EXPECT_EQ(word(tx, 16), 6u);
    EXPECT_EQ(stm_tx_commit(tx), 0);
    EXPECT_EQ(taken(), Texts{"commit 101 (2 read, 1 written)"});
    stm_tx_begin(first, 0);
    EXPECT_EQ(word(tx, 8), 1u) << "nothing is left of the last one; this module commits nothing";
    EXPECT_EQ(stm_tx_commit(tx), 0);
}

TEST_P(CompiledLoads, AreNotedHoweverMany) {
    stm_tx* const tx = stm_tx_begin(first, 0);
    for (int i = 0; i < 100; ++i) {
        EXPECT_EQ(word(tx, 0), 0u);
        EXPECT_EQ(word(tx, 640), 0u);
    }
    EXPECT_EQ(store(tx, first, 128, 1), 0);
    EXPECT_EQ(stm_tx_commit(tx), 0);
    EXPECT_EQ(taken(), Texts{"commit 101 (200 read, 1 written)"});
}

// Each thread has its own object, so nothing is left of other tests here.
TEST_P(CompiledLoads, AreOfOneSnapshot) {
    std::thread([&] {
        for (const int flags : {0, STM_TX_READ_ONLY}) {
            stm_tx* const tx = stm_tx_begin(first, flags);
            EXPECT_EQ(word(tx, 0), 0u);
            first.change(0);
            EXPECT_EQ(word(tx, 0), u64{STM_TX_AGAIN});
            EXPECT_EQ(stm_tx_commit(tx), STM_TX_AGAIN);
            EXPECT_EQ(word(tx, 0), 0u);
            EXPECT_EQ(stm_tx_commit(tx), 0);
        }
    }).join();
}

TEST_P(CompiledLoads, NeedATransactionAndAWordInTheRegion) {
    const u64 failed = static_cast<u64>(-1);
    for (const int flags : {0, STM_TX_READ_ONLY}) {
        stm_tx* const tx = stm_tx_begin(first, flags);
        put(4, 0x0102030405060708);
        EXPECT_EQ(word(tx, 4), 0x0102030405060708u) << "at any offset";
        EXPECT_EQ(word(tx, sizeof first.bytes), failed);
        EXPECT_EQ(errno, ERANGE);
        EXPECT_EQ(word(tx, 0), failed) << "it has failed for good";
        EXPECT_EQ(stm_tx_commit(tx), -1);
        EXPECT_EQ(errno, ERANGE);
        EXPECT_EQ(word(tx, 0), failed) << "none runs";
        EXPECT_EQ(errno, EINVAL);
        stm_tx_begin(first, flags);
        EXPECT_EQ(word(tx, 64), 0u);
        EXPECT_EQ(stm_tx_commit(tx), 0);
        EXPECT_EQ(word(tx, 64), failed) << "none runs any more";
        EXPECT_EQ(errno, EINVAL);
    }
}

TEST_P(CompiledLoads, MayBeMixedWithOtherRegions) {
    put(8, 1);
    second.bytes[8] = 2;
    stm_tx* const tx = stm_tx_begin(first, 0);
    for (int i = 0; i < 3; ++i) {
        u64 value = 0;
        EXPECT_EQ(word(tx, 8), 1u);
        EXPECT_EQ(stm_tx_load_word(tx, second, 8, &value), 0);
        EXPECT_EQ(value, 2u);
    }
    EXPECT_EQ(store(tx, second, 16, 3), 0);
    EXPECT_EQ(word(tx, 16), 0u);
    EXPECT_EQ(store(tx, first, 16, 4), 0);
    EXPECT_EQ(word(tx, 16), 4u);
    EXPECT_EQ(stm_tx_commit(tx), 0);
    EXPECT_EQ(taken(), Texts{"commit 101 (1 read, 1 written) 102(1 read, 1 written)"});
}

// ---- Stores that are compiled into the program -------------------------------------------------

using Store = int (*)(stm_tx* tx, stm_region* region, u64 offset, u64 value);

int store(stm_tx* tx, stm_region* region, u64 offset, u64 value) {
    return stm_tx_store(tx, region, offset, &value, sizeof value);
}

class WordStores : public TypedRequests, public testing::WithParamInterface<Store> {
protected:
    int put(stm_tx* tx, u64 offset, u64 value) { return GetParam()(tx, first, offset, value); }
    // What the transaction finds there.
    u64 word(stm_tx* tx, u64 offset) {
        u64 value = 0;
        EXPECT_EQ(stm_tx_load_word(tx, first, offset, &value), 0);
        return value;
    }
};

INSTANTIATE_TEST_SUITE_P(, WordStores, testing::Values(Store{store}, Store{stm_tx_store_word}));

TEST_P(WordStores, AreCommittedWithoutALoad) {
    stm_tx* const tx = stm_tx_begin(first, 0);
    EXPECT_EQ(put(tx, 64, 1), 0);
    EXPECT_EQ(stm_tx_commit(tx), 0);
    EXPECT_EQ(taken(), Texts{"commit 101 (0 read, 1 written)"});
}

TEST_P(WordStores, AreLoadedAgainAndOthersBesideThem) {
    std::memset(first.bytes, 0x11, 256);
    stm_tx* const tx = stm_tx_begin(first, 0);
    EXPECT_EQ(put(tx, 56, 1), 0);
    EXPECT_EQ(word(tx, 56), 1u);
    EXPECT_EQ(word(tx, 48), 0x1111111111111111u) << "in the same stripe";
    EXPECT_EQ(word(tx, 64), 0x1111111111111111u) << "in another one";
    EXPECT_EQ(put(tx, 56, 2), 0);
    EXPECT_EQ(put(tx, 0, 3), 0);
    EXPECT_EQ(word(tx, 56), 2u);
    EXPECT_EQ(word(tx, 0), 3u);
    EXPECT_EQ(put(tx, 64 * 64, 4), 0);
    EXPECT_EQ(word(tx, 64 * 64), 4u) << "its number is that of stripe 0 modulo 64";
    EXPECT_EQ(word(tx, 0), 3u);
    EXPECT_EQ(stm_tx_commit(tx), 0);
    EXPECT_EQ(taken(), Texts{"commit 101 (2 read, 2 written)"});
}

TEST_P(WordStores, MayBeMany) {
    constexpr u64 kMany = 40;
    stm_tx* const tx = stm_tx_begin(first, 0);
    for (u64 round = 0; round < 2; ++round) {
        for (u64 i = 0; i < kMany; ++i)
            EXPECT_EQ(put(tx, i * 64 + round * 8, i + round), 0);
    }
    for (u64 i = 0; i < kMany; ++i) {
        EXPECT_EQ(word(tx, i * 64), i);
        EXPECT_EQ(word(tx, i * 64 + 8), i + 1);
    }
    EXPECT_EQ(stm_tx_commit(tx), 0);
    EXPECT_EQ(taken(), Texts{"commit 101 (0 read, 40 written)"});
}

TEST_P(WordStores, AreUndoneWithTheirPart) {
    stm_tx* const tx = stm_tx_begin(first, 0);
    EXPECT_EQ(put(tx, 0, 1), 0);
    EXPECT_EQ(stm_tx_nest(tx), 0);
    EXPECT_EQ(put(tx, 0, 2), 0);
    EXPECT_EQ(put(tx, 64, 3), 0);
    stm_tx_undo(tx);
    EXPECT_EQ(word(tx, 0), 1u);
    EXPECT_EQ(word(tx, 64), 0u);
    EXPECT_EQ(stm_tx_commit(tx), 0);
    EXPECT_EQ(taken(), Texts{"commit 101 (1 read, 1 written)"});
}

TEST_P(WordStores, OfAnAttemptThatFailedAreForgotten) {
    std::thread([&] {
        stm_tx* const tx = stm_tx_begin(first, 0);
        EXPECT_EQ(word(tx, 0), 0u);
        EXPECT_EQ(put(tx, 64, 1), 0);
        first.change(0);
        EXPECT_EQ(stm_tx_valid(tx), 0);
        EXPECT_EQ(put(tx, 128, 1), STM_TX_AGAIN);
        EXPECT_EQ(stm_tx_commit(tx), STM_TX_AGAIN);
        EXPECT_EQ(word(tx, 64), 0u);
        EXPECT_EQ(stm_tx_commit(tx), 0);
    }).join();
    EXPECT_EQ(taken(), Texts{});
}

TEST_P(WordStores, NeedATransactionThatMayStoreThere) {
    stm_tx* tx = stm_tx_begin(first, STM_TX_READ_ONLY);
    EXPECT_EQ(put(tx, 0, 1), -1);
    EXPECT_EQ(errno, EROFS);
    EXPECT_EQ(stm_tx_commit(tx), -1);
    tx = stm_tx_begin(first, 0);
    EXPECT_EQ(put(tx, 4, 0x0102030405060708), 0) << "at any offset";
    EXPECT_EQ(word(tx, 4), 0x0102030405060708u);
    EXPECT_EQ(put(tx, sizeof first.bytes, 1), -1);
    EXPECT_EQ(errno, ERANGE);
    EXPECT_EQ(put(tx, 0, 1), -1) << "it has failed for good";
    EXPECT_EQ(stm_tx_commit(tx), -1);
    EXPECT_EQ(put(tx, 0, 1), -1) << "none runs";
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(taken(), Texts{});
}

TEST_P(WordStores, MayBeMixedWithOtherRegions) {
    stm_tx* const tx = stm_tx_begin(first, 0);
    EXPECT_EQ(put(tx, 0, 1), 0);
    EXPECT_EQ(GetParam()(tx, second, 0, 2), 0);
    EXPECT_EQ(put(tx, 64, 3), 0);
    EXPECT_EQ(GetParam()(tx, second, 0, 4), 0);
    u64 value = 0;
    EXPECT_EQ(stm_tx_load_word(tx, second, 0, &value), 0);
    EXPECT_EQ(value, 4u);
    EXPECT_EQ(word(tx, 0), 1u);
    EXPECT_EQ(stm_tx_commit(tx), 0);
    EXPECT_EQ(taken(), Texts{"commit 101 (0 read, 2 written) 102(0 read, 1 written)"});
}

// ---- A signal handler that leaves a store by a jump --------------------------------------------

sigjmp_buf out_of_the_store;
volatile std::sig_atomic_t instructions_left;

void leave_at_the_last(int) {
    instructions_left = instructions_left - 1;
    if (instructions_left == 0)
        siglongjmp(out_of_the_store, 1);
}

// Lets the processor stop behind each instruction, or not.
[[gnu::always_inline]] inline void trap_at_each(bool wanted) {
    constexpr u64 kTrap = 0x100;
    __writeeflags((__readeflags() & ~kTrap) | (wanted ? kTrap : 0));
}

// Calls f, and leaves it in front of an instruction, counted from the first. False: it had fewer.
template <typename F>
bool leave_at(int instruction, F f) {
    instructions_left = instruction;
    if (sigsetjmp(out_of_the_store, 1) != 0)
        return true;
    trap_at_each(true);
    f();
    trap_at_each(false);
    return false;
}

// A program that does not cancel the transaction, as it should, harms no other one.
TEST_P(WordStores, ThatWereLeftByAJumpAreNoPartOfTheNextTransaction) {
    struct sigaction before {};
    struct sigaction leaving {};
    leaving.sa_handler = leave_at_the_last;
    ASSERT_EQ(::sigaction(SIGTRAP, &leaving, &before), 0);
    for (int instruction = 1;; ++instruction) {
        stm_tx* tx = stm_tx_begin(first, 0);
        const bool left = leave_at(instruction, [&] { static_cast<void>(put(tx, 64, 1)); });
        EXPECT_EQ(stm_tx_commit(tx), 0);
        static_cast<void>(taken());
        tx = stm_tx_begin(first, 0);
        EXPECT_EQ(put(tx, 128, 1), 0);
        EXPECT_EQ(stm_tx_commit(tx), 0);
        EXPECT_EQ(taken(), Texts{"commit 101 (0 read, 1 written)"}) << instruction;
        if (!left)
            break;
    }
    EXPECT_EQ(::sigaction(SIGTRAP, &before, nullptr), 0);
}

// ---- A commit between the look at the record and the load of the word --------------------------

// The first page of its bytes cannot be read at first. Whoever tries is overtaken by a commit to
// stripes 0 and 64.
class OvertakingRegion {
public:
    OvertakingRegion() {
        there = this;
        struct sigaction action {};
        action.sa_handler = [](int) { there->commit(); };
        sigemptyset(&action.sa_mask);
        sigaction(SIGSEGV, &action, &before_);
        mprotect(bytes_, kPage, PROT_NONE);
        region.place.view = View(records_, bytes_, &clock_, 2 * kPage);
        region.place.region = 104;
        region.place.place = new_place();
        region.handle = stm::connection::Descriptor(104);
    }
    ~OvertakingRegion() {
        static_cast<void>(region.handle.release());
        sigaction(SIGSEGV, &before_, nullptr);
        munmap(bytes_, 2 * kPage);
    }

    stm_region region;

private:
    static constexpr std::size_t kPage = 4096;
    static inline OvertakingRegion* there = nullptr;

    void commit() {
        mprotect(bytes_, kPage, PROT_READ | PROT_WRITE);
        clock_.store(6, stm::runtime::Order::relaxed);
        for (const u64 stripe : {0, 64}) {
            bytes_[stripe * 64] = 1;
            records_[stripe].store(6 << 1, stm::runtime::Order::relaxed);
        }
    }

    u8* const bytes_ = static_cast<u8*>(
        mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    Atomic<u64> records_[128];
    Atomic<u64> clock_{5};
    struct sigaction before_ {};
};

TEST_P(CompiledLoads, AreDoneAgainWhenACommitOvertakesThem) {
    const auto try_with = [&](int flags) {
        OvertakingRegion overtaking;
        stm_tx* const tx = stm_tx_begin(&overtaking.region, flags);
        u64 value = 7;
        EXPECT_EQ(GetParam()(tx, &overtaking.region, 4096, &value), 0);
        EXPECT_EQ(value, 0u);
        EXPECT_EQ(GetParam()(tx, &overtaking.region, 0, &value), STM_TX_AGAIN);
        EXPECT_EQ(stm_tx_commit(tx), STM_TX_AGAIN);
        EXPECT_EQ(GetParam()(tx, &overtaking.region, 0, &value), 0);
        EXPECT_EQ(value, 1u);
        EXPECT_EQ(stm_tx_commit(tx), 0);
    };
    for (const int flags : {0, STM_TX_READ_ONLY})
        std::thread(try_with, flags).join();
}

} // namespace
