// SPDX-License-Identifier: GPL-2.0
// Warm mappings against a model of one thread's transactions, with random steps: stores and calls
// of a few bytes, inner parts, changes by others, and services that fail. What a transaction sees
// must be one committed state with its own writes laid over it, and its commit must change nothing
// else. STM_MODEL_STEPS is how many steps each test takes.
#include "tests/unit/kernel/two_handles.hpp"
#include "tests/unit/kernel/vector_test.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <random>
#include <thread>
#include <vector>

namespace stm::test {
namespace {

constexpr std::uint64_t kModelPages = 6;
constexpr std::uint64_t kModelBytes = 24; // of each page

using State = std::vector<std::uint8_t>; // kModelPages * kModelBytes
using Own = std::map<std::size_t, std::uint8_t>;

class WarmModel : public TwoHandles<kModelPages>, public ::testing::WithParamInterface<unsigned> {
protected:
    alignas(sizeof(stm_warm_cell)) stm_warm_cell words{};
    std::mt19937 random{GetParam()};
    std::vector<State> history{State(kModelPages * kModelBytes)};
    std::vector<std::size_t> possible; // numbers of states in the history
    std::vector<Own> own;              // of each depth
    Own seen;                          // of others
    Own changed;                       // by others, the last time
    std::vector<stm_page*> pins;
    simulated::OtherThread other_thread;
    bool left = false; // a fault
    long wrong = 0;
    long silent = 0;  // starts without a call
    long written = 0; // commits that have written

    unsigned pick(unsigned below) {
        return std::uniform_int_distribution<unsigned>(0, below - 1)(random);
    }
    bool chance(unsigned percent) { return pick(100) < percent; }

    void attach() {
        stm_cell argument{};
        argument.address = reinterpret_cast<std::uint64_t>(&words);
        argument.flags = STM_CELL_WARM;
        (void)request(file, STM_IOC_CELL, argument);
    }
    void SetUp() override {
        ASSERT_EQ(map(file, 0, kModelPages, STM_MAP_WRITE), 0);
        ASSERT_EQ(start(file), 1);
        attach();
        ASSERT_EQ(commit(file), 0);
    }
    void TearDown() override {
        while (!pins.empty())
            unpin();
    }
    std::uint64_t clock() {
        stm_fault fault{};
        fault.index = fault.first = fault.last = STM_OFFSET_CLOCK / kPage;
        EXPECT_EQ(stm_core_window_fault(file.get(), &fault), STM_FAULT_MAP);
        return reinterpret_cast<const stm_clock*>(simulated::page_bytes(fault.pages[0]))->now;
    }
    static std::uint64_t position(std::size_t byte) {
        return byte / kModelBytes * kPage + byte % kModelBytes;
    }
    template <typename Action>
    auto perhaps_failing(Action action) {
        if (!chance(12))
            return action();
        const FailPoint point(1 + pick(3));
        return action();
    }

    // Or somebody else commits in the middle. Not while stripes are locked: he would wait for this
    // thread.
    enum class Locks { none, stripes };
    template <typename Action>
    auto perhaps_disturbed(Action action, Locks locks = Locks::none) {
        const unsigned how = pick(12);
        if (how > 1)
            return perhaps_failing(action);
        const auto disturb = [&] { change(); };
        if (how == 0 || locks == Locks::stripes) {
            const Interleave moment(1 + pick(4), disturb);
            return action();
        }
        const simulated::InterleaveCommit moment(1 + pick(16), disturb);
        return action();
    }

    void expect(bool holds, const char* what, std::size_t byte) {
        if (holds)
            return;
        ++wrong;
        ADD_FAILURE() << what << ": byte " << byte % kModelBytes << " of page "
                      << byte / kModelBytes << ", at depth " << own.size();
    }
    // A value that was read.
    void check(std::size_t byte, std::uint8_t value, const char* how) {
        for (auto level = own.rbegin(); level != own.rend(); ++level) {
            if (const auto found = level->find(byte); found != level->end()) {
                expect(found->second == value, how, byte);
                return;
            }
        }
        std::vector<std::size_t> fitting;
        for (const std::size_t number : possible)
            if (history[number][byte] == value)
                fitting.push_back(number);
        expect(!fitting.empty(), how, byte);
        possible = fitting;
        seen[byte] = value;
    }

