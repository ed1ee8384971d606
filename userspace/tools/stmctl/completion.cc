// SPDX-License-Identifier: GPL-2.0
// Completion of command lines for bash and zsh, made from the definitions by which they are parsed.
#include "command.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <fmt/ranges.h>

namespace stm::tools {
namespace {

struct Option {
    std::vector<std::string> names; // "--mode", "-h"
    bool takes_value;
    std::string what;
};

struct Defined {
    std::string name;
    std::string what;
    std::vector<Option> options;
    std::vector<std::string> kinds; // of its words: REGION, FILE, TEXT
    bool repeats = false;           // its last word may come again
};

std::vector<Option> options_of(const CLI::App& app) {
    std::vector<Option> result;
    for (const CLI::Option* option : app.get_options()) {
        Option found{{}, option->get_items_expected_max() > 0, option->get_description()};
        for (const std::string& name : option->get_lnames())
            found.names.push_back("--" + name);
        for (const std::string& name : option->get_snames())
            found.names.push_back("-" + name);
        if (!found.names.empty())
            result.push_back(found);
    }
    return result;
}

std::vector<Defined> commands_of(const CLI::App& app) {
    std::vector<Defined> result;
    for (const CLI::App* command : app.get_subcommands(nullptr)) {
        Defined defined{command->get_name(), command->get_description(), options_of(*command), {}};
        for (const CLI::Option* option : command->get_options())
            if (option->get_positional()) {
                defined.kinds.push_back(option->get_type_name());
                defined.repeats = option->get_items_expected_max() > 1;
            }
        result.push_back(defined);
    }
    return result;
}

std::string names_of(const std::vector<Option>& options) {
    std::vector<std::string> names;
    for (const Option& option : options)
        names.insert(names.end(), option.names.begin(), option.names.end());
    return fmt::format("{}", fmt::join(names, " "));
}

std::string with_values(const std::vector<Option>& options) {
    std::vector<std::string> names;
    for (const Option& option : options)
        if (option.takes_value)
            names.insert(names.end(), option.names.begin(), option.names.end());
    return fmt::format("{}", fmt::join(names, "|"));
}

// A word in single quotes of a shell.
std::string quoted(const std::string& text) {
    std::string result = "'";
    for (const char letter : text)
        result += letter == '\'' ? std::string("'\\''") : std::string(1, letter);
    return result + "'";
}

std::string bash(const CLI::App& app) {
    std::vector<std::string> names;
    std::string options;
    std::string words;
    for (const Defined& command : commands_of(app)) {
        names.push_back(command.name);
        options +=
            fmt::format("    {}) options={} values={} ;;\n", command.name,
                        quoted(names_of(command.options)), quoted(with_values(command.options)));
        for (std::size_t place = 0; place < command.kinds.size(); ++place) {
            if (command.kinds[place] == "TEXT")
                continue;
            const bool any = command.repeats && place + 1 == command.kinds.size();
            words += fmt::format("    {}:{}) kind={} ;;\n", command.name,
                                 any ? std::string("*") : fmt::format("{}", place),
                                 command.kinds[place]);
        }
    }
    return fmt::format(R"shell(# bash completion for stmctl; made by 'stmctl completion bash'
_stmctl() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} command='' place=0 options={} values='' kind='' word
    local index
    COMPREPLY=()
    for ((index = 1; index < COMP_CWORD; ++index)); do
        word=${{COMP_WORDS[index]}}
        if [[ $word == -* ]]; then
            [[ -n $values && $word =~ ^($values)$ ]] && ((++index))
        elif [[ -z $command ]]; then
            command=$word
            case $command in
{}            esac
        else
            ((++place))
        fi
    done
    # The value of an option is no word that can be known.
    ((index > COMP_CWORD)) && return
    if [[ $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options --json" -- "$current")
        return
    fi
    if [[ -z $command ]]; then
        mapfile -t COMPREPLY < <(compgen -W {} -- "$current")
        return
    fi
    case $command:$place in
{}    esac
    case $kind in
    REGION)
        # Names may have blanks, and are quoted as the shell needs it.
        while IFS= read -r word; do
            [[ $word == "$current"* ]] && COMPREPLY+=("$(printf %q "$word")")
        done < <(stmctl ls --names 2>/dev/null)
        ;;
    FILE)
        compopt -o filenames
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        ;;
    SHELL)
        mapfile -t COMPREPLY < <(compgen -W 'bash zsh' -- "$current")
        ;;
    esac
}}
complete -F _stmctl stmctl
)shell",
                       quoted(names_of(options_of(app))), options,
                       quoted(fmt::format("{}", fmt::join(names, " "))), words);
}

// A description within a specification of zsh's _arguments.
std::string described(const std::string& text) {
    std::string result;
    for (const char letter : text) {
        if (letter == ':' || letter == '[' || letter == ']' || letter == '\\')
            result += '\\';
        result += letter;
    }
    return result;
}

std::string zsh(const CLI::App& app) {
    std::string list;
    std::string cases;
    for (const Defined& command : commands_of(app)) {
        list += fmt::format("    {}\n", quoted(command.name + ":" + described(command.what)));
        cases += fmt::format("    {})\n      _arguments -s", command.name);
        for (const Option& option : command.options)
            for (const std::string& name : option.names)
                cases += fmt::format(" \\\n        {}",
                                     quoted(fmt::format("{}[{}]{}", name, described(option.what),
                                                        option.takes_value ? ":value: " : "")));
        cases += " \\\n        '--json[print JSON, errors too]'";
        for (std::size_t place = 0; place < command.kinds.size(); ++place) {
            const std::string& kind = command.kinds[place];
            const std::string action = kind == "REGION" ? "_stmctl_regions"
                                       : kind == "FILE" ? "_files"
                                       : kind == "TEXT" ? " "
                                                        : "(bash zsh)";
            const bool any = command.repeats && place + 1 == command.kinds.size();
            cases +=
                fmt::format(" \\\n        '{}:{}:{}'", any ? "*" : "", described(kind), action);
        }
        cases += "\n      ;;\n";
    }
    return fmt::format(R"shell(#compdef stmctl
# zsh completion for stmctl; made by 'stmctl completion zsh'
_stmctl_regions() {{
  local -a names
  names=("${{(@f)$(stmctl ls --names 2>/dev/null)}}")
  compadd -a names
}}
_stmctl() {{
  local -a commands
  local context state line
  commands=(
{})
  _arguments -C '--json[print JSON, errors too]' '--help[print a help text]' \
    '--version[print the versions]' '1:command:->command' '*::argument:->argument'
  case $state in
  command) _describe command commands ;;
  argument)
    case $words[1] in
{}    esac
    ;;
  esac
}}
_stmctl "$@"
)shell",
                       list, cases);
}

} // namespace

void add_completion(Program& program) {
    auto shell = std::make_shared<std::string>();
    program
        .add("completion", "print what completes command lines in a shell",
             [shell, &program](const Call& call) {
                 if (*shell == "bash")
                     fmt::print("{}", bash(program.app()));
                 else if (*shell == "zsh")
                     fmt::print("{}", zsh(program.app()));
                 else
                     throw call.wrong_usage("the shells are bash and zsh");
             })
        .word("SHELL", *shell, "bash or zsh", Needed::yes, Word::shell);
}

} // namespace stm::tools
