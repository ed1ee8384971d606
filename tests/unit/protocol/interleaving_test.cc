// SPDX-License-Identifier: GPL-2.0
// Two to four transactions through every schedule of their accesses to shared memory. Each
// execution's history goes to the checker. With each planted defect some schedule of some
// scenario must be refused.
#include "runtime/protocol/transaction.hpp"
#include "tests/history/history_check.hpp"
#include "tests/unit/protocol/explorer.hpp"
#include "tests/unit/protocol/recorded.hpp"
#include "tests/unit/protocol/test_memory.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <memory>
#include <set>
#include <sstream>

namespace stm::test {
namespace {

using protocol::AbortReason;
using protocol::Mutation;
using protocol::Path;
using protocol::Step;
using protocol::Transaction;

constexpr u64 kClockObject = 1;
constexpr u64 kTimeObject = 2;
constexpr u64 kGateObject = 3;
constexpr u64 kOrecObjects = 1000;
constexpr u64 kPageObjects = 2000;
constexpr u64 kWordObjects = 3000;

// Stops the fiber in front of every shared access.
template <typename Storage>
class SteppedStorage : public Storage {
public:
    SteppedStorage(u64 size, u32 spins, bool whole_pages)
        : Storage(size), spins_(spins), whole_pages_(whole_pages) {}

    Atomic<u64>& clock() { return clock_; }
    Status materialise(u64 stripe) {
        if (this->orec(stripe) == nullptr)
            Explorer::step({page_of(stripe, Touch::Mode::write), {}});
        return Storage::materialise(stripe);
    }
    void pause() {}
    u32 spin_limit() const { return spins_; }

    Status enter_commit() {
        Explorer::step({{kGateObject, Touch::Mode::read}, {}},
                       [this] { return !gate_.is_closed(); });
        return gate_.try_enter() ? Status(kSuccess) : Status(Error::deadlock);
    }
    void leave_commit() {
        Explorer::step({{kGateObject, Touch::Mode::read}, {}});
        static_cast<void>(gate_.leave());
    }
    Status acquire_serial() {
        Explorer::step({{kGateObject, Touch::Mode::write}, {}},
                       [this] { return !gate_.is_closed(); });
        if (!gate_.try_close())
            return Error::deadlock;
        Explorer::step({{kGateObject, Touch::Mode::write}, {}}, [this] { return gate_.drained(); });
        return kSuccess;
    }
    bool keep_serial() { return true; }
    void release_serial() {
        Explorer::step({{kGateObject, Touch::Mode::write}, {}});
        gate_.open();
    }
    void begin_critical() {}
    void end_critical() {}
    void serial_batch() {}
    WaitFilter& wait_filter() { return filter_; }
    void wake(WaitMask) {}

    void step(Step what, u64 where) {
        const u64 orec = kOrecObjects + (whole_pages_ ? protocol::page_of_stripe(where) : where);
        switch (what) {
        case Step::read_clock:
            Explorer::step({{kClockObject, Touch::Mode::read}, {kTimeObject, Touch::Mode::begin}});
            return;
        case Step::sample_orec:
        case Step::validate_orec:
            Explorer::step({{orec, Touch::Mode::read}, page_of(where, Touch::Mode::read)});
            return;
        case Step::resample_orec:
            Explorer::step({{orec, Touch::Mode::read}, {}});
            return;
        case Step::read_data:
            Explorer::step({{kWordObjects + where, Touch::Mode::read}, {}});
            return;
        case Step::lock_orec:
        case Step::release_orec:
        case Step::restore_orec:
            Explorer::step({{orec, Touch::Mode::write}, {}});
            return;
        case Step::advance_clock:
            Explorer::step({{kClockObject, Touch::Mode::write}, {}});
            return;
        case Step::write_data:
            Explorer::step({{kWordObjects + where, Touch::Mode::write}, {}});
            return;
        case Step::publish:
            return; // nothing that is shared
        }
    }

    bool is_quiet() {
        for (u64 i = 0; i < this->stripes(); ++i) {
            const Atomic<u64>* orec = this->orec(i);
            if (orec != nullptr && (orec->load(protocol::Order::relaxed) & 1) != 0)
                return false;
        }
        return !gate_.is_closed();
    }

private:
    static Touch page_of(u64 stripe, Touch::Mode mode) {
        return {kPageObjects + protocol::page_of_stripe(stripe), mode};
    }

