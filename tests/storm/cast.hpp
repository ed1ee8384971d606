// SPDX-License-Identifier: GPL-2.0
// The processes of a storm: what each does, and how.
#pragma once

#include "tests/storm/access.hpp"

#include <string>
#include <vector>

namespace stm::storm {

enum class Role {
    accounts,
    accounts_audit,
    accounts_at_once,
    locked, // accounts in a region of STM_MUTEX
    locked_audit,
    list,
    list_audit,
    tree,
    tree_audit,
    history,
    plain,
    plain_calls,
    churn,
    exceed,
    patient, // audits of the accounts that take longer than the first lease of the serial token
};

struct Part {
    Role role;
    Way way;
    unsigned historian = 0; // of Role::history: which log
};

/** The cast, the same for all processes of a storm: a slot's number is all that it needs to know.
 */
const std::vector<Part>& cast();
const char* to_string(Role role);

/** What the regions' names begin with; set in the environment, so that it outlives exec. */
std::string prefix();
void set_prefix(const std::string& prefix);

/** Whom to do wrong on purpose, to see that it is found: "", accounts, list, tree, history, plain,
 * calls. */
std::string planted();
void set_planted(const std::string& what);
/** The only way of access whose processes take part; "": all of them do. */
std::string only();
void set_only(const std::string& way);
std::string registers_name(unsigned era);

/** The module's parameter serial_lease_ms while a storm runs: nobody lives for long there. */
inline constexpr unsigned kLeaseMs = 100;

/** One life of a process, until the board says stop, or it is told to end. */
[[noreturn]] void live(Board& board, unsigned slot);

} // namespace stm::storm
