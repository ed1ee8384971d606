// SPDX-License-Identifier: GPL-2.0
#include "tests/history/history_check.hpp"

#include <algorithm>
#include <set>
#include <sstream>
#include <unordered_map>
#include <unordered_set>

namespace stm::test {

namespace {

using Outcome = Attempt::Outcome;
using ByteValues = std::map<std::uint64_t, std::uint8_t>;

Verdict correct() {
    return {Verdict::Kind::correct, {}};
}
Verdict violation(std::string why) {
    return {Verdict::Kind::violation, std::move(why)};
}
Verdict undecided(std::string why) {
    return {Verdict::Kind::undecided, std::move(why)};
}

std::string name(const Attempt& attempt) {
    return "transaction " + std::to_string(attempt.id);
}

// What an attempt has to do with the rest of the world.
struct Effect {
    ByteValues reads;  // of bytes that it had not written itself
    ByteValues writes; // what the outermost part writes in the end
};

// Separates what an attempt reads from itself (and whether that is right) from what it reads from
// others.
class Separator {
public:
    explicit Separator(const Attempt& attempt) : attempt_(attempt) {}

    // An empty string: right so far.
    std::string run(Effect& effect) {
        std::vector<ByteValues> levels(1);
        for (const Operation& operation : attempt_.operations) {
            switch (operation.kind) {
            case Operation::Kind::read: {
                std::string error = read(operation, levels, effect);
                if (!error.empty())
                    return error;
                break;
            }
            case Operation::Kind::write:
                for (std::size_t i = 0; i < operation.bytes.size(); ++i)
                    levels.back()[operation.offset + i] = operation.bytes[i];
                break;
            case Operation::Kind::nest:
                levels.emplace_back();
                break;
            case Operation::Kind::keep: {
                const ByteValues inner = std::move(levels.back());
                levels.pop_back();
                for (const auto& [offset, byte] : inner)
                    levels.back()[offset] = byte;
                break;
            }
            case Operation::Kind::undo:
                levels.pop_back();
                break;
            }
        }
        effect.writes = levels.front();
        return {};
    }

private:
    std::string read(const Operation& operation, const std::vector<ByteValues>& levels,
                     Effect& effect) {
        for (std::size_t i = 0; i < operation.bytes.size(); ++i) {
            const std::uint64_t offset = operation.offset + i;
            const std::uint8_t value = operation.bytes[i];
            const std::uint8_t* own = nullptr;
            for (auto level = levels.rbegin(); level != levels.rend() && own == nullptr; ++level) {
                const auto found = level->find(offset);
                if (found != level->end())
                    own = &found->second;
            }
            if (own != nullptr) {
                if (*own != value)
                    return name(attempt_) + " does not read what it has written at " +
                           std::to_string(offset);
                continue;
            }
            const auto [place, added] = effect.reads.emplace(offset, value);
            if (!added && place->second != value)
                return name(attempt_) + " reads two values at " + std::to_string(offset);
        }
        return {};
    }

    const Attempt& attempt_;
};

bool has_effect(const Attempt& attempt, const Effect& effect) {
    return attempt.outcome == Outcome::committed && !effect.writes.empty();
}

// The effects of all attempts, or what is wrong inside of one of them.
std::string separate(const History& history, std::vector<Effect>& effects) {
    effects.resize(history.attempts.size());
    for (std::size_t i = 0; i < effects.size(); ++i) {
        std::string error = Separator(history.attempts[i]).run(effects[i]);
        if (!error.empty())
            return error;
    }
    return {};
}

// ---- search ------------------------------------------------------------------------------------

class Search {
public:
    Search(const History& history, const std::vector<Effect>& effects) : history_(history) {
        std::map<std::uint64_t, std::size_t> cells;
        for (const Effect& effect : effects) {
            for (const auto& [offset, byte] : effect.reads)
                cells.emplace(offset, 0);
            for (const auto& [offset, byte] : effect.writes)
                cells.emplace(offset, 0);
        }
        for (auto& [offset, cell] : cells) {
            cell = memory_.size();
            const auto initial = history.initial.find(offset);
            memory_.push_back(
                static_cast<char>(initial == history.initial.end() ? 0 : initial->second));
        }
        for (const Effect& effect : effects) {
            Node node;
            for (const auto& [offset, byte] : effect.reads)
                node.reads.emplace_back(cells[offset], static_cast<char>(byte));
            for (const auto& [offset, byte] : effect.writes)
                node.writes.emplace_back(cells[offset], static_cast<char>(byte));
            nodes_.push_back(std::move(node));
        }
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            for (std::size_t j = 0; j < nodes_.size(); ++j) {
                if (history.attempts[j].end < history.attempts[i].begin)
                    nodes_[i].before |= std::uint32_t{1} << j;
            }
            const Outcome outcome = history.attempts[i].outcome;
            nodes_[i].may_write = !nodes_[i].writes.empty() &&
                                  (outcome == Outcome::committed || outcome == Outcome::unknown);
            nodes_[i].may_skip = outcome != Outcome::committed;
        }
        all_ = static_cast<std::uint32_t>((std::uint64_t{1} << nodes_.size()) - 1);
    }

