// SPDX-License-Identifier: GPL-2.0
// Processes that do what they are told to both kinds of System V segments, and say what came of it.
#pragma once

#include "both.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <sys/types.h>

namespace stm::world {

inline constexpr int kPlaces = 8;   // where an actor can have a segment attached
inline constexpr int kChannels = 6; // how many actors there can be
inline constexpr std::size_t kPlaceBytes = std::size_t{1} << 20;

enum class Act : std::uint32_t {
    get,
    attach,
    detach,
    detach_wrong, // at an address where nothing begins
    unmap,        // part of an attach, by munmap
    move,         // an attach, by mremap, to another place
    store,
    stat,
    set,
    remove,
    lock,
    unlock,
    info,
    // From here on nothing is done to segments.
    fork,   // another actor, who has attached what this one has
    become, // another user
    exec,   // a program that waits; the actor's mappings are gone
    leave,  // exit
};

// Where to attach.
enum class Where : std::uint32_t {
    anywhere,
    at_place,
    at_place_plus_one,
    at_place_plus_one_rounded,
    replacing,
    nowhere_replacing,
    too_high,
    zero_rounded_replacing,
};

struct Order {
    Act act;
    Where where;
    int ids[kSides];
    std::int32_t key;
    std::int32_t flags;
    std::uint64_t bytes;
    std::uint32_t place;
    std::uint32_t offset; // in pages
    std::uint32_t uid;
    std::uint32_t gid;
    std::uint32_t mode;
    std::uint32_t value;
};

// What a call gave, as far as both sides must agree. Ids and addresses are replaced.
struct Facts {
    int result;
    int error;
    std::int32_t key;
    std::uint32_t uid, gid, cuid, cgid, mode;
    std::uint64_t bytes, attaches;
    std::int32_t cpid, lpid;
    std::uint64_t contents; // what the attached memory holds, as one number
    std::uint64_t segments, pages;
    std::uint32_t was_attached, was_detached; // whether these times are set
    bool operator==(const Facts&) const = default;
};

struct Outcome {
    Facts facts;
    int id;
    std::int64_t attached, detached, changed; // times
};

struct Report {
    Outcome of[kSides];
    std::int32_t pid; // of a new actor
};

std::string text_of(const Order& order);
std::string text_of(const Facts& facts);

// The ends of the channels; made before the first actor, which inherits them.
class Channels {
public:
    Channels();
    ~Channels();
    Channels(const Channels&) = delete;
    Channels& operator=(const Channels&) = delete;

    // Orders the actor at this channel, and waits for its report. False: it has ended, or hangs.
    bool order(int channel, const Order& order, Report& report) const;
    // An order that gets no report.
    void tell(int channel, const Order& order) const;
    [[nodiscard]] int actor_end(int channel) const { return ends_[channel][1]; }

private:
    std::array<std::array<int, 2>, kChannels> ends_{};
};

// Serves the orders of a channel until it is told to leave; does not return.
[[noreturn]] void act(const Channels& channels, int channel);

} // namespace stm::world
