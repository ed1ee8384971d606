// SPDX-License-Identifier: GPL-2.0
// Two to four transactions through every schedule of their accesses to shared memory. Each
// execution's history goes to the checker. With each planted defect some schedule of some
// scenario must be refused.
#include "runtime/protocol/block_commit.hpp"
#include "runtime/protocol/transaction.hpp"
#include "tests/history/history_check.hpp"
#include "tests/unit/protocol/explorer.hpp"
#include "tests/unit/protocol/recorded.hpp"
#include "tests/unit/protocol/scenarios.hpp"
#include "tests/unit/protocol/stepped_storage.hpp"

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
using protocol::Transaction;
using namespace scenario;

// A block with the functions of a transaction.
template <typename M, Mutation kMutation>
class BlockTx {
public:
    BlockTx(M& memory, u64 owner) : memory_(memory), owner_(owner) {}

    AbortReason begin(Path) {
        Explorer::step({{kTimeObject, Touch::Mode::begin}, {}});
        return AbortReason::none;
    }
    AbortReason write(u64 offset, const void* from, u64 bytes) {
        first_ = offset / kStripeBytes;
        bytes_.assign(static_cast<const u8*>(from), static_cast<const u8*>(from) + bytes);
        return AbortReason::none;
    }
    AbortReason commit() {
        const auto count = static_cast<u32>(bytes_.size() / kStripeBytes);
        std::vector<u64> replaced(count);
        protocol::BlockCommit<M, kMutation> block(memory_, owner_, first_, count, bytes_.data(),
                                                  replaced.data());
        if (!block.materialise().ok() || !memory_.enter_commit().ok())
            return AbortReason::no_memory;
        const AbortReason reason = block.commit();
        memory_.leave_commit();
        version_ = reason == AbortReason::none ? block.version() : 0;
        return reason;
    }
    void cancel(AbortReason) {}
    u64 committed_version() const { return version_; }

private:
    M& memory_;
    u64 owner_;
    u64 first_ = 0;
    std::vector<u8> bytes_;
    u64 version_ = 0;
};

// Copies of pages, kept from one transaction to the next as PrivatePages does.
template <typename Tx>
class Copies {
public:
    Copies(const std::vector<u64>& pages, bool counted) {
        for (const u64 page : pages) {
            kept_.push_back({page, counted ? 0 : protocol::kNotCounted});
            copies_.push_back({std::vector<u8>(4096), false, false});
        }
    }

    // The bytes at that offset, if its page is kept.
    u8* find(u64 offset) {
        const std::size_t i = number_of(offset);
        return i == kept_.size() ? nullptr : &copies_[i].bytes[offset % 4096];
    }
    void write(u64 offset, const u8* from, u64 bytes) {
        if (u8* const to = find(offset); to != nullptr) {
            std::copy(from, from + bytes, to);
            copies_[number_of(offset)].written = true;
        }
    }
    bool renew(Tx& tx) {
        const bool renewed = tx.renew_and_rely_on({kept_.data(), kept_.size()}, [&](u32 i) {
            Copy& copy = copies_[i];
            const auto& snapshot = tx.at_snapshot();
            const u64 stripes = copy.stale ? protocol::kAllStripes
                                           : snapshot.changed_since(version_, kept_[i].page);
            if (stripes == 0)
                return true;
            copy.stale = !snapshot.copy_stripes(kept_[i].page, stripes, copy.bytes.data());
            return !copy.stale;
        });
        if (renewed)
            version_ = tx.snapshot();
        return renewed;
    }
    // The transaction has ended. What a failed one has written is not kept.
    void end(Tx& tx, AbortReason reason) {
        const bool committed = reason == AbortReason::none;
        if (committed)
            version_ = tx.committed_version() != 0 ? tx.committed_version() : tx.snapshot();
        for (std::size_t i = 0; i < kept_.size(); ++i) {
            Copy& copy = copies_[i];
            if (copy.written)
                kept_[i].changes =
                    committed ? tx.changes_after_commit(kept_[i]) : protocol::kNotCounted;
            copy.stale = copy.stale || (copy.written && !committed);
            copy.written = false;
        }
    }

private:
    struct Copy {
        std::vector<u8> bytes;
        bool stale;
        bool written;
    };
    std::size_t number_of(u64 offset) const {
        std::size_t i = 0;
        while (i < kept_.size() && kept_[i].page != offset / 4096)
            ++i;
        return i;
    }

    std::vector<protocol::KeptPage> kept_;
    std::vector<Copy> copies_;
    u64 version_ = 0;
};

template <Mutation kMutation, typename Storage>
class World {
public:
    using Memory = SteppedStorage<Storage>;
    using Tx = Transaction<Memory, kMutation>;
    static_assert(protocol::Memory<Memory>);

    explicit World(const Scenario& scenario)
        : scenario_(scenario),
          memory_(kSize, scenario.spins, scenario.whole_pages,
                  std::any_of(scenario.programs.begin(), scenario.programs.end(),
                              [](const Program& program) { return !program.kept.empty(); })) {
        if (kMutation == Mutation::fixes_beside_commits)
            memory_.fix_beside_commits();
    }

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
        if (!memory_.keeps_nothing())
            return "an old version is left behind that nobody wants";
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

    template <typename AnyTx>
    auto record(AnyTx& tx, u64 id) {
        return Recorded<AnyTx, Now>(tx, Now{&time_}, history_.attempts, id, 1000);
    }

    // The values that an action writes: nobody else writes them.
    static u8 value_of(std::size_t number, std::size_t action, int attempt) {
        return static_cast<u8>(1 + number * 60 + action * 7 +
                               static_cast<std::size_t>(attempt) * 30);
    }

