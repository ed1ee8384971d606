// SPDX-License-Identifier: GPL-2.0
// What the library says of transactions that are aborted again and again: STM_REPORT_ABORTS.
#include "guest.hpp"

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stm/stm.hpp>
#include <unistd.h>

using namespace stm::test;

namespace {

constexpr std::size_t kSize = 4 * kPage;
constexpr off_t kPlace = 2 * kPage + 128; // of the number that both change

// The two ends of the talk between a transaction and who disturbs it.
struct Talk {
    int ask;
    int answer;

    // Has the other process commit a change of the number.
    void disturb() const {
        char byte = 0;
        EXPECT_EQ(::write(ask, "?", 1), 1);
        EXPECT_EQ(::read(answer, &byte, 1), 1);
    }
};
Talk talk_of(const std::vector<std::string>& words) {
    return {std::stoi(words[1]), std::stoi(words[2])};
}

// Aborted for so many times by the other process, in a row.
STM_HELPER(typed_victim) {
    const Talk talk = talk_of(words);
    const auto region = stm::region::open(words[0]);
    auto& number = region.at<stm::var<long>>(kPlace);
    int left = std::stoi(words[3]);
    stm::atomically(region, [&](stm::transaction& tx) {
        const long before = tx[number];
        if (left-- > 0)
            talk.disturb();
        tx[number] = before + 1;
    });
    return 0;
}

STM_HELPER(mapped_victim) {
    const Talk talk = talk_of(words);
    const Fd fd(stm_open(words[0].c_str(), 0, 0, 0));
    const Mapping map(fd.get(), kSize);
    volatile long* const number = map.at<volatile long>(kPlace);
    volatile int left = std::stoi(words[3]);
    do {
        stm_start(fd.get());
        const long before = *number;
        if (left > 0) {
            left = left - 1;
            // The question and its answer belong together, however long the answer takes.
            stm_defer_restarts();
            talk.disturb();
            stm_allow_restarts();
        }
        *number = before + 1;
    } while (stm_commit(fd.get()) != 0);
    return 0;
}

class Reports : public ::testing::TestWithParam<const char*> {
protected:
    Reports() {
        EXPECT_EQ(stm_name(region_.fd(), kPlace, 8, "the number"), 0);
        EXPECT_EQ(stm_name(region_.fd(), 0, kSize, "all"), 0);
        const long first = 1000;
        EXPECT_EQ(::pwrite(region_.fd(), &first, sizeof first, kPlace), 8);
    }
    ~Reports() override {
        ::unlink(path_.c_str());
        ::unsetenv("STM_REPORT_ABORTS");
        ::unsetenv("STM_REPORT_FILE");
    }

    // Runs a victim of that many aborts. What it has reported.
    std::string run(const char* wanted, int aborts) {
        int question[2], answer[2];
        EXPECT_EQ(::pipe(question), 0);
        EXPECT_EQ(::pipe(answer), 0);
        if (wanted != nullptr)
            ::setenv("STM_REPORT_ABORTS", wanted, 1);
        ::setenv("STM_REPORT_FILE", path_.c_str(), 1);
        Child victim =
            Child::program(GetParam(), {region_.name(), std::to_string(question[1]),
                                        std::to_string(answer[0]), std::to_string(aborts)});
        ::close(question[1]);
        char byte = 0;
        for (long value = 1; ::read(question[0], &byte, 1) == 1; value += 100) {
            EXPECT_EQ(::pwrite(region_.fd(), &value, sizeof value, kPlace), 8);
            EXPECT_EQ(::write(answer[1], "!", 1), 1);
        }
        EXPECT_EQ(victim.wait(), 0);
        victim_ = victim.pid();
        for (const int fd : {question[0], answer[0], answer[1]})
            ::close(fd);
        std::ifstream file(path_);
        return {std::istreambuf_iterator<char>(file), {}};
    }

    Region region_{"reports", kSize, 0};
    const std::string path_ = unique_path("report");
    pid_t victim_ = -1;
};

std::size_t count(const std::string& text, const std::string& what) {
    std::size_t found = 0;
    for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1))
        ++found;
    return found;
}

TEST_P(Reports, TellWhichPlaceWhichProcessAndWhichLine) {
    const std::string text = run("4", 5);
    const auto expect = [&](const std::string& what) {
        EXPECT_NE(text.find(what), std::string::npos) << what << "\n" << text;
    };
    EXPECT_EQ(count(text, "in a row"), 1u) << text;
    expect("a transaction has been aborted 4 times in a row\n");
    expect("region: '" + region_.name() + "'");
    expect("4 at the number\n");
    expect("4 times " + std::to_string(::getpid()) + " (");
    const auto begin = text.find("addr2line");
    ASSERT_NE(begin, std::string::npos) << text;
    const Output lines = shell(text.substr(begin, text.find('\n', begin) - begin));
    EXPECT_EQ(lines.status, 0);
    EXPECT_NE(lines.text.find(std::string("helper_") + GetParam()), std::string::npos)
        << lines.text;
    EXPECT_NE(lines.text.find("abort_reports_test.cc:"), std::string::npos) << lines.text;
}

TEST_P(Reports, ComeAgainWhenTheyAreTwiceAsMany) {
    const std::string text = run("2", 9);
    EXPECT_EQ(count(text, "in a row"), 3u) << text;
    for (const char* number : {"2", "4", "8"})
        EXPECT_EQ(count(text, std::string("aborted ") + number + " times"), 1u) << text;
}

TEST_P(Reports, DoNotComeOfFewerAborts) {
    EXPECT_EQ(run("4", 3), "");
}

TEST_P(Reports, DoNotComeUnasked) {
    EXPECT_EQ(run(nullptr, 9), "");
}

INSTANTIATE_TEST_SUITE_P(Each, Reports, ::testing::Values("typed_victim", "mapped_victim"),
                         [](const auto& each) { return std::string(each.param); });

} // namespace
