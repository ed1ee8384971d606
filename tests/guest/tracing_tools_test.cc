// SPDX-License-Identifier: GPL-2.0
// The commands that show what transactions do, by the module's tracepoints.
#include "tracing.hpp"
#include "transactions/transactions.hpp"

#include <atomic>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <sys/ioctl.h>
#include <thread>

using namespace stm::test;

namespace {

std::string in_quotes(const std::string& text) {
    return "'" + text + "'";
}

Output stmctl(const std::string& arguments) {
    return shell(build_folder() + "/bin/stmctl " + arguments + " 2>&1");
}

class TracingTools : public ::testing::Test {
protected:
    void SetUp() override { SKIP_UNLESS_TRACED(); }
};

// What the command prints about a region of which two parts have names, while one transaction
// after the other conflicts in one of them, with another process.
Output watched(Region& region, const std::string& arguments) {
    constexpr off_t kPlace = kPage + 64;
    constexpr off_t kEnd = 3 * kPage;
    EXPECT_EQ(stm_name(region.fd(), 0, kPage, "queue"), 0);
    EXPECT_EQ(stm_name(region.fd(), kPage, 256, "accounts"), 0);
    const auto load = [](int fd, off_t offset) {
        long value = 0;
        EXPECT_EQ(::pread(fd, &value, sizeof(value), offset), 8);
        return value;
    };
    const auto store = [](int fd, long value, off_t offset) {
        EXPECT_EQ(::pwrite(fd, &value, sizeof(value), offset), 8);
    };
    store(region.fd(), 0, kEnd);
    Child other = Child::doing([&] {
        const Fd own(stm_open(region.name().c_str(), 0, 0, 0));
        for (long value = 1; load(own.get(), kEnd) == 0; ++value) {
            store(own.get(), value, kPlace);
            ::usleep(1000);
        }
    });
    const Fd look(stm_open(region.name().c_str(), 0, 0, 0));
    std::atomic<bool> done{false};
    Output output;
    std::thread watcher([&] {
        output = stmctl(arguments);
        done = true;
    });
    while (!done) {
        EXPECT_EQ(::ioctl(region.fd(), STM_IOC_START, 0), 1);
        const long before = load(region.fd(), kPlace);
        while (load(look.get(), kPlace) == before && !done)
            ::usleep(200);
        store(region.fd(), before, 2 * kPage);
        (void)::ioctl(region.fd(), STM_IOC_COMMIT, 0);
        // Or it would run alone soon, and the other one wait.
        EXPECT_EQ(::ioctl(region.fd(), STM_IOC_START, 0), 1);
        EXPECT_EQ(::ioctl(region.fd(), STM_IOC_CANCEL, 0), 0);
    }
    watcher.join();
    store(region.fd(), 1, kEnd);
    EXPECT_EQ(other.wait(), 0);
    return output;
}

TEST_F(TracingTools, TracesWhoWasInWhoseWay) {
    Region region("traced", 4 * kPage, 0, 0600);
    const Output text =
        watched(region, "trace --conflicts --seconds 2 --region " + in_quotes(region.name()));
    EXPECT_EQ(text.status, 0) << text.text;
    EXPECT_NE(text.text.find("conflict at accounts+64: it has changed since it was read, by "),
              std::string::npos)
        << text.text;
    const Output lines =
        watched(region, "trace --json --seconds 2 --region " + in_quotes(region.name()));
    std::istringstream all(lines.text);
    std::set<std::string> events;
    bool other = false;
    for (std::string line; std::getline(all, line);) {
        const nlohmann::json event = nlohmann::json::parse(line, nullptr, false);
        ASSERT_FALSE(event.is_discarded()) << line;
        EXPECT_EQ(event["region"], region.name());
        events.insert(event["event"]);
        if (event["event"] == "abort" && event["reason"] == "commit_validation") {
            EXPECT_EQ(event["offset"], kPage + 64);
            EXPECT_EQ(event["place"], "accounts+64");
            other = other || event["by"].is_string();
        }
    }
    EXPECT_TRUE(other);
    EXPECT_EQ(events.count("start") + events.count("commit") + events.count("abort"), 3u);
    EXPECT_EQ(stmctl("trace --seconds 0").status, 2);
    EXPECT_EQ(stmctl("trace --event nothing").status, 2);
}

TEST_F(TracingTools, ShowsTheBusiestRegionsPlacesAndProcesses) {
    Region region("top", 4 * kPage, 0, 0600);
    const Output text = watched(region, "top --once --interval 1");
    EXPECT_EQ(text.status, 0) << text.text;
    for (const std::string& part : {std::string("COMMITS/s"), region.name(),
                                    std::string("accounts+64"), std::string("commit_validation")})
        EXPECT_NE(text.text.find(part), std::string::npos) << part << " in " << text.text;
    const Output json = watched(region, "top --json --interval 1");
    const nlohmann::json view = nlohmann::json::parse(json.text, nullptr, false);
    ASSERT_FALSE(view.is_discarded()) << json.text;
    ASSERT_FALSE(view["places"].empty());
    EXPECT_EQ(view["places"][0]["place"], "accounts+64");
    EXPECT_GT(view["places"][0]["conflicts"], 0);
    bool found = false;
    for (const auto& process : view["processes"])
        found = found || (process["pid"] == ::getpid() && process["aborts"] > 0);
    EXPECT_TRUE(found) << json.text;
    EXPECT_EQ(stmctl("top < /dev/null").status, 1) << "no terminal";
    const Output without = stmctl("top --once --no-events --interval 0.1");
    EXPECT_EQ(without.status, 0);
    EXPECT_NE(without.text.find("no places and processes"), std::string::npos);
}

TEST_F(TracingTools, ShowsNothingOfWhatWasBeforeTheInterval) {
    Region region("before", 4 * kPage, 0, 0600);
    for (int i = 0; i < 3; ++i)
        EXPECT_EQ(::pwrite(region.fd(), "x", 1, i), 1);
    for (const char* options : {"", " --no-events"}) {
        const Output json = stmctl(std::string("top --json --interval 0.1") + options);
        const nlohmann::json view = nlohmann::json::parse(json.text, nullptr, false);
        ASSERT_FALSE(view.is_discarded()) << json.text;
        bool found = false;
        for (const auto& one : view["regions"]) {
            if (one["name"] != region.name())
                continue;
            found = true;
            EXPECT_EQ(one["calls"], 0) << options << ": " << json.text;
        }
        EXPECT_TRUE(found) << json.text;
    }
}

TEST_F(TracingTools, DrawsWhereARegionIsHot) {
    Region region("hot", 4 * kPage, 0, 0600);
    const Output picture =
        watched(region, "heatmap --seconds 1 " + in_quotes(region.name()) + " | cat");
    EXPECT_EQ(picture.text.rfind("<svg ", 0), 0u) << picture.text.substr(0, 200);
    EXPECT_NE(picture.text.find("</svg>"), std::string::npos);
    EXPECT_NE(picture.text.find(">accounts</text>"), std::string::npos);
    EXPECT_NE(picture.text.find("<circle "), std::string::npos);
    const Output json = watched(region, "heatmap --json --seconds 1 " + in_quotes(region.name()));
    const nlohmann::json map = nlohmann::json::parse(json.text, nullptr, false);
    ASSERT_FALSE(map.is_discarded()) << json.text;
    bool found = false;
    for (const auto& cell : map["cells"])
        found = found || (cell["offset"] == kPage + 64 && cell["place"] == "accounts+64" &&
                          cell["conflicts"] > 0 && cell["reads"] > 0 && cell["writes"] > 0);
    EXPECT_TRUE(found) << json.text;
}

} // namespace
