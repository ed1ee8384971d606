// SPDX-License-Identifier: GPL-2.0
#include "command.hpp"
#include "contents.hpp"

namespace stm::tools {
namespace {

struct Words {
    RegionWords region;
    bool archive = false;
    bool pieces = false;
};

} // namespace

void add_dump(Program& program) {
    auto words = std::make_shared<Words>();
    program
        .add("dump", "write a region's bytes, or an archive of it, to standard output",
             [words](const Call& call) {
                 const Place at(call, words->region);
                 const Source source(at.module, at.region);
                 const Consistency consistency =
                     words->pieces ? Consistency::pieces : Consistency::whole;
                 if (words->archive)
                     archive_region(call, source, consistency);
                 else
                     dump_region(call, source, consistency);
             })
        .region(words->region)
        .flag("--archive", words->archive,
              "with a checksum and what the region was, for 'load --archive'")
        .flag("--pieces", words->pieces, "each 256K are one state, the whole need not be");
}

} // namespace stm::tools
