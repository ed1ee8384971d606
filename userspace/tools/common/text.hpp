// SPDX-License-Identifier: GPL-2.0
// Between what people read and write and what the module counts in.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stm::tools {

/**
 * Bytes from a number with an optional suffix K, M, G or T (1024, 1024², …; "KiB", "KB", "k" mean
 * the same) or B. Nothing when the text is anything else or the number does not fit in 63 bits.
 */
[[nodiscard]] std::optional<std::uint64_t> parse_size(std::string_view text);

/** Bytes as people read them: exact, as parse_size() reads them back, when that is short ("64K",
 * "5000"), else rounded
 * ("117.7M"). */
[[nodiscard]] std::string format_size(std::uint64_t bytes);

/** Permission bits from octal digits ("640", "0640"), at most 0777. */
[[nodiscard]] std::optional<unsigned> parse_mode(std::string_view text);

/** Permission bits as "rw-r-----". */
[[nodiscard]] std::string format_mode(unsigned mode);

/** PROT_* as "rw-". */
[[nodiscard]] std::string format_protection(unsigned protection);

/** Nanoseconds since 1970 as "2024-05-06 07:08:09 UTC". */
[[nodiscard]] std::string format_time(std::uint64_t nanoseconds);

/** The name with bytes that are no printable characters of the locale as \xNN, so that a hostile
 * name cannot drive the terminal. */
[[nodiscard]] std::string printable(std::string_view name);

/** The name as a word of a shell's command line, in quotes where it needs them. */
[[nodiscard]] std::string command_word(std::string_view name);

enum class Align { left, right };

/** Rows under a heading in columns two spaces apart; no blanks at the ends of lines. Widths are
 * those of the locale's characters. */
class Table {
public:
    struct Column {
        std::string heading;
        Align align;
    };

    explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
    void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
    [[nodiscard]] std::string format() const;

private:
    std::vector<Column> columns_;
    std::vector<std::vector<std::string>> rows_;
};

} // namespace stm::tools
