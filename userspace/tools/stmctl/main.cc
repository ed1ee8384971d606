// SPDX-License-Identifier: GPL-2.0
// stmctl: what ipcs, ipcmk and ipcrm are to System V memory, for the regions of the module stm.
#include "common/failure.hpp"
#include "common/module.hpp"
#include "common/text.hpp"
#include "contents.hpp"
#include "report.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <stm/stm.h>
#include <sys/stat.h>
#include <unistd.h>

namespace stm::tools {
namespace {

enum class Output { text, json };

// The command line, as far as the commands need it.
struct Options {
    Output output = Output::text;
    std::string name;
    std::string id;
    std::string size;
    std::string mode = "0600";
    bool plain = false;
    bool mutex = false;
    bool ephemeral = false;
    bool exec = false;
    bool excl = false;
    bool deferred = false;
};

void print(const nlohmann::json& json) {
    // A name may be any bytes; those that are no UTF-8 are shown as U+FFFD.
    fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}

Selector selected(const Options& options) {
    if (options.id.empty())
        return Selector::by_name(options.name);
    std::size_t used = 0;
    std::uint64_t id = 0;
    try {
        id = std::stoull(options.id, &used, 0);
    } catch (const std::exception&) {
        used = 0;
    }
    if (used != options.id.size() || !options.name.empty())
        throw Failure(Exit::usage, "give a NAME, or --id with a number as 'stmctl info' shows it");
    return Selector::by_id(id);
}

void list(const Options& options) {
    std::vector<struct stm_info> regions = Module().regions();
    if (options.output == Output::json)
        print(list_json(regions));
    else
        fmt::print("{}", list_text(regions));
}

void show(const Options& options, const struct stm_info& region) {
    if (options.output == Output::json)
        print(region_json(region));
    else
        fmt::print("{}", region_text(region));
}

void info(const Options& options) {
    Selector region = selected(options);
    show(options, Module().info(region));
}

void create(const Options& options) {
    std::optional<std::uint64_t> size = parse_size(options.size);
    if (!size)
        throw Failure(Exit::usage,
                      fmt::format("'{}' is no size; write bytes, or 64K, 1M, 2G", options.size));
    std::optional<unsigned> mode = parse_mode(options.mode);
    if (!mode)
        throw Failure(Exit::usage,
                      fmt::format("'{}' is no mode; write it like 0640", options.mode));
    if (options.exec && !options.plain)
        throw Failure(Exit::usage, "--exec needs --plain");
    if (options.mutex && options.plain)
        throw Failure(Exit::usage,
                      "--mutex is a way to run transactions; a --plain region has none");
    Selector::by_name(options.name); // a clear message for a name that can not be
    int flags = STM_CREATE | STM_CLOEXEC;
    flags |= options.plain ? STM_PLAIN : 0;
    flags |= options.mutex ? STM_MUTEX : 0;
    flags |= options.ephemeral ? STM_EPHEMERAL : 0;
    flags |= options.exec ? STM_EXEC : 0;
    flags |= options.excl ? STM_EXCL : 0;

    Module module;
    int fd = stm_open(options.name.c_str(), *size, flags, *mode);
    if (fd < 0)
        throw region_failure(errno, options.name);
    File handle(fd);
    show(options, module.info_of_handle(handle, options.name));
    if (!options.ephemeral)
        return;
    // The region would go with this process: keep it for whoever started it.
    std::fflush(stdout);
    char ignored[4096];
    while (::read(STDIN_FILENO, ignored, sizeof ignored) > 0)
        continue;
}

void remove(const Options& options) {
    Module().destroy(selected(options), options.deferred ? When::deferred : When::unused);
}

void attachments(const Options& options) {
    Module module;
    std::vector<RegionUsers> result;
    if (options.name.empty() && options.id.empty()) {
        for (const struct stm_info& region : module.regions()) {
            try {
                result.push_back({region, module.attachments(Selector::by_id(region.id))});
            } catch (const Failure&) {
                // Destroyed since it was listed.
            }
        }
    } else {
        Selector region = selected(options);
        result.push_back({module.info(region), module.attachments(region)});
    }
    if (options.output == Output::json)
        print(attachments_json(result));
    else
        fmt::print("{}", attachments_text(result));
}

void change_mode(const Options& options) {
    std::optional<unsigned> mode = parse_mode(options.mode);
    if (!mode)
        throw Failure(Exit::usage,
                      fmt::format("'{}' is no mode; write it like 0640", options.mode));
    Selector region = selected(options);
    File handle = Module().open(region, Access::read);
    if (::fchmod(handle.get(), *mode) < 0)
        throw region_failure(errno, region.text());
}

void statistics(const Options& options) {
    Selector region = selected(options);
    Module module;
    struct stm_info what = module.info(region);
    struct stm_statistics numbers = module.statistics(region);
    if (options.output == Output::json)
        print(statistics_json(what, numbers));
    else
        fmt::print("{}", statistics_text(what, numbers));
}

void limits(const Options& options) {
    struct stm_version version = Module().version();
    if (options.output == Output::json)
        print(limits_json(version));
    else
        fmt::print("{}", limits_text(version));
}

void add_region(CLI::App* command, Options& options, const char* what = "the region's name") {
    command->add_option("NAME", options.name, what);
    command->add_option("--id", options.id, "the region's id instead of its name");
}

int run(int argc, char** argv) {
    Options options;
    CLI::App app("Lists, makes and removes the shared memory regions of the module stm.");
    app.footer(kExitHelp);
    app.set_version_flag("--version", stm_version());
    app.require_subcommand(1);
    app.fallthrough();
    app.add_flag_callback(
        "--json", [&] { options.output = Output::json; }, "print JSON");

    std::function<void(const Options&)> chosen;
    auto command = [&](const char* name, const char* what, void (*action)(const Options&)) {
        CLI::App* result = app.add_subcommand(name, what);
        result->callback([&chosen, action] { chosen = action; });
        return result;
    };

    command("ls", "list all regions", list);
    add_region(command("info", "show one region", info), options);
    add_region(command("statistics", "what the transactions of a region did", statistics), options);

    CLI::App* make = command("create", "make a region, or show the one of this name", create);
    make->add_option("NAME", options.name, "its name, compared in full")->required();
    make->add_option("SIZE", options.size,
                     "bytes, or with a suffix K, M, G, T; 0: the module's default")
        ->required();
    make->add_flag("--plain", options.plain, "ordinary shared memory without transactions");
    make->add_flag("--mutex", options.mutex,
                   "transactions take a lock instead of being optimistic");
    make->add_flag("--ephemeral", options.ephemeral,
                   "goes with its last user; stmctl stays one until its standard input ends");
    make->add_flag("--exec", options.exec, "may be mapped executable (with --plain)");
    make->add_option("--mode", options.mode, "permission bits in octal, less the umask")
        ->capture_default_str();
    make->add_flag("--excl", options.excl, "fail if there is one already");

    CLI::App* rm = command("rm", "destroy a region that nobody uses", remove);
    add_region(rm, options);
    rm->add_flag("--deferred", options.deferred,
                 "take its name now, and its memory when the last user is done");

    add_region(command("attachments", "who uses a region, or each region", attachments), options,
               "the region's name; without it, all regions");

    CLI::App* chmod = command("chmod", "change a region's permission bits", change_mode);
    chmod->add_option("NAME", options.name, "the region's name")->required();
    chmod->add_option("MODE", options.mode, "permission bits in octal")->required();

    command("limits", "the module's limits and how much of them is used", limits);
    add_region(command("dump", "write a region's bytes to standard output",
                       [](const Options& chosen_options) {
                           dump_region(Module(), selected(chosen_options));
                       }),
               options);
    add_region(command("load", "write standard input to a region, from its beginning",
                       [](const Options& chosen_options) {
                           load_region(Module(), selected(chosen_options));
                       }),
               options);

    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return static_cast<int>(app.exit(error) == 0 ? Exit::ok : Exit::usage);
    }
    try {
        chosen(options);
        if (std::fflush(stdout) != 0)
            throw Failure(Exit::failed, "standard output can not be written");
        return static_cast<int>(Exit::ok);
    } catch (const Failure& failure) {
        fmt::print(stderr, "stmctl: {}\n", failure.what());
        return static_cast<int>(failure.exit());
    } catch (const std::exception& error) {
        fmt::print(stderr, "stmctl: {}\n", error.what());
        return static_cast<int>(Exit::failed);
    }
}

} // namespace
} // namespace stm::tools

int main(int argc, char** argv) {
    return stm::tools::run(argc, argv);
}
