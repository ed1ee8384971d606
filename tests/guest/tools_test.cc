// SPDX-License-Identifier: GPL-2.0
// The commands and the examples, as a user runs them.
#include "guest.hpp"

#include <algorithm>
#include <fcntl.h>
#include <nlohmann/json.hpp>
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
    EXPECT_EQ(stmctl("info --id " + std::to_string(info_of(region.fd()).id)).status, 1);
}

TEST(Stmctl, ChangesTheMode) {
    Region region("chmod");
    EXPECT_EQ(stmctl("chmod " + in_quotes(region.name()) + " 664").status, 0);
    EXPECT_EQ(info_of(region.name()).mode, 0664u);
    EXPECT_EQ(stmctl("chmod " + in_quotes(region.name()) + " rw").status, 2);
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

TEST(Stmctl, HasDocumentedExitStatuses) {
    EXPECT_EQ(stmctl("--help").status, 0);
    EXPECT_NE(stmctl("--help").text.find("Exit status"), std::string::npos);
    EXPECT_EQ(stmctl("").status, 2);
    EXPECT_EQ(stmctl("nonsense").status, 2);
    EXPECT_EQ(stmctl("create x").status, 2);
    EXPECT_EQ(stmctl("create x 5Q").status, 2);
    EXPECT_EQ(stmctl("create x 4K --mode 9").status, 2);
    EXPECT_EQ(stmctl("info " + in_quotes(unique_name("missing"))).status, 1);
    Output output = shell("STM_DEVICE=/dev/null " + build_folder() + "/bin/stmctl ls 2>&1");
    EXPECT_EQ(output.status, 3);
    EXPECT_NE(output.text.find("insmod stm.ko"), std::string::npos) << output.text;
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
