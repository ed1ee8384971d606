// SPDX-License-Identifier: GPL-2.0
// Typed transactions in one region and in two, through every schedule of their accesses to shared
// memory. Each execution's history goes to the checker. With each planted defect some schedule of
// some scenario must be refused.
#include "tests/history/history_check.hpp"
#include "tests/unit/protocol/explorer.hpp"
#include "tests/unit/protocol/recorded.hpp"
#include "tests/unit/protocol/typed_memory.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>

namespace stm::test {
namespace {

using protocol::Step;

// A region whose every shared access is a step of the explorer.
class SteppedRegion : public FlatStorage {
public:
    SteppedRegion(u64 size, u64 number) : FlatStorage(size), base_(number * kObjects) {}

    Atomic<u64>& clock() { return clock_; }
    void pause() {}
    u32 spin_limit() const { return 0; }
    void begin_critical() {}
    void end_critical() {}
    void serial_batch() {}
    WaitFilter& wait_filter() { return filter_; }
    Status enter_commit() { return kSuccess; }
    void leave_commit() {}
    void wake(WaitMask) {}

    void step(Step what, u64 where) {
        using Mode = Touch::Mode;
        const u64 record = base_ + 10 + where;
        const u64 word = base_ + kObjects / 2 + where;
        switch (what) {
        case Step::read_clock:
            // Of the first region, because it is where a transaction begins.
            Explorer::step({{base_ + 1, Mode::read}, {base_ == 0 ? kTime : 0, Mode::begin}});
            return;
        case Step::sample_orec:
        case Step::resample_orec:
        case Step::validate_orec:
            Explorer::step({{record, Mode::read}, {}});
            return;
        case Step::read_data:
            Explorer::step({{word, Mode::read}, {}});
            return;
        case Step::lock_orec:
        case Step::release_orec:
        case Step::restore_orec:
            Explorer::step({{record, Mode::write}, {}});
            return;
        case Step::advance_clock:
            Explorer::step({{base_ + 1, Mode::write}, {}});
            return;
        case Step::write_data:
            Explorer::step({{word, Mode::write}, {}});
            return;
        case Step::publish:
            return; // nothing that is shared
        case Step::journal_active:
        case Step::read_gate:
        case Step::journal_idle:
        case Step::count_change:
        case Step::read_changes:
        case Step::keep_old:
        case Step::find_old:
            return; // of no commit here
        }
    }

    bool is_quiet() {
        for (u64 i = 0; i < stripes(); ++i) {
            if ((orec(i)->load(protocol::Order::relaxed) & 1) != 0)
                return false;
        }
        return true;
    }

