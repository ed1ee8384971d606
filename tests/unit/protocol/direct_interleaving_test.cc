// SPDX-License-Identifier: GPL-2.0
// Direct commits through every schedule of their accesses to shared memory, with the death of one
// of them in front of each of its steps, and the repair at any time after that. With each planted
// defect some schedule must be refused.
#include "runtime/protocol/direct_commit.hpp"
#include "tests/unit/protocol/explorer.hpp"
#include "tests/unit/protocol/stepped_storage.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <memory>
#include <optional>
#include <string>

namespace stm::test {
namespace {

using protocol::AbortReason;
using protocol::Journal;
using protocol::JournalMutation;
using protocol::JournalState;
using protocol::Orec;
using protocol::ReadRun;
using protocol::StripeWrite;
using runtime::Span;

constexpr u64 kJournalObjects = 4000;
constexpr u64 kClosedObject = 4;
constexpr u64 kNever = ~u64{0};

// What all programs share. Each looks at it through a memory of its own.
struct Shared {
    FlatStorage storage{4096};
    Atomic<u64> clock{0};
    bool closed = false; // the gate
    std::array<Journal, 3> journals{};
};

class Memory {
public:
    Memory(Shared& shared, u64 number) : shared_(shared), journal_(kJournalObjects + number) {}

    // The program ends in front of its n-th step; `then` is true once nobody looks any more.
    void die_at(u64 step, std::function<bool()> then) {
        death_ = step;
        then_ = std::move(then);
    }
    [[nodiscard]] bool is_dead() const { return dead_; }
    [[nodiscard]] u64 steps() const { return steps_; }

    Atomic<u64>& clock() { return shared_.clock; }
    Atomic<u64>* orec(u64 stripe) { return shared_.storage.orec(stripe); }
    u8* data(u64 stripe) { return shared_.storage.data(stripe); }
    Status materialise(u64) { return kSuccess; }
    u64 size() const { return shared_.storage.size(); }
    void pause() {}
    u32 spin_limit() const { return 0; }
    void begin_critical() {}
    void end_critical() {}
    void serial_batch() {}
    bool closed() const { return shared_.closed; }

    void step(Step what, u64 where) {
        if (++steps_ == death_) {
            dead_ = true;
            // Its end happens here: nothing that follows does.
            Explorer::step({{journal_, Touch::Mode::write}, {}});
            Explorer::step({}, then_);
        }
        if (dead_)
            return;
        using Mode = Touch::Mode;
        switch (what) {
        case Step::read_clock:
            return Explorer::step({{kClockObject, Mode::read}, {}});
        case Step::sample_orec:
        case Step::validate_orec:
        case Step::resample_orec:
            return Explorer::step({{kOrecObjects + where, Mode::read}, {}});
        case Step::read_data:
            return Explorer::step({{kWordObjects + where, Mode::read}, {}});
        case Step::lock_orec:
        case Step::release_orec:
        case Step::restore_orec:
            return Explorer::step({{kOrecObjects + where, Mode::write}, {}});
        case Step::advance_clock:
            return Explorer::step({{kClockObject, Mode::write}, {}});
        case Step::write_data:
            return Explorer::step({{kWordObjects + where, Mode::write}, {}});
        case Step::publish:
        case Step::journal_active:
        case Step::journal_idle:
            return Explorer::step({{journal_, Mode::write}, {}});
        case Step::read_gate:
            return Explorer::step({{kClosedObject, Mode::read}, {}});
        case Step::count_change:
        case Step::read_changes:
        case Step::keep_old:
        case Step::find_old:
            return; // nobody counts here, or keeps old versions
        }
    }

private:
    Shared& shared_;
    const u64 journal_;
    u64 steps_ = 0;
    u64 death_ = kNever;
    bool dead_ = false;
    std::function<bool()> then_;
};

constexpr u64 kOwner = 100; // of program 0
constexpr u64 kA = 0;       // stripes
constexpr u64 kB = 1;

// A word of a stripe at the snapshot. Nothing: a conflict.
std::optional<u64> read(Memory& memory, u64 snapshot, u64 stripe) {
    const Atomic<u64>& orec = *memory.orec(stripe);
    memory.step(Step::sample_orec, stripe);
    const Orec before{orec.load(protocol::Order::acquire)};
    if (before.is_locked() || before.version() > snapshot)
        return std::nullopt;
    memory.step(Step::read_data, stripe * 8);
    u64 value = 0;
    runtime::copy_from_shared(reinterpret_cast<u8*>(&value), memory.data(stripe), sizeof value);
    memory.step(Step::resample_orec, stripe);
    if (Orec{orec.load(protocol::Order::acquire)} != before)
        return std::nullopt;
    return value;
}

// Reads and writes both stripes.
struct Sets {
    u64 at;
    std::array<u64, 1> reads{ReadRun{kA, 2}.word()};
    std::array<StripeWrite, 2> writes{};

