// SPDX-License-Identifier: GPL-2.0
#include "text.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <charconv>
#include <ctime>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <limits>

namespace stm::tools {
namespace {

constexpr std::string_view kUnits = "KMGT";

} // namespace

std::optional<std::uint64_t> parse_size(std::string_view text) {
    const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
    const auto is_letter = [](unsigned char letter) { return std::isalpha(letter) != 0; };
    if (digits == 0 || !std::all_of(text.begin() + digits, text.end(), is_letter))
        return std::nullopt;
    // CLI11 takes a leading 0 for octal.
    std::string value(text.substr(std::min(text.find_first_not_of('0'), digits - 1)));
    try {
        CLI::AsSizeValue(false)(value); // a number with a suffix becomes a number
    } catch (const CLI::ValidationError&) {
        return std::nullopt;
    }
    std::uint64_t number = 0;
    const char* const end = value.data() + value.size();
    const auto [rest, error] = std::from_chars(value.data(), end, number);
    constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (error != std::errc() || rest != end || number > kMost)
        return std::nullopt;
    return number;
}

std::string format_size(std::uint64_t bytes) {
    std::size_t power = 0;
    while (power < kUnits.size() && bytes != 0 &&
           bytes % (std::uint64_t{1} << 10 * (power + 1)) == 0)
        ++power;
    const auto unit = [](std::size_t of) { return of == 0 ? "" : std::string(1, kUnits[of - 1]); };
    const std::uint64_t exact = bytes >> 10 * power;
    if (exact < 100'000 || power == kUnits.size())
        return fmt::format("{}{}", exact, unit(power));
    auto rounded = static_cast<double>(exact);
    for (; rounded >= 1000 && power < kUnits.size(); ++power)
        rounded /= 1024;
    return fmt::format("{:.1f}{}", rounded, unit(power));
}

std::optional<unsigned> parse_mode(std::string_view text) {
    unsigned mode = 0;
    const char* end = text.data() + text.size();
    auto [rest, error] = std::from_chars(text.data(), end, mode, 8);
    if (error != std::errc() || rest != end || mode > 0777)
        return std::nullopt;
    return mode;
}

std::string format_mode(unsigned mode) {
    std::string text = "rwxrwxrwx";
    for (std::size_t bit = 0; bit < text.size(); ++bit)
        if ((mode & (0400U >> bit)) == 0)
            text[bit] = '-';
    return text;
}

std::string format_protection(unsigned protection) {
    std::string text = "rwx";
    for (std::size_t bit = 0; bit < text.size(); ++bit)
        if ((protection & (1U << bit)) == 0)
            text[bit] = '-';
    return text;
}

std::string format_time(std::uint64_t nanoseconds) {
    auto seconds = static_cast<std::time_t>(nanoseconds / 1'000'000'000);
    return fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(seconds));
}

std::string printable(std::string_view name) {
    std::string result;
    for (char letter : name) {
        auto byte = static_cast<unsigned char>(letter);
        if (byte < 0x20 || byte == 0x7f)
            result += fmt::format("\\x{:02x}", byte);
        else
            result += letter;
    }
    return result;
}

std::string command_word(std::string_view name) {
    const bool plain = !name.empty() && name[0] != '-' &&
                       std::all_of(name.begin(), name.end(), [](unsigned char letter) {
                           return std::isalnum(letter) != 0 ||
                                  std::string_view("._:/@%+=,-").find(static_cast<char>(letter)) !=
                                      std::string_view::npos;
                       });
    return plain ? std::string(name) : fmt::format("\"{}\"", printable(name));
}

std::string Table::format() const {
    std::vector<std::size_t> widths;
    for (const Column& column : columns_)
        widths.push_back(column.heading.size());
    for (const auto& row : rows_)
        for (std::size_t index = 0; index < row.size(); ++index)
            widths[index] = std::max(widths[index], row[index].size());

    std::string result;
    auto add_line = [&](auto&& cell) {
        std::string line;
        for (std::size_t index = 0; index < columns_.size(); ++index) {
            if (index != 0)
                line += "  ";
            if (columns_[index].align == Align::right)
                line += fmt::format("{:>{}}", cell(index), widths[index]);
            else
                line += fmt::format("{:<{}}", cell(index), widths[index]);
        }
        line.erase(line.find_last_not_of(' ') + 1);
        result += line + "\n";
    };
    add_line([&](std::size_t index) { return columns_[index].heading; });
    for (const auto& row : rows_)
        add_line([&](std::size_t index) { return row[index]; });
    return result;
}

} // namespace stm::tools
