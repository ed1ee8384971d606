// SPDX-License-Identifier: GPL-2.0
#include "command.hpp"
#include "common/text.hpp"

#include <cerrno>
#include <fmt/format.h>
#include <sys/stat.h>
#include <utility>

namespace stm::tools {
namespace {

struct Words {
    RegionWords region;
    std::string mode;
};

void change_mode(const Call& call, Words words) {
    // With an id the only word is the mode.
    if (!words.region.id.empty() && words.mode.empty())
        words.mode = std::exchange(words.region.name, {});
    if (words.mode.empty())
        throw call.wrong_usage("give the NAME of a region, or its --id, and the MODE");
    const std::optional<unsigned> mode = parse_mode(words.mode);
    if (!mode)
        throw call.wrong_usage(
            fmt::format("'{}' is no mode; write it like 0640", printable(words.mode)));
    const Place at(call, words.region);
    const Descriptor handle = at.module.open(at.region, Access::read);
    if (::fchmod(handle.get(), *mode) < 0)
        throw region_failure(errno, at.region.text(), at.region.argument());
}

} // namespace

void add_chmod(Program& program) {
    auto words = std::make_shared<Words>();
    program
        .add("chmod", "change a region's permission bits",
             [words](const Call& call) { change_mode(call, *words); })
        .region(words->region)
        .word("MODE", words->mode, "permission bits in octal", Needed::no);
}

} // namespace stm::tools