    Verdict run() {
        if (place(0))
            return correct();
        std::ostringstream why;
        why << "no serial order; the longest that fits places";
        for (const std::size_t i : best_)
            why << ' ' << history_.attempts[i].id;
        why << " and leaves";
        for (std::size_t i = 0; i < nodes_.size(); ++i) {
            if (std::find(best_.begin(), best_.end(), i) == best_.end())
                why << ' ' << history_.attempts[i].id;
        }
        return violation(why.str());
    }

private:
    struct Node {
        std::vector<std::pair<std::size_t, char>> reads;
        std::vector<std::pair<std::size_t, char>> writes;
        std::uint32_t before = 0; // who ended before it began
        bool may_write = false;
        bool may_skip = false; // may be without effect
    };

    bool fits(std::size_t i, std::uint32_t placed) const {
        const Node& node = nodes_[i];
        if ((placed >> i & 1) != 0 || (node.before & ~placed) != 0)
            return false;
        return std::all_of(node.reads.begin(), node.reads.end(),
                           [this](const auto& read) { return memory_[read.first] == read.second; });
    }

    bool place(std::uint32_t placed) {
        const std::size_t length = order_.size();
        // What changes nothing is placed as soon as it fits: that can only help the others.
        for (bool again = true; again;) {
            again = false;
            for (std::size_t i = 0; i < nodes_.size(); ++i) {
                if (!nodes_[i].may_write && fits(i, placed)) {
                    placed |= std::uint32_t{1} << i;
                    order_.push_back(i);
                    again = true;
                }
            }
        }
        if (order_.size() > best_.size())
            best_ = order_;
        bool found = placed == all_;
        if (!found && seen_.insert(std::to_string(placed) + ':' + memory_).second) {
            for (std::size_t i = 0; i < nodes_.size() && !found; ++i) {
                if (!nodes_[i].may_write || !fits(i, placed))
                    continue;
                order_.push_back(i);
                const std::string saved = memory_;
                for (const auto& [cell, byte] : nodes_[i].writes)
                    memory_[cell] = byte;
                found = place(placed | std::uint32_t{1} << i);
                memory_ = saved;
                if (!found && nodes_[i].may_skip)
                    found = place(placed | std::uint32_t{1} << i);
                order_.pop_back();
            }
        }
        order_.resize(length);
        return found;
    }

    const History& history_;
    std::vector<Node> nodes_;
    std::string memory_;
    std::uint32_t all_;
    std::vector<std::size_t> order_;
    std::vector<std::size_t> best_;
    std::unordered_set<std::string> seen_;
};

// ---- replay ------------------------------------------------------------------------------------

class Replay {
public:
    Replay(const History& history, const std::vector<Effect>& effects)
        : history_(history), effects_(effects) {}

    Verdict run() {
        for (std::size_t i = 0; i < effects_.size(); ++i) {
            const Attempt& attempt = history_.attempts[i];
            if (attempt.outcome == Outcome::unknown && !effects_[i].writes.empty())
                return undecided(name(attempt) + " may or may not have committed");
            if (!has_effect(attempt, effects_[i])) {
                others_.push_back(i);
                continue;
            }
            if (!attempt.version)
                return undecided(name(attempt) + " has no version");
            updates_.push_back(i);
        }
        std::sort(updates_.begin(), updates_.end(), [this](std::size_t a, std::size_t b) {
            return *history_.attempts[a].version < *history_.attempts[b].version;
        });
        for (const auto& [offset, byte] : history_.initial)
            cells_[offset].front().value = byte;
        Verdict verdict = check_updates();
        return verdict.is_correct() ? check_others() : verdict;
    }

private:
    struct Value {
        std::uint64_t version = 0;
        std::uint8_t value = 0;
    };
    // The values of a byte in the order of their versions; first the initial one.
    struct Values : std::vector<Value> {
        Values() : std::vector<Value>(1) {}
    };