    Atomic<u64> clock_{0};
    SerialGate gate_;
    WaitFilter filter_;
    u32 spins_;
    bool whole_pages_;
};

// One action of a program. r: read, w: write; then an offset and a length in bytes.
struct Action {
    enum class Kind { read, write, page, nest, keep, undo, cancel };
    Kind kind;
    u64 offset = 0;
    u64 bytes = 8;
};
constexpr Action r(u64 offset, u64 bytes = 8) {
    return {Action::Kind::read, offset, bytes};
}
constexpr Action w(u64 offset, u64 bytes = 8) {
    return {Action::Kind::write, offset, bytes};
}
// The page of the offset as a whole.
constexpr Action page(u64 offset) {
    return {Action::Kind::page, offset, 0};
}
constexpr Action kNest{Action::Kind::nest};
constexpr Action kKeep{Action::Kind::keep};
constexpr Action kUndo{Action::Kind::undo};
constexpr Action kCancel{Action::Kind::cancel};

struct Program {
    std::vector<Action> actions;
    Path path = Path::concurrent;
    int attempts = 1; // again after a conflict
};

struct Scenario {
    const char* name;
    std::vector<Program> programs;
    bool paged = false;
    u32 spins = 0;
    // Somebody reads whole pages: then all the records of a page are one object.
    bool whole_pages = false;
};

// Places: A, B, C are stripes of one page, P and Q of two others.
constexpr u64 A = 0;
constexpr u64 B = 64;
constexpr u64 C = 128;
constexpr u64 P = 4096;
constexpr u64 Q = 8192;
constexpr u64 kSize = 3 * 4096;

const std::vector<Scenario>& scenarios() {
    static const std::vector<Scenario> all = {
        {"two increments", {{{r(A), w(A)}}, {{r(A), w(A)}}}},
        {"two increments, again after a conflict",
         {{{r(A), w(A)}, Path::concurrent, 2}, {{r(A), w(A)}, Path::concurrent, 2}}},
        {"three increments", {{{r(A), w(A)}}, {{r(A), w(A)}}, {{r(A), w(A)}}}},
        {"write skew", {{{r(A), r(B), w(A)}}, {{r(A), r(B), w(B)}}}},
        {"crossing", {{{r(A), w(B)}}, {{r(B), w(A)}}}},
        {"three in a ring", {{{r(A), w(B)}}, {{r(B), w(C)}}, {{r(C), w(A)}}}},
        {"two words of one stripe", {{{r(A, 16)}}, {{w(A, 16)}}}},
        {"two words of one stripe, one by one", {{{r(A), r(A + 8)}}, {{w(A, 16)}}}},
        {"reader of two stripes", {{{r(A), r(B)}}, {{w(A), w(B)}}}},
        {"two readers of two updates, one of them short",
         {{{r(A), r(B)}}, {{r(B)}}, {{w(A)}}, {{w(B)}}}},
        {"two readers of two updates", {{{r(A), r(B)}}, {{r(B), r(A)}}, {{w(A)}}, {{w(B)}}}},
        {"extension", {{{r(A), r(B), r(C)}}, {{w(C)}}, {{w(A), w(B)}}}},
        {"extension over an own write", {{{w(A), r(B), r(C)}}, {{w(B)}}, {{w(C)}}}},
        {"blind writes", {{{w(A)}}, {{w(A)}}, {{r(A)}}}},
        {"blind writes of two stripes, opposite", {{{w(A), w(B)}}, {{w(B), w(A)}}, {{r(A), r(B)}}}},
        {"blind write, then a read around it", {{{w(A + 4, 8), r(A, 16)}}, {{w(A, 16)}}}},
        {"blind write, then its stripe, then another",
         {{{w(A), r(A, 16), r(B)}}, {{w(A + 8), w(B)}}}},
        {"read, then write, and a lock in between", {{{r(A), r(B), w(A), w(C)}}, {{w(B), w(C)}}}},
        {"different bytes of one stripe", {{{w(A, 3)}}, {{w(A + 3, 5)}}, {{r(A)}}}},
        {"crossing a stripe border", {{{w(B - 4, 8)}}, {{r(B - 4, 8)}}, {{w(B - 8, 16)}}}},
        {"a commit that gives up", {{{r(C), w(A), w(B)}}, {{w(C), w(B)}}, {{r(A), r(B)}}}},
        {"cancelled", {{{r(A), w(A), kCancel}}, {{r(A), w(A)}}, {{r(A)}}}},
        {"inner parts", {{{w(A), kNest, w(A), w(B), r(B), kUndo, r(A), r(B)}}, {{r(A), w(B)}}}},
        {"reads of a cancelled inner part",
         {{{kNest, r(A), w(C), kUndo, w(B)}}, {{kNest, r(B), w(C), kKeep, w(A)}}}},
        {"serial increment", {{{r(A), w(A)}, Path::serial}, {{r(A), w(A)}}}},
        {"serial among two", {{{r(A), w(B)}, Path::serial}, {{r(B), w(A)}}, {{r(A), r(B)}}}},
        {"two serial", {{{r(A), w(A)}, Path::serial}, {{r(A), w(A)}, Path::serial}}},
        {"spinning", {{{r(A), w(B)}}, {{r(B), w(A)}}}, false, 1},
        {"spinning reader", {{{r(A), r(B)}}, {{w(A), w(B)}}}, false, 2},
        {"absent page, two increments", {{{r(A), w(A)}}, {{r(A), w(A)}}}, true},
        {"absent pages, crossing", {{{r(P), w(Q)}}, {{r(Q), w(P)}}}, true},
        {"absent pages, reader", {{{r(P), r(Q)}}, {{w(P), w(Q)}}}, true},
        {"absent page, extension", {{{r(P), r(Q)}}, {{w(Q)}}, {{w(P)}}}, true},
        {"a whole page", {{{page(A)}}, {{w(A), w(B)}}}, false, 0, true},
        {"a whole page, then a stripe", {{{page(A), r(P)}}, {{w(A), w(P)}}}, false, 0, true},
        {"a stripe, then a whole page", {{{r(P), page(A)}}, {{w(B), w(P)}}}, false, 0, true},
        {"a whole page, absent", {{{page(P), w(A)}}, {{r(A), w(P)}}}, true, 0, true},
        {"a whole page read and written", {{{page(A), w(A)}}, {{r(A), w(B)}}}, false, 0, true},
        {"absent page, read in part after a write",
         {{{w(P), r(P, 16), r(Q)}}, {{w(P + 8), w(Q)}}},
         true},
    };
    return all;
}

template <Mutation kMutation, typename Storage>
class World {
public:
    using Memory = SteppedStorage<Storage>;
    using Tx = Transaction<Memory, kMutation>;
    static_assert(protocol::Memory<Memory>);

