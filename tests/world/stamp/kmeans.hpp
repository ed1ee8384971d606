// SPDX-License-Identifier: GPL-2.0
// Points are grouped around centers, again and again. Most of the time is arithmetic of the
// worker's own; one short transaction adds a point to its group's sum. The coordinates are whole
// numbers, so the order in which they are added does not count.
#pragma once

#include "application.hpp"

#include <vector>

namespace stm::stamp {

class Kmeans {
public:
    static constexpr const char* kName = "kmeans";
    static constexpr unsigned kDimensions = 8;
    static constexpr unsigned kGroups = 15;
    static constexpr unsigned kRounds = 5;

    explicit Kmeans(unsigned size) {
        Random random(3);
        for (unsigned point = 0; point < 256 * size; ++point) {
            Point made;
            const u64 near = random.below(kGroups);
            for (unsigned at = 0; at < kDimensions; ++at)
                made.at[at] =
                    static_cast<long>(mix(near * kDimensions + at) % 10000 + random.below(3000));
            points_.push_back(made);
        }
    }

    struct Group {
        var<u64> count;
        var<long> sums[kDimensions];
    };
    struct Shared {
        Heap heaps[kMaxWorkers + 1];
        struct alignas(4096) Round {
            Group groups[kGroups];
        } rounds[kRounds];
    };

    template <typename Way>
    void fill(Way&, Shared&) const {}

    template <typename Way>
    void work(Way& way, Shared& shared, unsigned worker, unsigned workers) const {
        std::vector<Point> centers(points_.begin(), points_.begin() + kGroups);
        for (auto& round : shared.rounds) {
            for (std::size_t at = worker; at < points_.size(); at += workers) {
                const Point& point = points_[at];
                Group& group = round.groups[nearest(centers, point)];
                way.atomically([&](auto& tx) {
                    const u64 count = tx[group.count];
                    tx[group.count] = count + 1;
                    for (unsigned dimension = 0; dimension < kDimensions; ++dimension) {
                        const long sum = tx[group.sums[dimension]];
                        tx[group.sums[dimension]] = sum + point.at[dimension];
                    }
                });
            }
            way.barrier();
            for (unsigned at = 0; at < kGroups; ++at)
                centers[at] = center_of(way, round.groups[at], centers[at]);
        }
    }

    /** The last centers as one number, and 0 if a point was counted twice or not at all. */
    template <typename Way>
    u64 result(Way& way, Shared& shared) const {
        u64 sum = 0, count = 0;
        for (Group& group : shared.rounds[kRounds - 1].groups) {
            const Point center = center_of(way, group, {});
            for (const long at : center.at)
                sum = mix(sum + static_cast<u64>(at));
            count += way.read_only([&](auto& tx) {
                const u64 its_count = tx[group.count];
                return its_count;
            });
        }
        return count == points_.size() ? sum : 0;
    }

private:
    struct Point {
        long at[kDimensions];
    };

    static unsigned nearest(const std::vector<Point>& centers, const Point& point) {
        unsigned best = 0;
        long best_distance = -1;
        for (unsigned group = 0; group < kGroups; ++group) {
            long distance = 0;
            for (unsigned at = 0; at < kDimensions; ++at) {
                const long apart = centers[group].at[at] - point.at[at];
                distance += apart * apart;
            }
            if (best_distance < 0 || distance < best_distance) {
                best = group;
                best_distance = distance;
            }
        }
        return best;
    }

    template <typename Way>
    static Point center_of(Way& way, Group& group, const Point& otherwise) {
        return way.read_only([&](auto& tx) {
            const u64 count = tx[group.count];
            if (count == 0)
                return otherwise;
            Point center{};
            for (unsigned at = 0; at < kDimensions; ++at) {
                const long sum = tx[group.sums[at]];
                center.at[at] = sum / static_cast<long>(count);
            }
            return center;
        });
    }

    std::vector<Point> points_;
};

} // namespace stm::stamp