    static constexpr u64 kTime = 2;

private:
    static constexpr u64 kObjects = 10'000;
    u64 base_;
    Atomic<u64> clock_{0};
    WaitFilter filter_;
};

struct Action {
    enum class Kind { read, write, nest, merge, undo };
    Kind kind;
    u64 address = 0;
    u64 bytes = 8;
};
constexpr Action r(u64 address, u64 bytes = 8) {
    return {Action::Kind::read, address, bytes};
}
constexpr Action w(u64 address, u64 bytes = 8) {
    return {Action::Kind::write, address, bytes};
}
constexpr Action kNest{Action::Kind::nest};
constexpr Action kMerge{Action::Kind::merge};
constexpr Action kUndo{Action::Kind::undo};

struct Program {
    std::vector<Action> actions;
    bool read_only = false;
    int attempts = 1;
};
struct Scenario {
    const char* name;
    std::vector<Program> programs;
};

// Stripes of the first region, and of the second one.
constexpr u64 A = 0;
constexpr u64 B = 64;
constexpr u64 C = 128;
constexpr u64 P = Regions<SteppedRegion>::kSpan;
constexpr u64 Q = P + 64;

const std::vector<Scenario>& scenarios() {
    static const std::vector<Scenario> all = {
        {"two increments", {{{r(A), w(A)}}, {{r(A), w(A)}}}},
        {"two increments, again after a conflict",
         {{{r(A), w(A)}, false, 2}, {{r(A), w(A)}, false, 2}}},
        {"write skew", {{{r(A), r(B), w(A)}}, {{r(A), r(B), w(B)}}}},
        {"three in a ring", {{{r(A), w(B)}}, {{r(B), w(C)}}, {{r(C), w(A)}}}},
        {"two words of one stripe", {{{r(A, 16)}}, {{w(A, 16)}}}},
        {"two words, one by one", {{{r(A), r(A + 8)}}, {{w(A, 16)}}}},
        {"reader of two stripes", {{{r(A), r(B)}}, {{w(A), w(B)}}}},
        {"reader of two stripes, without a log", {{{r(A), r(B)}, true, 3}, {{w(A), w(B)}}}},
        {"readers of two updates", {{{r(A), r(B)}}, {{r(B), r(A)}, true}, {{w(A)}}, {{w(B)}}}},
        {"extension", {{{r(A), r(B), r(C)}}, {{w(C)}}, {{w(A), w(B)}}}},
        {"extension with an update", {{{r(A), w(C), r(B)}}, {{w(A), w(B)}}}},
        {"over an own write", {{{w(A), r(A, 16), r(B)}}, {{w(A + 8), w(B)}}}},
        {"blind writes", {{{w(A), w(B)}}, {{w(B), w(A)}}, {{r(A), r(B)}}}},
        {"nested parts", {{{w(A), kNest, w(A), r(B), kUndo, r(A)}}, {{w(A), w(B)}}}},
        {"merged parts", {{{r(A), kNest, w(A), kMerge, r(A), w(B)}}, {{r(B), w(A)}}}},
        {"two regions: reader", {{{r(A), r(P)}}, {{w(A), w(P)}}}},
        {"two regions: reader, the other way round", {{{r(P), r(A)}}, {{w(A), w(P)}}}},
        {"two regions: reader of three", {{{r(A), r(Q), r(P)}}, {{w(A), w(P)}}}},
        {"two regions: reader that extends", {{{r(P), r(A), r(B)}}, {{w(P), w(B)}}, {{w(A)}}}},
        {"two regions: reader without a log", {{{r(A), r(P)}, true, 2}, {{w(A), w(P)}}}},
        {"two regions: two updates", {{{r(A), r(P), w(A)}}, {{r(A), r(P), w(P)}}}},
        {"two regions: crossing", {{{r(A), w(P)}}, {{r(P), w(A)}}}},
        {"two regions: crossing, and a reader", {{{r(A), w(P)}}, {{r(P), w(A)}}, {{r(A), r(P)}}}},
        {"two regions: one each, and a reader", {{{r(A), w(P)}}, {{w(A)}}, {{r(P), r(A)}}}},
        {"two regions: chain", {{{w(A), w(P)}}, {{r(P), w(Q)}}, {{r(Q), r(A)}}}},
        {"two regions: chain, the other way round",
         {{{w(A), w(P)}}, {{r(A), w(B)}}, {{r(B), r(P)}}}},
        {"two regions: opposite", {{{w(A), w(P)}}, {{w(P), w(A)}}, {{r(P), r(A)}}}},
    };
    return all;
}

template <TypedMutation kMutation>
class World {
public:
    using Tx = TypedTx<SteppedRegion, kMutation>;

    explicit World(const Scenario& scenario) : scenario_(scenario) {
        for (u64 i = 0; i < 2; ++i)
            regions_.all.push_back(std::make_unique<SteppedRegion>(4096, i));
    }

    Explorer::Programs programs() {
        Explorer::Programs all;
        for (std::size_t i = 0; i < scenario_.programs.size(); ++i) {
            transactions_.push_back(std::make_unique<Tx>(regions_, i + 1));
            all.push_back([this, i] { run(i); });
        }
        return all;
    }

    std::string judge() {
        if (!error_.empty())
            return error_;
        if (!regions_.all[0]->is_quiet() || !regions_.all[1]->is_quiet())
            return "a lock is left behind";
        // One more, which reads everything after all the others have ended.
        Tx last(regions_, 100);
        auto recorded = record(last, 100);
        static_cast<void>(recorded.begin());
        std::vector<u8> bytes(16);
        for (const u64 place : {A, B, C, P, Q}) {
            if (recorded.read(place, bytes.data(), bytes.size()) != AbortReason::none)
                return "the last reader meets a conflict";
        }
        static_cast<void>(recorded.commit());
        const Verdict verdict = check_by_search(history_);
        if (verdict.is_correct())
            return {};
        std::ostringstream out;
        out << verdict.why << '\n';
        print(out, history_);
        return out.str();
    }

private:
    struct Now {
        Time* time;
        Time operator()() const { return ++*time; }
    };
    auto record(Tx& tx, u64 id) {
        return Recorded<Tx, Now>(tx, Now{&time_}, history_.attempts, id, 1000);
    }

    // A transaction begins in the first region: there the explorer knows the moment.
    void run(std::size_t number) {
        const Program& program = scenario_.programs[number];
        Tx& tx = *transactions_[number];
        auto recorded = record(tx, number + 1);
        for (int attempt = 0; attempt < program.attempts; ++attempt) {
            if (run_once(program, number, attempt, recorded) == AbortReason::none)
                return;
        }
    }

