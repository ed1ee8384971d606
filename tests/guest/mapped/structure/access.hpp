// SPDX-License-Identifier: GPL-2.0
// How a transaction reaches the nodes: by loads and stores through their pointers, by read and
// write calls, by both in turn, by the functions of <stm/tx.h>, or by calls of several accesses,
// for which what is stored waits until the next load or the commit. Each node that is looked at or
// changed is written down.
#pragma once

#include "journal.hpp"
#include "node.hpp"

#include <bitset>
#include <cstdlib>
#include <cstring>
#include <stm/access.h>
#include <stm/transaction.h>
#include <stm/tx.h>
#include <unistd.h>

namespace stm::test {

enum class Way { pointers, calls, both, typed, vectors };

class Access {
public:
    Access(int fd, Way way, Journal& journal) : fd_(fd), way_(way), journal_(journal) {}
    /** What is thrown out of a typed transaction that has no effect any more. */
    struct Left {};
    /** The typed transaction that runs. */
    void use(stm_region* region, stm_tx* transaction) {
        region_ = region;
        transaction_ = transaction;
    }

    /** A new attempt begins. */
    void begin(std::uint32_t id) {
        id_ = id;
        looked_at_.reset();
        changed_.reset();
        steps_ = 0;
        failed_ = false;
        waiting_count_ = 0; // of the attempt before
    }
    /** Ends a transaction of stm_start. Whether it was committed. */
    [[nodiscard]] bool commit() {
        if (way_ != Way::vectors)
            return stm_commit(fd_) == 0;
        stm_piece pieces[kMostWaiting + 1];
        const unsigned count = take_waiting(pieces);
        return stm_access_and_commit(fd_, pieces, count) == 0;
    }

    /** Something of a node. */
    template <typename T>
    T load(const T& place) {
        std::size_t index = 0;
        if (!find(&place, index))
            return T{};
        look_at(index);
        return get(place);
    }
    template <typename T>
    void store(T& place, T value) {
        std::size_t index = 0;
        if (!find(&place, index))
            return;
        look_at(index);
        if (!changed_[index]) {
            put(node(index)->stamp, id_);
            journal_.wrote(static_cast<std::uint16_t>(index), id_);
            changed_[index] = true;
        }
        put(place, value);
    }

    /** What a transaction sees is wrong. From here on it sees nothing any more. */
    void fail(const char* why) {
        failed_ = true;
        journal_.violation(why);
    }
    [[nodiscard]] bool failed() const { return failed_; }

private:
    static constexpr unsigned kMostSteps = 20'000;

    // Each access within a node that there is, and not too many of them.
    bool find(const void* place, std::size_t& index) {
        if (failed_)
            return false;
        const std::uintptr_t offset = reinterpret_cast<std::uintptr_t>(place) - kBase;
        index = offset / kSpacing;
        if (index >= kNodes || offset % kSpacing >= sizeof(Node)) {
            fail("a pointer that leads nowhere");
            return false;
        }
        if (++steps_ > kMostSteps) {
            fail("a walk that does not end");
            return false;
        }
        return true;
    }
    void look_at(std::size_t index) {
        if (looked_at_[index])
            return;
        journal_.read(static_cast<std::uint16_t>(index), get(node(index)->stamp));
        looked_at_[index] = true;
    }
    bool by_call() {
        return way_ == Way::calls || (way_ == Way::both && (steps_ * 2654435761U >> 13) % 2 == 0);
    }
    template <typename T>
    T get(const T& place) {
        T value{};
        if (way_ == Way::typed) {
            check(stm_tx_load(transaction_, region_, position_of(&place), &value, sizeof value));
            return value;
        }
        if (way_ == Way::vectors) {
            send(stm_read_piece(position_of(&place), &value, sizeof value));
            return value;
        }
        // volatile: only in its turn; with calls alone there is nothing at that address.
        if (!by_call())
            return *const_cast<const volatile T*>(&place);
        if (::pread(fd_, &value, sizeof value, offset_of(&place)) != sizeof value)
            ::abort();
        return value;
    }
    template <typename T>
    void put(T& place, T value) {
        if (way_ == Way::typed)
            check(stm_tx_store(transaction_, region_, position_of(&place), &value, sizeof value));
        else if (way_ == Way::vectors)
            keep(position_of(&place), &value, sizeof value);
        else if (!by_call())
            *const_cast<volatile T*>(&place) = value;
        else if (::pwrite(fd_, &value, sizeof value, offset_of(&place)) != sizeof value)
            ::abort();
    }
    void keep(std::uint64_t offset, const void* value, unsigned bytes) {
        if (waiting_count_ == kMostWaiting)
            send(stm_read_piece(0, nullptr, 0));
        Waiting& waiting = waiting_[waiting_count_];
        waiting.offset = offset;
        waiting.bytes = bytes;
        std::memcpy(waiting.value, value, bytes);
        ++waiting_count_; // a restart may come anywhere
    }
    unsigned take_waiting(stm_piece* pieces) {
        for (unsigned index = 0; index < waiting_count_; ++index)
            pieces[index] = stm_write_piece(waiting_[index].offset, waiting_[index].value,
                                            waiting_[index].bytes);
        return waiting_count_;
    }
    void send(const stm_piece& last) {
        stm_piece pieces[kMostWaiting + 1];
        const unsigned count = take_waiting(pieces);
        pieces[count] = last;
        if (stm_access(fd_, pieces, count + 1) != 0)
            ::abort();
        waiting_count_ = 0;
    }
    static void check(int result) {
        if (result < 0)
            ::abort();
        if (result > 0)
            throw Left{};
    }
    static std::uint64_t position_of(const void* place) {
        return reinterpret_cast<std::uintptr_t>(place) - kBase;
    }
    static off_t offset_of(const void* place) { return static_cast<off_t>(position_of(place)); }

    int fd_;
    Way way_;
    Journal& journal_;
    stm_region* region_ = nullptr;
    stm_tx* transaction_ = nullptr;
    std::uint32_t id_ = 0;
    std::bitset<kNodes> looked_at_;
    std::bitset<kNodes> changed_;
    unsigned steps_ = 0;
    bool failed_ = false;
    static constexpr unsigned kMostWaiting = 20;
    struct Waiting {
        std::uint64_t offset;
        char value[8];
        unsigned bytes;
    };
    Waiting waiting_[kMostWaiting];
    unsigned waiting_count_ = 0;
};

} // namespace stm::test
