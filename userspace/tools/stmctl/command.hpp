// SPDX-License-Identifier: GPL-2.0
// What a command of stmctl is made of. Each has a file of its own, which says its words and options
// and does what it is for. Only program.cc knows the library that parses them.
#pragma once

#include "common/failure.hpp"
#include "common/module.hpp"

#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace stm::tools {

enum class Output { text, json };
enum class Needed { yes, no };
/** What a word is, for the completion of command lines. */
enum class Word { region, file, shell, other };

/** How the command was called, apart from its own words. */
struct Call {
    std::string command;
    Output output = Output::text;

    [[nodiscard]] bool json() const { return output == Output::json; }
    /** The failure of somebody who calls it wrongly. */
    [[nodiscard]] Failure wrong_usage(const std::string& what) const;
};

/** The words that name one region: NAME, or --id ID. */
struct RegionWords {
    std::string name;
    std::string id;

    [[nodiscard]] bool empty() const { return name.empty() && id.empty(); }
};

/** What a command does; its exit status. */
using Action = std::function<int(const Call&)>;

/** The words and options of a command, for the file that defines it. */
class Command {
public:
    explicit Command(CLI::App& app) : app_(app) {}

    Command& word(const char* name, std::string& value, const char* what,
                  Needed needed = Needed::yes, Word kind = Word::other);
    Command& words(const char* name, std::vector<std::string>& values, const char* what,
                   Word kind = Word::other);
    Command& option(const char* name, std::string& value, const char* what);
    /** One that may be given again. */
    Command& option(const char* name, std::vector<std::string>& values, const char* what);
    Command& flag(const char* name, bool& value, const char* what);
    /** NAME and --id. Which of them is given is checked by Place. */
    Command& region(RegionWords& words, const char* what = "the region's name");

private:
    CLI::App& app_;
};

/** All commands. */
class Program {
public:
    Program();
    ~Program();
    Program(const Program&) = delete;

    Command add(const char* name, const char* what, Action action);
    /** One that always ends well, or throws. */
    Command add(const char* name, const char* what, std::function<void(const Call&)> action);
    /** Parses the command line and runs what it says; the exit status. */
    [[nodiscard]] int run(int argc, char** argv);
    /** What all commands are, for those that write about them. */
    [[nodiscard]] const CLI::App& app() const { return *app_; }

private:
    std::unique_ptr<CLI::App> app_;
    Call call_;
    Action chosen_;
};

/** The module, and the one region in it that a command is about. */
struct Place {
    Place(const Call& call, const RegionWords& words);

    Module module;
    Selector region;
};

/** The id that a word of the command line is. */
[[nodiscard]] std::uint64_t parse_id(const Call& call, const std::string& text);

void print(const nlohmann::json& json);
/** Tells what went wrong, on standard error: several operations may have. */
void report(Output output, const std::vector<Failure>& failures);

void add_attachments(Program& program);
void add_chmod(Program& program);
void add_chown(Program& program);
void add_completion(Program& program);
void add_copy(Program& program);
void add_create(Program& program);
void add_doctor(Program& program);
void add_dump(Program& program);
void add_heatmap(Program& program);
void add_hexdump(Program& program);
void add_info(Program& program);
void add_ipcs(Program& program);
void add_limits(Program& program);
void add_load(Program& program);
void add_ls(Program& program);
void add_rm(Program& program);
void add_stat(Program& program);
void add_statistics(Program& program);
void add_top(Program& program);
void add_trace(Program& program);

} // namespace stm::tools
