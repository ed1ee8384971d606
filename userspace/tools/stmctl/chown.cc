// SPDX-License-Identifier: GPL-2.0
#include "command.hpp"
#include "common/text.hpp"

#include <cerrno>
#include <charconv>
#include <fmt/format.h>
#include <grp.h>
#include <optional>
#include <pwd.h>
#include <unistd.h>
#include <utility>

namespace stm::tools {
namespace {

struct Words {
    RegionWords region;
    std::string owner;
};

constexpr unsigned kUnchanged = ~0U;

std::optional<unsigned> number_of(const std::string& text) {
    unsigned number = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || rest != text.data() + text.size() || number == kUnchanged)
        return std::nullopt;
    return number;
}

// A name goes before a number, as for the command chown.
unsigned user_of(const Call& call, const std::string& text) {
    if (const struct passwd* user = ::getpwnam(text.c_str()))
        return user->pw_uid;
    if (const auto number = number_of(text))
        return *number;
    throw call.wrong_usage(fmt::format("there is no user '{}'", printable(text)));
}

unsigned group_of(const Call& call, const std::string& text) {
    if (const struct group* group = ::getgrnam(text.c_str()))
        return group->gr_gid;
    if (const auto number = number_of(text))
        return *number;
    throw call.wrong_usage(fmt::format("there is no group '{}'", printable(text)));
}

void change_owner(const Call& call, Words words) {
    // With an id the only word is the owner.
    if (!words.region.id.empty() && words.owner.empty())
        words.owner = std::exchange(words.region.name, {});
    const std::size_t colon = words.owner.find(':');
    const std::string user = words.owner.substr(0, colon);
    const std::string group =
        colon == std::string::npos ? std::string() : words.owner.substr(colon + 1);
    if (user.empty() && group.empty())
        throw call.wrong_usage(
            "give the NAME of a region, or its --id, and the OWNER: USER, USER:GROUP or :GROUP");
    const unsigned uid = user.empty() ? kUnchanged : user_of(call, user);
    const unsigned gid = group.empty() ? kUnchanged : group_of(call, group);
    const Place at(call, words.region);
    const Descriptor handle = at.module.open(at.region, Access::read);
    if (::fchown(handle.get(), uid, gid) < 0)
        throw region_failure(errno, at.region.text(), at.region.argument());
}

} // namespace

void add_chown(Program& program) {
    auto words = std::make_shared<Words>();
    program
        .add("chown", "change a region's owner and group",
             [words](const Call& call) { change_owner(call, *words); })
        .region(words->region)
        .word("OWNER", words->owner, "USER, USER:GROUP or :GROUP, by name or number", Needed::no);
}

} // namespace stm::tools