    explicit World(const Scenario& scenario)
        : scenario_(scenario), memory_(kSize, scenario.spins, scenario.whole_pages) {}

    Explorer::Programs programs() {
        Explorer::Programs all;
        for (std::size_t i = 0; i < scenario_.programs.size(); ++i) {
            transactions_.push_back(std::make_unique<Tx>(memory_, i + 1));
            all.push_back([this, i] { run(i); });
        }
        return all;
    }

    std::string judge() {
        if (!error_.empty())
            return error_;
        if (!memory_.is_quiet())
            return "a lock or the gate is left behind";
        // One more, which reads everything after all the others have ended.
        Tx last(memory_, 100);
        auto recorded = record(last, 100);
        static_cast<void>(recorded.begin());
        std::vector<u8> bytes(24);
        for (const u64 place : {A, B, C, P, Q}) {
            if (recorded.read(place, bytes.data(), bytes.size()) != AbortReason::none)
                return "the last reader meets a conflict";
        }
        static_cast<void>(recorded.commit());
        // The versions are a right serial order, which proves that there is one; where they are
        // not, the search has the last word.
        const Verdict by_replay = check_by_replay(history_);
        if (by_replay.is_correct())
            return {};
        const Verdict by_search = check_by_search(history_);
        if (!by_search.is_correct() || kMutation == Mutation::none)
            return by_search.why + by_replay.why + text();
        return {};
    }

    const History& history() const { return history_; }

private:
    struct Now {
        Time* time;
        Time operator()() const { return ++*time; }
    };

    auto record(Tx& tx, u64 id) {
        return Recorded<Tx, Now>(tx, Now{&time_}, history_.attempts, id, 1000);
    }

    void run(std::size_t number) {
        const Program& program = scenario_.programs[number];
        auto recorded = record(*transactions_[number], number + 1);
        for (int attempt = 0; attempt < program.attempts; ++attempt) {
            if (run_once(number, attempt, recorded) == AbortReason::none)
                return;
        }
    }

