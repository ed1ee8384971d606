// SPDX-License-Identifier: GPL-2.0
#include "command.hpp"
#include "contents.hpp"

#include <utility>

namespace stm::tools {
namespace {

struct Words {
    RegionWords from;
    std::string to;
    bool pieces = false;
};

void copy(const Call& call, Words words) {
    // With an id the only word is the new name.
    if (!words.from.id.empty() && words.to.empty())
        words.to = std::exchange(words.from.name, {});
    if (words.to.empty())
        throw call.wrong_usage("give the NAME of a region, or its --id, and the name of the copy");
    const Place at(call, words.from);
    copy_region(call, at.module, Source(at.module, at.region), words.to,
                words.pieces ? Consistency::pieces : Consistency::whole);
}

} // namespace

void add_copy(Program& program) {
    auto words = std::make_shared<Words>();
    program
        .add("copy", "make a new region with the same bytes, of one state, while others write",
             [words](const Call& call) { copy(call, *words); })
        .region(words->from)
        .word("TO", words->to, "the name of the new region", Needed::no)
        .flag("--pieces", words->pieces, "each 256K are one state, the whole need not be");
}

} // namespace stm::tools