    [[nodiscard]] u64 snapshot() const { return at; }
    [[nodiscard]] Span<const u64> stripes_read() const { return {reads.data(), reads.size()}; }
    [[nodiscard]] Span<const StripeWrite> stripes_written() const {
        return {writes.data(), writes.size()};
    }
};

enum class Other { reads, adds, is_serial };
// The two forms that a commit has (direct_commit.hpp).
enum class Writes { words, any };

// Program 0 adds 1 to both words and dies; program 1 does something else beside it; program 2
// repairs when program 0 is dead.
template <JournalMutation kMutation>
class World {
public:
    World(u64 death, Other other, Writes writes) : death_(death), other_(other), form_(writes) {}

    Explorer::Programs programs() {
        memories_[0].die_at(death_, [this] { return running_ == 0; });
        return {[this] { run_first(); }, [this] { run_other(); }, [this] { run_repair(); }};
    }
    std::string judge() const { return error_; }
    [[nodiscard]] u64 steps() const { return memories_[0].steps(); }

private:
    // Adds to both words, in one attempt.
    bool add(std::size_t number, u64 amount) {
        Memory& memory = memories_[number];
        memory.step(Step::read_clock, 0);
        const u64 snapshot = memory.clock().load(protocol::Order::acquire);
        const std::optional<u64> a = read(memory, snapshot, kA);
        const std::optional<u64> b = a ? read(memory, snapshot, kB) : std::nullopt;
        if (!b)
            return false;
        if (*a != *b && !memory.is_dead())
            fail("a transaction that writes has seen half of a commit");
        Sets sets{.at = snapshot};
        std::array<StripeWrite, 2>& writes = sets.writes;
        for (u64 i = 0; i < 2; ++i) {
            const u64 value = (i == 0 ? *a : *b) + amount;
            // A commit takes two in either order.
            StripeWrite& write = writes[number == 0 ? i : 1 - i];
            write.stripe = i;
            write.mask = form_ == Writes::words ? 0xff : 0xffff;
            std::memcpy(write.bytes, &value, sizeof value);
        }
        Journal& journal = shared_.journals[number];
        if (protocol::commit_directly<kMutation>(memory, journal, kOwner + number, sets).reason !=
            AbortReason::none)
            return false;
        protocol::end_direct(memory, journal);
        return true;
    }

    void run_first() {
        const bool added = add(0, 1);
        if (memories_[0].is_dead())
            return; // others have taken the result already
        added_ += added ? 1 : 0;
        first_ended_ = true;
        ended();
    }
    void run_other() {
        Memory& memory = memories_[1];
        if (other_ == Other::adds) {
            added_ += add(1, 10) ? 10 : 0;
        } else if (other_ == Other::reads) {
            memory.step(Step::read_clock, 0);
            const u64 snapshot = memory.clock().load(protocol::Order::acquire);
            const std::optional<u64> a = read(memory, snapshot, kA);
            const std::optional<u64> b = a ? read(memory, snapshot, kB) : std::nullopt;
            if (b && *a != *b)
                fail("a reader has seen half of a commit");
        } else {
            be_serial(memory);
        }
        ended();
    }
    // Closes the gate and waits until no commit is in progress; then nothing changes.
    void be_serial(Memory& memory) {
        Explorer::step({{kClosedObject, Touch::Mode::write}, {}});
        shared_.closed = true;
        const Atomic<u64>& state = shared_.journals[0].head.state;
        Explorer::step({{kJournalObjects, Touch::Mode::write}, {}}, [&] {
            return state.load(protocol::Order::acquire) == JournalState::idle().word();
        });
        memory.step(Step::read_clock, 0);
        const u64 snapshot = memory.clock().load(protocol::Order::acquire);
        const std::optional<u64> a = read(memory, snapshot, kA);
        const std::optional<u64> b = a ? read(memory, snapshot, kB) : std::nullopt;
        if (!b)
            fail("a serial transaction has met a commit");
        Explorer::step({{kClosedObject, Touch::Mode::write}, {}});
        shared_.closed = false;
    }
    void run_repair() {
        Memory& memory = memories_[2];
        Explorer::step({{kJournalObjects, Touch::Mode::write}, {}},
                       [this] { return memories_[0].is_dead() || first_ended_; });
        if (memories_[0].is_dead()) {
            Journal& journal = shared_.journals[0];
            const auto repaired = protocol::repair<Memory, kMutation>(
                memory, kOwner, journal.head, [&](u32 i) { return &journal.writes[i]; });
            // "Idle" is its last step, so the repair always tells.
            added_ += repaired.finished ? 1 : 0;
        }
        ended();
    }
    void fail(const char* why) {
        if (error_.empty())
            error_ = why;
    }
    void ended() {
        if (--running_ != (memories_[0].is_dead() ? 1 : 0))
            return;
        running_ = 0;
        for (u64 stripe : {kA, kB}) {
            const u64 word = memories_[1].orec(stripe)->load(protocol::Order::relaxed);
            if (Orec{word}.is_locked())
                fail("a record is locked for ever");
            else if (Orec{word}.version() > shared_.clock.load(protocol::Order::relaxed))
                fail("a record is newer than the clock");
        }
        u64 values[2];
        for (u64 i = 0; i < 2; ++i)
            std::memcpy(&values[i], memories_[1].data(i), sizeof values[i]);
        if (values[0] != values[1])
            fail("half of a commit is there");
        else if (values[0] != added_)
            fail("an addition is lost, or there twice");
    }

