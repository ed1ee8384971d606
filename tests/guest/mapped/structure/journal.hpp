// SPDX-License-Identifier: GPL-2.0
// What the transactions of one process did, written down where it survives the process, for the
// checker of histories.
//
// A restart may come at any instruction and a kill, too. So nothing here takes memory, and an entry
// counts only once it is complete.
#pragma once

#include "tests/history/history.hpp"

#include <atomic>
#include <cstdint>
#include <ctime>

namespace stm::test {

/** In memory shared by fork, all zeros at first; one process at a time writes to it. */
class Journal {
public:
    static constexpr std::uint32_t kEntries = 60'000;

    /** A transaction is about to begin. `id`: nobody else's. */
    void announce(std::uint32_t id) {
        append({now(), id, 0, What::begin});
        announced_ = true;
    }
    /** stm_start has returned. True: it has returned before, and the attempt until now is over. */
    bool entered(std::uint32_t next_id) {
        if (announced_) {
            announced_ = false;
            return false;
        }
        // The new attempt's snapshot was taken since the last entry.
        const std::uint64_t begun = entry(count() - 1).time;
        append({now(), 0, 0, What::aborted});
        append({begun, next_id, 0, What::begin});
        return true;
    }
    void read(std::uint16_t place, std::uint32_t value) {
        append({now(), value, place, What::read});
    }
    void wrote(std::uint16_t place, std::uint32_t value) {
        append({now(), value, place, What::write});
    }
    void committing() { append({now(), 0, 0, What::committing}); }
    void committed() { append({now(), 0, 0, What::committed}); }
    void aborted() { append({now(), 0, 0, What::aborted}); }
    /** What no transaction may ever see was seen. */
    void violation(const char* text) { violation_ = text; }

    [[nodiscard]] bool is_full() const { return count() > kEntries - 2000; }
    /** A literal of this program, or null. */
    [[nodiscard]] const char* violation() const { return violation_; }
    [[nodiscard]] std::uint32_t commits() const { return commits_.load(std::memory_order_relaxed); }

    /** Appends the attempts. A place is four bytes. */
    void add_to(History& history) const {
        for (std::uint32_t i = 0; i < count(); ++i) {
            const Entry& at = entry(i);
            if (at.what == What::begin) {
                Attempt attempt;
                attempt.id = at.value;
                attempt.begin = at.time;
                history.attempts.push_back(attempt);
                continue;
            }
            Attempt& attempt = history.attempts.back();
            switch (at.what) {
            case What::begin:
                break;
            case What::read:
                attempt.operations.push_back(operation(Operation::Kind::read, at));
                break;
            case What::write:
                attempt.operations.push_back(operation(Operation::Kind::write, at));
                break;
            case What::committing:
                attempt.outcome = Attempt::Outcome::unknown;
                break;
            case What::committed:
                attempt.outcome = Attempt::Outcome::committed;
                attempt.end = at.time;
                break;
            case What::aborted:
                attempt.outcome = Attempt::Outcome::aborted;
                attempt.end = at.time;
                break;
            }
        }
    }

private:
    enum class What : std::uint8_t { begin, read, write, committing, committed, aborted };
    struct Entry {
        std::uint64_t time;
        std::uint32_t value;
        std::uint16_t place;
        What what;
    };

    static std::uint64_t now() {
        struct timespec time {};
        ::clock_gettime(CLOCK_MONOTONIC, &time);
        return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 +
               static_cast<std::uint64_t>(time.tv_nsec);
    }
    static Operation operation(Operation::Kind kind, const Entry& at) {
        std::vector<std::uint8_t> bytes;
        for (unsigned shift = 0; shift < 32; shift += 8)
            bytes.push_back(static_cast<std::uint8_t>(at.value >> shift));
        return {kind, at.place * std::uint64_t{4}, bytes};
    }

    [[nodiscard]] std::uint32_t count() const { return count_.load(std::memory_order_relaxed); }
    [[nodiscard]] const Entry& entry(std::uint32_t index) const { return entries_[index]; }
    void append(Entry entry) {
        const std::uint32_t index = count();
        if (index == kEntries)
            return; // is_full() was not asked
        entries_[index] = entry;
        std::atomic_signal_fence(std::memory_order_seq_cst);
        count_.store(index + 1, std::memory_order_relaxed);
        if (entry.what == What::committed)
            commits_.store(commits() + 1, std::memory_order_relaxed);
    }

    std::atomic<std::uint32_t> count_;
    std::atomic<std::uint32_t> commits_;
    bool announced_;
    const char* volatile violation_;
    Entry entries_[kEntries];
};

} // namespace stm::test
