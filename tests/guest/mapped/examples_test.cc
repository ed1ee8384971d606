// SPDX-License-Identifier: GPL-2.0
// The examples whose data are ordinary memory: a bank in which no audit finds a wrong sum, whoever
// is killed, and a list that is never torn.
#include "guest.hpp"

#include <nlohmann/json.hpp>

using namespace stm::test;

namespace {

nlohmann::json bank(const std::string& arguments) {
    Output output = shell(build_folder() + "/bin/bank --way transparent --json " + arguments);
    EXPECT_EQ(output.status, 0) << output.text;
    return nlohmann::json::parse(output.text, nullptr, false);
}

TEST(MappedBank, EveryAuditSeesAllTheMoney) {
    const nlohmann::json result = bank("--accounts 64 --processes 4 --auditors 2 --seconds 4");
    EXPECT_GT(result["transfers"], 0);
    EXPECT_GT(result["audits"], 0);
    EXPECT_EQ(result["wrong_audits"], 0);
    EXPECT_EQ(result["money_missing"], 0);
}

TEST(MappedBank, ProcessesThatAreKilledLoseNoMoneyAndLeaveNothing) {
    const nlohmann::json result =
        bank("--accounts 16 --processes 4 --auditors 1 --seconds 6 --kill-rate 20");
    EXPECT_GT(result["kills"], 0);
    EXPECT_EQ(result["accidents"], 0);
    EXPECT_EQ(result["wrong_audits"], 0);
    EXPECT_EQ(result["money_missing"], 0);
    EXPECT_EQ(result["handles_left"], 1);
    EXPECT_EQ(result["mappings_left"], 1);
}

TEST(MappedList, ThreeProcessesFindItInOrderAllTheTime) {
    const std::string list = build_folder() + "/examples/list";
    const Output output = shell("(" + list + " & " + list + " & " + list + "; wait) 2>&1");
    EXPECT_EQ(output.text.find("torn"), std::string::npos) << output.text;
    std::size_t ends = 0;
    for (std::size_t at = 0; (at = output.text.find("keys, in order", at)) != std::string::npos;
         ++at)
        ++ends;
    EXPECT_EQ(ends, 3u) << output.text;
    EXPECT_EQ(stm_unlink("list"), 0) << std::strerror(errno);
}

} // namespace
