// SPDX-License-Identifier: GPL-2.0
#include "text.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <ctime>
#include <cwchar>
#include <cwctype>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <libsmartcols.h>
#include <limits>
#include <memory>
#include <new>

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
    std::mbstate_t state{};
    while (!name.empty()) {
        wchar_t character = 0;
        std::size_t bytes = std::mbrtowc(&character, name.data(), name.size(), &state);
        // Not a whole character (the greatest two results), its end, or one that is not shown.
        if (bytes > name.size() || bytes == 0 ||
            std::iswprint(static_cast<wint_t>(character)) == 0) {
            result += fmt::format("\\x{:02x}", static_cast<unsigned char>(name[0]));
            state = {};
            bytes = 1;
        } else {
            result += name.substr(0, bytes);
        }
        name.remove_prefix(bytes);
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
    // Out of memory, all of these fail, and so does the last one.
    struct libscols_table* table = ::scols_new_table();
    ::scols_table_set_termforce(table, SCOLS_TERMFORCE_NEVER); // nothing is cut off
    ::scols_table_set_column_separator(table, "  ");
    ::scols_table_enable_minout(table, 1);     // no blanks at the ends of lines
    ::scols_table_enable_noencoding(table, 1); // printable() has seen to that
    for (const Column& column : columns_)
        ::scols_table_new_column(table, column.heading.c_str(), 0,
                                 column.align == Align::right ? SCOLS_FL_RIGHT : 0);
    for (const auto& row : rows_) {
        struct libscols_line* line = ::scols_table_new_line(table, nullptr);
        for (std::size_t index = 0; index < row.size(); ++index)
            ::scols_line_set_data(line, index, row[index].c_str());
    }
    char* text = nullptr;
    const int error = ::scols_print_table_to_string(table, &text);
    ::scols_unref_table(table);
    const std::unique_ptr<char, decltype(&std::free)> owned(text, &std::free);
    if (error != 0 || (text == nullptr && !rows_.empty()))
        throw std::bad_alloc();
    // The last line gets no end, and a table without lines no heading.
    std::string result(text != nullptr ? text : "");
    if (rows_.empty())
        for (const Column& column : columns_)
            result += (result.empty() ? "" : "  ") + column.heading;
    return result + "\n";
}

} // namespace stm::tools
