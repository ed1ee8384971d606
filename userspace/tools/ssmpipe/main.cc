// SPDX-License-Identifier: GPL-2.0
// ssmpipe: strings through segments that are found by name. Without arguments it asks; with
// arguments it is for scripts.
#include "common/failure.hpp"
#include "common/module.hpp"
#include "common/text.hpp"
#include "dialogue.hpp"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <memory>
#include <stm/ssmem.h>
#include <stm/stm.h>
#include <unistd.h>

namespace stm::tools {
namespace {

void* attach(std::string& name, int flag) {
    long address = ssmem_attach(name.data(), flag, 1);
    if (address != -1)
        return reinterpret_cast<void*>(address);
    if (errno == ENOENT)
        throw Failure(Exit::failed,
                      fmt::format("there is no segment '{}': somebody has to create it, and "
                                  "stay attached: ssmpipe create",
                                  printable(name)));
    if (errno == EACCES)
        throw Failure(Exit::failed,
                      fmt::format("segment '{}' belongs to another user, who does not "
                                  "allow this",
                                  printable(name)));
    throw Failure(Exit::failed,
                  fmt::format("segment '{}': {}", printable(name), std::strerror(errno)));
}

void create(const std::string& name, const std::string& length) {
    std::optional<std::uint64_t> bytes = parse_size(length);
    if (!bytes || *bytes == 0)
        throw Failure(Exit::usage,
                      fmt::format("'{}' is no length; write bytes, or 64K, 1M", length));
    if (!create_segment(name.c_str(), *bytes))
        throw Failure(Exit::failed, "nothing was created");
    // A segment goes with its last attachment.
    char ignored[4096];
    while (::read(STDIN_FILENO, ignored, sizeof ignored) > 0)
        continue;
}

void write(std::string name, std::string text) {
    void* address = attach(name, SSMEM_FLAG_WRITE);
    if (ssmem_write(address, text.data()) == 0)
        return;
    if (errno == EMSGSIZE)
        throw Failure(Exit::failed, fmt::format("{} bytes and their end do not fit in segment '{}'",
                                                text.size(), printable(name)));
    throw Failure(Exit::failed,
                  fmt::format("segment '{}': {}", printable(name), std::strerror(errno)));
}

void read(std::string name) {
    void* address = attach(name, SSMEM_FLAG_READ);
    std::unique_ptr<char, decltype(&std::free)> text(read_segment(address), &std::free);
    if (!text)
        throw Failure(Exit::failed,
                      fmt::format("segment '{}': {}", printable(name), std::strerror(errno)));
    fmt::print("{}\n", text.get());
}

int run(int argc, char** argv) {
    CLI::App app(
        "Moves strings between processes through shared memory segments that are found by name.\n"
        "Without a command it asks what to do until its standard input ends.");
    app.footer(kExitHelp);
    app.set_version_flag("--version", stm_version());
    app.require_subcommand(0, 1);
    std::string name;
    std::string value;

    CLI::App* create_command = app.add_subcommand(
        "create", "make a segment and keep it, attached, until standard input ends: a segment that "
                  "nobody has attached is gone. Prints two lines when it is there");
    create_command->add_option("NAME", name, "its name")->required();
    create_command->add_option("LENGTH", value, "bytes, or with a suffix K, M, G")->required();

    CLI::App* write_command = app.add_subcommand("write", "store a string in a segment");
    write_command->add_option("NAME", name, "its name")->required();
    write_command->add_option("TEXT", value, "the string")->required();

    CLI::App* read_command = app.add_subcommand("read", "print the string in a segment");
    read_command->add_option("NAME", name, "its name")->required();

    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return static_cast<int>(app.exit(error) == 0 ? Exit::ok : Exit::usage);
    }
    try {
        Module module; // says clearly when there is none
        if (create_command->parsed())
            create(name, value);
        else if (write_command->parsed())
            write(name, value);
        else if (read_command->parsed())
            read(name);
        else
            hold_dialogue();
        return static_cast<int>(Exit::ok);
    } catch (const Failure& failure) {
        fmt::print(stderr, "ssmpipe: {}\n", failure.what());
        return static_cast<int>(failure.exit());
    } catch (const std::exception& error) {
        fmt::print(stderr, "ssmpipe: {}\n", error.what());
        return static_cast<int>(Exit::failed);
    }
}

} // namespace
} // namespace stm::tools

int main(int argc, char** argv) {
    return stm::tools::run(argc, argv);
}
