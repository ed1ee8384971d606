// SPDX-License-Identifier: GPL-2.0
// Wires are laid through a grid of three dimensions, each around those that are there (Lee's
// algorithm). A worker plans on a copy of the grid, and the transaction lays the wire if all its
// cells are still free. So most of the time is planning, and a transaction that fails is expensive.
#pragma once

#include "application.hpp"

#include <utility>
#include <vector>

namespace stm::stamp {

class Labyrinth {
public:
    static constexpr const char* kName = "labyrinth";
    static constexpr int kWidth = 64, kHeight = 64, kDepth = 3;
    static constexpr int kCells = kWidth * kHeight * kDepth;

    explicit Labyrinth(unsigned size) : wanted_(kMostWires < 24 * size ? kMostWires : 24 * size) {
        Random random(9);
        std::vector<bool> taken(kCells);
        const auto any = [&] {
            for (;;) {
                const auto cell = random.below(kCells);
                if (!taken[cell]) {
                    taken[cell] = true;
                    return static_cast<int>(cell);
                }
            }
        };
        for (u64 wire = 0; wire < wanted_; ++wire) {
            const int from = any();
            ends_.emplace_back(from, any());
        }
    }

    struct Shared {
        Heap heaps[kMaxWorkers + 1];
        struct alignas(4096) {
            var<u64> taken;
        } work;
        alignas(4096) var<int> cells[kCells]; // 0, or the number of a wire that goes through
    };

    template <typename Way>
    void fill(Way& way, Shared& shared) const {
        for (u64 wire = 0; wire < wanted_; ++wire)
            way.atomically([&](auto& tx) {
                tx[shared.cells[ends_[wire].first]] = static_cast<int>(wire) + 1;
                tx[shared.cells[ends_[wire].second]] = static_cast<int>(wire) + 1;
            });
    }

    template <typename Way>
    void work(Way& way, Shared& shared, unsigned, unsigned) const {
        for (;;) {
            const u64 wire = way.atomically([&](auto& tx) {
                const u64 mine = tx[shared.work.taken];
                if (mine < wanted_)
                    tx[shared.work.taken] = mine + 1;
                return mine;
            });
            if (wire >= wanted_)
                return;
            while (!lay(way, shared, wire)) {
            }
        }
    }

    /**
     * 1 if every wire is a path between its ends, or was left out because there is none. (Which
     * wires can be laid depends on the order, so a sequential run may lay other ones.)
     */
    template <typename Way>
    u64 result(Way& way, Shared& shared) const {
        std::vector<int> cells(kCells);
        way.copy(shared.cells, kCells, cells.data());
        std::vector<int> laid(wanted_ + 1);
        for (const int wire : cells) {
            if (wire < 0 || wire > static_cast<int>(wanted_))
                return 0;
            ++laid[wire];
        }
        for (u64 wire = 0; wire < wanted_; ++wire) {
            const int number = static_cast<int>(wire) + 1;
            const auto [from, to] = ends_[wire];
            if (cells[from] != number || cells[to] != number)
                return 0;
            // From one end to the other through cells of its own alone, and all of them.
            std::vector<int> own(kCells);
            for (int cell = 0; cell < kCells; ++cell)
                own[cell] = cells[cell] == number ? 0 : 1;
            const std::size_t length = path(own, from, to).size();
            if (laid[number] > 2 ? length != static_cast<std::size_t>(laid[number])
                                 : length == 0 && !path(cells, from, to).empty())
                return 0;
        }
        return 1;
    }

private:
    static constexpr u64 kMostWires = 500;

    // Calls f for each cell beside this one.
    template <typename F>
    static void beside(int cell, F f) {
        const int x = cell % kWidth, y = cell / kWidth % kHeight, z = cell / (kWidth * kHeight);
        if (x > 0)
            f(cell - 1);
        if (x + 1 < kWidth)
            f(cell + 1);
        if (y > 0)
            f(cell - kWidth);
        if (y + 1 < kHeight)
            f(cell + kWidth);
        if (z > 0)
            f(cell - kWidth * kHeight);
        if (z + 1 < kDepth)
            f(cell + kWidth * kHeight);
    }

    // A shortest path through cells that are 0, with both ends; empty if there is none.
    static std::vector<int> path(const std::vector<int>& cells, int from, int to) {
        std::vector<int> came_from(kCells, -1), reached{from};
        came_from[from] = from;
        for (std::size_t next = 0; next < reached.size() && came_from[to] < 0; ++next)
            beside(reached[next], [&](int cell) {
                if (came_from[cell] >= 0 || (cells[cell] != 0 && cell != to))
                    return;
                came_from[cell] = reached[next];
                reached.push_back(cell);
            });
        std::vector<int> found;
        if (came_from[to] < 0)
            return found;
        for (int cell = to; cell != from; cell = came_from[cell])
            found.push_back(cell);
        found.push_back(from);
        return found;
    }

    // Whether the wire is laid, or cannot be.
    template <typename Way>
    bool lay(Way& way, Shared& shared, u64 wire) const {
        std::vector<int> cells(kCells);
        way.copy(shared.cells, kCells, cells.data());
        const auto [from, to] = ends_[wire];
        const std::vector<int> plan = path(cells, from, to);
        const int* const first = plan.data();
        const std::size_t length = plan.size();
        if (length <= 2)
            return true;
        return way.atomically([&](auto& tx) {
            for (std::size_t at = 1; at + 1 < length; ++at) {
                const int others = tx[shared.cells[first[at]]];
                if (others != 0)
                    return false;
            }
            for (std::size_t at = 1; at + 1 < length; ++at)
                tx[shared.cells[first[at]]] = static_cast<int>(wire) + 1;
            return true;
        });
    }

    u64 wanted_;
    std::vector<std::pair<int, int>> ends_;
};

} // namespace stm::stamp
