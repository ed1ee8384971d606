// SPDX-License-Identifier: GPL-2.0
// Which parts of a region are accessed, and where transactions conflict, as a picture.
#include "command.hpp"
#include "common/text.hpp"
#include "common/tracing.hpp"
#include "places.hpp"
#include "stopping.hpp"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace stm::tools {
namespace {

constexpr std::uint64_t kStripe = 64;
constexpr std::uint64_t kColumns = 64;
constexpr std::uint64_t kMostRows = 64;

struct Words {
    RegionWords region;
    std::string seconds = "5";
    bool whole = false;
};

struct Cell {
    std::uint64_t reads = 0;
    std::uint64_t writes = 0;
    std::uint64_t conflicts = 0;
};

// The region as a grid: kColumns cells in a row, each of the same number of stripes.
struct Heat {
    std::uint64_t first = 0; // bytes
    std::uint64_t end = 0;
    std::uint64_t cell_bytes = kStripe;
    std::vector<Cell> cells;

    [[nodiscard]] bool covers(std::uint64_t offset) const {
        return offset >= first && offset < end;
    }
    [[nodiscard]] std::size_t index(std::uint64_t offset) const {
        return static_cast<std::size_t>((offset - first) / cell_bytes);
    }
};

Heat grid(std::uint64_t first, std::uint64_t end) {
    Heat heat;
    heat.first = first / (kColumns * kStripe) * kColumns * kStripe;
    heat.end = end;
    while ((end - heat.first + heat.cell_bytes * kColumns - 1) / (heat.cell_bytes * kColumns) >
           kMostRows)
        heat.cell_bytes *= 2;
    const std::uint64_t row = heat.cell_bytes * kColumns;
    heat.cells.resize(static_cast<std::size_t>((end - heat.first + row - 1) / row * kColumns));
    return heat;
}

// From 0 (nothing) to 255 (the most that there is), by the logarithm.
unsigned shade(std::uint64_t number, std::uint64_t most) {
    if (number == 0 || most == 0)
        return 0;
    return 40 + static_cast<unsigned>(215.0 * std::log1p(static_cast<double>(number)) /
                                      std::log1p(static_cast<double>(most)));
}

std::string escaped(const std::string& text) {
    std::string result;
    for (const char letter : printable(text)) {
        if (letter == '<')
            result += "&lt;";
        else if (letter == '&')
            result += "&amp;";
        else
            result += letter;
    }
    return result;
}

std::string svg(const struct stm_info& region, const Heat& heat,
                const std::vector<struct stm_place>& places, double seconds) {
    constexpr unsigned kSize = 12;
    constexpr unsigned kLeft = 110;
    constexpr unsigned kTop = 60;
    Cell most;
    for (const Cell& cell : heat.cells) {
        most.reads = std::max(most.reads, cell.reads);
        most.writes = std::max(most.writes, cell.writes);
        most.conflicts = std::max(most.conflicts, cell.conflicts);
    }
    const std::size_t rows = heat.cells.size() / kColumns;
    std::string text =
        fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" "
                    "font-family=\"monospace\" font-size=\"11\">\n"
                    "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
                    "<text x=\"10\" y=\"20\" font-size=\"14\">{}: {:.1f} s, {} in a cell</text>\n"
                    "<text x=\"10\" y=\"40\"><tspan fill=\"#2060c0\">reads</tspan> (at most {}), "
                    "<tspan fill=\"#c07000\">writes</tspan> (at most {}), "
                    "<tspan fill=\"#d00000\">conflicts</tspan> (at most {})</text>\n",
                    kLeft + kColumns * kSize + 20, kTop + rows * kSize + 30, escaped(region.name),
                    seconds, format_size(heat.cell_bytes), most.reads, most.writes, most.conflicts);
    for (std::size_t row = 0; row < rows; ++row)
        text += fmt::format("<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{:#x}</text>\n", kLeft - 6,
                            kTop + row * kSize + 10, heat.first + row * kColumns * heat.cell_bytes);
    for (std::size_t i = 0; i < heat.cells.size(); ++i) {
        const Cell& cell = heat.cells[i];
        const std::size_t x = kLeft + i % kColumns * kSize;
        const std::size_t y = kTop + i / kColumns * kSize;
        const std::uint64_t offset = heat.first + i * heat.cell_bytes;
        if (offset >= heat.end)
            break;
        const unsigned blue = shade(cell.reads, most.reads);
        const unsigned orange = shade(cell.writes, most.writes);
        // White, towards blue by reads and towards orange by writes.
        text += fmt::format(
            "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"rgb({},{},{})\" "
            "stroke=\"#ddd\" stroke-width=\"0.5\"><title>{}: {} reads, {} writes, {} conflicts"
            "</title></rect>\n",
            x, y, kSize, kSize, 255 - blue * 7 / 8, 255 - std::max(blue, orange) / 2, 255 - orange,
            escaped(place_text(places, offset)), cell.reads, cell.writes, cell.conflicts);
        if (cell.conflicts != 0)
            text += fmt::format("<circle cx=\"{}\" cy=\"{}\" r=\"{:.1f}\" fill=\"#d00000\"/>\n",
                                x + kSize / 2, y + kSize / 2,
                                1.0 + 4.5 * shade(cell.conflicts, most.conflicts) / 255);
    }
    for (const struct stm_place& place : places) {
        if (!heat.covers(place.offset))
            continue;
        const std::size_t i = heat.index(place.offset);
        text += fmt::format("<text x=\"{}\" y=\"{}\" font-size=\"9\" fill=\"black\">{}</text>\n",
                            kLeft + i % kColumns * kSize + 1, kTop + i / kColumns * kSize + 9,
                            escaped(place.name));
    }
    return text + "</svg>\n";
}

