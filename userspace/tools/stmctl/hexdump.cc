// SPDX-License-Identifier: GPL-2.0
#include "command.hpp"
#include "common/text.hpp"
#include "report.hpp"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <unistd.h>
#include <utility>

namespace stm::tools {
namespace {

struct Words {
    RegionWords region;
    std::string offset;
    std::string length;
};

constexpr std::size_t kMost = 16 * 1024 * 1024; // what one call reads as one state

std::uint64_t size_of(const Call& call, const std::string& text) {
    if (const std::optional<std::uint64_t> size = parse_size(text))
        return *size;
    throw call.wrong_usage(
        fmt::format("'{}' is no size; write bytes, or 64K, 1M, 2G", printable(text)));
}

void show(const Call& call, Words words) {
    // With an id the words are one place to the left.
    if (!words.region.id.empty() && !words.region.name.empty()) {
        words.length = std::exchange(words.offset, std::exchange(words.region.name, {}));
    }
    std::uint64_t offset = words.offset.empty() ? 0 : size_of(call, words.offset);
    std::uint64_t left = words.length.empty() ? ~std::uint64_t{0} : size_of(call, words.length);
    const Place at(call, words.region);
    const Descriptor handle = at.module.open(at.region, Access::read);
    std::vector<unsigned char> bytes;
    HexLines lines;
    std::string json;
    const std::uint64_t first = offset;
    while (left > 0) {
        bytes.resize(std::min<std::uint64_t>(left, kMost));
        const ssize_t got =
            ::pread(handle.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
        if (got < 0)
            throw region_failure(errno, at.region.text(), at.region.argument());
        if (got == 0)
            break;
        bytes.resize(static_cast<std::size_t>(got));
        if (call.json())
            for (const unsigned char byte : bytes)
                json += fmt::format("{:02x}", byte);
        else
            fmt::print("{}", lines.of(offset, bytes));
        offset += bytes.size();
        left -= bytes.size();
    }
    if (call.json())
        print(hexdump_json(at.module.info(at.region), first, json));
    else
        fmt::print("{}", lines.end(offset));
}

} // namespace

void add_hexdump(Program& program) {
    auto words = std::make_shared<Words>();
    program
        .add("hexdump", "show a region's bytes in hexadecimal",
             [words](const Call& call) { show(call, *words); })
        .region(words->region)
        .word("OFFSET", words->offset, "the first byte; without it 0", Needed::no)
        .word("LENGTH", words->length, "how many; without it all", Needed::no);
}

} // namespace stm::tools
