// SPDX-License-Identifier: GPL-2.0
// The checker of histories, by examples from the literature and against itself: its three methods
// must agree on random histories.
#include "tests/history/history_check.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <sstream>

namespace stm::test {
namespace {

History history_of(const std::string& body) {
    Parsed parsed = parse("stm-history 1\n" + body);
    EXPECT_EQ(parsed.error, "");
    return std::move(parsed.history);
}

struct Example {
    const char* name;
    bool correct;
    bool graph_decides;
    const char* body;
};

const Example kExamples[] = {
    {"nothing", true, true, ""},
    {"one increment after the other", true, true,
     "begin 1 1\nread 1 0 00\nwrite 1 0 01\ncommit 1 2 1\n"
     "begin 2 3\nread 2 0 01\nwrite 2 0 02\ncommit 2 4 2\n"},
    {"lost update", false, true,
     "begin 1 1\nread 1 0 00\nbegin 2 2\nread 2 0 00\nwrite 1 0 01\ncommit 1 5 1\n"
     "write 2 0 02\ncommit 2 6 2\n"},
    {"write skew", false, true,
     "begin 1 1\nread 1 0 00\nread 1 1 00\nbegin 2 2\nread 2 0 00\nread 2 1 00\n"
     "write 1 0 01\nwrite 2 1 02\ncommit 1 5 1\ncommit 2 6 2\n"},
    {"reads what was never committed", false, true,
     "begin 1 1\nread 1 0 00\nwrite 1 0 01\nabort 1 9 explicit_cancel\n"
     "begin 2 2\nread 2 0 01\ncommit 2 3\n"},
    {"reads what is committed later", false, true,
     "begin 1 1\nread 1 0 00\nwrite 1 0 01\ncommit 1 9 1\nbegin 2 2\nread 2 0 01\ncommit 2 3\n"
     "begin 3 4\nread 3 0 00\ncommit 3 5\n"},
    {"overlaps in time, so the order is free", true, true,
     "begin 1 1\nread 1 0 00\nwrite 1 0 01\ncommit 1 9 1\nbegin 2 2\nread 2 0 00\ncommit 2 8\n"
     "begin 3 3\nread 3 0 01\ncommit 3 7\n"},
    {"old value after the end of its overwriter", false, true,
     "begin 1 1\nread 1 0 00\nwrite 1 0 01\ncommit 1 2 1\nbegin 2 3\nread 2 0 00\ncommit 2 4\n"},
    {"an aborted one that saw two snapshots", false, true,
     "begin 1 1\nread 1 0 00\n"
     "begin 2 2\nread 2 0 00\nread 2 1 00\nwrite 2 0 05\nwrite 2 1 06\ncommit 2 3 1\n"
     "read 1 1 06\nabort 1 4 read_validation\n"},
    {"a live one that saw two snapshots", false, true,
     "begin 1 1\nread 1 0 00\n"
     "begin 2 2\nread 2 0 00\nread 2 1 00\nwrite 2 0 05\nwrite 2 1 06\ncommit 2 3 1\n"
     "read 1 1 06\n"},
    {"a live one that saw one", true, true,
     "begin 1 1\nread 1 0 05\n"
     "begin 2 2\nread 2 0 00\nread 2 1 00\nwrite 2 0 05\nwrite 2 1 06\ncommit 2 3 1\n"
     "read 1 1 06\n"},
    {"two readers see two updates in different orders", false, true,
     "begin 1 1\nread 1 0 00\nwrite 1 0 01\ncommit 1 9 1\n"
     "begin 2 1\nread 2 1 00\nwrite 2 1 01\ncommit 2 9 2\n"
     "begin 3 1\nread 3 0 01\nread 3 1 00\ncommit 3 9\n"
     "begin 4 1\nread 4 0 00\nread 4 1 01\ncommit 4 9\n"},
    {"does not read its own write", false, true,
     "begin 1 1\nwrite 1 0 01\nread 1 0 00\ncommit 1 2 1\n"},
    {"reads its own write", true, false, "begin 1 1\nwrite 1 0 01\nread 1 0 01\ncommit 1 2 1\n"},
    {"two values for one read", false, true,
     "begin 1 1\nread 1 0 00\nread 1 0 01\nabort 1 2 signal\n"},
    {"cancelled inner part", true, true,
     "begin 1 1\nread 1 0 00\nwrite 1 0 01\nnest 1\nwrite 1 0 02\nread 1 0 02\nundo 1\n"
     "read 1 0 01\ncommit 1 2 1\nbegin 2 3\nread 2 0 01\ncommit 2 4\n"},
    {"cancelled inner part that stays", false, true,
     "begin 1 1\nread 1 0 00\nwrite 1 0 01\nnest 1\nwrite 1 0 02\nundo 1\nread 1 0 02\n"
     "commit 1 2 1\n"},
    {"committed inner part", true, true,
     "begin 1 1\nread 1 0 00\nnest 1\nwrite 1 0 02\nkeep 1\nread 1 0 02\ncommit 1 2 1\n"},
    {"part of an update is missing", false, true,
     "begin 1 1\nread 1 0 00\nread 1 1 00\nwrite 1 0 01\nwrite 1 1 01\ncommit 1 2 1\n"
     "begin 2 3\nread 2 0 01\nread 2 1 00\ncommit 2 4\n"},
    {"unknown outcome, seen", true, true,
     "begin 1 1\nread 1 0 00\nwrite 1 0 01\ntry 1\nbegin 2 3\nread 2 0 01\ncommit 2 4\n"},
    {"unknown outcome, not seen", true, true,
     "begin 1 1\nread 1 0 00\nwrite 1 0 01\ntry 1\nbegin 2 3\nread 2 0 00\ncommit 2 4\n"},
    {"unknown outcome, seen in half", false, true,
     "begin 1 1\nread 1 0 00\nread 1 1 00\nwrite 1 0 01\nwrite 1 1 01\ntry 1\n"
     "begin 2 3\nread 2 0 01\nread 2 1 00\ncommit 2 4\n"},
    {"unknown outcome, seen and then gone", false, true,
     "begin 1 1\nread 1 0 00\nwrite 1 0 01\ntry 1\nbegin 2 3\nread 2 0 01\ncommit 2 4\n"
     "begin 3 5\nread 3 0 00\ncommit 3 6\n"},
    {"initial contents", true, true, "initial 8 0aff\nbegin 1 1\nread 1 8 0aff\ncommit 1 2\n"},
    {"not the initial contents", false, true,
     "initial 8 0aff\nbegin 1 1\nread 1 8 0a00\ncommit 1 2\n"},
};

TEST(HistoryCheck, Examples) {
    for (const Example& example : kExamples) {
        SCOPED_TRACE(example.name);
        const History history = history_of(example.body);
        const auto expected = example.correct ? Verdict::Kind::correct : Verdict::Kind::violation;
        EXPECT_EQ(check_by_search(history).kind, expected) << check_by_search(history).why;
        EXPECT_EQ(check(history).kind, expected) << check(history).why;
        const Verdict replay = check_by_replay(history);
        EXPECT_TRUE(replay.kind == expected || replay.kind == Verdict::Kind::undecided)
            << replay.why;
        const Verdict graph = check_by_graph(history);
        EXPECT_EQ(graph.kind, example.graph_decides ? expected : Verdict::Kind::undecided)
            << graph.why;
    }
}

TEST(HistoryCheck, OverlapsOfAnyShapeBySearchAndReplay) {
    const History history = history_of("begin 1 1\nwrite 1 0 01020304\ncommit 1 2 1\n"
                                       "begin 2 3\nwrite 2 2 aabbcc\ncommit 2 4 2\n"
                                       "begin 3 5\nread 3 1 02aabbcc00\ncommit 3 6\n");
    EXPECT_TRUE(check_by_search(history).is_correct());
    EXPECT_TRUE(check_by_replay(history).is_correct());
    EXPECT_EQ(check_by_graph(history).kind, Verdict::Kind::undecided);
}

TEST(HistoryText, RoundTrip) {
    for (const Example& example : kExamples) {
        const History history = history_of(example.body);
        std::ostringstream once;
        print(once, history);
        const Parsed again = parse(once.str());
        EXPECT_EQ(again.error, "");
        std::ostringstream twice;
        print(twice, again.history);
        EXPECT_EQ(once.str(), twice.str());
    }
}

TEST(HistoryText, RefusesWhatItDoesNotUnderstand) {
    const char* const bad[] = {
        "begin 1",
        "begin x 1",
        "begin 1 99999999999999999999",
        "read 1 0 00",
        "begin 1 1\nbegin 1 2",
        "begin 1 1\nread 1 0 0",
        "begin 1 1\nread 1 0 0g",
        "begin 1 1\nread 1 0",
        "begin 1 5\ncommit 1 4",
        "begin 1 1\ncommit 1 2 x",
        "begin 1 1\ncommit 1 2 3 4",
        "begin 1 1\ncommit 1 2\nread 1 0 00",
        "begin 1 1\nundo 1",
        "begin 1 1\nfrobnicate 1",
        "begin 1 1\nwrite 1 18446744073709551615 0000",
    };
    for (const char* text : bad)
        EXPECT_NE(parse(std::string("stm-history 1\n") + text).error, "") << text;
    EXPECT_NE(parse("begin 1 1\n").error, "");
}

// A random serial execution, spread over time so that many overlap; then, mostly, one answer is
// changed to another value that the place had at some time.
History random_history(std::mt19937_64& random, std::size_t count) {
    History history;
    constexpr std::uint64_t kCells = 3;
    std::uint8_t memory[kCells] = {};
    std::vector<std::uint8_t> had[kCells] = {{0}, {0}, {0}};
    std::uint8_t next = 1;
    for (std::size_t i = 0; i < count; ++i) {
        Attempt attempt;
        attempt.id = i + 1;
        // Its place in the serial order is time 10 * i.
        attempt.begin = 100 + 10 * i - std::min<std::uint64_t>(random() % 40, 10 * i + 50);
        attempt.end = 100 + 10 * i + 1 + random() % 40;
        const std::uint64_t kind = random() % 4;
        attempt.outcome = kind == 0   ? Attempt::Outcome::aborted
                          : kind == 1 ? Attempt::Outcome::live
                                      : Attempt::Outcome::committed;
        if (attempt.outcome == Attempt::Outcome::live)
            attempt.end = kNever;
        std::uint8_t view[kCells];
        std::copy(memory, memory + kCells, view);
        const std::uint64_t accesses = 1 + random() % 4;
        for (std::uint64_t k = 0; k < accesses; ++k) {
            const std::uint64_t cell = random() % kCells;
            attempt.operations.push_back({Operation::Kind::read, cell, {view[cell]}});
            if (random() % 2 == 0) {
                view[cell] = next++;
                attempt.operations.push_back({Operation::Kind::write, cell, {view[cell]}});
                had[cell].push_back(view[cell]);
            }
        }
        if (attempt.outcome == Attempt::Outcome::committed) {
            std::copy(view, view + kCells, memory);
            attempt.version = i + 1;
        }
        history.attempts.push_back(attempt);
    }
    if (random() % 4 != 0) {
        Attempt& attempt = history.attempts[random() % count];
        for (Operation& operation : attempt.operations) {
            if (operation.kind == Operation::Kind::read && random() % 2 == 0) {
                const auto& values = had[operation.offset];
                operation.bytes[0] = values[random() % values.size()];
                break;
            }
        }
    }
    std::shuffle(history.attempts.begin(), history.attempts.end(), random);
    return history;
}

TEST(HistoryCheck, MethodsAgreeOnRandomHistories) {
    std::mt19937_64 random(1);
    int correct = 0;
    int violations = 0;
    for (int i = 0; i < 4000; ++i) {
        const History history = random_history(random, 2 + random() % 9);
        const Verdict search = check_by_search(history);
        const Verdict graph = check_by_graph(history);
        const Verdict replay = check_by_replay(history);
        ASSERT_NE(search.kind, Verdict::Kind::undecided);
        std::ostringstream text;
        print(text, history);
        if (graph.kind != Verdict::Kind::undecided) {
            ASSERT_EQ(search.kind, graph.kind) << search.why << '\n' << graph.why << text.str();
        }
        // A right order proves it right; the order may be wrong where another one is right.
        if (replay.is_correct()) {
            ASSERT_TRUE(search.is_correct()) << search.why << text.str();
        }
        if (search.is_violation()) {
            ASSERT_TRUE(replay.is_violation()) << text.str();
        }
        (search.is_correct() ? correct : violations) += 1;
    }
    EXPECT_GT(correct, 500);
    EXPECT_GT(violations, 500);
}

TEST(HistoryCheck, LargeHistoriesAreQuick) {
    std::mt19937_64 random(2);
    History history;
    std::uint64_t values[64] = {};
    std::uint64_t next = 1;
    for (std::uint64_t i = 0; i < 20'000; ++i) {
        Attempt attempt;
        attempt.id = i;
        attempt.begin = 10 * i + 100 - random() % 60;
        attempt.end = 10 * i + 101 + random() % 60;
        attempt.outcome = Attempt::Outcome::committed;
        for (int k = 0; k < 2; ++k) {
            const std::uint64_t cell = random() % 64;
            std::vector<std::uint8_t> bytes(8);
            std::copy_n(reinterpret_cast<const std::uint8_t*>(&values[cell]), 8, bytes.begin());
            attempt.operations.push_back({Operation::Kind::read, cell * 8, bytes});
            if (i % 3 != 0) {
                values[cell] = next++;
                std::copy_n(reinterpret_cast<const std::uint8_t*>(&values[cell]), 8, bytes.begin());
                attempt.operations.push_back({Operation::Kind::write, cell * 8, bytes});
                attempt.version = i + 1;
            }
        }
        history.attempts.push_back(attempt);
    }
    EXPECT_TRUE(check_by_replay(history).is_correct()) << check_by_replay(history).why;
    EXPECT_TRUE(check_by_graph(history).is_correct()) << check_by_graph(history).why;
    // One old value in the middle.
    for (Operation& operation : history.attempts[9'000 / 3 * 3].operations)
        operation.bytes.assign(8, 0);
    EXPECT_TRUE(check_by_replay(history).is_violation());
    EXPECT_TRUE(check_by_graph(history).is_violation());
}

} // namespace
} // namespace stm::test