    AbortReason run_once(const Program& program, std::size_t number, int attempt,
                         Recorded<Tx, Now>& recorded) {
        recorded.tx().set_mode(program.read_only ? Tx::Mode::read_only : Tx::Mode::update);
        static_cast<void>(recorded.begin());
        recorded.begin_was_now();
        AbortReason reason = AbortReason::none;
        for (std::size_t i = 0; i < program.actions.size() && reason == AbortReason::none; ++i) {
            const Action& action = program.actions[i];
            u8 bytes[128] = {};
            switch (action.kind) {
            case Action::Kind::read:
                reason = recorded.read(action.address, bytes, action.bytes);
                break;
            case Action::Kind::write:
                // Nobody else writes these values.
                for (u64 k = 0; k < action.bytes; ++k)
                    bytes[k] = static_cast<u8>(1 + number * 60 + i * 7 +
                                               static_cast<std::size_t>(attempt) * 30);
                reason = recorded.write(action.address, bytes, action.bytes);
                break;
            case Action::Kind::nest:
                reason = recorded.begin_nested();
                break;
            case Action::Kind::merge:
                recorded.commit_nested();
                break;
            case Action::Kind::undo:
                recorded.cancel_nested();
                break;
            }
        }
        if (reason != AbortReason::none) {
            end_step();
            recorded.cancel(reason);
            return reason;
        }
        reason = recorded.commit();
        end_step();
        return reason;
    }

    static void end_step() { Explorer::step({{SteppedRegion::kTime, Touch::Mode::end}, {}}); }

    const Scenario& scenario_;
    Regions<SteppedRegion> regions_;
    Time time_ = 0;
    History history_;
    std::string error_;
    std::vector<std::unique_ptr<Tx>> transactions_;
};

template <TypedMutation kMutation>
Explorer::Report explore(const Scenario& scenario, u64 limit) {
    std::unique_ptr<World<kMutation>> world;
    Explorer explorer;
    return explorer.explore(
        [&] {
            world = std::make_unique<World<kMutation>>(scenario);
            return world->programs();
        },
        [&] { return world->judge(); }, limit);
}

u64 most_executions() {
#ifdef __SANITIZE_ADDRESS__
    return 1'000;
#else
    return std::getenv("STM_EXPLORE_ALL") != nullptr ? ~u64{0} : 20'000;
#endif
}

TEST(TypedInterleaving, EveryScheduleIsOpaque) {
    u64 executions = 0;
    u64 complete = 0;
    for (const Scenario& scenario : scenarios()) {
        SCOPED_TRACE(scenario.name);
        const auto report = explore<TypedMutation::none>(scenario, most_executions());
        EXPECT_EQ(report.failure, "");
        complete += report.complete;
        executions += report.executions;
        std::cout << scenario.name << ": " << report.executions << " executions, " << report.pruned
                  << " pruned, longest " << report.longest << " steps"
                  << (report.complete ? "" : ", NOT COMPLETE") << '\n';
    }
    std::cout << scenarios().size() << " scenarios, " << complete << " complete, " << executions
              << " executions\n";
}

template <TypedMutation kMutation>
void expect_caught() {
    for (const u64 limit : {100u, 3'000u, 50'000u}) {
        for (const Scenario& scenario : scenarios()) {
            const auto report = explore<kMutation>(scenario, limit);
            if (!report.failure.empty()) {
                std::cout << "caught by \"" << scenario.name << "\" in execution "
                          << report.executions << ", " << report.schedule.size() << " steps\n";
                return;
            }
        }
    }
    ADD_FAILURE() << "is not caught";
}

TEST(TypedPlantedDefect, NoSecondSample) {
    expect_caught<TypedMutation::no_second_sample>();
}

TEST(TypedPlantedDefect, UncheckedExtension) {
    expect_caught<TypedMutation::unchecked_extension>();
}

TEST(TypedPlantedDefect, UncheckedRegion) {
    expect_caught<TypedMutation::unchecked_region>();
}

TEST(TypedPlantedDefect, OwnWriteIgnored) {
    expect_caught<TypedMutation::own_write_ignored>();
}

TEST(TypedPlantedDefect, MaskIgnored) {
    expect_caught<TypedMutation::mask_ignored>();
}

TEST(TypedPlantedDefect, UndoForgotten) {
    expect_caught<TypedMutation::undo_forgotten>();
}

TEST(TypedPlantedDefect, LocksIgnored) {
    expect_caught<TypedMutation::locks_ignored>();
}

} // namespace
} // namespace stm::test