    Verdict check_updates() {
        for (std::size_t k = 0; k < updates_.size(); ++k) {
            const Attempt& attempt = history_.attempts[updates_[k]];
            const std::uint64_t version = *attempt.version;
            if (version == 0)
                return violation(name(attempt) + " has version 0");
            if (k != 0 && version == *history_.attempts[updates_[k - 1]].version)
                return violation(name(attempt) + " has the version of another one");
            for (const auto& [offset, byte] : effects_[updates_[k]].reads) {
                const Value now = cells_[offset].back();
                if (now.value != byte) {
                    std::ostringstream why;
                    why << name(attempt) << " commits as version " << version << " with "
                        << int{byte} << " read at " << offset << ", where version " << now.version
                        << " has left " << int{now.value};
                    return violation(why.str());
                }
            }
            for (const auto& [offset, byte] : effects_[updates_[k]].writes)
                cells_[offset].push_back({version, byte});
        }
        Time earliest_end = kNever;
        for (std::size_t k = updates_.size(); k-- > 0;) {
            const Attempt& attempt = history_.attempts[updates_[k]];
            if (earliest_end < attempt.begin)
                return violation("an update with a higher version ended before " + name(attempt) +
                                 " began");
            earliest_end = std::min(earliest_end, attempt.end);
        }
        return correct();
    }

    // Each of those without effect gets the earliest place that fits: after everybody who ended
    // before it began. Then no place is later than it need be, so if one fails, all orders do.
    Verdict check_others() {
        struct Event {
            Time time;
            bool is_end; // begins first: what ends at the time another one begins is not before it
            std::size_t attempt;
        };
        std::vector<Event> events;
        for (std::size_t i = 0; i < effects_.size(); ++i) {
            events.push_back({history_.attempts[i].begin, false, i});
            if (history_.attempts[i].end != kNever)
                events.push_back({history_.attempts[i].end, true, i});
        }
        std::stable_sort(events.begin(), events.end(), [](const Event& a, const Event& b) {
            return a.time != b.time ? a.time < b.time : a.is_end < b.is_end;
        });
        // By begin: the lowest version of an update that begins then or later.
        std::map<Time, std::uint64_t> lowest_after;
        {
            std::vector<std::size_t> by_begin = updates_;
            std::sort(by_begin.begin(), by_begin.end(), [this](std::size_t a, std::size_t b) {
                return history_.attempts[a].begin > history_.attempts[b].begin;
            });
            std::uint64_t lowest = kNever;
            for (const std::size_t i : by_begin) {
                lowest = std::min(lowest, *history_.attempts[i].version);
                lowest_after[history_.attempts[i].begin] = lowest;
            }
        }
        std::unordered_map<std::size_t, std::uint64_t> places;
        std::uint64_t passed = 0;
        for (const Event& event : events) {
            const Attempt& attempt = history_.attempts[event.attempt];
            const bool is_update = has_effect(attempt, effects_[event.attempt]);
            if (event.is_end) {
                passed = std::max(passed, is_update ? *attempt.version : places.at(event.attempt));
            } else if (!is_update) {
                const auto after = lowest_after.upper_bound(attempt.end);
                const std::uint64_t limit =
                    attempt.end == kNever || after == lowest_after.end() ? kNever : after->second;
                const std::optional<std::uint64_t> place =
                    find_place(effects_[event.attempt].reads, passed);
                if (!place || *place >= limit)
                    return violation(
                        name(attempt) + " (" +
                        (attempt.outcome == Outcome::committed ? "read-only" : "not committed") +
                        ") saw no state between the versions " + std::to_string(passed) + " and " +
                        (limit == kNever ? "the last" : std::to_string(limit)));
                places[event.attempt] = *place;
            }
        }
        return correct();
    }

    // The lowest version >= from after which all bytes are as read.
    std::optional<std::uint64_t> find_place(const ByteValues& reads, std::uint64_t from) {
        std::uint64_t place = from;
        for (bool moved = true; moved;) {
            moved = false;
            for (const auto& [offset, byte] : reads) {
                const Values& values = cells_[offset];
                auto now = std::upper_bound(values.begin(), values.end(), place,
                                            [](std::uint64_t version, const Value& value) {
                                                return version < value.version;
                                            });
                --now;
                while (now != values.end() && now->value != byte)
                    ++now;
                if (now == values.end())
                    return std::nullopt;
                if (now->version > place) {
                    place = now->version;
                    moved = true;
                }
            }
        }
        return place;
    }

    const History& history_;
    const std::vector<Effect>& effects_;
    std::vector<std::size_t> updates_; // by version
    std::vector<std::size_t> others_;
    std::unordered_map<std::uint64_t, Values> cells_;
};

// ---- graph -------------------------------------------------------------------------------------

class Graph {
public:
    explicit Graph(const History& history, const std::vector<Effect>& effects)
        : history_(history), effects_(effects) {}

