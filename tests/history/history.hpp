// SPDX-License-Identifier: GPL-2.0
// What transactions did, as they saw it: the input of the checker (history_check.hpp). Recorded by
// tests on the host and in guests, written to and read from a line-based text.
//
//     stm-history 1
//     # a comment
//     initial <offset> <hex bytes>        contents before everything; zeros where nothing is said
//     begin <tx> <time>                   tx: any number, used for one attempt only
//     read <tx> <offset> <hex bytes>      a read that succeeded, and what it returned
//     write <tx> <offset> <hex bytes>
//     nest <tx>                           an inner part begins
//     keep <tx>                           ... is committed into the part around it
//     undo <tx>                           ... is cancelled
//     try <tx>                            commit was called; the outcome is unknown if none follows
//     commit <tx> <time> [<version>]      version: the clock value of an update, if it is known
//     abort <tx> <time> [<reason>]
//
// Numbers are decimal. Times are of any unit and origin, as long as all in one history share them;
// a transaction that ended at an earlier time than another one began must come before it. Lines of
// one transaction are in program order; those of different ones may be mixed in any way, so the
// files of several processes may simply be joined (each may have its own first line).
#pragma once

#include <cstdint>
#include <iosfwd>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stm::test {

using Time = std::uint64_t;
inline constexpr Time kNever = std::numeric_limits<Time>::max();

struct Operation {
    enum class Kind { read, write, nest, keep, undo };
    Kind kind;
    std::uint64_t offset = 0;
    std::vector<std::uint8_t> bytes;
};

struct Attempt {
    enum class Outcome {
        live,    // neither committed nor aborted: it has no effect
        unknown, // commit was called and did not return: it took effect as a whole or not at all
        committed,
        aborted,
    };
    std::uint64_t id = 0;
    Time begin = 0;
    Time end = kNever;
    Outcome outcome = Outcome::live;
    std::optional<std::uint64_t> version;
    std::string reason;
    std::vector<Operation> operations;
};

struct History {
    std::map<std::uint64_t, std::uint8_t> initial; // by byte
    std::vector<Attempt> attempts;
};

void print(std::ostream& out, const History& history);

struct Parsed {
    History history;
    std::string error; // empty: none; otherwise with the number of the line
};
Parsed parse(std::istream& in);
Parsed parse(std::string_view text);

} // namespace stm::test