    void begin() {
        const std::uint64_t site = 1 + pick(2);
        const std::uint64_t flags = chance(10) ? STM_START_NO_PREDICTION : 0;
        own.clear();
        seen.clear();
        possible = {history.size() - 1};
        const std::uint64_t offer = STM_CELL_OFFER(site);
        if (std::atomic_ref(words.offer).load() == 0)
            attach();
        if (std::atomic_ref(words.offer).load() == offer &&
            (words.snapshot == STM_NO_SNAPSHOT || words.snapshot == clock())) {
            std::atomic_ref(words.begun).store(offer);
            ++silent;
        } else if (perhaps_disturbed([&] { return start(file, STM_START_SITE(site) | flags); }) !=
                   1) {
            return;
        }
        own.emplace_back();
    }
    void begin_again() {
        own.clear();
        seen.clear();
        possible = {history.size() - 1};
        const std::uint64_t argument = STM_START_SITE(1 + pick(2)) | STM_START_RESTART;
        if (perhaps_disturbed([&] { return start(file, argument); }) == 1)
            own.emplace_back();
        else
            give_up();
    }
    void give_up() {
        if (std::atomic_ref(words.begun).exchange(0) != 0) {
            own.clear();
            return;
        }
        while (transaction_of(file).depth != 0)
            EXPECT_EQ(cancel(file), 0);
        own.clear();
    }
    void end() {
        __u64 begun = words.begun;
        if (begun != 0 && std::atomic_ref(words.begun).compare_exchange_strong(begun, 0)) {
            std::atomic_ref(words.ended).fetch_add(1);
            EXPECT_TRUE(own.size() == 1 && own[0].empty());
            own.clear();
            return;
        }
        if (own.size() > 1) {
            const long ended = perhaps_failing([&] { return commit(file); });
            if (ended != 0)
                return give_up();
            for (const auto& [byte, value] : own.back())
                own[own.size() - 2][byte] = value;
            own.pop_back();
            return;
        }
        const std::size_t before = history.size() - 1;
        long ended = 0;
        if (chance(15)) {
            const simulated::MappingsMoved moved;
            ended = commit(file);
        } else {
            ended = perhaps_disturbed([&] { return commit(file); }, Locks::stripes);
        }
        if (ended != 0) {
            EXPECT_EQ(transaction_of(file).depth, 0u);
        } else {
            note_commit(before);
        }
        own.clear();
    }
    // At the beginning of the commit the history ended with the state `before`. Somebody else may
    // have come in the middle: before it, or after it.
    void note_commit(std::size_t before) {
        const bool was_first = own[0].empty() || is_possible(before, own[0]);
        State first = with(history[before], own[0]);
        if (history.size() - 1 != before) {
            const State second = with(history.back(), own[0]);
            const State first_and_other = with(first, changed);
            if (!was_first || committed() != first_and_other) {
                expect(is_possible(before + 1, own[0]), "what was read had changed", 0);
                history.push_back(second);
            } else {
                history.back() = first;
                history.push_back(first_and_other);
            }
        } else {
            expect(was_first, "what was read had changed", 0);
            history.push_back(first);
        }
        written += own[0].empty() ? 0 : 1;
        check_committed();
    }
    // Whether it may have been committed right after that state. What changes nothing is as if it
    // had come before.
    bool is_possible(std::size_t number, const Own& writes) const {
        return with(history[number], writes) == history[number] ||
               std::find(possible.begin(), possible.end(), number) != possible.end();
    }
    static State with(State state, const Own& writes) {
        for (const auto& [byte, value] : writes)
            state[byte] = value;
        return state;
    }
    State committed() {
        State state;
        for (std::uint64_t page = 0; page < kModelPages; ++page) {
            std::uint8_t bytes[kModelBytes] = {};
            EXPECT_EQ(read(other, page * kPage, bytes, sizeof bytes), long{kModelBytes});
            state.insert(state.end(), bytes, bytes + kModelBytes);
        }
        return state;
    }
    void check_committed() {
        const State now = committed();
        for (std::size_t byte = 0; byte < now.size(); ++byte)
            expect(now[byte] == history.back()[byte], "committed", byte);
    }
    // The page as the program has it, or null: the transaction cannot go on.
    std::uint8_t* page_for(std::uint64_t page, bool store) {
        for (int tries = 0; tries < 8; ++tries) {
            if (simulated::touch(file.view(), page, store))
                return simulated::page_bytes(simulated::mapped_page(file.view(), page));
            const Fault found = perhaps_disturbed(
                [&] { return fault(file, page, page, store ? Access::store : Access::load); });
            if (found.result == STM_FAULT_MAP)
                return simulated::page_bytes(found.pages.at(0));
            if (found.result != STM_FAULT_AGAIN)
                return nullptr;
            // A handler of the program may go on elsewhere.
            left = chance(50);
            if (left)
                return nullptr;
        }
        return nullptr;
    }
    void load() {
        const std::size_t byte = pick(kModelPages * kModelBytes);
        left = false;
        const std::uint8_t* const bytes = page_for(byte / kModelBytes, false);
        if (left)
            return;
        if (bytes == nullptr)
            return give_up();
        check(byte, bytes[byte % kModelBytes], "load");
    }
    void store() {
        const std::size_t byte = pick(kModelPages * kModelBytes);
        left = false;
        std::uint8_t* const bytes = page_for(byte / kModelBytes, true);
        if (left)
            return;
        if (bytes == nullptr)
            return give_up();
        const auto value = static_cast<std::uint8_t>(chance(20) ? history.back()[byte] : pick(256));
        bytes[byte % kModelBytes] = value;
        own.back()[byte] = value;
    }
    void call(bool writes) {
        const std::size_t byte = pick(kModelPages * kModelBytes);
        const std::size_t count = 1 + pick(static_cast<unsigned>(std::min<std::size_t>(
                                          12, kModelBytes - byte % kModelBytes)));
        std::uint8_t bytes[16] = {};
        if (writes)
            for (std::size_t i = 0; i < count; ++i)
                bytes[i] = static_cast<std::uint8_t>(pick(256));
        const long result = perhaps_disturbed([&] {
            return writes ? write(file, position(byte), bytes, count)
                          : read(file, position(byte), bytes, count);
        });
        if (result != static_cast<long>(count))
            return give_up();
        for (std::size_t i = 0; i < count; ++i) {
            if (writes)
                own.back()[byte + i] = bytes[i];
            else
                check(byte + i, bytes[i], "read");
        }
    }
    void vector() {
        const unsigned count = 1 + pick(40);
        std::vector<std::uint64_t> values(count);
        std::vector<std::size_t> bytes(count);
        std::vector<bool> writes(count);
        Pieces pieces;
        for (unsigned i = 0; i < count; ++i) {
            bytes[i] = pick(kModelPages * kModelBytes / 8) * 8;
            writes[i] = chance(50);
            values[i] = random();
            if (writes[i])
                pieces.write(position(bytes[i]), &values[i], 8);
            else
                pieces.read(position(bytes[i]), &values[i], 8);
        }
        const bool ends = own.size() == 1 && chance(25);
        const std::size_t before = history.size() - 1;
        if (perhaps_disturbed([&] { return pieces.access(file, ends ? STM_VECTOR_COMMIT : 0); },
                              ends ? Locks::stripes : Locks::none) != 0)
            return give_up();
        for (unsigned i = 0; i < count; ++i) {
            for (unsigned at = 0; at < 8; ++at) {
                const auto value = static_cast<std::uint8_t>(values[i] >> at * 8);
                if (writes[i])
                    own.back()[bytes[i] + at] = value;
                else
                    check(bytes[i] + at, value, "vector");
            }
        }
        if (ends) {
            note_commit(before);
            own.clear();
        }
    }
    void change() {
        const std::size_t byte = pick(kModelPages * kModelBytes);
        const std::size_t count =
            1 +
            pick(static_cast<unsigned>(std::min<std::size_t>(9, kModelBytes - byte % kModelBytes)));
        State next = history.back();
        std::uint8_t bytes[16];
        changed.clear();
        for (std::size_t i = 0; i < count; ++i)
            changed[byte + i] = next[byte + i] = bytes[i] = static_cast<std::uint8_t>(pick(256));
        std::thread([&] {
            UserBuffer buffer(bytes, count);
            EXPECT_EQ(stm_core_write(other.get(), buffer.get(), position(byte)),
                      static_cast<long>(count));
        }).join();
        history.push_back(next);
        // The snapshot may move.
        if (std::all_of(seen.begin(), seen.end(),
                        [&](const auto& read) { return next[read.first] == read.second; }))
            possible.push_back(history.size() - 1);
    }
    void pin() {
        if (stm_page* const page = simulated::mapped_page(file.view(), pick(kModelPages))) {
            stm_linux_page_get(page);
            pins.push_back(page);
        }
    }
    void unpin() {
        stm_linux_page_release(pins.back());
        pins.pop_back();
    }
    // A new context has no pages to spare, and has to ask for memory.
    void reopen() {
        while (!pins.empty())
            unpin();
        simulated::unmap_own(file.view());
        file = open(control, "tx", kOpen, {0, 0, 0});
        words = {};
        ASSERT_EQ(map(file, 0, kModelPages, STM_MAP_WRITE), 0);
    }
    // Another thread of the process takes the mapping away.
    void run_another() {
        const simulated::AsThread it(other_thread);
        if (start(file) != 1)
            return;
        const std::size_t byte = pick(kModelPages * kModelBytes);
        std::uint8_t* const bytes = page_for(byte / kModelBytes, true);
        if (bytes == nullptr) {
            while (transaction_of(file).depth != 0)
                EXPECT_EQ(cancel(file), 0);
            return;
        }
        const auto value = static_cast<std::uint8_t>(pick(256));
        bytes[byte % kModelBytes] = value;
        if (commit(file) == 0)
            history.push_back(with(history.back(), {{byte, value}}));
        check_committed();
    }
    void map_again() {
        simulated::unmap_own(file.view());
        ASSERT_EQ(map(file, 0, kModelPages, STM_MAP_WRITE), 0);
    }
    void outside() {
        switch (pick(12)) {
        case 0: {
            const std::size_t byte = pick(kModelPages * kModelBytes);
            std::uint8_t value = 0;
            EXPECT_EQ(read(file, position(byte), &value, 1), 1);
            EXPECT_EQ(value, history.back()[byte]);
            break;
        }
        case 1:
            simulated::run_timers();
            break;
        case 2:
            (void)page_for(pick(kModelPages), false);
            break;
        case 3:
            EXPECT_EQ(page_for(pick(kModelPages), true), nullptr);
            break;
        case 4:
            reopen();
            break;
        case 5:
            run_another();
            break;
        case 6:
            map_again();
            break;
        case 7:
            settings.predicted_pages = chance(50) ? 64 : 0;
            break;
        default:
            change();
        }
    }
    void step() {
        if (own.empty()) {
            if (chance(30))
                outside();
            else
                begin();
            return;
        }
        const unsigned what = pick(100);
        if (what < 18)
            load();
        else if (what < 36)
            store();
        else if (what < 44)
            call(true);
        else if (what < 50)
            call(false);
        else if (what < 56)
            vector();
        else if (what < 60)
            change();
        else if (what < 70 && own.size() < 4) {
            const auto depth = static_cast<long>(own.size()) + 1;
            if (perhaps_failing([&] { return start(file); }) != depth)
                return give_up();
            own.emplace_back();
        } else if (what < 76 && own.size() > 1) {
            if (cancel(file) != 0)
                return give_up();
            own.pop_back();
        } else if (what < 78) {
            give_up();
        } else if (what < 79) {
            begin_again();
        } else if (what < 81) {
            if (pins.empty() || chance(50))
                pin();
            else
                unpin();
        } else if (what < 82) {
            simulated::run_timers();
        } else if (what < 83) {
            map_again();
        } else {
            end();
        }
    }
};

TEST_P(WarmModel, IsWhatTheTransactionsSee) {
    const char* const wanted = std::getenv("STM_MODEL_STEPS");
    const long steps = wanted != nullptr ? std::atol(wanted) : 4000;
    long taken = 0;
    for (; taken < steps && wrong == 0; ++taken)
        step();
    EXPECT_EQ(taken, steps);
    if (!own.empty())
        give_up();
    EXPECT_GT(silent, 0);
    EXPECT_GT(written, 0);
}

INSTANTIATE_TEST_SUITE_P(, WarmModel, ::testing::Range(1u, 9u));

} // namespace
} // namespace stm::test
