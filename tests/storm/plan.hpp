// SPDX-License-Identifier: GPL-2.0
// What the storm does to its processes, and when: a function of the seed and nothing else.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace stm::storm {

enum class Action {
    kill,    // SIGKILL
    stop,    // SIGSTOP, and SIGCONT after the length
    fork,    // the process forks inside of a transaction; the child audits
    exec,    // it calls exec inside of a transaction
    leave,   // it calls _exit inside of a transaction
    unmap,   // it unmaps the region inside of a transaction, and maps it again
    advise,  // it drops the pages of the mapping inside of a transaction
    unload,  // the module is to be unloaded, which must be refused
    destroy, // a region in use is to be destroyed, which must be refused
    hog,     // a process takes most of the free memory for the length
    cpu,     // a processor is taken out, and put back after the length
    close,   // it closes duplicates of its descriptor inside of a transaction
    share,   // it forks inside of a transaction; threads of the child use the same handle
    first,   // it forks, and the child maps the handle first; then it maps it itself, in its
             // transaction
};
inline constexpr int kActions = 14;
const char* to_string(Action action);

struct Decision {
    std::uint64_t at_ms; // from the begin
    Action action;
    unsigned slot; // of whom
    unsigned length_ms;
};
inline bool operator==(const Decision& a, const Decision& b) {
    return a.at_ms == b.at_ms && a.action == b.action && a.slot == b.slot &&
           a.length_ms == b.length_ms;
}

/** In the order of their times. A longer plan of the same seed begins with the shorter one. */
std::vector<Decision> make_plan(std::uint64_t seed, std::uint64_t seconds, unsigned slots);

std::string to_string(const Decision& decision);

} // namespace stm::storm
