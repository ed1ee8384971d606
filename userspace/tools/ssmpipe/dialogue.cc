// SPDX-License-Identifier: GPL-2.0
// The prompts are those of the program that this one stands in for, letter by letter.
#include "dialogue.hpp"

#include "common/text.hpp"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <memory>
#include <optional>
#include <stm/ssmem.h>
#include <string>

namespace stm::tools {
namespace {

struct Free {
    void operator()(char* memory) const { std::free(memory); }
};

void say(const std::string& line) {
    fmt::print("{}\n", line);
    std::fflush(stdout);
}

// A line of standard input without its end; nothing when there is none left.
std::optional<std::string> answer() {
    char* line = nullptr;
    std::size_t room = 0;
    ssize_t length = ::getline(&line, &room, stdin);
    std::unique_ptr<char, Free> owner(line);
    if (length < 0)
        return std::nullopt;
    std::string result(line, static_cast<std::size_t>(length));
    while (!result.empty() && (result.back() == '\n' || result.back() == '\r'))
        result.pop_back();
    return result;
}

std::optional<std::string> ask(const char* prompt) {
    say(prompt);
    return answer();
}

void say_address(long address) {
    say(fmt::format("ret : {:#x}", static_cast<std::uint64_t>(address)));
}

void explain(int error, const char* name) {
    const char* advice = "";
    if (error == ENOENT)
        advice = " (nobody has it attached; create it first)";
    else if (error == ENODEV)
        advice = " (load the module: modprobe stm, or insmod stm.ko)";
    fmt::print(stderr, "ssmpipe: segment '{}': {}{}\n", printable(name), std::strerror(error),
               advice);
}

// The end of input in the middle of a question ends the dialogue.
enum class Next { question, end };

Next create() {
    std::optional<std::string> name = ask("input ssmem name:");
    if (!name)
        return Next::end;
    std::optional<std::string> length = ask("input ssmem length(4K aligned recomanded):");
    if (!length)
        return Next::end;
    std::optional<std::uint64_t> bytes = parse_size(*length);
    if (!bytes) {
        say("create failed!");
        fmt::print(stderr, "ssmpipe: '{}' is no length\n", printable(*length));
        return Next::question;
    }
    (void)create_segment(name->c_str(), *bytes);
    return Next::question;
}

void* visit(std::string& name, int flag) {
    long address = ssmem_attach(name.data(), flag, 1);
    if (address == -1) {
        int error = errno;
        say("visit failed!");
        explain(error, name.c_str());
        return nullptr;
    }
    say("visit success!");
    say_address(address);
    return reinterpret_cast<void*>(address);
}

Next write() {
    std::optional<std::string> name = ask("input ssmem name:");
    if (!name)
        return Next::end;
    void* address = visit(*name, SSMEM_FLAG_WRITE);
    if (address == nullptr)
        return Next::question;
    std::optional<std::string> data = ask("input your data to wirte:");
    if (!data)
        return Next::end;
    if (ssmem_write(address, data->data()) != 0)
        explain(errno, name->c_str());
    // Through the pointer, as a program would; the length guards against a segment that never ends
    // its string.
    auto room = static_cast<std::size_t>(ssmem_length(address));
    const char* text = static_cast<const char*>(address);
    say(fmt::format("addr after write: {}", std::string(text, strnlen(text, room))));
    return Next::question;
}

Next read() {
    std::optional<std::string> name = ask("input ssmem name:");
    if (!name)
        return Next::end;
    void* address = visit(*name, SSMEM_FLAG_READ);
    if (address == nullptr)
        return Next::question;
    std::unique_ptr<char, Free> text(read_segment(address));
    if (!text)
        explain(errno, name->c_str());
    say(fmt::format("read data : {}", text ? text.get() : ""));
    say(fmt::format("ret : {}", text ? 0 : -1));
    return Next::question;
}

} // namespace

bool create_segment(const char* name, unsigned long long length) {
    std::string copy(name);
    long address = ssmem_attach(copy.data(), SSMEM_FLAG_CREATE, length);
    if (address == -1) {
        int error = errno;
        say("create failed!");
        explain(error, name);
        return false;
    }
    say("create success!");
    say_address(address);
    return true;
}

char* read_segment(void* address) {
    long room = ssmem_length(address);
    if (room < 0)
        return nullptr;
    std::unique_ptr<char, Free> text(
        static_cast<char*>(std::malloc(static_cast<std::size_t>(room))));
    if (!text || ssmem_read(address, text.get()) != 0)
        return nullptr;
    return text.release();
}

void hold_dialogue() {
    for (;;) {
        std::optional<std::string> option =
            ask("input opeartion option: [create] or [write] or [read]");
        if (!option)
            return;
        Next next = Next::question;
        if (*option == "create")
            next = create();
        else if (*option == "write")
            next = write();
        else if (*option == "read")
            next = read();
        if (next == Next::end)
            return;
    }
}

} // namespace stm::tools