    const u64 death_;
    const Other other_;
    const Writes form_;
    Shared shared_;
    std::array<Memory, 3> memories_{Memory(shared_, 0), Memory(shared_, 1), Memory(shared_, 2)};
    int running_ = 3;
    bool first_ended_ = false;
    u64 added_ = 0;
    std::string error_;
};

struct Sum {
    u64 executions = 0;
    u64 deaths = 0;
    bool complete = true;
    std::string failure;
};

template <JournalMutation kMutation>
Sum explore(Other other, Writes writes, u64 limit) {
    Sum sum;
    // Beyond the last step it does not die.
    for (u64 death = 1;; ++death) {
        std::unique_ptr<World<kMutation>> world;
        u64 most_steps = 0;
        Explorer explorer;
        const Explorer::Report report = explorer.explore(
            [&] {
                world = std::make_unique<World<kMutation>>(death, other, writes);
                return world->programs();
            },
            [&] {
                most_steps = std::max(most_steps, world->steps());
                return world->judge();
            },
            limit);
        sum.executions += report.executions;
        sum.complete = sum.complete && report.complete;
        if (!report.failure.empty()) {
            sum.failure = report.failure + " (death at step " + std::to_string(death) + ")";
            return sum;
        }
        if (most_steps < death)
            return sum;
        ++sum.deaths;
    }
}

u64 most_executions() {
#ifdef __SANITIZE_ADDRESS__
    return 300;
#else
    return std::getenv("STM_EXPLORE_ALL") != nullptr ? ~u64{0} : 20'000;
#endif
}

class DirectInterleaving : public ::testing::TestWithParam<Writes> {};
INSTANTIATE_TEST_SUITE_P(Of, DirectInterleaving, testing::Values(Writes::words, Writes::any),
                         [](const auto& param) {
                             return param.param == Writes::words ? "Words" : "AnyBytes";
                         });

TEST_P(DirectInterleaving, ADeathAtAnyStepLeavesAllOrNothing) {
    for (const Other other : {Other::reads, Other::adds, Other::is_serial}) {
        const Sum sum = explore<JournalMutation::none>(other, GetParam(), most_executions());
        EXPECT_EQ(sum.failure, "");
        std::cout << "other " << static_cast<int>(other) << ": " << sum.deaths << " deaths, "
                  << sum.executions << " executions" << (sum.complete ? "" : ", NOT COMPLETE")
                  << '\n';
        EXPECT_GT(sum.deaths, 10u);
    }
}

template <JournalMutation kMutation>
bool is_caught(Writes writes) {
    for (const Other other : {Other::reads, Other::adds, Other::is_serial}) {
        const Sum sum = explore<kMutation>(other, writes, 20'000);
        if (!sum.failure.empty()) {
            std::cout << "caught: " << sum.failure << '\n';
            return true;
        }
    }
    return false;
}

template <JournalMutation kMutation>
void expect_caught() {
    EXPECT_TRUE(is_caught<kMutation>(Writes::words));
    EXPECT_TRUE(is_caught<kMutation>(Writes::any));
}

TEST(DirectPlantedDefect, PublishedEarly) {
    expect_caught<JournalMutation::published_early>();
}
TEST(DirectPlantedDefect, IdleEarly) {
    expect_caught<JournalMutation::idle_early>();
}
TEST(DirectPlantedDefect, LockedFirst) {
    expect_caught<JournalMutation::locked_first>();
}
TEST(DirectPlantedDefect, GateIgnored) {
    expect_caught<JournalMutation::gate_ignored>();
}
TEST(DirectPlantedDefect, RepairForgets) {
    expect_caught<JournalMutation::repair_forgets>();
}
TEST(DirectPlantedDefect, RepairAppliesAll) {
    expect_caught<JournalMutation::repair_applies_all>();
}
TEST(DirectPlantedDefect, RepairKeepsLocks) {
    expect_caught<JournalMutation::repair_keeps_locks>();
}
TEST(DirectPlantedDefect, RepairOldVersion) {
    expect_caught<JournalMutation::repair_old_version>();
}

} // namespace
} // namespace stm::test
