// SPDX-License-Identifier: GPL-2.0
// The commands and the examples, as a user runs them.
#include "transactions/transactions.hpp"

#include <algorithm>
#include <atomic>
#include <fcntl.h>
#include <fstream>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stm/shm.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

using namespace stm::test;

namespace {

std::string in_quotes(const std::string& text) {
    return "'" + text + "'";
}

Output stmctl(const std::string& arguments) {
    return shell(build_folder() + "/bin/stmctl " + arguments + " 2>&1");
}

nlohmann::json json(const std::string& arguments) {
    Output output = stmctl("--json " + arguments);
    EXPECT_EQ(output.status, 0) << output.text;
    return nlohmann::json::parse(output.text, nullptr, false);
}

TEST(Stmctl, CreatesShowsAndRemoves) {
    std::string name = unique_name("create");
    Output output = stmctl("create " + in_quotes(name) + " 5K --plain --exec --mode 0640");
    EXPECT_EQ(output.status, 0) << output.text;
    nlohmann::json info = json("info " + in_quotes(name));
    EXPECT_EQ(info["name"], name);
    EXPECT_EQ(info["size"], 8192);
    EXPECT_EQ(info["kind"], "plain");
    EXPECT_EQ(info["exec"], true);
    EXPECT_EQ(info["mode"], "0640");
    EXPECT_EQ(info["handles"], 0);
    output = stmctl("info " + in_quotes(name));
    EXPECT_NE(output.text.find("8K (8192 bytes)"), std::string::npos) << output.text;
    EXPECT_EQ(stmctl("create " + in_quotes(name) + " 5K --plain --exec").status, 0)
        << "it exists, as asked for";
    EXPECT_EQ(stmctl("create " + in_quotes(name) + " 8K --plain --exec").status, 0);
    EXPECT_EQ(stmctl("create " + in_quotes(name) + " 0 --plain --exec").status, 0);
    EXPECT_EQ(stmctl("create " + in_quotes(name) + " 5K --plain --exec --excl").status, 1);
    EXPECT_EQ(stmctl("create " + in_quotes(name) + " 5K").status, 1) << "another kind";
    EXPECT_EQ(stmctl("rm " + in_quotes(name)).status, 0);
    output = stmctl("rm " + in_quotes(name));
    EXPECT_EQ(output.status, 1);
    EXPECT_NE(output.text.find("there is no region"), std::string::npos) << output.text;
}

TEST(Stmctl, ShowsWhatTransactionsDid) {
    Region region("statistics", 4 * kPage, 0, 0600);
    Mapping map(region.fd(), 4 * kPage);
    ASSERT_TRUE(map.ok());
    for (long round = 0; round < 5; ++round) {
        ASSERT_EQ(::ioctl(region.fd(), STM_IOC_START, STM_START_SITE(7)), 1);
        *map.at<volatile long>() = round;
        *map.at<volatile long>(8) = *map.at<volatile long>(kPage);
        ASSERT_EQ(::ioctl(region.fd(), round < 4 ? STM_IOC_COMMIT : STM_IOC_CANCEL, 0), 0);
    }
    nlohmann::json numbers = json("statistics " + in_quotes(region.name()));
    EXPECT_EQ(numbers["name"], region.name());
    EXPECT_EQ(numbers["starts"], 5);
    EXPECT_EQ(numbers["commits"], 4);
    EXPECT_EQ(numbers["aborts"]["cancel"], 1);
    EXPECT_EQ(numbers["aborts"]["commit_validation"], 0);
    EXPECT_EQ(numbers["load_faults"], 1);
    EXPECT_EQ(numbers["store_faults"], 1);
    EXPECT_EQ(numbers["predicted_used"], 8);
    EXPECT_EQ(numbers["predicted_unused"], 0);
    EXPECT_EQ(numbers["extensions"], 0);
    Output output = stmctl("statistics " + in_quotes(region.name()));
    EXPECT_EQ(output.status, 0);
    EXPECT_NE(output.text.find("8 used, 0 not used"), std::string::npos) << output.text;
    EXPECT_NE(output.text.find("1 loads, 1 stores"), std::string::npos) << output.text;
    EXPECT_EQ(stmctl("statistics nothing").status, 1);
}

TEST(Stmctl, HasNothingToTraceForOtherUsers) {
    // Only the administrator may; the message says so.
    EXPECT_EQ(as_user(kNobody,
                      [] {
                          const Output output = stmctl("trace --seconds 1");
                          EXPECT_EQ(output.status, 1);
                          EXPECT_NE(output.text.find("as root"), std::string::npos) << output.text;
                          EXPECT_EQ(stmctl("top --once --interval 0.1").status, 0);
                      }),
              0);
}

TEST(Names, ArePartsOfARegionAndGoWithIt) {
    Region region("named", 2 * kPage, 0, 0644);
    EXPECT_EQ(stm_name(region.fd(), 64, 128, "accounts"), 0);
    EXPECT_EQ(stm_name(region.fd(), 64, 128, "numbers"), 0) << "the last one counts";
    EXPECT_EQ(stm_name(region.fd(), 0, 64, "head"), 0);
    const auto names = [&] {
        std::vector<struct stm_place> list(8);
        auto request = make_named<struct stm_places>(region.name(), STM_BY_NAME);
        request.buffer = reinterpret_cast<std::uintptr_t>(list.data());
        request.capacity = 8;
        EXPECT_EQ(stm::test::request(STM_IOC_PLACES, &request), 0);
        std::string all;
        for (unsigned i = 0; i < request.count; ++i)
            all += std::string(list[i].name) + " ";
        return all;
    };
    EXPECT_EQ(names(), "numbers head ");
    EXPECT_EQ(stm_name(region.fd(), 0, 64, nullptr), 0);
    EXPECT_EQ(names(), "numbers ");
    EXPECT_EQ(stm_name(region.fd(), 0, 64, ""), -1);
    EXPECT_EQ(errno, ENOENT);
    EXPECT_EQ(stm_name(region.fd(), kPage, 2 * kPage, "long"), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(stm_name(region.fd(), 0, 8, std::string(40, 'x').c_str()), -1);
    EXPECT_EQ(errno, ENAMETOOLONG);
    EXPECT_EQ(stm_name(-1, 0, 8, "a"), -1);
    EXPECT_EQ(errno, EBADF);
    EXPECT_EQ(as_user(kNobody,
                      [&] {
                          const Fd reader(stm_open(region.name().c_str(), 0, STM_RDONLY, 0));
                          EXPECT_EQ(stm_name(reader.get(), 0, 8, "a"), -1);
                          EXPECT_EQ(errno, EBADF);
                      }),
              0);
}

TEST(Stmctl, ListsRegions) {
    Region region("listed", 3 * kPage, 0, 0600);
    nlohmann::json list = json("ls")["regions"];
    auto found = std::find_if(list.begin(), list.end(),
                              [&](auto& entry) { return entry["name"] == region.name(); });
    ASSERT_NE(found, list.end());
    EXPECT_EQ((*found)["kind"], "transactional");
    EXPECT_EQ((*found)["creator_pid"], ::getpid());
    EXPECT_EQ((*found)["id"], info_of(region.fd()).id);
    Output output = stmctl("ls");
    EXPECT_EQ(output.text.rfind("MINOR", 0), 0u) << output.text;
    EXPECT_NE(output.text.find(region.name() + "\n"), std::string::npos) << output.text;
    EXPECT_NE(output.text.find("default\n"), std::string::npos) << output.text;
}

TEST(Stmctl, ShowsNamesThatAreNotFitForATerminal) {
    std::string name = unique_name("\033[31mred\xff");
    Fd fd(stm_open(name.c_str(), kPage, STM_CREATE | STM_EPHEMERAL, 0600));
    ASSERT_TRUE(fd);
    EXPECT_EQ(stmctl("ls").text.find('\033'), std::string::npos);
    EXPECT_EQ(stmctl("ls --json").text.find('\033'), std::string::npos);
    EXPECT_FALSE(json("ls").is_discarded());
}

TEST(Stmctl, TellsWhoUsesARegion) {
    Region region("used", 2 * kPage);
    Mapping mapping(region.fd(), kPage, PROT_READ | PROT_WRITE, kPage);
    nlohmann::json users =
        json("attachments " + in_quotes(region.name()))["regions"][0]["attachments"];
    ASSERT_EQ(users.size(), 2u);
    for (const nlohmann::json& user : users)
        EXPECT_EQ(user["pid"], ::getpid());
    EXPECT_EQ(users[1]["kind"], "mapping");
    EXPECT_EQ(users[1]["address"], reinterpret_cast<std::uintptr_t>(mapping.data()));
    EXPECT_EQ(users[1]["offset"], kPage);
    EXPECT_EQ(users[1]["protection"], "rw-");
    Output output = stmctl("attachments");
    EXPECT_EQ(output.status, 0);
    EXPECT_NE(output.text.find(region.name()), std::string::npos) << output.text;
}

TEST(Stmctl, ExplainsARegionInUse) {
    Region region("in use");
    Output output = stmctl("rm " + in_quotes(region.name()));
    EXPECT_EQ(output.status, 1);
    EXPECT_NE(output.text.find("--deferred"), std::string::npos) << output.text;
    EXPECT_EQ(stmctl("rm --deferred " + in_quotes(region.name())).status, 0);
    EXPECT_FALSE(exists(region.name()));
    region.close();
    output = stmctl("rm default");
    EXPECT_EQ(output.status, 1);
    EXPECT_NE(output.text.find("always there"), std::string::npos) << output.text;
}

TEST(Stmctl, ShowsARegionWhoseNameIsGoneAndWhoHoldsIt) {
    Region region("gone");
    Mapping mapping(region.fd(), kPage);
    ASSERT_TRUE(mapping.ok());
    const std::string name = region.name();
    const std::string id = "--id " + std::to_string(info_of(region.fd()).id);
    ASSERT_EQ(stmctl("rm --deferred " + in_quotes(name)).status, 0);
    Output output = stmctl("ls");
    EXPECT_NE(output.text.find(name + " (deleted)\n"), std::string::npos) << output.text;
    for (const std::string& arguments : {std::string("attachments"), "attachments " + id}) {
        output = stmctl(arguments);
        EXPECT_EQ(output.status, 0) << output.text;
        EXPECT_NE(output.text.find(name + " (deleted)\n"), std::string::npos) << output.text;
        EXPECT_NE(output.text.find(std::to_string(::getpid())), std::string::npos) << output.text;
    }
    nlohmann::json users = json("attachments " + id)["regions"][0];
    EXPECT_EQ(users["unlinked"], true);
    EXPECT_EQ(users["attachments"].size(), 2u);
    EXPECT_EQ(json("info " + id)["unlinked"], true);
    EXPECT_EQ(json("info " + id)["handles"], 1);
    EXPECT_EQ(stmctl("statistics " + id).status, 0);
    // It can be looked at, no more; and the name leads to it.
    output = stmctl("dump " + id);
    EXPECT_EQ(output.status, 1);
    EXPECT_NE(output.text.find("has been removed"), std::string::npos) << output.text;
    EXPECT_EQ(stmctl("rm " + id).status, 1);
    output = stmctl("info " + in_quotes(name));
    EXPECT_EQ(output.status, 1);
    EXPECT_NE(output.text.find("is still used; 'stmctl attachments --id"), std::string::npos)
        << output.text;
    // Another one of its name, and perhaps its minor, is another one.
    Fd successor(stm_open(name.c_str(), kPage, STM_CREATE | STM_PLAIN, 0600));
    EXPECT_EQ(json("info " + in_quotes(name))["unlinked"], false);
    EXPECT_EQ(json("info " + id)["unlinked"], true);
    ::munmap(mapping.data(), kPage);
    mapping.release();
    region.close();
    output = stmctl("info " + id);
    EXPECT_EQ(output.status, 1) << "with its last user";
    EXPECT_NE(output.text.find("any more"), std::string::npos) << output.text;
    successor.reset();
    EXPECT_EQ(stm_unlink(name.c_str()), 0);
}

TEST(Stmctl, KnowsSegmentsByTheirNumbers) {
    const int number = shm_create(5000);
    ASSERT_GT(number, 0);
    ASSERT_EQ(shm_attach(number, nullptr), 0);
    const std::string id = "--id " + std::to_string(number);
    EXPECT_NE(stmctl("ls").text.find(" " + std::to_string(number) + "  shm:"), std::string::npos);
    nlohmann::json segment = json("info " + id);
    EXPECT_EQ(segment["segment"], number);
    EXPECT_EQ(segment["size"], 2 * kPage);
    EXPECT_EQ(json("attachments " + id)["regions"][0]["attachments"][0]["pid"], ::getpid());
    EXPECT_EQ(stmctl("chmod " + id + " 640").status, 0);
    EXPECT_EQ(json("info " + id)["mode"], "0640");
    Output output = stmctl("rm " + id);
    EXPECT_EQ(output.status, 1);
    EXPECT_NE(output.text.find("in use"), std::string::npos) << output.text;
    ASSERT_EQ(shm_detach(number), 0);
    EXPECT_EQ(stmctl("rm " + id).status, 0);
    output = stmctl("info " + id);
    EXPECT_EQ(output.status, 1);
    EXPECT_NE(output.text.find("there is no segment"), std::string::npos) << output.text;
    EXPECT_EQ(stmctl("info --id 0").status, 1);
}

TEST(Stmctl, SaysWhatDiffersFromTheRegionThatExists) {
    Region region("differs", 4 * kPage, STM_PLAIN, 0600);
    const std::string create = "create " + in_quotes(region.name());
    struct Case {
        std::string arguments;
        const char* said;
    };
    for (const Case& each : std::initializer_list<Case>{
             {" 64K --plain", "another size: 16K (16384 bytes), not 64K"},
             {" 4K --plain", "another size: 16K (16384 bytes), not 4K"},
             {" 16K", "another kind: plain, not transactional"},
             {" 16K --mutex", "another kind: plain, not mutex"},
             {" 16K --plain --exec", "another kind: plain, not plain, executable"}}) {
        Output output = stmctl(create + each.arguments);
        EXPECT_EQ(output.status, 1) << each.arguments;
        EXPECT_NE(output.text.find(each.said), std::string::npos) << output.text;
    }
    EXPECT_EQ(stmctl(create + " 16K --plain").status, 0);
    Output output = stmctl("create minor:77 4K");
    EXPECT_EQ(output.status, 1);
    EXPECT_NE(output.text.find("device nodes make"), std::string::npos) << output.text;
    output = stmctl("create x 4K --plain --mutex");
    EXPECT_EQ(output.status, 2);
    EXPECT_NE(output.text.find("a --plain region has none"), std::string::npos) << output.text;
}

TEST(Stmctl, KnowsDirectRegions) {
    const std::string name = unique_name("direct");
    const std::string copy = unique_name("direct copy");
    const std::string loaded = unique_name("direct loaded");
    const std::string archive = unique_path("direct");
    const Output output = stmctl("create " + in_quotes(name) + " 16K --direct");
    ASSERT_EQ(output.status, 0) << output.text;
    EXPECT_NE(output.text.find("kind:       direct"), std::string::npos) << output.text;
    EXPECT_EQ(stmctl("create " + in_quotes(name) + " 16K --direct").status, 0);
    EXPECT_NE(stmctl("create " + in_quotes(name) + " 16K")
                  .text.find("another kind: direct, not transactional"),
              std::string::npos);
    for (const char* const other : {" 16K --direct --plain", " 16K --direct --mutex"})
        EXPECT_EQ(stmctl("create x" + std::string(other)).status, 2);
    EXPECT_EQ(stmctl("copy " + in_quotes(name) + " " + in_quotes(copy)).status, 0);
    EXPECT_EQ(shell("stmctl dump --archive " + in_quotes(name) + " >" + archive +
                    " && stmctl load --archive " + in_quotes(loaded) + " <" + archive)
                  .status,
              0);
    for (const std::string& each : {name, copy, loaded}) {
        EXPECT_EQ(json("info " + in_quotes(each))["kind"], "direct") << each;
        EXPECT_EQ(stm_unlink(each.c_str()), 0);
    }
    ::unlink(archive.c_str());
}

// It is not one transaction for the module.
TEST(Stmctl, DumpsAndCopiesMoreThanATransactionMayRead) {
    Parameter stripes("max_stripes", "64");
    Region region("big", 256 * kPage, 0, 0600);
    ASSERT_EQ(::pwrite(region.fd(), "end", 3, 256 * kPage - 3), 3);
    EXPECT_EQ(stmctl("dump " + in_quotes(region.name()) + " | tail -c 3").text, "end");
    const std::string copy = unique_name("big copy");
    const nlohmann::json said = json("copy " + in_quotes(region.name()) + " " + in_quotes(copy));
    EXPECT_EQ(said["passes"], 1);
    EXPECT_EQ(info_of(copy).resident_bytes, kPage) << "zeros made pages";
    EXPECT_EQ(info_of(region.fd()).resident_bytes, kPage) << "reading made pages";
    if (shell("xxhsum --version 2>/dev/null").status == 0) {
        EXPECT_EQ(shell(build_folder() + "/bin/stmctl dump " + in_quotes(copy) +
                        " | split -b 256K --filter='xxhsum -H2 - | cut -c 1-32' | xxhsum -H2 -")
                      .text.substr(0, 32),
                  said["xxh128"].get<std::string>());
    }
    EXPECT_EQ(stm_unlink(copy.c_str()), 0);
}

TEST(Stmctl, RemovesSeveralAndSaysWhichItCouldNot) {
    const std::string one = unique_name("one");
    const std::string two = unique_name("two");
    Region used("used");
    ASSERT_EQ(stmctl("create " + in_quotes(one) + " 4K").status, 0);
    ASSERT_EQ(stmctl("create " + in_quotes(two) + " 4K").status, 0);
    const std::string missing = unique_name("missing");
    Output output = stmctl("rm " + in_quotes(one) + " " + in_quotes(used.name()) + " " +
                           in_quotes(missing) + " " + in_quotes(two));
    EXPECT_EQ(output.status, 1);
    EXPECT_NE(output.text.find("'" + used.name() + "' is in use"), std::string::npos);
    EXPECT_NE(output.text.find("there is no region '" + missing + "'"), std::string::npos);
    EXPECT_EQ(std::count(output.text.begin(), output.text.end(), '\n'), 2) << output.text;
    EXPECT_FALSE(exists(one));
    EXPECT_FALSE(exists(two));
    ASSERT_EQ(stmctl("create " + in_quotes(one) + " 4K").status, 0);
    ASSERT_EQ(stmctl("create " + in_quotes(two) + " 4K").status, 0);
    EXPECT_EQ(stmctl("rm --id " + std::to_string(info_of(one).id) + " --id " +
                     std::to_string(info_of(two).id))
                  .status,
              0);
    EXPECT_FALSE(exists(one));
    EXPECT_FALSE(exists(two));
}

TEST(Stmctl, TellsErrorsAsJsonWhenAsked) {
    const auto errors = [](const std::string& arguments) {
        Output output = shell(build_folder() + "/bin/stmctl " + arguments + " 2>&1 >/dev/null");
        EXPECT_NE(output.status, 0) << arguments;
        nlohmann::json found = nlohmann::json::parse(output.text, nullptr, false);
        EXPECT_FALSE(found.is_discarded()) << output.text;
        return found["errors"];
    };
    Region region("json");
    nlohmann::json list = errors("--json rm " + in_quotes(region.name()) + " missing");
    ASSERT_EQ(list.size(), 2u);
    EXPECT_EQ(list[0]["errno"], "EBUSY");
    EXPECT_EQ(list[0]["exit_status"], 1);
    EXPECT_EQ(list[1]["errno"], "ENOENT");
    EXPECT_NE(std::string(list[1]["message"]).find("there is no region"), std::string::npos);
    EXPECT_EQ(errors("info --json missing")[0]["errno"], "ENOENT");
    EXPECT_EQ(errors("info --json")[0]["exit_status"], 2);
    EXPECT_EQ(errors("info --json one two")[0]["exit_status"], 2);
    EXPECT_EQ(errors("--json nonsense")[0]["errno"], nullptr);
}

TEST(Stmctl, ChangesTheMode) {
    Region region("chmod");
    EXPECT_EQ(stmctl("chmod " + in_quotes(region.name()) + " 664").status, 0);
    EXPECT_EQ(info_of(region.name()).mode, 0664u);
    EXPECT_EQ(stmctl("chmod " + in_quotes(region.name()) + " rw").status, 2);
}

TEST(Stmctl, ChangesOwnerAndGroup) {
    Region region("chown");
    const std::string command = "chown " + in_quotes(region.name()) + " ";
    EXPECT_EQ(stmctl(command + "1000").status, 0);
    EXPECT_EQ(info_of(region.name()).uid, 1000u);
    EXPECT_EQ(info_of(region.name()).gid, 0u) << "only the owner";
    EXPECT_EQ(stmctl(command + ":1001").status, 0);
    EXPECT_EQ(info_of(region.name()).uid, 1000u) << "only the group";
    EXPECT_EQ(info_of(region.name()).gid, 1001u);
    EXPECT_EQ(stmctl("chown --id " + std::to_string(info_of(region.fd()).id) + " root:root").status,
              0);
    EXPECT_EQ(info_of(region.name()).uid, 0u);
    EXPECT_EQ(info_of(region.name()).gid, 0u);
    Output output = stmctl(command + "no-such-user");
    EXPECT_EQ(output.status, 2);
    EXPECT_NE(output.text.find("there is no user 'no-such-user'"), std::string::npos)
        << output.text;
    EXPECT_EQ(stmctl(command + "root:no-such-group").status, 2);
    EXPECT_EQ(stmctl(command + ":").status, 2);
    EXPECT_EQ(info_of(region.name()).uid, 0u) << "what failed has changed nothing";
}

TEST(Stmctl, CountsAgainAndAgain) {
    Region region("counted", 4 * kPage, 0, 0600);
    const auto commit = [&](long times) {
        for (long round = 0; round < times; ++round)
            ASSERT_EQ(::pwrite(region.fd(), &round, sizeof round, 0),
                      static_cast<ssize_t>(sizeof round));
    };
    commit(5);
    const std::string only = " --region " + in_quotes(region.name());
    nlohmann::json first = json("stat" + only);
    EXPECT_EQ(first["seconds"], nullptr) << "since its creation";
    ASSERT_EQ(first["regions"].size(), 1u);
    EXPECT_EQ(first["regions"][0]["writes"], 5);
    EXPECT_EQ(first["regions"][0]["calls"], 5);
    // Three reports; in between another process writes.
    Child writer = Child::doing([&] {
        for (int round = 0; round < 40; ++round) {
            commit(1);
            ::usleep(50'000);
        }
    });
    Output output = stmctl("--json stat 0.3 3" + only);
    EXPECT_EQ(writer.wait(), 0);
    EXPECT_EQ(output.status, 0) << output.text;
    std::istringstream lines(output.text);
    std::vector<nlohmann::json> reports;
    for (std::string line; std::getline(lines, line);)
        reports.push_back(nlohmann::json::parse(line, nullptr, false));
    ASSERT_EQ(reports.size(), 3u) << output.text;
    EXPECT_EQ(reports[0]["seconds"], nullptr);
    long later = 0;
    for (std::size_t report : {1, 2}) {
        EXPECT_GE(reports[report]["seconds"].get<double>(), 0.29);
        later += reports[report]["regions"][0]["writes"].get<long>();
    }
    EXPECT_GT(later, 0);
    EXPECT_LE(reports[0]["regions"][0]["writes"].get<long>() + later, 45) << "none is told twice";

    output = stmctl("stat 0.2 1 --no-first --all");
    EXPECT_EQ(output.status, 0) << output.text;
    EXPECT_NE(output.text.find("COMMITS/S"), std::string::npos) << output.text;
    EXPECT_NE(output.text.find(region.name()), std::string::npos) << output.text;
    EXPECT_EQ(stmctl("stat 0").status, 2);
    EXPECT_EQ(stmctl("stat never").status, 2);
    EXPECT_EQ(stmctl("stat 1 -1").status, 2);
    EXPECT_EQ(stmctl("stat --no-first").status, 2);
    EXPECT_EQ(stmctl("stat --region nothing").status, 1);
}

TEST(Stmctl, ShowsBytes) {
    Region region("hexdump", 2 * kPage);
    ASSERT_EQ(::pwrite(region.fd(), "Hello, bytes\n", 13, 32), 13);
    const std::string dump = "hexdump " + in_quotes(region.name());
    EXPECT_EQ(stmctl(dump).text,
              "00000000  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n"
              "*\n"
              "00000020  48 65 6c 6c 6f 2c 20 62  79 74 65 73 0a 00 00 00  |Hello, bytes....|\n"
              "00000030  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|\n"
              "*\n"
              "00002000\n");
    EXPECT_EQ(stmctl(dump + " 34 3").text,
              "00000022  6c 6c 6f                                          |llo|\n"
              "00000025\n");
    const std::string id = "--id " + std::to_string(info_of(region.fd()).id);
    EXPECT_EQ(stmctl("hexdump " + id + " 34 3").text, stmctl(dump + " 34 3").text);
    EXPECT_EQ(stmctl(dump + " 8K").text, "00002000\n") << "nothing is there";
    nlohmann::json bytes = json(dump + " 32 5");
    EXPECT_EQ(bytes["hex"], "48656c6c6f");
    EXPECT_EQ(bytes["offset"], 32);
    EXPECT_EQ(bytes["length"], 5);
    EXPECT_EQ(stmctl(dump + " x").status, 2);
}

TEST(Stmctl, TellsAllVersions) {
    nlohmann::json versions = json("--version");
    EXPECT_EQ(versions["stmctl"], STM_VERSION_STRING);
    EXPECT_EQ(versions["library"], stm_version());
    EXPECT_EQ(versions["module"], STM_VERSION_STRING);
    EXPECT_EQ(versions["module_interface"],
              std::to_string(STM_ABI_MAJOR) + "." + std::to_string(STM_ABI_MINOR));
    EXPECT_NE(stmctl("--version").text.find("module " STM_VERSION_STRING ", interface 1."),
              std::string::npos);
    Output output = shell("STM_DEVICE=/dev/null " + build_folder() + "/bin/stmctl --version");
    EXPECT_EQ(output.status, 0) << "without a module, too";
}

TEST(Stmctl, FindsWhatIsWrong) {
    const std::string doctor = build_folder() + "/bin/stmctl --json doctor";
    const auto checks_of = [](const std::string& command) {
        Output output = shell(command + " 2>&1");
        nlohmann::json result = {{"status", output.status}};
        const nlohmann::json said = nlohmann::json::parse(output.text, nullptr, false);
        for (const nlohmann::json& each : said["checks"])
            result[each["check"]] = each;
        return result;
    };
    nlohmann::json found = checks_of(doctor);
    EXPECT_EQ(found["status"], 0);
    for (const char* check :
         {"module", "signature", "device", "library", "interface", "regions", "memory"}) {
        EXPECT_EQ(found[check]["state"], "ok") << found;
        EXPECT_EQ(found[check]["advice"], nullptr) << found;
    }
    EXPECT_NE(stmctl("doctor").text.find("CHECK"), std::string::npos);
    // A file that is no device of the module.
    found = checks_of("STM_DEVICE=/dev/null " + doctor);
    EXPECT_EQ(found["status"], 1);
    EXPECT_EQ(found["device"]["state"], "bad");
    EXPECT_NE(found["device"]["advice"].dump().find("mknod"), std::string::npos) << found;
    // A node that this user may not open.
    const std::string node = unique_path("doctor");
    struct stat device {};
    ASSERT_EQ(::stat("/dev/stm", &device), 0);
    ASSERT_EQ(::mknod(node.c_str(), S_IFCHR | 0660, device.st_rdev), 0);
    ASSERT_EQ(::chmod(node.c_str(), 0660), 0);
    ASSERT_EQ(::chown(node.c_str(), 0, 1), 0);
    const auto refused = [&] {
        const nlohmann::json said = checks_of("STM_DEVICE=" + in_quotes(node) + " " + doctor);
        EXPECT_EQ(said["status"], 1);
        EXPECT_EQ(said["device"]["state"], "bad") << said;
        EXPECT_NE(said["device"]["advice"].dump().find("adduser "), std::string::npos) << said;
    };
    EXPECT_EQ(as_user(kNobody, refused), 0);
    ::unlink(node.c_str());
    // A limit that is reached, whatever other programs have left.
    auto now = make<struct stm_version>();
    ASSERT_EQ(request(STM_IOC_VERSION, &now), 0);
    Parameter bytes("max_bytes", std::to_string(now.bytes + 64 * 1024));
    Region region("large", 64 * 1024);
    found = checks_of(doctor);
    EXPECT_EQ(found["status"], 0) << "it works still";
    EXPECT_EQ(found["memory"]["state"], "warning") << found;
    EXPECT_NE(found["memory"]["advice"].dump().find("max_bytes"), std::string::npos) << found;
}

TEST(Stmctl, CompletesCommandLines) {
    Region region("to complete");
    const std::string name = region.name();
    // What bash offers for the last word; the function is called as readline calls it.
    const std::string script = unique_path("completion");
    std::ofstream(script) << ". <(stmctl completion bash)\n"
                             "offer() {\n"
                             "    COMP_WORDS=(stmctl \"$@\") COMP_CWORD=$#\n"
                             "    _stmctl\n"
                             "    echo \"${COMPREPLY[*]}\"\n"
                             "}\n"
                             "offer inf; offer --ver; offer create x 4K --pl\n"
                             "offer --json rm --def; offer completion z; offer info defa\n"
                             "offer rm one two defa; offer create x 4K --mode ''\n"
                             "offer info "
                          << in_quotes(name.substr(0, name.rfind(' '))) << "\n";
    std::string quoted = name;
    quoted.insert(quoted.rfind(' '), "\\");
    const std::string path = "PATH=" + build_folder() + "/bin:$PATH ";
    EXPECT_EQ(shell(path + "bash " + in_quotes(script) + " 2>&1").text,
              "info\n--version\n--plain\n--deferred\nzsh\ndefault\ndefault\n\n" + quoted + "\n");
    ::unlink(script.c_str());
    EXPECT_NE(stmctl("completion zsh").text.find("#compdef stmctl"), std::string::npos);
    EXPECT_EQ(stmctl("completion fish").status, 2);
    Output names = stmctl("ls --names");
    EXPECT_NE(("\n" + names.text).find("\n" + name + "\n"), std::string::npos) << names.text;
}

TEST(Stmctl, ShowsTheLimits) {
    nlohmann::json limits = json("limits");
    EXPECT_EQ(limits["page_size"], 4096);
    EXPECT_EQ(limits["abi_major"], STM_ABI_MAJOR);
    EXPECT_GE(limits["regions"], 1);
    EXPECT_EQ(stmctl("limits").status, 0);
}

TEST(Stmctl, DumpsAndLoads) {
    Region from("from", 256 * kPage);
    Region to("to", 256 * kPage);
    std::string file = unique_path("dump");
    ASSERT_EQ(::pwrite(from.fd(), "begin", 5, 0), 5);
    ASSERT_EQ(::pwrite(from.fd(), "middle", 6, 100 * kPage - 3), 6);
    ASSERT_EQ(::pwrite(to.fd(), "old", 3, 200 * kPage), 3);
    ASSERT_EQ(stmctl("dump " + in_quotes(from.name()) + " > " + in_quotes(file)).status, 0);
    struct stat status;
    ASSERT_EQ(::stat(file.c_str(), &status), 0);
    EXPECT_EQ(status.st_size, 256 * static_cast<off_t>(kPage));
    EXPECT_LT(status.st_blocks, 64 * static_cast<off_t>(kPage) / 512) << "no holes";
    ASSERT_EQ(stmctl("load " + in_quotes(to.name()) + " < " + in_quotes(file)).status, 0);
    EXPECT_EQ(shell("bash -c " + in_quotes("cmp <(" + build_folder() + "/bin/stmctl dump \"" +
                                           from.name() + "\") <(" + build_folder() +
                                           "/bin/stmctl dump \"" + to.name() + "\")"))
                  .status,
              0);
    EXPECT_EQ(info_of(to.fd()).resident_bytes, 4 * kPage) << "zeros made pages";
    Output output = shell("head -c 2000000 /dev/zero | " + build_folder() + "/bin/stmctl load " +
                          in_quotes(to.name()) + " 2>&1");
    EXPECT_EQ(output.status, 1);
    EXPECT_NE(output.text.find("longer than region"), std::string::npos) << output.text;
    ::unlink(file.c_str());
}

// What others write meanwhile is in a copy or an archive as a whole or not at all.
TEST(Stmctl, CopiesOneStateWhileOthersWrite) {
    constexpr std::size_t kSize = 512 * 1024;
    Region region("moving", kSize, 0, 0640);
    const std::string name = in_quotes(region.name());
    Mapping shared(-1, kPage, PROT_READ | PROT_WRITE, 0, MAP_SHARED | MAP_ANONYMOUS);
    ASSERT_TRUE(shared.ok());
    auto* stop = new (shared.data()) std::atomic<bool>(false);
    const auto write_both_ends = [&](const long& number) {
        do {
            stm_start(region.fd());
            (void)!::pwrite(region.fd(), &number, sizeof number, 0);
            (void)!::pwrite(region.fd(), &number, sizeof number, kSize - sizeof number);
        } while (stm_commit(region.fd()) != 0);
    };
    Child writer = Child::doing([&] {
        for (long number = 1; !stop->load(); ++number)
            write_both_ends(number);
    });
    const auto ends_of = [](const std::string& other) {
        Fd fd(stm_open(other.c_str(), 0, STM_RDONLY, 0));
        std::pair<long, long> ends{-1, -2};
        EXPECT_EQ(::pread(fd.get(), &ends.first, sizeof(long), 0), 8);
        EXPECT_EQ(::pread(fd.get(), &ends.second, sizeof(long), kSize - sizeof(long)), 8);
        return ends;
    };
    EXPECT_TRUE(eventually([&] { return ends_of(region.name()).first > 0; }));
    for (int round = 0; round < 3; ++round) {
        const std::string copy = unique_name("copy");
        nlohmann::json said = json("copy " + name + " " + in_quotes(copy));
        const auto [first, last] = ends_of(copy);
        EXPECT_GT(first, 0);
        EXPECT_EQ(first, last) << "half of a transaction";
        EXPECT_EQ(said["size"], kSize);
        EXPECT_EQ(info_of(copy).mode, 0640u);
        EXPECT_EQ(info_of(copy).region_flags, info_of(region.name()).region_flags);
        EXPECT_EQ(stm_unlink(copy.c_str()), 0);
    }
    const std::string restored = unique_name("restored");
    const std::string command = build_folder() + "/bin/stmctl ";
    EXPECT_EQ(shell("(" + command + "dump --archive " + name + " | " + command + "load --archive " +
                    in_quotes(restored) + ") 2>&1")
                  .status,
              0);
    stop->store(true);
    EXPECT_EQ(writer.wait(), 0);
    const auto [first, last] = ends_of(restored);
    EXPECT_GT(first, 0);
    EXPECT_EQ(first, last) << "half of a transaction";
    EXPECT_EQ(info_of(restored).mode, 0640u);
    EXPECT_EQ(stm_unlink(restored.c_str()), 0);
}

// Transactions move amounts between any two pages, all the time, so that no pass finds all of them
// at rest. The sum is the same in each state.
TEST(Stmctl, CopiesOneStateWhileAllOfItChanges) {
    constexpr std::size_t kPages = 1024;
    Region region("all of it moves", kPages * kPage, 0, 0600);
    for (std::size_t page = 0; page < kPages; ++page) {
        const long amount = 1000;
        ASSERT_EQ(::pwrite(region.fd(), &amount, sizeof amount, page * kPage),
                  static_cast<ssize_t>(sizeof amount));
    }
    Mapping shared(-1, kPage, PROT_READ | PROT_WRITE, 0, MAP_SHARED | MAP_ANONYMOUS);
    ASSERT_TRUE(shared.ok());
    auto* stop = new (shared.data()) std::atomic<bool>(false);
    Child writer = Child::doing([&] {
        Fd fd(stm_open(region.name().c_str(), 0, 0, 0));
        std::size_t state = 1;
        const auto any_page = [&] {
            state = state * 6364136223846793005 + 1442695040888963407;
            return static_cast<off_t>((state >> 33) % kPages * kPage);
        };
        while (!stop->load()) {
            const off_t from = any_page();
            const off_t to = any_page();
            do {
                stm_start(fd.get());
                long amount = 0;
                (void)!::pread(fd.get(), &amount, sizeof amount, from);
                --amount;
                (void)!::pwrite(fd.get(), &amount, sizeof amount, from);
                (void)!::pread(fd.get(), &amount, sizeof amount, to);
                ++amount;
                (void)!::pwrite(fd.get(), &amount, sizeof amount, to);
            } while (stm_commit(fd.get()) != 0);
        }
    });
    const auto sum_of = [](const std::string& other) {
        Fd fd(stm_open(other.c_str(), 0, STM_RDONLY, 0));
        long sum = 0;
        for (std::size_t page = 0; page < kPages; ++page) {
            long amount = 0;
            EXPECT_EQ(::pread(fd.get(), &amount, sizeof amount, page * kPage), 8);
            sum += amount;
        }
        return sum;
    };
    for (int round = 0; round < 3; ++round) {
        const std::string copy = unique_name("copy");
        const std::string again = unique_name("again");
        const nlohmann::json said =
            json("copy " + in_quotes(region.name()) + " " + in_quotes(copy));
        EXPECT_EQ(sum_of(copy), static_cast<long>(1000 * kPages)) << said;
        for (const char* const way : {"", " --pieces"}) {
            EXPECT_EQ(json("copy " + in_quotes(copy) + " " + in_quotes(again) + way)["xxh128"],
                      said["xxh128"])
                << "it is not what was written";
            EXPECT_EQ(stm_unlink(again.c_str()), 0);
        }
        EXPECT_EQ(stm_unlink(copy.c_str()), 0);
    }
    stop->store(true);
    EXPECT_EQ(writer.wait(), 0);
}

TEST(Stmctl, RestoresAnArchiveOrChangesNothing) {
    Region region("archived", 64 * kPage, STM_PLAIN | STM_EXEC, 0604);
    ASSERT_EQ(::pwrite(region.fd(), "begin", 5, 0), 5);
    ASSERT_EQ(::pwrite(region.fd(), "end", 3, 64 * kPage - 3), 3);
    const std::string name = region.name();
    const std::string file = unique_path("archive");
    ASSERT_EQ(stmctl("dump --archive " + in_quotes(name) + " > " + in_quotes(file)).status, 0);
    struct stat status {};
    ASSERT_EQ(::stat(file.c_str(), &status), 0);
    EXPECT_LT(status.st_size, static_cast<off_t>(4 * kPage)) << "zeros are left out";
    const auto load = [&](const std::string& arguments) {
        return stmctl("load --archive " + arguments + " < " + in_quotes(file));
    };
    region.close();
    ASSERT_EQ(stm_unlink(name.c_str()), 0);
    EXPECT_EQ(load("").status, 0);
    EXPECT_EQ(info_of(name).mode, 0604u);
    EXPECT_EQ(info_of(name).region_flags,
              static_cast<unsigned>(STM_REGION_PLAIN | STM_REGION_EXEC));
    EXPECT_EQ(info_of(name).region_size, 64 * kPage);
    EXPECT_EQ(info_of(name).resident_bytes, 2 * kPage) << "zeros made pages";
    EXPECT_EQ(stmctl("hexdump " + in_quotes(name) + " 262141 3").text,
              "0003fffd  65 6e 64                                          |end|\n00040000\n");
    // It is also what fills a region that is there, if that is of its kind.
    EXPECT_EQ(load(in_quotes(name)).status, 0);
    Region small("small", kPage);
    Output output = load(in_quotes(small.name()));
    EXPECT_EQ(output.status, 1);
    EXPECT_NE(output.text.find("smaller or of another kind"), std::string::npos) << output.text;
    EXPECT_EQ(stmctl("copy " + in_quotes(name) + " " + in_quotes(small.name())).status, 1)
        << "there is one of that name";
    // The end is missing, or wrong: nothing happens.
    const std::string other = unique_name("other");
    ASSERT_EQ(::truncate(file.c_str(), status.st_size - 5), 0);
    output = load(in_quotes(other));
    EXPECT_EQ(output.status, 1);
    EXPECT_NE(output.text.find("its checksum is wrong"), std::string::npos) << output.text;
    ASSERT_EQ(::truncate(file.c_str(), status.st_size - 60), 0);
    output = load(in_quotes(other));
    EXPECT_EQ(output.status, 1);
    EXPECT_NE(output.text.find("it ends too early"), std::string::npos) << output.text;
    ASSERT_EQ(shell("echo text > " + in_quotes(file)).status, 0);
    output = load(in_quotes(other));
    EXPECT_EQ(output.status, 1);
    EXPECT_NE(output.text.find("standard input is no archive"), std::string::npos) << output.text;
    EXPECT_FALSE(exists(other));
    ::unlink(file.c_str());
    EXPECT_EQ(stm_unlink(name.c_str()), 0);
}

// What it says before it looks for a module: tests/unit/library/commands_test.cc.
TEST(Stmctl, HasDocumentedExitStatuses) {
    EXPECT_EQ(stmctl("limits --help").status, 0);
    EXPECT_EQ(stmctl("nonsense").status, 2);
    EXPECT_EQ(stmctl("create x 5Q").status, 2);
    EXPECT_EQ(stmctl("info " + in_quotes(unique_name("missing"))).status, 1);
    EXPECT_EQ(shell("STM_DEVICE=/dev/null " + build_folder() + "/bin/stmctl ls 2>&1").status, 3);
}

TEST(Ssmpipe, WorksInScripts) {
    std::string pipe = build_folder() + "/bin/ssmpipe ";
    std::string name = in_quotes(unique_name("pipe"));
    Output output = shell("bash -c \"coproc C { " + pipe + "create " + name +
                          " 8192; }; read -u \\${C[0]} line; echo \\$line; " + pipe + "write " +
                          name + " 'hello there!' && " + pipe + "read " + name + "\" 2>&1");
    EXPECT_EQ(output.status, 0);
    EXPECT_EQ(output.text, "create success!\nhello there!\n");
    output = shell(pipe + "read " + name + " 2>&1");
    EXPECT_EQ(output.status, 1) << "it went with its creator";
    EXPECT_EQ(shell(pipe + "write onlyaname 2>&1").status, 2);
}

TEST(Examples, DoWhatTheySay) {
    std::string folder = build_folder() + "/examples/";
    stm_unlink("counter");
    EXPECT_EQ(shell(folder + "counter").text, "visitor 1\n");
    EXPECT_EQ(shell(folder + "counter").text, "visitor 2\n");
    EXPECT_EQ(stm_unlink("counter"), 0);
    stm_unlink("board");
    EXPECT_EQ(shell(folder + "board 'hello, board'").status, 0);
    EXPECT_EQ(shell(folder + "board").text, "hello, board\n");
    EXPECT_EQ(stm_unlink("board"), 0);
    EXPECT_EQ(shell(folder + "call").text,
              "client: what is 6 * 7?\nserver: somebody asks about 6\nclient: it is 42\n");
    EXPECT_EQ(shell(folder + "global").text,
              "global variable: 1 (the child's 42 stayed with the child)\nshared region:   42\n");
    EXPECT_EQ(shell(folder + "mutex").text, "4 processes, 10000 rounds each: sum 40000\n");
}

} // namespace
