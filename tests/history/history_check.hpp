// SPDX-License-Identifier: GPL-2.0
// The checker of recorded histories. It knows nothing of the engine. Correct is: there is one
// serial order of all attempts that respects real time and in which every attempt, also one that
// aborted or never ended, read exactly what the committed ones before it had written (opacity:
// Guerraoui and Kapalka, "On the Correctness of Transactional Memory", PPoPP 2008), which includes
// strict serialisability of the committed ones (Papadimitriou, JACM 26(4), 1979).
//
// In general that is NP-complete; three methods share the work:
//
// search   tries all orders. Exact, any contents, up to some 20 attempts.
// replay   the committed updates have versions: takes these for the order, and looks whether it
//          is one. Exact for that order (so, if it passes, the history is right, whoever invented
//          the versions), any contents, any length; a few microseconds an access.
// graph    no versions needed, but every value is written to its place only once, and a place is
//          read before it is written by the same attempt, so that the order of its writers is
//          known (as in Adya, "Weak Consistency", 1999, and the Elle checker, Kingsbury and
//          Alvaro, VLDB 2020). Looks for a cycle of write-read, write-write, read-write and
//          real-time edges. Accesses to the same bytes must have the same offset and length.
#pragma once

#include "tests/history/history.hpp"

#include <string>

namespace stm::test {

struct Verdict {
    enum class Kind { correct, violation, undecided };
    Kind kind;
    std::string why; // empty if correct

    bool is_correct() const { return kind == Kind::correct; }
    bool is_violation() const { return kind == Kind::violation; }
};

inline constexpr std::size_t kMostSearched = 20;

Verdict check_by_search(const History& history);
Verdict check_by_replay(const History& history);
Verdict check_by_graph(const History& history);

// The first of replay, search and graph that decides.
Verdict check(const History& history);

} // namespace stm::test
