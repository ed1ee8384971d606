// SPDX-License-Identifier: GPL-2.0
#include "command.hpp"
#include "common/text.hpp"
#include "report.hpp"

#include <cerrno>
#include <fmt/format.h>
#include <optional>
#include <stm/stm.h>
#include <unistd.h>

namespace stm::tools {
namespace {

struct Words {
    std::string name;
    std::string size;
    std::string mode = "0600";
    bool plain = false;
    bool mutex = false;
    bool direct = false;
    bool ephemeral = false;
    bool exec = false;
    bool excl = false;
};

std::string kind_text(std::uint32_t flags) {
    const std::string text = kind_name(flags);
    return (flags & STM_REGION_EXEC) != 0 ? text + ", executable" : text;
}

// What was asked for, as flags of a region. How long it lives is no difference.
std::uint32_t kind_asked(const Words& words) {
    return (words.plain ? STM_REGION_PLAIN : 0U) | (words.mutex ? STM_REGION_MUTEX : 0U) |
           (words.exec ? STM_REGION_EXEC : 0U) | (words.direct ? STM_REGION_DIRECT : 0U);
}

// Why a region that exists is not what was asked for; nothing if it is.
std::optional<Failure> difference(const Module& module, const Words& words,
                                  const struct stm_info& region, std::uint64_t size) {
    constexpr std::uint32_t kKind =
        STM_REGION_PLAIN | STM_REGION_MUTEX | STM_REGION_EXEC | STM_REGION_DIRECT;
    const std::string name = printable(words.name);
    if ((region.region_flags & kKind) != kind_asked(words))
        return Failure(Exit::failed,
                       fmt::format("region '{}' exists and is of another kind: {}, not {}", name,
                                   kind_text(region.region_flags), kind_text(kind_asked(words))),
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

void show(const Call& call, const struct stm_info& region) {
    if (call.json())
        print(region_json(region));
    else
        fmt::print("{}", region_text(region));
}

void create(const Call& call, const Words& words) {
    const std::optional<std::uint64_t> size = parse_size(words.size);
    if (!size)
        throw call.wrong_usage(
            fmt::format("'{}' is no size; write bytes, or 64K, 1M, 2G", printable(words.size)));
    const std::optional<unsigned> mode = parse_mode(words.mode);
    if (!mode)
        throw call.wrong_usage(
            fmt::format("'{}' is no mode; write it like 0640", printable(words.mode)));
    if (words.exec && !words.plain)
        throw call.wrong_usage("--exec needs --plain");
    if (words.mutex && words.plain)
        throw call.wrong_usage("--mutex is a way to run transactions; a --plain region has none");
    if (words.direct && (words.plain || words.mutex))
        throw call.wrong_usage(fmt::format("--direct is about optimistic transactions; a --{} "
                                           "region has none",
                                           words.plain ? "plain" : "mutex"));
    const std::string& name = words.name;
    const Selector region = Selector::by_name(name); // a clear message for a name that cannot be
    if (name.rfind("minor:", 0) == 0)
        throw Failure(Exit::failed,
                      fmt::format("'{}': names that begin with 'minor:' are of regions that device "
                                  "nodes make",
                                  printable(name)),
                      EINVAL);
    int flags = STM_CREATE | STM_CLOEXEC;
    flags |= words.plain ? STM_PLAIN : 0;
    flags |= words.mutex ? STM_MUTEX : 0;
    flags |= words.direct ? STM_DIRECT : 0;
    flags |= words.ephemeral ? STM_EPHEMERAL : 0;
    flags |= words.exec ? STM_EXEC : 0;
    flags |= words.excl ? STM_EXCL : 0;

    const Module module;
    const int fd = stm_open(name.c_str(), *size, flags, *mode);
    const int error = errno;
    if (fd < 0) {
        // Of another kind, or smaller.
        if (error == EINVAL)
            if (const auto found = difference(module, words, module.info(region), *size))
                throw Failure(*found);
        throw region_failure(error, name);
    }
    const Descriptor handle(fd);
    const struct stm_info made = module.info_of_handle(handle, name);
    if (const auto found = difference(module, words, made, *size))
        throw Failure(*found);
    show(call, made);
    if (!words.ephemeral)
        return;
    // The region would go with this process: keep it for whoever started it.
    std::fflush(stdout);
    char ignored[4096];
    while (::read(STDIN_FILENO, ignored, sizeof ignored) > 0)
        continue;
}

} // namespace

void add_create(Program& program) {
    auto words = std::make_shared<Words>();
    program
        .add("create", "make a region, or show the one of this name if it is as asked for",
             [words](const Call& call) { create(call, *words); })
        .word("NAME", words->name, "its name, compared in full")
        .word("SIZE", words->size,
              "bytes, or with a suffix K, M, G, T; 0: what there is, or the module's default")
        .flag("--plain", words->plain, "ordinary shared memory without transactions")
        .flag("--mutex", words->mutex, "transactions take a lock instead of being optimistic")
        .flag("--direct", words->direct,
              "programs commit by themselves, and trust each other to store nothing else")
        .flag("--ephemeral", words->ephemeral,
              "goes with its last user; stmctl stays one until its standard input ends")
        .flag("--exec", words->exec, "may be mapped executable (with --plain)")
        .option("--mode", words->mode, "permission bits in octal, less the umask")
        .flag("--excl", words->excl, "fail if there is one already");
}

} // namespace stm::tools
