// SPDX-License-Identifier: GPL-2.0
// The module's tracepoints for the tools, through tracefs: docs/tracing.md. Every function throws
// Failure.
#pragma once

#include "userspace/connection/descriptor.hpp"

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stm::tools {

/** An event as its line tells it. */
struct Event {
    std::string name; // without "stm_"
    double seconds = 0;
    int thread = 0;
    std::string command;
    std::map<std::string, std::string> fields;
    std::vector<std::string> words; // what has no name, such as "store"

    [[nodiscard]] std::string text(const std::string& field) const;
    [[nodiscard]] std::uint64_t number(const std::string& field) const;
};

/** The event of a line of trace_pipe; its name is empty if it is none. */
[[nodiscard]] Event parse_event(const std::string& line);

/** How often an event has come with the same keys. */
struct Tally {
    std::vector<std::pair<std::string_view, std::string_view>> keys; // and their values
    std::uint64_t hits = 0;

    /** The value of the key; empty if there is none. */
    [[nodiscard]] std::string_view text(std::string_view key) const;
    [[nodiscard]] std::uint64_t number(std::string_view key) const;
};

/** All of an event, with the text that they point into. */
struct Tallies {
    std::vector<char> text;
    std::vector<Tally> all;
};

/** What the file "hist" of an event says. */
[[nodiscard]] Tallies parse_tallies(std::vector<char> text);

/**
 * Events that nobody else sees, as long as the object lives. Linux counts them (count()), which
 * costs the transactions little, or keeps them to be read (watch()).
 */
class Tracing {
public:
    /** Failure: tracefs is not there, or not for this user; or the module has no events. */
    Tracing();
    ~Tracing();
    Tracing(const Tracing&) = delete;

    /** Whether this user may have one; otherwise why not. */
    [[nodiscard]] static std::string why_not();

    /** `keys` is a list of fields with commas; `filter` a condition of Linux, or empty. `most`: as
     * many different ones are kept. An event may be counted by several lists. */
    void count(const std::string& event, const std::string& keys, const std::string& filter,
               unsigned most);
    /** What was counted since the last call. */
    [[nodiscard]] Tallies take(const std::string& event);

    void watch(const std::string& event, const std::string& filter);
    /** Events that have come, after at most this time. */
    [[nodiscard]] std::vector<Event> read(int milliseconds);

private:
    void set(const std::string& file, const std::string& value) const;

    std::string folder_;
    std::vector<std::pair<std::string, std::string>> triggers_; // event and trigger
    std::map<std::string, connection::Descriptor> histograms_;  // of events that are counted
    connection::Descriptor pipe_;
    std::string rest_; // of a line
};

} // namespace stm::tools
