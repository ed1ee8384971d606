// SPDX-License-Identifier: GPL-2.0
#include "command.hpp"

namespace stm::tools {
namespace {

struct Words {
    std::vector<std::string> names;
    std::vector<std::string> ids;
    bool deferred = false;
};

// All that can be removed are; the exit status is that of the first that cannot.
int remove(const Call& call, const Words& words) {
    if (words.names.empty() && words.ids.empty())
        throw call.wrong_usage("give the NAME of each region to remove, or its --id");
    for (const std::string& id : words.ids)
        (void)parse_id(call, id);
    const Module module;
    std::vector<Failure> failures;
    const auto try_to_remove = [&](auto find) {
        try {
            module.destroy(find(), words.deferred ? When::deferred : When::unused);
        } catch (const Failure& failure) {
            failures.push_back(failure);
        }
    };
    for (const std::string& name : words.names)
        try_to_remove([&] { return Selector::by_name(name); });
    for (const std::string& id : words.ids)
        try_to_remove([&] { return module.find(parse_id(call, id)); });
    report(call.output, failures);
    return static_cast<int>(failures.empty() ? Exit::ok : failures[0].exit());
}

} // namespace

void add_rm(Program& program) {
    auto words = std::make_shared<Words>();
    program
        .add("rm", "destroy regions that nobody uses",
             Action([words](const Call& call) { return remove(call, *words); }))
        .words("NAME", words->names, "the regions' names", Word::region)
        .option("--id", words->ids, "the same by an id as 'ls' shows it; may be given again")
        .flag("--deferred", words->deferred,
              "take their names now, and their memory when the last user is done");
}

} // namespace stm::tools
