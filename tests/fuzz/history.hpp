// SPDX-License-Identifier: GPL-2.0
// What a region's contents must be: the model that the fuzz targets compare with.
//
// Commits come one after the other here, so a region is the list of the states that they left. What
// a transaction has seen must fit one of those from its begin on (opacity), and if it commits
// writes, the last one (it is atomic, and nothing was lost in between).
#pragma once

#include "tests/fuzz/input.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace stm::fuzz {

using Bytes = std::vector<std::uint8_t>;

class History {
public:
    explicit History(std::size_t bytes) : states_{Bytes(bytes)} {}

    std::size_t bytes() const { return states_[0].size(); }
    std::size_t now() const { return states_.size() - 1; }
    const Bytes& last() const { return states_.back(); }
    const Bytes& at(std::size_t state) const { return states_[state]; }

    void write(std::size_t offset, const std::uint8_t* from, std::size_t count) {
        states_.push_back(states_.back());
        for (std::size_t i = 0; i < count; ++i)
            states_.back()[offset + i] = from[i];
    }
    void replace(Bytes bytes) { states_.push_back(std::move(bytes)); }

private:
    std::vector<Bytes> states_;
};

// One transaction on a history, or one access outside of any.
class Observer {
public:
    explicit Observer(const History& history)
        : history_(&history), first_(history.now()), fits_(first_) {}

    // It read these bytes: they are its own writes, or those of one state, with all else it read.
    void saw(std::size_t offset, const std::uint8_t* bytes, std::size_t count) {
        for (std::size_t i = 0; i < count; ++i) {
            const std::size_t place = offset + i;
            if (const std::uint8_t* own = written(place)) {
                STM_FUZZ_EXPECT(*own == bytes[i]);
                continue;
            }
            const auto [entry, fresh] = seen_.emplace(place, bytes[i]);
            STM_FUZZ_EXPECT(fresh || entry->second == bytes[i]);
        }
        while (!fits(fits_)) {
            ++fits_;
            STM_FUZZ_EXPECT(fits_ <= history_->now() && "what was read belongs to one state");
        }
    }

    // hard: it is written whatever was there before. if_different: a page of the transaction's own
    // is compared with what it was, and a byte that has the same value again was not written.
    enum class Way { hard, if_different };
    void wrote(std::size_t offset, const std::uint8_t* bytes, std::size_t count,
               Way way = Way::hard) {
        for (std::size_t i = 0; i < count; ++i) {
            writes_[levels_][offset + i] = bytes[i];
            if (way == Way::if_different)
                doubtful_.insert(offset + i);
        }
    }

    void begin_nested() {
        ++levels_;
        writes_.resize(levels_ + 1);
    }
    void commit_nested() {
        auto inner = std::move(writes_[levels_]);
        writes_.resize(levels_--);
        for (const auto& [place, byte] : inner)
            writes_[levels_][place] = byte;
    }
    void cancel_nested() { writes_.resize(levels_--); }

    std::size_t depth() const { return levels_ + 1; }
    bool has_written() const { return !writes_[0].empty() || levels_ != 0; }
    // Whether another commit came since the begin: without one nothing can conflict.
    bool may_conflict() const { return history_->now() != first_; }

    // It was committed: all that it read is still so, and its writes are the next state. `actual`
    // is what the region has now.
    void committed(History& history, const Bytes& actual) {
        if (!writes_[0].empty() && fits(history.now())) {
            Bytes next = history.last();
            for (const auto& [place, byte] : writes_[0]) {
                const bool kept = doubtful_.contains(place) && actual[place] == next[place];
                next[place] = kept ? next[place] : byte;
            }
            history.replace(std::move(next));
        } else if (!writes_[0].empty()) {
            STM_FUZZ_EXPECT(changed_nothing() && "what a commit has read is still so");
        }
        STM_FUZZ_EXPECT(actual == history.last());
    }

private:
    const std::uint8_t* written(std::size_t place) const {
        for (std::size_t level = writes_.size(); level-- != 0;) {
            const auto found = writes_[level].find(place);
            if (found != writes_[level].end())
                return &found->second;
        }
        return nullptr;
    }
    // A transaction that wrote what was there already in its own pages was read-only.
    bool changed_nothing() const {
        const Bytes& bytes = history_->at(fits_);
        for (const auto& [place, byte] : writes_[0]) {
            if (!doubtful_.contains(place) || bytes[place] != byte)
                return false;
        }
        return true;
    }
    bool fits(std::size_t state) const {
        const Bytes& bytes = history_->at(state);
        for (const auto& [place, byte] : seen_) {
            if (bytes[place] != byte)
                return false;
        }
        return true;
    }

    const History* history_;
    std::size_t first_;
    std::size_t fits_; // no earlier state does
    std::size_t levels_ = 0;
    std::map<std::size_t, std::uint8_t> seen_;
    std::vector<std::map<std::size_t, std::uint8_t>> writes_{1};
    std::set<std::size_t> doubtful_;
};

} // namespace stm::fuzz
