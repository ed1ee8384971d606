// SPDX-License-Identifier: GPL-2.0
#include "tests/unit/protocol/scenarios.hpp"

#include <utility>

namespace stm::test::scenario {

namespace {

Program block(u64 offset, u64 bytes) {
    return {{w(offset, bytes)}, Path::concurrent, 1, true};
}

Program keeper(std::vector<Action> actions, std::vector<u64> kept = {0}, bool counted = true) {
    return {std::move(actions), Path::concurrent, 2, false, std::move(kept), counted};
}

} // namespace

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
        {"two stripes together", {{{r(A, 128)}}, {{w(A), w(B)}}}, false, 0, true},
        {"two stripes together, then another",
         {{{r(A, 128), r(P)}}, {{w(B), w(P)}}},
         false,
         0,
         true},
        {"a stripe, then two together", {{{r(P), r(A, 128)}}, {{w(B), w(P)}}}, false, 0, true},
        {"two stripes together, skewed",
         {{{r(A, 128), w(A)}}, {{r(A), r(B), w(B)}}},
         false,
         0,
         true},
        {"two stripes together over an own write",
         {{{w(B), r(A, 128)}}, {{w(A), w(B)}}},
         false,
         0,
         true},
        {"absent page, read in part after a write",
         {{{w(P), r(P, 16), r(Q)}}, {{w(P + 8), w(Q)}}},
         true},
        {"a block and a reader", {block(A, 128), {{r(A), r(B)}}}},
        {"a block and an increment", {block(A, 128), {{r(B), w(B)}}, {{r(A), r(B)}}}},
        {"a block and a reader of more", {block(A, 128), {{r(A), r(C)}}, {{w(C)}}}},
        {"two blocks", {block(A, 128), block(B, 128), {{r(A), r(B)}}}},
        {"a block and a serial increment", {block(A, 128), {{r(B), w(B), r(A)}, Path::serial}}},
        {"a block over a border, absent", {block(P - 64, 128), {{r(P), r(P - 64)}}}, true},
    };
    return all;
}

const std::vector<Scenario>& scenarios_of_fixed_snapshots() {
    static const std::vector<Scenario> all = {
        {"fixed at once", {{{kFix, r(A), r(B)}}, {{w(A), w(B)}}}},
        {"fixed at once, two updates", {{{kFix, r(A), r(B)}}, {{w(A), w(B)}}, {{w(A)}}}},
        {"fixed in the middle", {{{r(A), kFix, r(B)}}, {{w(A), w(B)}}, {{w(A)}}}},
        {"fixed in the middle, again after a conflict",
         {{{r(A), kFix, r(B)}, Path::concurrent, 2}, {{r(A), w(A), w(B)}}}},
        {"fixed, an update of what it has read",
         {{{kFix, r(A), r(B), r(A)}}, {{r(B), w(A), w(B)}}}},
        {"fixed, crossing updates", {{{kFix, r(A), r(B)}}, {{r(A), w(B)}}, {{r(B), w(A)}}}},
        {"two fixed", {{{kFix, r(A), r(B)}}, {{kFix, r(B), r(A)}}, {{w(A), w(B)}}}},
        {"two fixed, one in the middle", {{{kFix, r(A)}}, {{r(B), kFix, r(A)}}, {{w(A), w(B)}}}},
        {"fixed, two updates one after the other",
         {{{kFix, r(A), r(B)}}, {{r(A), w(A)}, Path::concurrent, 1}, {{r(A), w(A), w(B)}}}},
        {"fixed, and writes", {{{kFix, r(A), w(B)}}, {{r(B), w(A)}}}},
        {"fixed, writes, and reads more", {{{kFix, r(A), w(B), r(C)}}, {{w(A), w(C)}}}},
        {"fixed, and writes what it has read", {{{kFix, r(A), w(A)}}, {{r(A), w(A)}}}},
        {"fixed, and a serial update", {{{kFix, r(A), r(B)}}, {{r(A), w(A), w(B)}, Path::serial}}},
        {"fixed, and a block", {{{kFix, r(A), r(B)}}, block(A, 128)}},
        {"fixed, and a commit that gives up",
         {{{kFix, r(B), r(A)}}, {{r(C), w(A), w(B)}}, {{w(C), w(B)}}}},
        {"fixed, a whole page", {{{kFix, page(A), r(P)}}, {{w(A), w(P)}}}, false, 0, true},
        {"fixed, two stripes together",
         {{{kFix, r(A, 128), r(P)}}, {{w(B), w(P)}}},
         false,
         0,
         true},
        {"fixed, absent pages", {{{kFix, r(P), r(Q)}}, {{w(P), w(Q)}}}, true},
        {"fixed, and an inner part that is undone",
         {{{kFix, r(A), kNest, w(B), kUndo, r(B)}}, {{w(A), w(B)}}}},
        {"fixed, and an inner part that reads and is undone",
         {{{kFix, kNest, w(C), r(A), kUndo, r(B)}}, {{w(A), w(B)}}, {{w(A)}}}},
        {"fixed behind a kept page", {keeper({kFix, r(A), r(P)}), {{w(A), w(P)}}}, false, 0, true},
        {"fixed, two words one by one", {{{kFix, r(A), r(A + 8)}}, {{w(A, 16)}}, {{w(A)}}}},
    };
    return all;
}

const std::vector<Scenario>& scenarios_of_kept_pages() {
    static const std::vector<Scenario> all = {
        {"a kept page", {keeper({r(A)}), {{w(A)}}}, false, 0, true},
        {"a kept page, not counted", {keeper({r(A)}, {0}, false), {{w(A)}}}, false, 0, true},
        {"a kept page, then a stripe", {keeper({r(A), r(P)}), {{w(A), w(P)}}}, false, 0, true},
        {"a kept page, an update of two stripes",
         {keeper({r(A), r(B)}), {{r(A), w(A), w(B)}}},
         false,
         0,
         true},
        {"two kept pages", {keeper({r(A), r(P)}, {0, 1}), {{w(A), w(P)}}}, false, 0, true},
        {"a kept page, absent", {keeper({r(P), r(A)}, {1}), {{w(P), w(A)}}}, true, 0, true},
        {"a kept page, skewed", {keeper({r(A), w(P)}), {{r(P), w(A)}}}, false, 0, true},
        {"a kept page that is written", {keeper({r(A), w(A)}), {{r(A), w(A)}}}, false, 0, true},
        {"a kept page that both write", {keeper({r(B), w(A)}), {{w(B)}}}, false, 0, true},
        {"a kept page and a serial update",
         {keeper({r(A), w(P)}), {{r(P), w(A)}, Path::serial}},
         false,
         0,
         true},
        {"a kept page and a block", {keeper({r(A), r(B)}), block(A, 128)}, false, 0, true},
        {"a kept page, two updates", {keeper({r(A), r(B)}), {{w(A)}}, {{w(B)}}}, false, 0, true},
        {"two that keep the same page",
         {keeper({r(A), w(B)}), keeper({r(B), w(A)})},
         false,
         0,
         true},
        {"a kept page and a commit that gives up",
         {keeper({r(A)}), {{r(C), w(A)}}, {{w(C)}}},
         false,
         0,
         true},
    };
    return all;
}

} // namespace stm::test::scenario
