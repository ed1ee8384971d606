// SPDX-License-Identifier: GPL-2.0
// Tries memory calls on mappings of regions, and of a memfd to compare with, and prints a line for
// each: group, call, kind of memory, result, with tabs between them. Every call is tried in a
// process of its own, on memory of its own.
//
// The result is a number or the name of an error, then what the call did to the memory. Where no
// more is said the pages hold what they held, stores are taken or refused as before, a transaction
// commits, and others read what it stored.
#include "rows.hpp"

#include <cstdio>
#include <cstring>

using namespace stm::test;

namespace {

constexpr unsigned kPatience = 20; // seconds for one row

struct Group {
    const char* name;
    Rows (*rows)();
};
constexpr std::array kGroups{
    Group{"Advice", advice_rows},
    Group{"Protection, locking, sealing", protection_rows},
    Group{"Mapping and moving", move_rows},
    Group{"Watching", watching_rows},
    Group{"Futexes", futex_rows},
    Group{"Other processes", foreign_rows},
    Group{"Devices, pipes, io_uring", device_rows},
};

std::string commit(Subject& subject) {
    errno = 0;
    if (stm_try_commit(subject.fd()) == 0)
        return subject.changes_for_others();
    return std::string(", the commit fails: ") +
           (errno == 0 ? "conflict" : ::strerrorname_np(errno));
}

std::string tried(const Row& row, Kind kind) {
    ::alarm(static_cast<unsigned>(kPatience * time_scale()));
    Subject subject(kind);
    if (kind == Kind::inside) {
        stm_start(subject.fd());
        subject.store_all();
    }
    std::string result = row.run(subject);
    result += subject.changes();
    result += kind == Kind::inside ? commit(subject) : subject.changes_for_others();
    if (kind != Kind::inside && kind != Kind::transactional)
        return result;
    stm_start(subject.fd());
    subject.store_all();
    const std::string next = commit(subject);
    return next.empty() ? result : result + "; the next transaction" + next;
}

} // namespace

int main(int argc, char** argv) {
    const char* const only = argc > 1 ? argv[1] : "";
    for (const Group& group : kGroups)
        for (const Row& row : group.rows())
            for (Kind kind : kKinds) {
                if (row.call.find(only) == std::string::npos)
                    continue;
                const std::string result = in_child([&] { return tried(row, kind); });
                std::printf("%s\t%s\t%s\t%s\n", group.name, row.call.c_str(), name_of(kind),
                            result.c_str());
                std::fflush(stdout);
            }
}
