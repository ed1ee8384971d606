// SPDX-License-Identifier: GPL-2.0
// The module's counters in sysfs.
#include "guest.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <stm/stm.hpp>
#include <sys/ioctl.h>
#include <sys/stat.h>

using namespace stm::test;

namespace {

const std::string kFolder = "/sys/class/stm/stm/counters/";
const std::set<std::string> kFiles = {
    "regions", "bytes",     "resident_bytes", "handles", "starts", "commits", "read_only_commits",
    "calls",   "conflicts", "other_aborts",   "serial",  "waits",  "faults",  "reads",
    "writes"};

unsigned long count(const std::string& name) {
    unsigned long value = 0;
    std::ifstream file(kFolder + name);
    EXPECT_TRUE(file >> value) << name;
    return value;
}

TEST(Counters, AreOneNumberAFileForEverybody) {
    std::set<std::string> found;
    for (const auto& file : std::filesystem::directory_iterator(kFolder)) {
        found.insert(file.path().filename());
        std::ifstream stream(file.path());
        const std::string text{std::istreambuf_iterator<char>(stream), {}};
        ASSERT_GE(text.size(), 2u) << file.path();
        EXPECT_EQ(text.back(), '\n');
        EXPECT_TRUE(std::all_of(text.begin(), text.end() - 1, [](char c) {
            return c >= '0' && c <= '9';
        })) << text;
        struct stat status {};
        ASSERT_EQ(::stat(file.path().c_str(), &status), 0);
        EXPECT_EQ(status.st_mode & 0777, 0444u) << file.path();
    }
    EXPECT_EQ(found, kFiles);
}

TEST(Counters, TellWhatThereIs) {
    const unsigned long regions = count("regions"), bytes = count("bytes");
    const unsigned long resident = count("resident_bytes"), handles = count("handles");
    {
        Region region("counted", 4 * kPage);
        EXPECT_EQ(::pwrite(region.fd(), "x", 1, 0), 1);
        EXPECT_EQ(count("regions"), regions + 1);
        EXPECT_EQ(count("handles"), handles + 1);
        EXPECT_EQ(count("bytes"), bytes + 4 * kPage);
        EXPECT_EQ(count("resident_bytes"), resident + kPage);
    }
    EXPECT_EQ(count("regions"), regions);
    EXPECT_EQ(count("handles"), handles);
    EXPECT_EQ(count("bytes"), bytes);
    EXPECT_EQ(count("resident_bytes"), resident);
}

TEST(Counters, TellWhatWasDoneAlsoInRegionsThatAreGone) {
    const unsigned long starts = count("starts"), commits = count("commits");
    const unsigned long read_only = count("read_only_commits"), aborts = count("other_aborts");
    const unsigned long calls = count("calls"), writes = count("writes"), reads = count("reads");
    const unsigned long conflicts = count("conflicts");
    const auto expect = [&] {
        EXPECT_EQ(count("starts"), starts + 4);
        EXPECT_EQ(count("commits"), commits + 2);
        EXPECT_EQ(count("read_only_commits"), read_only + 1);
        EXPECT_EQ(count("other_aborts"), aborts + 1);
        EXPECT_EQ(count("conflicts"), conflicts + 1);
        EXPECT_EQ(count("calls"), calls + 1);
        EXPECT_EQ(count("writes"), writes + 3);
        EXPECT_EQ(count("reads"), reads + 2);
    };
    {
        Region region("done", kPage, 0);
        const int fd = region.fd();
        char byte = 'x';
        EXPECT_EQ(::ioctl(fd, STM_IOC_START, 0), 1);
        EXPECT_EQ(::pwrite(fd, &byte, 1, 0), 1);
        EXPECT_EQ(::ioctl(fd, STM_IOC_COMMIT, 0), 0);
        EXPECT_EQ(::ioctl(fd, STM_IOC_START, 0), 1);
        EXPECT_EQ(::pread(fd, &byte, 1, 0), 1);
        EXPECT_EQ(::ioctl(fd, STM_IOC_COMMIT, 0), 0);
        EXPECT_EQ(::ioctl(fd, STM_IOC_START, 0), 1);
        EXPECT_EQ(::ioctl(fd, STM_IOC_CANCEL, 0), 0);
        EXPECT_EQ(::ioctl(fd, STM_IOC_START, 0), 1);
        EXPECT_EQ(::pread(fd, &byte, 1, 0), 1);
        EXPECT_EQ(Child::doing([&] { EXPECT_EQ(::pwrite(fd, "y", 1, 0), 1); }).wait(), 0);
        EXPECT_EQ(::pwrite(fd, &byte, 1, 1), 1);
        EXPECT_EQ(::ioctl(fd, STM_IOC_COMMIT, 0), -1);
        EXPECT_EQ(errno, EAGAIN);
        expect();
    }
    expect();
}

TEST(Counters, TellOfTypedTransactions) {
    Region region("typed", 16 * kPage, 0);
    const auto opened = stm::region::open(region.name());
    auto& number = opened.at<stm::var<long>>(0);
    const unsigned long commits = count("commits");
    for (int i = 0; i < 5; ++i)
        stm::atomically(opened, [&](stm::transaction& tx) { tx[number] += 1; });
    EXPECT_EQ(count("commits"), commits + 5);
}

} // namespace
