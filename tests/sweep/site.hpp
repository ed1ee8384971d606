// SPDX-License-Identifier: GPL-2.0
// A site: one way to come into the module, on one kind of region. It is tried again and again with
// the first, second, third, … failure, each time on a region of its own.
#pragma once

#include "guest.hpp"

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace stm::sweep {

inline constexpr std::size_t kPages = 48;
inline constexpr std::size_t kBytes = kPages * test::kPage;

// What a thread got instead of a value; added to the signal's number.
inline constexpr int kSignal = 1000;

// One try: the region and whatever else the site needs.
struct Try {
    explicit Try(int region_flags);
    ~Try();
    Try(const Try&) = delete;
    Try& operator=(const Try&) = delete;

    [[nodiscard]] bool plain() const { return (flags & STM_PLAIN) != 0; }
    [[nodiscard]] char* at(std::size_t offset) const { return map->at(offset); }
    void map_all(int protection = PROT_READ | PROT_WRITE);
    // From now on map_all maps where Linux needs no new page table: without memory for one it tries
    // again forever, and asks nobody.
    static void use_present_page_table();

    // Records that something is not as it must be.
    void wrong(const std::string& what);
    void expect(bool fact, const std::string& what) {
        if (!fact)
            wrong(what);
    }
    // The region's bytes, as everybody sees them.
    [[nodiscard]] std::vector<char> contents() const;
    void expect_byte(std::size_t offset, char value, const std::string& what);

    int flags;
    std::string name;
    test::Fd fd;       // the site uses it
    test::Fd observer; // only the checks do
    std::unique_ptr<test::Mapping> map;
    std::vector<char> buffer; // user memory, present
    test::Fd more[3];
    std::string path; // removed at the end
    unsigned long number = 0;
    std::size_t part = 0; // bytes that calls before the one that failed were told to have done
    int result = -1;
    pid_t child = -1;
    std::vector<std::string> problems;
};

struct Site {
    std::string entry;  // as in tests/sweep/sites.txt
    std::string region; // plain, transactional, mutex, …
    std::string way;    // how it is called
    int flags;          // STM_*, of the region
    std::set<int> errors;
    std::function<void(Try&)> prepare = {};
    std::function<int(Try&)> act;          // 0, an errno value, or kSignal and a signal
    std::function<void(Try&)> done = {};   // checks what a success must have done
    std::function<void(Try&)> undone = {}; // and that a failure has done nothing, beyond the usual
    // What must be seen when it failed after a part (Try::part), told by a short count as
    // documented: that, and no more; in a plain region it is undone by that. For failures that
    // persist.
    std::function<void(Try&)> part = {};
    // It succeeds again after a failure, with nothing prepared anew.
    bool repeatable = true;
    // A part of it that was done before may be seen: Linux splits a mapping before it fails, and
    // pages of a mapping may be touched before something else fails.
    bool leaves_traces_in_mappings = false;
    // A failure ends the transaction, as documented: the next try begins with prepare().
    bool ends_transaction = false;

    [[nodiscard]] std::string id() const { return entry + " " + region + " " + way; }
};

std::vector<Site>& sites();
int add(Site site);

// The kinds of region that have bytes.
struct Kind {
    const char* name;
    int flags;
};
inline constexpr Kind kPlain{"plain", STM_PLAIN};
inline constexpr Kind kTransactional{"transactional", 0};
inline constexpr Kind kMutex{"mutex", STM_MUTEX};
inline constexpr Kind kKinds[] = {kPlain, kTransactional, kMutex};
inline constexpr Kind kTransactionKinds[] = {kTransactional, kMutex};

// Runs something that may get a signal: 0, or kSignal and its number.
int guarded(const std::function<void()>& action);
// A result of -1 as errno.
int error_of(long result);

} // namespace stm::sweep
