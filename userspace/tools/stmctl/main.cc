// SPDX-License-Identifier: GPL-2.0
// stmctl: what ipcs, ipcmk and ipcrm are to System V memory, for the regions of the module stm.
#include "common/failure.hpp"
#include "common/module.hpp"
#include "common/text.hpp"
#include "contents.hpp"
#include "report.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <functional>
#include <optional>
#include <stm/stm.h>
#include <sys/stat.h>
#include <unistd.h>

namespace stm::tools {
namespace {

enum class Output { text, json };

// The command line, as far as the commands need it.
struct Options {
    Output output = Output::text;
    std::string command;
    std::string name;
    std::string id;
    std::vector<std::string> names; // of what takes several
    std::vector<std::string> ids;
    std::string size;
    std::string mode = "0600";
    bool plain = false;
    bool mutex = false;
    bool ephemeral = false;
    bool exec = false;
    bool excl = false;
    bool deferred = false;
};

void print(std::FILE* to, const nlohmann::json& json) {
    // A name may be any bytes; those that are no UTF-8 are shown as U+FFFD.
    fmt::print(to, "{}\n", json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
}
void print(const nlohmann::json& json) {
    print(stdout, json);
}

// Tells what went wrong, on standard error: several operations may have.
void report(Output output, const std::vector<Failure>& failures) {
    if (output == Output::text) {
        for (const Failure& failure : failures)
            fmt::print(stderr, "stmctl: {}\n", failure.what());
        return;
    }
    nlohmann::json list = nlohmann::json::array();
    for (const Failure& failure : failures)
        list.push_back(
            {{"message", failure.what()},
             {"errno", failure.error() == 0 ? nlohmann::json(nullptr)
                                            : nlohmann::json(::strerrorname_np(failure.error()))},
             {"exit_status", static_cast<int>(failure.exit())}});
    print(stderr, {{"errors", list}});
}

Failure wrong_usage(const Options& options, const std::string& what) {
    return {Exit::usage,
            fmt::format("{}: {}; see 'stmctl {} --help'", options.command, what, options.command)};
}

std::uint64_t number(const Options& options, const std::string& text) {
    try {
        std::size_t used = 0;
        const std::uint64_t id = std::stoull(text, &used, 0);
        if (used == text.size())
            return id;
    } catch (const std::exception&) {
        // No digits, or too many.
    }
    throw wrong_usage(options, fmt::format("'{}' is no id; it is a number as 'stmctl ls' shows it",
                                           printable(text)));
}

Selector by_id(const Module& module, const Options& options, const std::string& text) {
    return module.find(number(options, text));
}

// The module, and the one region in it that the command is about.
struct Place {
    explicit Place(const Options& options)
        : module(opened(options)), region(options.id.empty() ? Selector::by_name(options.name)
                                                             : by_id(module, options, options.id)) {
    }

    Module module;
    Selector region;

private:
    // Who calls it wrongly hears of that, whether there is a module or not.
    static Module opened(const Options& options) {
        if (options.name.empty() == options.id.empty())
            throw wrong_usage(options, "give the NAME of a region, or its --id");
        if (!options.id.empty())
            (void)number(options, options.id);
        return {};
    }
};

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
    const Place at(options);
    show(options, at.module.info(at.region));
}

std::string kind_text(std::uint32_t flags) {
    std::string text = (flags & STM_REGION_PLAIN) != 0   ? "plain"
                       : (flags & STM_REGION_MUTEX) != 0 ? "mutex"
                                                         : "transactional";
    return (flags & STM_REGION_EXEC) != 0 ? text + ", executable" : text;
}

// What was asked for, as flags of a region. How long it lives is no difference.
std::uint32_t kind_asked(const Options& options) {
    return (options.plain ? STM_REGION_PLAIN : 0U) | (options.mutex ? STM_REGION_MUTEX : 0U) |
           (options.exec ? STM_REGION_EXEC : 0U);
}

// Why a region that exists is not what was asked for; nothing if it is.
std::optional<Failure> difference(const Module& module, const Options& options,
                                  const struct stm_info& region, std::uint64_t size) {
    constexpr std::uint32_t kKind = STM_REGION_PLAIN | STM_REGION_MUTEX | STM_REGION_EXEC;
    const std::string name = printable(options.name);
    if ((region.region_flags & kKind) != kind_asked(options))
        return Failure(Exit::failed,
                       fmt::format("region '{}' exists and is of another kind: {}, not {}", name,
                                   kind_text(region.region_flags), kind_text(kind_asked(options))),
                       EEXIST);
    const std::uint64_t page = module.version().page_size;
    if (size != 0 && (size + page - 1) / page * page != region.region_size)
        return Failure(
            Exit::failed,
            fmt::format("region '{}' exists and has another size: {} ({} bytes), not {}; "
                        "a size cannot be changed, and 0 asks for what there is",
                        name, format_size(region.region_size), region.region_size,
                        format_size(size)),
            EEXIST);
    return std::nullopt;
}

void create(const Options& options) {
    const std::optional<std::uint64_t> size = parse_size(options.size);
    if (!size)
        throw wrong_usage(options, fmt::format("'{}' is no size; write bytes, or 64K, 1M, 2G",
                                               printable(options.size)));
    const std::optional<unsigned> mode = parse_mode(options.mode);
    if (!mode)
        throw wrong_usage(
            options, fmt::format("'{}' is no mode; write it like 0640", printable(options.mode)));
    if (options.exec && !options.plain)
        throw wrong_usage(options, "--exec needs --plain");
    if (options.mutex && options.plain)
        throw wrong_usage(options,
                          "--mutex is a way to run transactions; a --plain region has none");
    const std::string& name = options.name;
    const Selector region = Selector::by_name(name); // a clear message for a name that cannot be
    if (name.rfind("minor:", 0) == 0)
        throw Failure(Exit::failed,
                      fmt::format("'{}': names that begin with 'minor:' are of regions that device "
                                  "nodes make",
                                  printable(name)),
                      EINVAL);
    int flags = STM_CREATE | STM_CLOEXEC;
    flags |= options.plain ? STM_PLAIN : 0;
    flags |= options.mutex ? STM_MUTEX : 0;
    flags |= options.ephemeral ? STM_EPHEMERAL : 0;
    flags |= options.exec ? STM_EXEC : 0;
    flags |= options.excl ? STM_EXCL : 0;

    const Module module;
    const int fd = stm_open(name.c_str(), *size, flags, *mode);
    const int error = errno;
    if (fd < 0) {
        // Of another kind, or smaller.
        if (error == EINVAL)
            if (const auto found = difference(module, options, module.info(region), *size))
                throw Failure(*found);
        throw region_failure(error, name);
    }
    const Descriptor handle(fd);
    const struct stm_info made = module.info_of_handle(handle, name);
    if (const auto found = difference(module, options, made, *size))
        throw Failure(*found);
    show(options, made);
    if (!options.ephemeral)
        return;
    // The region would go with this process: keep it for whoever started it.
    std::fflush(stdout);
    char ignored[4096];
    while (::read(STDIN_FILENO, ignored, sizeof ignored) > 0)
        continue;
}

// All that can be removed are; the exit status is that of the first that cannot.
int remove(const Options& options) {
    if (options.names.empty() && options.ids.empty())
        throw wrong_usage(options, "give the NAME of each region to remove, or its --id");
    for (const std::string& id : options.ids)
        (void)number(options, id);
    const Module module;
    std::vector<Failure> failures;
    const auto try_to_remove = [&](auto find) {
        try {
            module.destroy(find(), options.deferred ? When::deferred : When::unused);
        } catch (const Failure& failure) {
            failures.push_back(failure);
        }
    };
    for (const std::string& name : options.names)
        try_to_remove([&] { return Selector::by_name(name); });
    for (const std::string& id : options.ids)
        try_to_remove([&] { return by_id(module, options, id); });
    report(options.output, failures);
    return static_cast<int>(failures.empty() ? Exit::ok : failures[0].exit());
}

void attachments(const Options& options) {
    std::vector<RegionUsers> result;
    if (options.name.empty() && options.id.empty()) {
        const Module module;
        for (const struct stm_info& region : module.regions()) {
            try {
                result.push_back({region, module.attachments(Selector::by_id(region.id))});
            } catch (const Failure&) {
                // Destroyed since it was listed.
            }
        }
    } else {
        const Place at(options);
        result.push_back({at.module.info(at.region), at.module.attachments(at.region)});
    }
    if (options.output == Output::json)
        print(attachments_json(result));
    else
        fmt::print("{}", attachments_text(result));
}

void change_mode(const Options& given) {
    // With an id the only word is the mode.
    Options options = given;
    if (!options.id.empty() && options.mode.empty())
        options.mode = std::exchange(options.name, {});
    if (options.mode.empty())
        throw wrong_usage(options, "give the NAME of a region, or its --id, and the MODE");
    const std::optional<unsigned> mode = parse_mode(options.mode);
    if (!mode)
        throw wrong_usage(
            options, fmt::format("'{}' is no mode; write it like 0640", printable(options.mode)));
    const Place at(options);
    const Descriptor handle = at.module.open(at.region, Access::read);
    if (::fchmod(handle.get(), *mode) < 0)
        throw region_failure(errno, at.region.text(), at.region.argument());
}

void statistics(const Options& options) {
    const Place at(options);
    const struct stm_info what = at.module.info(at.region);
    const struct stm_statistics numbers = at.module.statistics(at.region);
    if (options.output == Output::json)
        print(statistics_json(what, numbers));
    else
        fmt::print("{}", statistics_text(what, numbers));
}

void limits(const Options& options) {
    const struct stm_version version = Module().version();
    if (options.output == Output::json)
        print(limits_json(version));
    else
        fmt::print("{}", limits_text(version));
}

// What runs a command; its exit status.
using Action = std::function<int(const Options&)>;
Action always_ok(void (*action)(const Options&)) {
    return [action](const Options& options) {
        action(options);
        return static_cast<int>(Exit::ok);
    };
}

void add_region(CLI::App* command, Options& options, const char* what = "the region's name") {
    command->add_option("NAME", options.name, what);
    command->add_option("--id", options.id,
                        "instead of it: the id that 'ls' shows, also the number of shm_create()");
}

// A word in the place of a command is a command that does not exist, whatever else is missing.
Failure unknown(const CLI::App& app, const CLI::ParseError& error) {
    if (!app.get_subcommands().empty())
        return {Exit::usage, fmt::format("{0}: {1}; see 'stmctl {0} --help'",
                                         app.get_subcommands()[0]->get_name(), error.what())};
    std::vector<std::string> commands;
    for (const CLI::App* command : app.get_subcommands(nullptr))
        commands.push_back(command->get_name());
    const std::string list =
        fmt::format("the commands are {}; see 'stmctl --help'", fmt::join(commands, ", "));
    const std::vector<std::string> words = app.remaining();
    if (words.empty())
        return {Exit::usage, "give a command: " + list};
    return {Exit::usage, fmt::format("there is no {} '{}'; {}",
                                     words[0].rfind('-', 0) == 0 ? "option" : "command",
                                     printable(words[0]), list)};
}

int run(int argc, char** argv) {
    Options options;
    CLI::App app("Lists, makes and removes the shared memory regions of the module stm.");
    const std::string footer =
        std::string(kExitHelp) +
        "\nErrors are told on standard error, with --json as {\"errors\": [{message, errno, "
        "exit_status}, …]}.";
    app.footer(footer);
    app.set_version_flag("--version", stm_version());
    app.require_subcommand(1);
    app.fallthrough();
    app.add_flag_callback(
        "--json", [&] { options.output = Output::json; }, "print JSON, errors too");

    Action chosen;
    auto command = [&](const char* name, const char* what, Action action) {
        CLI::App* result = app.add_subcommand(name, what);
        result->footer(footer);
        result->callback([&chosen, &options, name, action] {
            options.command = name;
            chosen = action;
        });
        return result;
    };

    command("ls", "list all regions, also those that were removed and are still used",
            always_ok(list));
    add_region(command("info", "show one region", always_ok(info)), options);
    add_region(
        command("statistics", "what the transactions of a region did", always_ok(statistics)),
        options);

    CLI::App* make =
        command("create", "make a region, or show the one of this name if it is as asked for",
                always_ok(create));
    make->add_option("NAME", options.name, "its name, compared in full")->required();
    make->add_option(
            "SIZE", options.size,
            "bytes, or with a suffix K, M, G, T; 0: what there is, or the module's default")
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

    CLI::App* rm = command("rm", "destroy regions that nobody uses", remove);
    rm->add_option("NAME", options.names, "the regions' names");
    rm->add_option("--id", options.ids, "the same by an id as 'ls' shows it; may be given again")
        ->allow_extra_args(false);
    rm->add_flag("--deferred", options.deferred,
                 "take their names now, and their memory when the last user is done");

    add_region(command("attachments", "who uses a region, or each region", always_ok(attachments)),
               options, "the region's name; without it, all regions");

    CLI::App* chmod = command("chmod", "change a region's permission bits", always_ok(change_mode));
    add_region(chmod, options);
    std::string new_mode;
    chmod->add_option("MODE", new_mode, "permission bits in octal");

    command("limits", "the module's limits and how much of them is used", always_ok(limits));
    add_region(command("dump", "write a region's bytes to standard output",
                       always_ok([](const Options& given) {
                           const Place at(given);
                           dump_region(at.module, at.region);
                       })),
               options);
    add_region(command("load", "write standard input to a region, from its beginning",
                       always_ok([](const Options& given) {
                           const Place at(given);
                           load_region(at.module, at.region);
                       })),
               options);

    try {
        app.parse(argc, argv);
    } catch (const CLI::Success& success) { // --help, --version
        return app.exit(success);
    } catch (const CLI::ParseError& error) {
        // A flag that was not come to yet counts as well.
        const bool json = std::any_of(argv + 1, argv + argc, [](const char* word) {
            return std::string_view(word) == "--json";
        });
        report(json ? Output::json : Output::text, {unknown(app, error)});
        return static_cast<int>(Exit::usage);
    }
    if (chmod->parsed())
        options.mode = new_mode;
    try {
        const int status = chosen(options);
        if (std::fflush(stdout) != 0)
            throw Failure(Exit::failed, "standard output cannot be written", errno);
        return status;
    } catch (const Failure& failure) {
        report(options.output, {failure});
        return static_cast<int>(failure.exit());
    } catch (const std::exception& error) {
        report(options.output, {Failure(Exit::failed, error.what())});
        return static_cast<int>(Exit::failed);
    }
}

} // namespace
} // namespace stm::tools

int main(int argc, char** argv) {
    return stm::tools::run(argc, argv);
}
