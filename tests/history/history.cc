// SPDX-License-Identifier: GPL-2.0
#include "tests/history/history.hpp"

#include <istream>
#include <ostream>
#include <sstream>
#include <unordered_map>

namespace stm::test {

namespace {

constexpr std::string_view kHeader = "stm-history 1";

void print_hex(std::ostream& out, const std::vector<std::uint8_t>& bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    for (const std::uint8_t byte : bytes)
        out << kDigits[byte >> 4] << kDigits[byte & 15];
}

int digit_value(char digit) {
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    return -1;
}

std::optional<std::vector<std::uint8_t>> parse_hex(const std::string& text) {
    if (text.size() % 2 != 0)
        return std::nullopt;
    std::vector<std::uint8_t> bytes;
    for (std::size_t i = 0; i < text.size(); i += 2) {
        const int high = digit_value(text[i]);
        const int low = digit_value(text[i + 1]);
        if (high < 0 || low < 0)
            return std::nullopt;
        bytes.push_back(static_cast<std::uint8_t>(high * 16 + low));
    }
    return bytes;
}

// One line, word by word.
class Words {
public:
    explicit Words(const std::string& line) : in_(line) {}
    std::string word() {
        std::string word;
        in_ >> word;
        return word;
    }
    std::optional<std::uint64_t> number() {
        const std::string text = word();
        if (text.empty() || text.size() > 20)
            return std::nullopt;
        std::uint64_t value = 0;
        for (const char c : text) {
            if (c < '0' || c > '9' || __builtin_mul_overflow(value, 10, &value) ||
                __builtin_add_overflow(value, static_cast<std::uint64_t>(c - '0'), &value))
                return std::nullopt;
        }
        return value;
    }
    bool at_end() {
        in_ >> std::ws;
        return in_.eof();
    }

private:
    std::istringstream in_;
};

class Parser {
public:
    // An empty string: the line is right.
    std::string take(const std::string& line) {
        if (line == kHeader) {
            seen_header_ = true;
            return {};
        }
        Words words(line);
        const std::string verb = words.word();
        if (verb.empty() || verb[0] == '#')
            return {};
        if (!seen_header_)
            return "the first line must be: " + std::string(kHeader);
        if (verb == "initial")
            return take_initial(words);
        const std::optional<std::uint64_t> id = words.number();
        if (!id)
            return verb + ": no transaction number";
        if (verb == "begin")
            return take_begin(*id, words);
        const auto found = places_.find(*id);
        if (found == places_.end())
            return verb + ": transaction " + std::to_string(*id) + " has not begun";
        return take_event(verb, result.history.attempts[found->second], words);
    }

    Parsed result;

private:
    std::string take_initial(Words& words) {
        const auto offset = words.number();
        const auto bytes = parse_hex(words.word());
        if (!offset || !bytes)
            return "initial: needs an offset and bytes";
        for (std::size_t i = 0; i < bytes->size(); ++i)
            result.history.initial[*offset + i] = (*bytes)[i];
        return {};
    }

    std::string take_begin(std::uint64_t id, Words& words) {
        const auto time = words.number();
        if (!time || !words.at_end())
            return "begin: needs a time and nothing more";
        if (!places_.emplace(id, result.history.attempts.size()).second)
            return "begin: transaction " + std::to_string(id) + " has begun already";
        Attempt attempt;
        attempt.id = id;
        attempt.begin = *time;
        result.history.attempts.push_back(std::move(attempt));
        depths_.push_back(0);
        return {};
    }

