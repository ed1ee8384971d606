// SPDX-License-Identifier: GPL-2.0
// How a process of the storm gets at a region: by system calls, by loads and stores in a mapping,
// by typed transactions, or by calls of several accesses. What it is ordered to do to itself
// happens at one of its accesses.
#pragma once

#include "tests/storm/board.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <random>
#include <stm/access.h>
#include <stm/stm.h>
#include <stm/tx.h>
#include <string>

namespace stm::storm {

enum class Way { calls, mapped, typed, vectors };
const char* to_string(Way way);

class Random {
public:
    explicit Random(std::uint64_t seed) : engine_(seed) {}
    std::uint64_t below(std::uint64_t limit) { return engine_() % limit; }
    bool one_in(std::uint64_t number) { return below(number) == 0; }

private:
    std::mt19937_64 engine_;
};

/** What a process is: its place on the board, and its number there. */
struct Self {
    Board* board;
    Slot* slot;
    unsigned index;
    Random* random;
};

class Access {
public:
    /** Opens the region, which exists. Ends the process when that fails. Half of the mappings stay
     * warm, by chance. */
    Access(const Self& self, const std::string& name, std::size_t size, Way way);
    /** In the other's way, but not mapped, on the same descriptor, which stays the other's. */
    Access(const Self& self, const Access& other);
    ~Access();
    Access(const Access&) = delete;
    Access& operator=(const Access&) = delete;

    [[nodiscard]] std::uint64_t load(std::uint64_t offset);
    void store(std::uint64_t offset, std::uint64_t value);

    /**
     * Runs body as a transaction, until it commits. body may be left and begun anew at any access,
     * so it makes nothing that has to be destroyed, and changes nothing but the region and what it
     * sets anew.
     */
    template <typename Body>
    void atomically(const Body& body) {
        self_.slot->busy.store(true, std::memory_order_relaxed);
        if (region_ != nullptr)
            repeat_typed(body);
        else if (by_vectors_)
            repeat_vectors(body);
        else
            repeat(body);
        self_.slot->busy.store(false, std::memory_order_relaxed);
        self_.slot->done.fetch_add(1, std::memory_order_relaxed);
    }

    /** Begins a nested part of the transaction, or undoes it. */
    void begin_part();
    void undo_part();

    /** A point where an order may be carried out. */
    void cross() {
        if (self_.slot->order.load(std::memory_order_relaxed) != Order::none)
            carry_out();
    }

    /** What a child does with what it has inherited, and each of its threads. */
    std::function<void(Access&)> audit;

    [[nodiscard]] int fd() const { return fd_; }
    [[nodiscard]] bool by_vectors() const { return by_vectors_; }
    [[nodiscard]] char* base() const { return base_; }
    const Self& self() const { return self_; }
    void fail(const char* what, std::uint64_t found = 0, std::uint64_t wanted = 0) const;

private:
    template <typename Body>
    void repeat(const Body& body) {
        do {
            stm_start(fd_);
            self_.slot->attempts.fetch_add(1, std::memory_order_relaxed);
            body();
            cross();                        // also where the body has no access left
        } while (stm_try_commit(fd_) != 0); // also for want of memory, which comes and goes
    }
    // What leaves the body of a typed transaction that has no effect any more.
    struct Left {};
    template <typename Body>
    void repeat_typed(const Body& body) {
        int result = -1; // none runs
        do {
            if (result < 0)
                begin_typed();
            self_.slot->attempts.fetch_add(1, std::memory_order_relaxed);
            try {
                body();
                cross();
            } catch (const Left&) {
            }
            result = stm_tx_commit(tx_);
        } while (result != 0);
    }
    // What is stored waits for the next load, or for the commit, which it goes along with.
    static constexpr unsigned kMostWaiting = 20; // more than have room on the kernel's stack
    struct Waiting {
        std::uint64_t offset, value;
    };
    template <typename Body>
    void repeat_vectors(const Body& body) {
        do {
            stm_start(fd_);
            waiting_count_ = 0; // of an attempt before
            self_.slot->attempts.fetch_add(1, std::memory_order_relaxed);
            body();
            cross();
        } while (!send_and_commit());
    }
    unsigned take_waiting(stm_piece* pieces);
    void send(std::uint64_t offset, std::uint64_t* load);
    void send() { send(0, nullptr); }
    [[nodiscard]] bool send_and_commit();
    [[nodiscard]] bool goes_by_vector();
    void begin_typed();
    void check(int result, const char* what) const;
    void carry_out();
    void make_warm();
    void map(void* where);
    void close_duplicates() const;
    void share();
    void map_second();
    [[noreturn]] void give_up(const char* what) const;
    const Self& self_;
    std::string name_;
    std::size_t size_;
    bool owner_ = true; // of the descriptor
    bool by_vectors_ = false;
    unsigned waiting_count_ = 0;
    Waiting waiting_[kMostWaiting];
    int fd_ = -1;
    char* base_ = nullptr;         // mapped
    bool shared_ = false;          // with children of several threads
    stm_region* region_ = nullptr; // typed
    stm_tx* tx_ = nullptr;
    int wait_ = 0; // accesses until an order is carried out
};

/** Forks inside of a transaction. The child calls heir and ends. Also without a region. */
void fork_heir(const Self& self, const std::function<void()>& heir);
/** Becomes a new life of the same process, by exec. */
[[noreturn]] void become_new(const Self& self);

} // namespace stm::storm
