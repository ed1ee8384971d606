// SPDX-License-Identifier: GPL-2.0
#include "command.hpp"

#include "common/text.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstring>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stm/stm.h>

namespace stm::tools {
namespace {

void print(std::FILE* to, const nlohmann::json& json) {
    // A name may be any bytes; those that are no UTF-8 are shown as U+FFFD.
    fmt::print(to, "{}\n", json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace));
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

const std::string kFooter =
    std::string(kExitHelp) +
    "\nErrors are told on standard error, with --json as {\"errors\": [{message, errno, "
    "exit_status}, …]}.";

// A flag that was not come to yet counts as well.
bool has_json(int argc, char** argv) {
    return std::any_of(argv + 1, argv + argc,
                       [](const char* word) { return std::string_view(word) == "--json"; });
}

// That of each part. They belong together, and may not: an older module stays loaded while it is
// used.
void show_version(Output output) {
    std::string module;
    std::getline(std::ifstream("/sys/module/stm/version"), module);
    nlohmann::json json = {
        {"stmctl", STM_VERSION_STRING},
        {"library", stm_version()},
        {"module", module.empty() ? nlohmann::json(nullptr) : nlohmann::json(module)},
        {"interface", fmt::format("{}.{}", STM_ABI_MAJOR, STM_ABI_MINOR)},
        {"module_interface", nullptr}};
    try {
        const struct stm_version version = Module().version();
        json["module_interface"] = fmt::format("{}.{}", version.abi_major, version.abi_minor);
    } catch (const Failure&) {
        // It does not answer, or may not be asked.
    }
    if (output == Output::json)
        return print(stdout, json);
    const auto text = [&](const char* key) {
        return json[key].is_null() ? std::string("unknown") : json[key].get<std::string>();
    };
    fmt::print("stmctl {}\nlibstm {}\n", text("stmctl"), text("library"));
    if (json["module"].is_null() && json["module_interface"].is_null())
        fmt::print("module not loaded (these know interface {})\n", text("interface"));
    else
        fmt::print("module {}, interface {} (these know {})\n", text("module"),
                   text("module_interface"), text("interface"));
}

// The name of what a word is, which the completion of command lines reads again.
const char* type_name(Word kind) {
    switch (kind) {
    case Word::region:
        return "REGION";
    case Word::file:
        return "FILE";
    case Word::shell:
        return "SHELL";
    default:
        return "TEXT";
    }
}

} // namespace

Failure Call::wrong_usage(const std::string& what) const {
    return {Exit::usage, fmt::format("{}: {}; see 'stmctl {} --help'", command, what, command)};
}

Command& Command::word(const char* name, std::string& value, const char* what, Needed needed,
                       Word kind) {
    CLI::Option* option = app_.add_option(name, value, what)->type_name(type_name(kind));
    if (needed == Needed::yes)
        option->required();
    return *this;
}

Command& Command::words(const char* name, std::vector<std::string>& values, const char* what,
                        Word kind) {
    app_.add_option(name, values, what)->type_name(type_name(kind));
    return *this;
}

Command& Command::option(const char* name, std::string& value, const char* what) {
    CLI::Option* option = app_.add_option(name, value, what);
    if (!value.empty())
        option->capture_default_str();
    return *this;
}

Command& Command::option(const char* name, std::vector<std::string>& values, const char* what) {
    app_.add_option(name, values, what)->allow_extra_args(false);
    return *this;
}

Command& Command::flag(const char* name, bool& value, const char* what) {
    app_.add_flag(name, value, what);
    return *this;
}

Command& Command::region(RegionWords& words, const char* what) {
    word("NAME", words.name, what, Needed::no, Word::region);
    return option("--id", words.id,
                  "instead of it: the id that 'ls' shows, also the number of shm_create()");
}

Program::Program()
    : app_(std::make_unique<CLI::App>(
          "Lists, makes and removes the shared memory regions of the module stm.")) {
    app_->footer(kFooter);
    app_->set_version_flag("--version", "");
    app_->require_subcommand(1);
    app_->fallthrough();
    app_->add_flag_callback(
        "--json", [this] { call_.output = Output::json; }, "print JSON, errors too");
}

Program::~Program() = default;

Command Program::add(const char* name, const char* what, Action action) {
    CLI::App* command = app_->add_subcommand(name, what);
    command->footer(kFooter);
    command->callback([this, name, action] {
        call_.command = name;
        chosen_ = action;
    });
    return Command(*command);
}

Command Program::add(const char* name, const char* what, std::function<void(const Call&)> action) {
    return add(name, what, Action([action](const Call& call) {
                   action(call);
                   return static_cast<int>(Exit::ok);
               }));
}

int Program::run(int argc, char** argv) {
    try {
        app_->parse(argc, argv);
    } catch (const CLI::CallForVersion&) {
        show_version(has_json(argc, argv) ? Output::json : Output::text);
        return static_cast<int>(Exit::ok);
    } catch (const CLI::Success& success) { // --help
        return app_->exit(success);
    } catch (const CLI::ParseError& error) {
        report(has_json(argc, argv) ? Output::json : Output::text, {unknown(*app_, error)});
        return static_cast<int>(Exit::usage);
    }
    try {
        const int status = chosen_(call_);
        if (std::fflush(stdout) != 0)
            throw Failure(Exit::failed, "standard output cannot be written", errno);
        return status;
    } catch (const Failure& failure) {
        report(call_.output, {failure});
        return static_cast<int>(failure.exit());
    } catch (const std::exception& error) {
        report(call_.output, {Failure(Exit::failed, error.what())});
        return static_cast<int>(Exit::failed);
    }
}

std::uint64_t parse_id(const Call& call, const std::string& text) {
    try {
        std::size_t used = 0;
        const std::uint64_t id = std::stoull(text, &used, 0);
        if (used == text.size())
            return id;
    } catch (const std::exception&) {
        // No digits, or too many.
    }
    throw call.wrong_usage(
        fmt::format("'{}' is no id; it is a number as 'stmctl ls' shows it", printable(text)));
}

namespace {

// Who calls it wrongly hears of that, whether there is a module or not.
Module opened(const Call& call, const RegionWords& words) {
    if (words.name.empty() == words.id.empty())
        throw call.wrong_usage("give the NAME of a region, or its --id");
    if (!words.id.empty())
        (void)parse_id(call, words.id);
    return {};
}

} // namespace

Place::Place(const Call& call, const RegionWords& words)
    : module(opened(call, words)),
      region(words.id.empty() ? Selector::by_name(words.name)
                              : module.find(parse_id(call, words.id))) {
}

void print(const nlohmann::json& json) {
    print(stdout, json);
}

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

} // namespace stm::tools