    AbortReason run_once(std::size_t number, int attempt, Recorded<Tx, Now>& recorded) {
        const Program& program = scenario_.programs[number];
        if (recorded.begin(program.path) != AbortReason::none) {
            error_ = "begin failed";
            return AbortReason::none;
        }
        recorded.begin_was_now();
        AbortReason reason = AbortReason::none;
        for (std::size_t i = 0; i < program.actions.size() && reason == AbortReason::none; ++i) {
            const Action& action = program.actions[i];
            u8 bytes[64] = {};
            switch (action.kind) {
            case Action::Kind::read:
                reason = recorded.read(action.offset, bytes, action.bytes);
                break;
            case Action::Kind::page:
                reason = recorded.read_page(action.offset / 4096, std::array{A, B, C});
                break;
            case Action::Kind::write:
                // Nobody else writes these values.
                for (u64 k = 0; k < action.bytes; ++k)
                    bytes[k] = static_cast<u8>(1 + number * 60 + i * 7 +
                                               static_cast<std::size_t>(attempt) * 30);
                reason = recorded.write(action.offset, bytes, action.bytes);
                break;
            case Action::Kind::nest:
                reason = recorded.begin_nested();
                break;
            case Action::Kind::keep:
                recorded.commit_nested();
                break;
            case Action::Kind::undo:
                recorded.cancel_nested();
                break;
            case Action::Kind::cancel:
                end_step();
                recorded.cancel(AbortReason::explicit_cancel);
                return AbortReason::none;
            }
        }
        if (reason != AbortReason::none) {
            end_step();
            recorded.cancel(reason);
        } else {
            reason = commit(recorded);
        }
        if (reason != AbortReason::none && program.path == Path::serial)
            error_ = std::string("a serial transaction aborts: ") + protocol::to_string(reason);
        return reason;
    }

    static AbortReason commit(Recorded<Tx, Now>& recorded) {
        const AbortReason reason = recorded.commit();
        end_step();
        return reason;
    }

    static void end_step() { Explorer::step({{kTimeObject, Touch::Mode::end}, {}}); }

    std::string text() const {
        std::ostringstream out;
        out << '\n';
        print(out, history_);
        return out.str();
    }

