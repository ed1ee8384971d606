// SPDX-License-Identifier: GPL-2.0
#include "tracing.hpp"

#include "failure.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sstream>
#include <sys/stat.h>
#include <unistd.h>

namespace stm::tools {
namespace {

constexpr char kRoot[] = "/sys/kernel/tracing";

std::uint64_t to_number(std::string_view text) {
    const bool hexadecimal = text.substr(0, 2) == "0x";
    const char* const begin = text.data() + (hexadecimal ? 2 : 0);
    std::uint64_t number = 0;
    std::from_chars(begin, text.data() + text.size(), number, hexadecimal ? 16 : 10);
    return number;
}

std::string_view trimmed(std::string_view text) {
    const auto begin = text.find_first_not_of(' ');
    return begin == std::string_view::npos
               ? std::string_view()
               : text.substr(begin, text.find_last_not_of(' ') - begin + 1);
}

// All of a file from its beginning, which has no size before it is read.
std::vector<char> contents_of(const connection::Descriptor& file) {
    std::vector<char> text;
    for (std::size_t size = 0;; text.resize(size)) {
        text.resize(size + 65536);
        const ssize_t got =
            ::pread(file.get(), text.data() + size, text.size() - size, static_cast<off_t>(size));
        if (got <= 0) {
            text.resize(size);
            return text;
        }
        size += static_cast<std::size_t>(got);
    }
}

} // namespace

std::string Event::text(const std::string& field) const {
    const auto found = fields.find(field);
    return found == fields.end() ? "" : found->second;
}

std::uint64_t Event::number(const std::string& field) const {
    return to_number(text(field));
}

std::string_view Tally::text(std::string_view key) const {
    for (const auto& [name, value] : keys) {
        if (name == key)
            return value;
    }
    return {};
}

std::uint64_t Tally::number(std::string_view key) const {
    return to_number(text(key));
}

// "  command-123     [000] .....    22.129229: stm_commit: region=NAME id=0x1 ..."; a command may
// have blanks, and so may a region's name, which ends where " id=0x" follows.
Event parse_event(const std::string& line) {
    Event event;
    const auto cpu = line.find(" [");
    const auto colon = line.find(": stm_");
    const auto fields = line.find(": region=");
    const auto id = line.rfind(" id=0x");
    if (cpu == std::string::npos || colon == std::string::npos || fields == std::string::npos ||
        id == std::string::npos || fields < colon || id < fields)
        return event;
    const std::string task(trimmed(std::string_view(line).substr(0, cpu)));
    const auto dash = task.rfind('-');
    if (dash == std::string::npos)
        return event;
    event.command = task.substr(0, dash);
    event.thread = static_cast<int>(to_number(task.substr(dash + 1)));
    const auto time = line.rfind(' ', colon);
    std::from_chars(line.data() + time + 1, line.data() + colon, event.seconds);
    event.name = line.substr(colon + 6, fields - colon - 6);
    const auto name = fields + std::strlen(": region=");
    event.fields["region"] = line.substr(name, id - name);
    std::istringstream words(line.substr(id));
    for (std::string word; words >> word;) {
        const auto equals = word.find('=');
        if (equals == std::string::npos)
            event.words.push_back(word);
        else
            event.fields[word.substr(0, equals)] = word.substr(equals + 1);
    }
    return event;
}

// "{ id: 4294971391, common_pid: bank            [       145] } hitcount:         30"
Tallies parse_tallies(std::vector<char> text) {
    constexpr std::string_view kHits = " } hitcount:";
    Tallies tallies{std::move(text), {}};
    std::string_view rest(tallies.text.data(), tallies.text.size());
    while (!rest.empty()) {
        const std::string_view line = rest.substr(0, rest.find('\n'));
        rest.remove_prefix(std::min(rest.size(), line.size() + 1));
        const auto end = line.rfind(kHits);
        if (line.substr(0, 2) != "{ " || end == std::string_view::npos)
            continue;
        Tally& tally = tallies.all.emplace_back();
        tally.hits = to_number(trimmed(line.substr(end + kHits.size())));
        tally.keys.reserve(2);
        for (std::size_t begin = 2; begin < end;) {
            const auto comma = std::min(line.find(',', begin), end);
            const auto colon = line.find(": ", begin);
            if (colon < comma)
                tally.keys.emplace_back(trimmed(line.substr(begin, colon - begin)),
                                        trimmed(line.substr(colon + 2, comma - colon - 2)));
            begin = comma + 1;
        }
    }
    return tallies;
}

std::string Tracing::why_not() {
    const std::string events = fmt::format("{}/events/stm", kRoot);
    if (::access(fmt::format("{}/instances", kRoot).c_str(), R_OK | W_OK | X_OK) != 0)
        return errno == ENOENT
                   ? fmt::format("{} is not there; mount -t tracefs none {}", kRoot, kRoot)
                   : "tracepoints are for the administrator; try it as root";
    if (::access(events.c_str(), F_OK) != 0)
        return "the module has no tracepoints, or is not loaded";
    return "";
}

Tracing::Tracing() {
    if (const std::string reason = why_not(); !reason.empty())
        throw Failure(Exit::failed, reason);
    folder_ = fmt::format("{}/instances/stmctl-{}", kRoot, ::getpid());
    if (::mkdir(folder_.c_str(), 0700) != 0 && errno != EEXIST)
        throw Failure(Exit::failed, "no buffer for events can be made in tracefs", errno);
}

Tracing::~Tracing() {
    pipe_ = {};
    histograms_.clear();
    try {
        for (const auto& [event, trigger] : triggers_)
            set(fmt::format("events/stm/stm_{}/trigger", event), "!" + trigger);
        set("events/enable", "0");
    } catch (const Failure&) {
        // It goes with the folder.
    }
    ::rmdir(folder_.c_str());
}

void Tracing::set(const std::string& file, const std::string& value) const {
    const connection::Descriptor descriptor(
        ::open(fmt::format("{}/{}", folder_, file).c_str(), O_WRONLY | O_CLOEXEC));
    if (descriptor.get() < 0 ||
        ::write(descriptor.get(), value.data(), value.size()) != static_cast<ssize_t>(value.size()))
        throw Failure(Exit::failed, fmt::format("tracefs does not take '{}' for {}", value, file),
                      errno);
}

void Tracing::count(const std::string& event, const std::string& keys, const std::string& filter,
                    unsigned most) {
    const std::string trigger =
        fmt::format("hist:keys={}:size={}{}", keys, most, filter.empty() ? "" : " if " + filter);
    set(fmt::format("events/stm/stm_{}/trigger", event), trigger);
    triggers_.emplace_back(event, trigger);
}

Tallies Tracing::take(const std::string& event) {
    // It stays open: Linux sorts and prints all of it again for each doubling of the room that it
    // takes, which it keeps with the open file.
    connection::Descriptor& file = histograms_[event];
    if (!file)
        file = connection::Descriptor(
            ::open(fmt::format("{}/events/stm/stm_{}/hist", folder_, event).c_str(),
                   O_RDONLY | O_CLOEXEC));
    std::vector<char> text = contents_of(file);
    // What comes in between is lost, which is little.
    for (const auto& [counted, trigger] : triggers_) {
        const auto filter = trigger.find(" if ");
        if (counted == event)
            set(fmt::format("events/stm/stm_{}/trigger", event),
                trigger.substr(0, filter) + ":clear" +
                    (filter == std::string::npos ? "" : trigger.substr(filter)));
    }
    return parse_tallies(std::move(text));
}

void Tracing::watch(const std::string& event, const std::string& filter) {
    if (!filter.empty())
        set(fmt::format("events/stm/stm_{}/filter", event), filter);
    set(fmt::format("events/stm/stm_{}/enable", event), "1");
    if (pipe_.get() < 0)
        pipe_ = connection::Descriptor(
            ::open((folder_ + "/trace_pipe").c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (pipe_.get() < 0)
        throw Failure(Exit::failed, "the events cannot be read", errno);
}

std::vector<Event> Tracing::read(int milliseconds) {
    std::vector<Event> events;
    struct pollfd poll {
        pipe_.get(), POLLIN, 0
    };
    if (::poll(&poll, 1, milliseconds) <= 0)
        return events;
    std::array<char, 65536> buffer;
    for (int i = 0; i < 64; ++i) {
        const ssize_t bytes = ::read(pipe_.get(), buffer.data(), buffer.size());
        if (bytes <= 0)
            break;
        rest_.append(buffer.data(), static_cast<std::size_t>(bytes));
    }
    std::size_t begin = 0;
    for (auto end = rest_.find('\n'); end != std::string::npos; end = rest_.find('\n', begin)) {
        Event event = parse_event(rest_.substr(begin, end - begin));
        if (!event.name.empty())
            events.push_back(std::move(event));
        begin = end + 1;
    }
    rest_.erase(0, begin);
    return events;
}

} // namespace stm::tools
