// SPDX-License-Identifier: GPL-2.0
#include "text.hpp"

#include <algorithm>
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
    std::uint64_t number = 0;
    const char* end = text.data() + text.size();
    auto [rest, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc())
        return std::nullopt;
    std::string suffix(rest, end);
    std::transform(suffix.begin(), suffix.end(), suffix.begin(),
                   [](unsigned char letter) { return static_cast<char>(std::toupper(letter)); });

    std::uint64_t unit = 1;
    if (!suffix.empty() && suffix != "B") {
        std::size_t power = kUnits.find(suffix[0]);
        if (power == std::string_view::npos)
            return std::nullopt;
        std::string_view tail = std::string_view(suffix).substr(1);
        if (!tail.empty() && tail != "B" && tail != "IB")
            return std::nullopt;
        unit = std::uint64_t{1} << (10 * (power + 1));
    }
    constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    if (number > kMost / unit)
        return std::nullopt;
    return number * unit;
}

std::string format_size(std::uint64_t bytes) {
    for (std::size_t power = kUnits.size(); power > 0; --power) {
        std::uint64_t unit = std::uint64_t{1} << (10 * power);
        if (bytes != 0 && bytes % unit == 0)
            return fmt::format("{}{}", bytes / unit, kUnits[power - 1]);
    }
    return fmt::format("{}", bytes);
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
