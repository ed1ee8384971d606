// SPDX-License-Identifier: GPL-2.0
// The examples that use <stm/stm.hpp> do what they say.
#include "guest.hpp"

#include <string>

namespace stm::test {
namespace {

std::string example(const std::string& words) {
    return build_folder() + "/examples/" + words;
}

TEST(TypedExamples, TransfersKeepTheSum) {
    const std::string transfer = example("transfer");
    EXPECT_EQ(shell(transfer + " 1 2 700").text, "sum: 0\n");
    EXPECT_EQ(shell(transfer + " 1 3 700 2>&1").text, "transfer: nobody gets more than 1000\n");
    EXPECT_EQ(shell("for i in $(seq 8); do " + transfer + " 2 $i 1 & done; wait; " + transfer)
                  .text.substr(0, 7),
              "sum: 0\n");
    EXPECT_EQ(stm_unlink("money"), 0);
}

TEST(TypedExamples, JobsAreDoneByWorkersThatMayBeKilled) {
    const std::string jobs = example("jobs");
    Child worker([&] { return shell(jobs + " work >/dev/null").status; });
    EXPECT_EQ(shell(jobs + " add one two three").status, 0);
    EXPECT_TRUE(eventually([&] { return shell(jobs).text == "0 waiting, 3 done\n"; }));
    shell("pkill -9 -x jobs");
    worker.wait();
    EXPECT_EQ(shell(jobs + " add four").text, "1 waiting, 3 done\n");
    EXPECT_EQ(stm_unlink("jobs"), 0);
}

TEST(TypedExamples, TheBankLosesNoMoney) {
    EXPECT_EQ(shell(build_folder() +
                    "/bin/bank --way typed --processes 3 --seconds 1 --kill-rate 20 >/dev/null")
                  .status,
              0);
}

} // namespace
} // namespace stm::test