    Verdict run() {
        for (auto step :
             {&Graph::find_cells, &Graph::find_writers, &Graph::find_readers, &Graph::link_cells}) {
            Verdict verdict = (this->*step)();
            if (!verdict.is_correct())
                return verdict;
        }
        link_times();
        return find_cycle();
    }

private:
    using Value = std::string;
    struct Cell {
        std::uint64_t bytes = 0;
        Value initial;
        std::map<Value, std::size_t> writers;              // who wrote the value, committed
        std::map<std::size_t, Value> written;              // by the attempt
        std::map<Value, std::vector<std::size_t>> readers; // not counting readers of their own
    };

    // Places that overlap must be the same place.
    Verdict find_cells() {
        for (const Attempt& attempt : history_.attempts) {
            for (const Operation& operation : attempt.operations) {
                if (operation.bytes.empty())
                    continue;
                Cell& cell = cells_[operation.offset];
                if (cell.bytes != 0 && cell.bytes != operation.bytes.size())
                    return undecided("accesses of two lengths at " +
                                     std::to_string(operation.offset));
                cell.bytes = operation.bytes.size();
            }
        }
        std::uint64_t end = 0;
        for (auto& [offset, cell] : cells_) {
            if (offset < end)
                return undecided("overlapping accesses at " + std::to_string(offset));
            end = offset + cell.bytes;
            for (std::uint64_t i = 0; i < cell.bytes; ++i) {
                const auto found = history_.initial.find(offset + i);
                cell.initial +=
                    static_cast<char>(found == history_.initial.end() ? 0 : found->second);
            }
        }
        return correct();
    }

    static std::optional<Value> value_in(const ByteValues& bytes, std::uint64_t offset,
                                         std::uint64_t length) {
        if (bytes.find(offset) == bytes.end())
            return std::nullopt;
        Value value;
        for (std::uint64_t i = 0; i < length; ++i)
            value += static_cast<char>(bytes.at(offset + i));
        return value;
    }

    template <typename Function>
    void for_each_value(const ByteValues& bytes, Function function) {
        for (auto at = bytes.begin(); at != bytes.end();) {
            const std::uint64_t offset = at->first;
            const std::uint64_t length = cells_.at(offset).bytes;
            function(offset, *value_in(bytes, offset, length));
            at = bytes.lower_bound(offset + length);
        }
    }

    Verdict find_writers() {
        Verdict verdict = correct();
        for (std::size_t i = 0; i < effects_.size(); ++i) {
            const Outcome outcome = history_.attempts[i].outcome;
            if (outcome != Outcome::committed && outcome != Outcome::unknown)
                continue;
            for_each_value(effects_[i].writes, [&](std::uint64_t offset, const Value& value) {
                Cell& cell = cells_.at(offset);
                if (value == cell.initial || !cell.writers.emplace(value, i).second)
                    verdict = undecided("a value is written twice at " + std::to_string(offset));
                cell.written[i] = value;
            });
        }
        return verdict;
    }

    Verdict find_readers() {
        Verdict verdict = correct();
        for (std::size_t i = 0; i < effects_.size(); ++i) {
            for_each_value(effects_[i].reads, [&](std::uint64_t offset, const Value& value) {
                Cell& cell = cells_.at(offset);
                cell.readers[value].push_back(i);
                if (value == cell.initial)
                    return;
                const auto writer = cell.writers.find(value);
                if (writer == cell.writers.end())
                    verdict = violation(name(history_.attempts[i]) + " reads at " +
                                        std::to_string(offset) + " what nobody committed");
                else if (writer->second == i)
                    verdict = violation(name(history_.attempts[i]) + " reads at " +
                                        std::to_string(offset) + " what it writes later");
                else
                    observed_.insert(writer->second);
            });
        }
        return verdict;
    }

    // An unknown one took effect if somebody saw something of it; if nobody did, it may as well
    // not have taken effect.
    bool took_effect(std::size_t i) const {
        return history_.attempts[i].outcome == Outcome::committed || observed_.count(i) != 0;
    }