    void run_block(std::size_t number) {
        const Action& action = scenario_.programs[number].actions[0];
        BlockTx<Memory, kMutation> block(memory_, number + 1);
        auto recorded = record(block, number + 1);
        static_cast<void>(recorded.begin());
        recorded.begin_was_now();
        const std::vector<u8> bytes(action.bytes, value_of(number, 0, 0));
        static_cast<void>(recorded.write(action.offset, bytes.data(), bytes.size()));
        static_cast<void>(commit(recorded));
    }

    void run(std::size_t number) {
        const Program& program = scenario_.programs[number];
        if (program.block)
            return run_block(number);
        auto recorded = record(*transactions_[number], number + 1);
        if (!program.kept.empty())
            return run_kept(number, recorded);
        for (int attempt = 0; attempt < program.attempts; ++attempt) {
            if (run_once(number, attempt, recorded) == AbortReason::none)
                return;
        }
    }

    void run_kept(std::size_t number, Recorded<Tx, Now>& recorded) {
        const Program& program = scenario_.programs[number];
        Copies<Tx> copies(program.kept, program.counted);
        for (int attempt = 0; attempt < program.attempts; ++attempt)
            copies.end(recorded.tx(), run_once(number, attempt, recorded, &copies));
    }

    AbortReason run_once(std::size_t number, int attempt, Recorded<Tx, Now>& recorded,
                         Copies<Tx>* copies = nullptr) {
        const Program& program = scenario_.programs[number];
        if (recorded.begin(program.path) != AbortReason::none) {
            error_ = "begin failed";
            return AbortReason::none;
        }
        recorded.begin_was_now();
        AbortReason reason = AbortReason::none;
        if (copies != nullptr && !copies->renew(recorded.tx()))
            reason = AbortReason::read_locked;
        for (std::size_t i = 0; i < program.actions.size() && reason == AbortReason::none; ++i) {
            const Action& action = program.actions[i];
            u8 bytes[128] = {};
            switch (action.kind) {
            case Action::Kind::read:
                if (const u8* const own = copies != nullptr ? copies->find(action.offset) : nullptr;
                    own != nullptr) {
                    recorded.note_load(action.offset, own, action.bytes);
                    break;
                }
                reason = recorded.read(action.offset, bytes, action.bytes);
                break;
            case Action::Kind::page:
                reason = recorded.read_page(action.offset / 4096, std::array{A, B, C});
                break;
            case Action::Kind::write:
                for (u64 k = 0; k < action.bytes; ++k)
                    bytes[k] = value_of(number, i, attempt);
                reason = recorded.write(action.offset, bytes, action.bytes);
                if (copies != nullptr)
                    copies->write(action.offset, bytes, action.bytes);
                break;
            case Action::Kind::fix:
                reason = recorded.tx().fix_snapshot();
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
        if (reason == AbortReason::snapshot_too_old)
            error_ = "an old version is missing";
        if (reason != AbortReason::none && program.path == Path::serial)
            error_ = std::string("a serial transaction aborts: ") + protocol::to_string(reason);
        return reason;
    }

    template <typename AnyTx>
    static AbortReason commit(Recorded<AnyTx, Now>& recorded) {
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

void expect_opaque(const std::vector<Scenario>& all) {
    u64 executions = 0;
    u64 steps = 0;
    u64 complete = 0;
    for (const Scenario& scenario : all) {
        SCOPED_TRACE(scenario.name);
        const auto report = explore<Mutation::none>(scenario, most_executions());
        ASSERT_EQ(report.failure, "");
        EXPECT_TRUE(report.complete || report.executions + report.pruned == most_executions());
        complete += report.complete;
        std::cout << scenario.name << ": " << report.executions << " executions, " << report.pruned
                  << " pruned, longest " << report.longest << " steps"
                  << (report.complete ? "" : ", NOT COMPLETE") << '\n';
        executions += report.executions;
        steps += report.steps;
    }
    std::cout << all.size() << " scenarios, " << complete << " complete, " << executions
              << " executions, " << steps << " steps\n";
}

TEST(Interleaving, EveryScheduleIsOpaque) {
    expect_opaque(scenarios());
}

TEST(Interleaving, EveryScheduleOfKeptPagesIsOpaque) {
    expect_opaque(scenarios_of_kept_pages());
}

TEST(Interleaving, EveryScheduleOfFixedSnapshotsIsOpaque) {
    expect_opaque(scenarios_of_fixed_snapshots());
}

// Little of every scenario first, since most defects show at once in the one that is made for
// them.
template <Mutation kMutation>
void expect_caught(const char* name, const std::vector<Scenario>& all = scenarios()) {
    for (const u64 limit : {100u, 3'000u, 50'000u}) {
        for (const Scenario& scenario : all) {
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

TEST(PlantedDefect, KeepsTooLate) {
    expect_caught<Mutation::keeps_too_late>("old versions are those of the commit",
                                            scenarios_of_fixed_snapshots());
}

TEST(PlantedDefect, KeepsNoOldVersions) {
    expect_caught<Mutation::keeps_no_old_versions>("no old versions",
                                                   scenarios_of_fixed_snapshots());
}

TEST(PlantedDefect, FixesWithoutCheck) {
    expect_caught<Mutation::fixes_without_check>("snapshot fixed without a check",
                                                 scenarios_of_fixed_snapshots());
}

TEST(PlantedDefect, FixesBesideCommits) {
    expect_caught<Mutation::fixes_beside_commits>("snapshot fixed beside commits",
                                                  scenarios_of_fixed_snapshots());
}

} // namespace
} // namespace stm::test
