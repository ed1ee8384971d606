// SPDX-License-Identifier: GPL-2.0
// Small sets of transactions of which every schedule is tried.
#pragma once

#include "runtime/protocol/transaction.hpp"

#include <vector>

namespace stm::test::scenario {

using protocol::Path;
using runtime::u32;
using runtime::u64;

// One action of a program. r: read, w: write; then an offset and a length in bytes.
struct Action {
    enum class Kind { read, write, page, nest, keep, undo, cancel, fix };
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

inline constexpr Action kNest{Action::Kind::nest};

inline constexpr Action kKeep{Action::Kind::keep};

inline constexpr Action kUndo{Action::Kind::undo};

inline constexpr Action kCancel{Action::Kind::cancel};

// Fixes the snapshot, if that is possible at the moment.
inline constexpr Action kFix{Action::Kind::fix};

struct Program {
    std::vector<Action> actions;
    Path path = Path::concurrent;
    int attempts = 1;   // again after a conflict
    bool block = false; // all that it does is to write whole stripes, as a BlockCommit
    // Pages of which it keeps copies from one attempt to the next, as in a warm mapping. It has
    // those from the beginning. Then each attempt is a transaction of its own.
    std::vector<u64> kept = {};
    bool counted = true; // and knows that they have not been changed so far
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
inline constexpr u64 A = 0;

inline constexpr u64 B = 64;

inline constexpr u64 C = 128;

inline constexpr u64 P = 4096;

inline constexpr u64 Q = 8192;

inline constexpr u64 kSize = 3 * 4096;

const std::vector<Scenario>& scenarios();

// With programs that fix their snapshots.
const std::vector<Scenario>& scenarios_of_fixed_snapshots();

// With programs that keep pages.
const std::vector<Scenario>& scenarios_of_kept_pages();

} // namespace stm::test::scenario
