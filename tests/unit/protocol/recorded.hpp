// SPDX-License-Identifier: GPL-2.0
// A transaction that writes down what it does, for the checker.
#pragma once

#include "runtime/protocol/transaction.hpp"
#include "tests/history/history.hpp"

#include <cstring>
#include <vector>

namespace stm::test {

// Now is called for the time; how it is taken decides how exact the history is. Each attempt is
// appended to the given list when it ends (or when finish_live() is called).
template <typename Tx, typename Now>
class Recorded {
public:
    using AbortReason = protocol::AbortReason;

    // The numbers of the attempts are first_id, first_id + stride, …
    Recorded(Tx& tx, Now now, std::vector<Attempt>& attempts, std::uint64_t first_id,
             std::uint64_t stride)
        : tx_(tx), now_(now), attempts_(attempts), next_id_(first_id), stride_(stride) {}

    AbortReason begin(protocol::Path path = protocol::Path::concurrent) {
        attempt_ = {};
        attempt_.id = next_id_;
        next_id_ += stride_;
        attempt_.begin = now_();
        return tx_.begin(path);
    }
    // The time of the begin is now: for one who knows that nothing happened since the snapshot.
    void begin_was_now() { attempt_.begin = now_(); }

    AbortReason read(std::uint64_t offset, void* to, std::uint64_t bytes) {
        const AbortReason reason = tx_.read(offset, to, bytes);
        if (reason == AbortReason::none)
            note(Operation::Kind::read, offset, to, bytes);
        return reason;
    }
    // A whole page; of it the 8 bytes at each of the places are written down.
    template <typename Places>
    AbortReason read_page(std::uint64_t page, const Places& places) {
        std::vector<std::uint8_t> bytes(protocol::kPageBytes);
        const AbortReason reason = tx_.read_page(page, bytes.data());
        for (const std::uint64_t place : places) {
            if (reason == AbortReason::none)
                note(Operation::Kind::read, page * protocol::kPageBytes + place,
                     bytes.data() + place, 8);
        }
        return reason;
    }
    // What it has loaded in a copy of a page.
    void note_load(std::uint64_t offset, const void* bytes, std::uint64_t count) {
        note(Operation::Kind::read, offset, bytes, count);
    }
    AbortReason write(std::uint64_t offset, const void* from, std::uint64_t bytes) {
        const AbortReason reason = tx_.write(offset, from, bytes);
        if (reason == AbortReason::none)
            note(Operation::Kind::write, offset, from, bytes);
        return reason;
    }
    AbortReason begin_nested() {
        const AbortReason reason = tx_.begin_nested();
        if (reason == AbortReason::none)
            attempt_.operations.push_back({Operation::Kind::nest, 0, {}});
        return reason;
    }
    void commit_nested() {
        tx_.commit_nested();
        attempt_.operations.push_back({Operation::Kind::keep, 0, {}});
    }
    void cancel_nested() {
        tx_.cancel_nested();
        attempt_.operations.push_back({Operation::Kind::undo, 0, {}});
    }
    AbortReason commit() {
        const AbortReason reason = tx_.commit();
        if (reason == AbortReason::none && tx_.committed_version() != 0)
            attempt_.version = tx_.committed_version();
        end(reason);
        return reason;
    }
    void cancel(AbortReason reason) {
        tx_.cancel(reason);
        end(reason);
    }
    Tx& tx() { return tx_; }

private:
    void note(Operation::Kind kind, std::uint64_t offset, const void* bytes, std::uint64_t count) {
        const auto* first = static_cast<const std::uint8_t*>(bytes);
        attempt_.operations.push_back({kind, offset, {first, first + count}});
    }
    void end(AbortReason reason) {
        attempt_.end = now_();
        attempt_.outcome =
            reason == AbortReason::none ? Attempt::Outcome::committed : Attempt::Outcome::aborted;
        if (reason != AbortReason::none)
            attempt_.reason = protocol::to_string(reason);
        attempts_.push_back(std::move(attempt_));
    }

    Tx& tx_;
    Now now_;
    std::vector<Attempt>& attempts_;
    std::uint64_t next_id_;
    std::uint64_t stride_;
    Attempt attempt_;
};

} // namespace stm::test