    const Scenario& scenario_;
    Memory memory_;
    Time time_ = 0;
    History history_;
    std::string error_;
    std::vector<std::unique_ptr<Tx>> transactions_;
};

template <Mutation kMutation, typename Storage>
Explorer::Report explore_on(const Scenario& scenario, u64 limit, Explorer::Reduction reduction,
                            const std::function<void(const History&)>& look) {
    std::unique_ptr<World<kMutation, Storage>> world;
    Explorer explorer(reduction);
    return explorer.explore(
        [&] {
            world = std::make_unique<World<kMutation, Storage>>(scenario);
            return world->programs();
        },
        [&] {
            if (look)
                look(world->history());
            return world->judge();
        },
        limit);
}

template <Mutation kMutation>
Explorer::Report explore(const Scenario& scenario, u64 limit,
                         Explorer::Reduction reduction = Explorer::Reduction::partial_order,
                         const std::function<void(const History&)>& look = {}) {
    return scenario.paged ? explore_on<kMutation, PagedStorage>(scenario, limit, reduction, look)
                          : explore_on<kMutation, FlatStorage>(scenario, limit, reduction, look);
}

// ---- the explorer itself -----------------------------------------------------------------------

u64 count_schedules(Explorer::Reduction reduction, int programs, int steps, bool same) {
    Explorer explorer(reduction);
    return explorer
        .explore(
            [&] {
                Explorer::Programs all;
                for (int p = 0; p < programs; ++p)
                    all.push_back([=] {
                        for (int i = 0; i < steps; ++i)
                            Explorer::step(
                                {{same ? 1u : 1u + static_cast<u64>(p), Touch::Mode::write}, {}});
                    });
                return all;
            },
            [] { return std::string(); }, 1'000'000)
        .executions;
}

TEST(Explorer, CountsTheSchedulesOfTextbooks) {
    using enum Explorer::Reduction;
    EXPECT_EQ(count_schedules(none, 2, 3, true), 20u);
    EXPECT_EQ(count_schedules(none, 3, 2, false), 90u);
    EXPECT_EQ(count_schedules(partial_order, 2, 3, true), 20u);
    EXPECT_EQ(count_schedules(partial_order, 3, 2, true), 90u);
    EXPECT_EQ(count_schedules(partial_order, 3, 5, false), 1u);
}

// All that a history says, without the times.
std::string shape_of(const History& history) {
    std::ostringstream out;
    History plain = history;
    std::sort(plain.attempts.begin(), plain.attempts.end(),
              [](const Attempt& a, const Attempt& b) { return a.id < b.id; });
    for (const Attempt& one : plain.attempts) {
        for (const Attempt& two : plain.attempts)
            out << (one.end < two.begin);
    }
    for (Attempt& attempt : plain.attempts)
        attempt.begin = attempt.end = 0;
    print(out, plain);
    return out.str();
}

TEST(Explorer, ReductionLosesNoOutcome) {
    const Scenario small[] = {
        {"increment", {{{r(A), w(A)}}, {{w(A)}}}},
        {"serial", {{{w(A)}, Path::serial}, {{r(A)}}}},
        {"absent", {{{r(P)}}, {{w(P)}}}, true},
    };
    for (const Scenario& scenario : small) {
        SCOPED_TRACE(scenario.name);
        std::set<std::string> all;
        std::set<std::string> reduced;
        const auto slow =
            explore<Mutation::none>(scenario, 2'000'000, Explorer::Reduction::none,
                                    [&](const History& history) { all.insert(shape_of(history)); });
        const auto quick = explore<Mutation::none>(
            scenario, 2'000'000, Explorer::Reduction::partial_order,
            [&](const History& history) { reduced.insert(shape_of(history)); });
        EXPECT_TRUE(slow.complete && quick.complete);
        EXPECT_EQ(all, reduced);
        std::cout << scenario.name << ": " << slow.executions << " schedules, " << quick.executions
                  << " after reduction, " << all.size() << " outcomes\n";
    }
}

// ---- the engine --------------------------------------------------------------------------------

// Complete for all scenarios but the one of four transactions that read and write two stripes each,
// which STM_EXPLORE_ALL=1 completes too. Under a sanitizer fewer: what that looks for does not
// depend on the last schedule.
u64 most_executions() {
#ifdef __SANITIZE_ADDRESS__
    return 3'000;
#else
    return std::getenv("STM_EXPLORE_ALL") != nullptr ? ~u64{0} : 120'000;
#endif
}

TEST(Interleaving, EveryScheduleIsOpaque) {
    u64 executions = 0;
    u64 steps = 0;
    u64 complete = 0;
    for (const Scenario& scenario : scenarios()) {
        SCOPED_TRACE(scenario.name);
        const auto report = explore<Mutation::none>(scenario, most_executions());
        EXPECT_EQ(report.failure, "");
        EXPECT_TRUE(report.complete || report.executions + report.pruned == most_executions());
        complete += report.complete;
        std::cout << scenario.name << ": " << report.executions << " executions, " << report.pruned
                  << " pruned, longest " << report.longest << " steps"
                  << (report.complete ? "" : ", NOT COMPLETE") << '\n';
        executions += report.executions;
        steps += report.steps;
    }
    std::cout << scenarios().size() << " scenarios, " << complete << " complete, " << executions
              << " executions, " << steps << " steps\n";
}

// Little of every scenario first, since most defects show at once in the one that is made for
// them.
template <Mutation kMutation>
void expect_caught(const char* name) {
    for (const u64 limit : {100u, 3'000u, 50'000u}) {
        for (const Scenario& scenario : scenarios()) {
            const auto report = explore<kMutation>(scenario, limit);
            if (!report.failure.empty()) {
                std::cout << name << ": caught by \"" << scenario.name << "\" in execution "
                          << report.executions << ", " << report.schedule.size() << " steps\n";
                return;
            }
        }
    }
    ADD_FAILURE() << name << " is not caught";
}

TEST(PlantedDefect, NoCommitValidation) {
    expect_caught<Mutation::no_commit_validation>("no commit validation");
}
TEST(PlantedDefect, NoSecondSample) {
    expect_caught<Mutation::no_second_sample>("no second sample");
}
TEST(PlantedDefect, EarlyRelease) {
    expect_caught<Mutation::early_release>("version before the data");
}
TEST(PlantedDefect, LateClock) {
    expect_caught<Mutation::late_clock>("clock after the validation");
}
TEST(PlantedDefect, UncheckedExtension) {
    expect_caught<Mutation::unchecked_extension>("unchecked extension");
}
TEST(PlantedDefect, OldVersion) {
    expect_caught<Mutation::old_version>("old version");
}
TEST(PlantedDefect, StaleAbsent) {
    expect_caught<Mutation::stale_absent>("absent page not validated");
}
TEST(PlantedDefect, NoGate) {
    expect_caught<Mutation::no_gate>("no gate");
}
TEST(PlantedDefect, KeepCancelledWrites) {
    expect_caught<Mutation::keep_cancelled_writes>("cancelled writes kept");
}
TEST(PlantedDefect, ValidationIgnoresLocks) {
    expect_caught<Mutation::validation_ignores_locks>("validation ignores locks");
}

} // namespace
} // namespace stm::test
