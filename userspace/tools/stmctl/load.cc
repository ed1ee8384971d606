// SPDX-License-Identifier: GPL-2.0
#include "command.hpp"
#include "contents.hpp"

namespace stm::tools {
namespace {

struct Words {
    RegionWords region;
    bool archive = false;
};

void load(const Call& call, const Words& words) {
    if (!words.archive) {
        const Place at(call, words.region);
        load_region(at.module, at.region);
        return;
    }
    if (!words.region.id.empty())
        throw call.wrong_usage("an --archive makes a region by its name; it takes no --id");
    (void)Module(); // says what is wrong before all is read
    load_archive(call, words.region.name);
}

} // namespace

void add_load(Program& program) {
    auto words = std::make_shared<Words>();
    program
        .add("load", "write standard input to a region, from its beginning",
             [words](const Call& call) { load(call, *words); })
        .region(words->region,
                "the region's name; with --archive that of the archive is the default")
        .flag("--archive", words->archive,
              "standard input is what 'dump --archive' wrote; makes the region if there is none");
}

} // namespace stm::tools