    // Follows the chain of writers of each place: each read what the one before wrote.
    Verdict link_cells() {
        edges_.resize(effects_.size());
        for (auto& [offset, cell] : cells_) {
            std::map<Value, std::size_t> next; // who overwrote the value
            for (const auto& [writer, value] : cell.written) {
                if (!took_effect(writer))
                    continue;
                const std::optional<Value> read =
                    value_in(effects_[writer].reads, offset, cell.bytes);
                if (!read)
                    return undecided(name(history_.attempts[writer]) + " writes at " +
                                     std::to_string(offset) + " without having read there");
                const auto [place, added] = next.emplace(*read, writer);
                if (!added)
                    return violation(name(history_.attempts[writer]) + " and " +
                                     name(history_.attempts[place->second]) +
                                     " both overwrite the same value at " + std::to_string(offset));
            }
            for (const auto& [value, readers] : cell.readers) {
                const auto writer = cell.writers.find(value);
                const auto overwriter = next.find(value);
                for (const std::size_t reader : readers) {
                    if (writer != cell.writers.end())
                        link(writer->second, reader);
                    if (overwriter != next.end())
                        link(reader, overwriter->second);
                }
            }
        }
        return correct();
    }

    // One extra node for each end, in the order of time: an edge for each pair would be too many.
    void link_times() {
        std::vector<std::size_t> ends;
        for (std::size_t i = 0; i < effects_.size(); ++i) {
            if (history_.attempts[i].end != kNever)
                ends.push_back(i);
        }
        std::sort(ends.begin(), ends.end(), [this](std::size_t a, std::size_t b) {
            return history_.attempts[a].end < history_.attempts[b].end;
        });
        const std::size_t base = effects_.size();
        edges_.resize(base + ends.size());
        for (std::size_t k = 0; k < ends.size(); ++k) {
            link(ends[k], base + k);
            if (k != 0)
                link(base + k - 1, base + k);
        }
        for (std::size_t i = 0; i < base; ++i) {
            const auto first_not_before = std::lower_bound(
                ends.begin(), ends.end(), history_.attempts[i].begin,
                [this](std::size_t a, Time time) { return history_.attempts[a].end < time; });
            if (first_not_before != ends.begin())
                link(base + static_cast<std::size_t>(first_not_before - ends.begin()) - 1, i);
        }
    }

    void link(std::size_t from, std::size_t to) {
        if (from != to)
            edges_[from].push_back(to);
    }

    // Takes away what nothing points to until nothing is left (Kahn, CACM 5(11), 1962).
    Verdict find_cycle() {
        std::vector<std::size_t> incoming(edges_.size());
        for (const auto& targets : edges_) {
            for (const std::size_t target : targets)
                ++incoming[target];
        }
        std::vector<std::size_t> free;
        for (std::size_t i = 0; i < edges_.size(); ++i) {
            if (incoming[i] == 0)
                free.push_back(i);
        }
        std::size_t taken = 0;
        while (!free.empty()) {
            const std::size_t i = free.back();
            free.pop_back();
            ++taken;
            for (const std::size_t target : edges_[i]) {
                if (--incoming[target] == 0)
                    free.push_back(target);
            }
        }
        if (taken == edges_.size())
            return correct();
        // Of what is left, everything has a predecessor that is left: going back, a cycle closes.
        std::vector<std::size_t> before(edges_.size());
        for (std::size_t i = 0; i < edges_.size(); ++i) {
            if (incoming[i] == 0)
                continue;
            for (const std::size_t target : edges_[i])
                before[target] = i;
        }
        std::size_t at = 0;
        while (incoming[at] == 0)
            ++at;
        for (std::size_t i = 0; i < edges_.size(); ++i)
            at = before[at];
        std::ostringstream why;
        why << "a cycle, backwards:";
        for (std::size_t i = at, first = 1; first != 0 || i != at; i = before[i], first = 0) {
            if (i < effects_.size())
                why << ' ' << history_.attempts[i].id;
            else if (before[i] < effects_.size())
                why << " (real time)";
        }
        return violation(why.str());
    }

    const History& history_;
    const std::vector<Effect>& effects_;
    std::map<std::uint64_t, Cell> cells_;
    std::set<std::size_t> observed_;
    std::vector<std::vector<std::size_t>> edges_;
};

template <typename Method>
Verdict run(const History& history) {
    std::vector<Effect> effects;
    std::string error = separate(history, effects);
    if (!error.empty())
        return violation(std::move(error));
    return Method(history, effects).run();
}

} // namespace

Verdict check_by_search(const History& history) {
    if (history.attempts.size() > kMostSearched)
        return undecided("too many transactions for a search");
    return run<Search>(history);
}

Verdict check_by_replay(const History& history) {
    return run<Replay>(history);
}

Verdict check_by_graph(const History& history) {
    return run<Graph>(history);
}

Verdict check(const History& history) {
    Verdict verdict = check_by_replay(history);
    if (verdict.kind == Verdict::Kind::undecided)
        verdict = check_by_search(history);
    if (verdict.kind == Verdict::Kind::undecided)
        verdict = check_by_graph(history);
    return verdict;
}

} // namespace stm::test