    std::string take_event(const std::string& verb, Attempt& attempt, Words& words) {
        if (attempt.end != kNever)
            return verb + ": the transaction has ended already";
        if (verb == "read" || verb == "write")
            return take_access(verb == "read" ? Operation::Kind::read : Operation::Kind::write,
                               attempt, words);
        if (verb == "nest" || verb == "keep" || verb == "undo")
            return take_nesting(verb, attempt, words);
        if (verb == "try") {
            attempt.outcome = Attempt::Outcome::unknown;
            return words.at_end() ? "" : "try: too many words";
        }
        if (verb != "commit" && verb != "abort")
            return "unknown verb: " + verb;
        const auto time = words.number();
        if (!time || *time < attempt.begin)
            return verb + ": needs a time, not before the begin";
        attempt.end = *time;
        if (verb == "abort") {
            attempt.outcome = Attempt::Outcome::aborted;
            attempt.reason = words.word();
        } else {
            attempt.outcome = Attempt::Outcome::committed;
            if (!words.at_end()) {
                attempt.version = words.number();
                if (!attempt.version)
                    return "commit: the version is no number";
            }
        }
        return words.at_end() ? "" : verb + ": too many words";
    }

    static std::string take_access(Operation::Kind kind, Attempt& attempt, Words& words) {
        const auto offset = words.number();
        auto bytes = parse_hex(words.word());
        if (!offset || !bytes || bytes->empty() || !words.at_end())
            return "an access needs an offset and bytes";
        if (*offset + bytes->size() < *offset)
            return "an access beyond the largest offset";
        attempt.operations.push_back({kind, *offset, std::move(*bytes)});
        return {};
    }

    std::string take_nesting(const std::string& verb, Attempt& attempt, Words& words) {
        int& depth = depths_[static_cast<std::size_t>(&attempt - result.history.attempts.data())];
        if (!words.at_end())
            return verb + ": too many words";
        if (verb == "nest") {
            ++depth;
            attempt.operations.push_back({Operation::Kind::nest, 0, {}});
            return {};
        }
        if (depth == 0)
            return verb + ": outside of an inner part";
        --depth;
        attempt.operations.push_back(
            {verb == "keep" ? Operation::Kind::keep : Operation::Kind::undo, 0, {}});
        return {};
    }

    bool seen_header_ = false;
    std::unordered_map<std::uint64_t, std::size_t> places_;
    std::vector<int> depths_;
};

} // namespace

void print(std::ostream& out, const History& history) {
    out << kHeader << '\n';
    for (const auto& [offset, byte] : history.initial) {
        out << "initial " << offset << ' ';
        print_hex(out, {byte});
        out << '\n';
    }
    for (const Attempt& attempt : history.attempts) {
        out << "begin " << attempt.id << ' ' << attempt.begin << '\n';
        for (const Operation& operation : attempt.operations) {
            switch (operation.kind) {
            case Operation::Kind::read:
            case Operation::Kind::write:
                if (operation.bytes.empty())
                    break;
                out << (operation.kind == Operation::Kind::read ? "read " : "write ") << attempt.id
                    << ' ' << operation.offset << ' ';
                print_hex(out, operation.bytes);
                out << '\n';
                break;
            case Operation::Kind::nest:
                out << "nest " << attempt.id << '\n';
                break;
            case Operation::Kind::keep:
                out << "keep " << attempt.id << '\n';
                break;
            case Operation::Kind::undo:
                out << "undo " << attempt.id << '\n';
                break;
            }
        }
        switch (attempt.outcome) {
        case Attempt::Outcome::live:
            break;
        case Attempt::Outcome::unknown:
            out << "try " << attempt.id << '\n';
            break;
        case Attempt::Outcome::committed:
            out << "commit " << attempt.id << ' ' << attempt.end;
            if (attempt.version)
                out << ' ' << *attempt.version;
            out << '\n';
            break;
        case Attempt::Outcome::aborted:
            out << "abort " << attempt.id << ' ' << attempt.end;
            if (!attempt.reason.empty())
                out << ' ' << attempt.reason;
            out << '\n';
            break;
        }
    }
}

Parsed parse(std::istream& in) {
    Parser parser;
    std::string line;
    for (std::size_t number = 1; std::getline(in, line); ++number) {
        const std::string error = parser.take(line);
        if (!error.empty()) {
            parser.result.error = "line " + std::to_string(number) + ": " + error;
            break;
        }
    }
    return std::move(parser.result);
}

Parsed parse(std::string_view text) {
    std::istringstream in{std::string(text)};
    return parse(in);
}

} // namespace stm::test
