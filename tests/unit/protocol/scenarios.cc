// SPDX-License-Identifier: GPL-2.0
#include "tests/unit/protocol/scenarios.hpp"

namespace stm::test::scenario {

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

} // namespace stm::test::scenario