nlohmann::json json_of(const struct stm_info& region, const Heat& heat,
                       const std::vector<struct stm_place>& places, double seconds) {
    nlohmann::json cells = nlohmann::json::array();
    for (std::size_t i = 0; i < heat.cells.size(); ++i) {
        const Cell& cell = heat.cells[i];
        if (cell.reads + cell.writes + cell.conflicts == 0)
            continue;
        const std::uint64_t offset = heat.first + i * heat.cell_bytes;
        cells.push_back({{"offset", offset},
                         {"place", place_text(places, offset)},
                         {"reads", cell.reads},
                         {"writes", cell.writes},
                         {"conflicts", cell.conflicts}});
    }
    return {{"name", region.name},
            {"id", region.id},
            {"seconds", seconds},
            {"cell_bytes", heat.cell_bytes},
            {"cells", cells}};
}

void heatmap(const Call& call, const Words& words) {
    using Clock = std::chrono::steady_clock;
    const auto time = parse_seconds(call, words.seconds);
    const Place place(call, words.region);
    const struct stm_info region = place.module.info(place.region);
    if ((region.region_flags & STM_REGION_PLAIN) != 0)
        throw Failure(Exit::failed, "a plain region has no transactions");
    if (!call.json() && ::isatty(STDOUT_FILENO) != 0)
        throw Failure(Exit::failed,
                      "the picture goes to standard output, which is a terminal; add '> FILE.svg'");
    const Stopping stopping;
    Tracing tracing;
    const std::string filter = fmt::format("id == {}", region.id);
    tracing.count("access", "offset,bytes,write", filter, 131072);
    tracing.count("abort", "offset", filter + " && offset >= 0", 131072);
    const auto begin = Clock::now();
    stopping.sleep(time);
    const Tallies accesses = tracing.take("access");
    const Tallies conflicts = tracing.take("abort");
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();

    std::uint64_t first = words.whole ? 0 : region.region_size;
    std::uint64_t end = words.whole ? region.region_size : 0;
    for (const auto* tallies : {&accesses, &conflicts}) {
        for (const Tally& tally : tallies->all) {
            first = std::min(first, tally.number("offset"));
            end = std::max(end, tally.number("offset") + std::max(kStripe, tally.number("bytes")));
        }
    }
    first = std::min<std::uint64_t>(first, region.region_size);
    Heat heat = grid(first >= end ? 0 : first, first >= end ? region.region_size : end);
    for (const Tally& tally : accesses.all) {
        const std::uint64_t offset = tally.number("offset");
        for (std::uint64_t at = offset; at < offset + tally.number("bytes"); at += kStripe) {
            if (!heat.covers(at))
                continue;
            Cell& cell = heat.cells[heat.index(at)];
            (tally.number("write") != 0 ? cell.writes : cell.reads) += tally.hits;
        }
    }
    for (const Tally& tally : conflicts.all) {
        if (heat.covers(tally.number("offset")))
            heat.cells[heat.index(tally.number("offset"))].conflicts += tally.hits;
    }
    const std::vector<struct stm_place> places = place.module.places(place.region);
    if (call.json()) {
        print(json_of(region, heat, places, seconds));
        return;
    }
    fmt::print("{}", svg(region, heat, places, seconds));
    if (std::fflush(stdout) != 0)
        throw Failure(Exit::failed, "standard output cannot be written", errno);
}

} // namespace

void add_heatmap(Program& program) {
    auto words = std::make_shared<Words>();
    program
        .add("heatmap", "which parts of a region are accessed and fought for, as an SVG picture",
             [words](const Call& call) { heatmap(call, *words); })
        .region(words->region)
        .option("--seconds", words->seconds, "how long to look, 5 if it is not given")
        .flag("--whole", words->whole, "all of the region, also where nothing happened");
}

} // namespace stm::tools
