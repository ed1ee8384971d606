// SPDX-License-Identifier: GPL-2.0
// The memory that all processes of a storm share beside the regions: what each is to do, what it
// has done, what went wrong, and what the transactions of the history saw. It is ordinary shared
// memory, so what a killed process has written there stays.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace stm::storm {

inline constexpr unsigned kMaxSlots = 64;
inline constexpr unsigned kHistorians = 7;

/** What the supervisor asks of a process; done at some load or store inside of a transaction. */
enum class Order : int { none, fork, exec, leave, unmap, advise, close, share, first };

/** How a process ends that was not killed and did nothing wrong. */
inline constexpr int kLeft = 7;     // as Order::leave asks
inline constexpr int kNoMemory = 8; // only where memory is short on purpose

struct alignas(64) Slot {
    std::atomic<Order> order{Order::none};
    std::atomic<bool> busy{false}; // in a transaction, or with a lock held
    std::atomic<std::uint64_t> lives{0};
    std::atomic<std::uint64_t> done{0};     // operations
    std::atomic<std::uint64_t> attempts{0}; // of transactions
    std::atomic<std::uint64_t> forks{0};
    std::atomic<std::uint64_t> heirs{0}; // children that have audited and ended well
    std::atomic<std::uint64_t> execs{0};
    std::atomic<std::uint64_t> unmaps{0};
    std::atomic<std::uint64_t> advices{0};
    std::atomic<std::uint64_t> closes{0};     // of duplicates
    std::atomic<std::uint64_t> sharers{0};    // children of whose threads each has audited
    std::atomic<std::uint64_t> firsts{0};     // handles that a child has mapped first
    std::atomic<std::uint64_t> warm{0};       // handles whose mappings stayed warm
    std::atomic<std::uint64_t> patient{0};    // transactions longer than the first lease
    std::atomic<std::uint64_t> recoveries{0}; // locks taken over from the dead
    std::atomic<std::uint64_t> refusals{0};   // errors for lack of memory
};

/** One line of a history (tests/history/history.hpp). */
struct Entry {
    enum class Kind : std::uint32_t { born, begin, read, write, attempt_commit, commit };
    Kind kind;
    std::uint32_t offset;
    std::uint64_t value; // of begin: the attempt's number
    std::uint64_t time;
};

/** What one process of the history wrote down, over all its lives. */
struct Log {
    static constexpr std::uint32_t kEntries = 24000;
    std::atomic<std::uint32_t> count{0};
    std::array<Entry, kEntries> entries;
};

struct Failures {
    static constexpr unsigned kKept = 20;
    std::atomic<unsigned> count{0};
    std::array<std::array<char, 300>, kKept> text;
};

struct Board {
    std::uint64_t seed = 0;
    std::atomic<bool> go{false};
    std::atomic<bool> stop{false};
    std::atomic<unsigned> era{0}; // of the history: which region of registers, which logs
    std::atomic<std::uint64_t> next_value{1};
    std::atomic<std::uint64_t> next_attempt{1};
    std::atomic<std::uint64_t> next_name{1};
    std::atomic<std::uint64_t> checked{0}; // transactions in the histories that were checked
    std::array<Slot, kMaxSlots> slots;
    Failures failures;
    std::array<std::array<Log, kHistorians>, 2> logs; // of the era, modulo 2

    /** Writes down that something is wrong. Does not allocate. */
    void fail(const char* format, ...) __attribute__((format(printf, 2, 3)));
};

/** A new board, in a memory file that exec leaves open. */
Board* make_board();
/** The board of the program that called exec. */
Board* inherited_board();
inline constexpr int kBoardDescriptor = 100;

} // namespace stm::storm
