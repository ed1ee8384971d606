// SPDX-License-Identifier: GPL-2.0
// The tracepoints, as anybody reads them in tracefs: docs/tracing.md.
#include "guest.hpp"
#include "tracing.hpp"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <stm/stm.h>
#include <stm/stm.hpp>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>

using namespace stm::test;

namespace {

// A buffer of events of its own, which other tests do not see.
class Buffer {
public:
    Buffer() : folder_("/sys/kernel/tracing/instances/" + unique_name("stm")) {
        std::filesystem::create_directory(folder_);
        set("events/stm/enable", "1");
    }
    ~Buffer() {
        set("events/stm/enable", "0");
        ::rmdir(folder_.c_str());
    }
    Buffer(const Buffer&) = delete;

    void set(const std::string& file, const std::string& value) const {
        std::ofstream(folder_ / file) << value << std::flush;
    }
    // The lines of that event about that region, from "region=" on.
    std::vector<std::string> lines(const std::string& event, const std::string& region) const {
        std::vector<std::string> found;
        std::ifstream trace(folder_ / "trace");
        for (std::string line; std::getline(trace, line);) {
            const auto place = line.find(": " + event + ": region=" + region + " ");
            if (place != std::string::npos)
                found.push_back(line.substr(place + event.size() + 4));
        }
        return found;
    }

private:
    std::filesystem::path folder_;
};

std::string word(const std::string& line, const std::string& name) {
    const auto place = line.find(" " + name + "=");
    if (place == std::string::npos)
        return "(none)";
    const auto begin = place + name.size() + 2;
    return line.substr(begin, line.find(' ', begin) - begin);
}

class Tracing : public ::testing::Test {
protected:
    void SetUp() override {
        SKIP_UNLESS_TRACED();
        name = unique_name("traced");
        fd = stm_open(name.c_str(), 65536, STM_CREATE, 0600);
        ASSERT_GE(fd, 0);
    }
    void TearDown() override {
        if (fd >= 0) {
            ::close(fd);
            stm_unlink(name.c_str());
        }
    }
    // What a process commits by one call.
    void elsewhere(long value, off_t offset) {
        EXPECT_EQ(Child::doing([&] {
                      const int own = stm_open(name.c_str(), 0, 0, 0);
                      EXPECT_EQ(::pwrite(own, &value, sizeof(value), offset), 8);
                      ::close(own);
                  }).wait(),
                  0);
    }
    std::string name;
    int fd = -1;
};

TEST_F(Tracing, ACommitTellsWhatItHasReadAndWritten) {
    const Buffer buffer;
    long value = 0;
    ASSERT_EQ(stm_try_start(fd), 0);
    EXPECT_EQ(::pread(fd, &value, sizeof(value), 4096), 8);
    EXPECT_EQ(::pwrite(fd, &value, sizeof(value), 128), 8);
    EXPECT_EQ(::pwrite(fd, &value, sizeof(value), 640), 8);
    EXPECT_EQ(stm_try_commit(fd), 0);
    const auto starts = buffer.lines("stm_start", name);
    const auto commits = buffer.lines("stm_commit", name);
    ASSERT_EQ(starts.size(), 1u);
    ASSERT_EQ(commits.size(), 1u);
    EXPECT_EQ(word(starts[0], "way"), "start");
    EXPECT_EQ(word(commits[0], "way"), "start");
    EXPECT_EQ(word(commits[0], "version"), "1");
    EXPECT_EQ(word(commits[0], "read"), "1");
    EXPECT_EQ(word(commits[0], "written"), "2");
    EXPECT_EQ(word(commits[0], "owner"), word(starts[0], "owner"));
    EXPECT_EQ(buffer.lines("stm_access", name).size(), 3u);
    EXPECT_TRUE(buffer.lines("stm_abort", name).empty());
}

TEST_F(Tracing, AConflictTellsTheStripeAndWhichCommitHasChangedIt) {
    const Buffer buffer;
    long value = 0;
    ASSERT_EQ(stm_try_start(fd), 0);
    stm_defer_restarts();
    EXPECT_EQ(::pread(fd, &value, sizeof(value), 4096), 8);
    EXPECT_EQ(::pwrite(fd, &value, sizeof(value), 128), 8);
    elsewhere(5, 4096);
    EXPECT_EQ(stm_try_commit(fd), 1);
    stm_allow_restarts();
    const auto aborts = buffer.lines("stm_abort", name);
    const auto commits = buffer.lines("stm_commit", name);
    ASSERT_EQ(aborts.size(), 1u);
    ASSERT_EQ(commits.size(), 1u);
    EXPECT_EQ(word(aborts[0], "offset"), "4096");
    EXPECT_EQ(word(aborts[0], "locked_by"), "0");
    EXPECT_EQ(word(aborts[0], "version"), word(commits[0], "version"));
    EXPECT_EQ(word(commits[0], "way"), "call");
}

TEST_F(Tracing, AFaultTellsWhereItWas) {
    const Buffer buffer;
    void* const memory = ::mmap(nullptr, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ASSERT_NE(memory, MAP_FAILED);
    auto* const words = static_cast<volatile long*>(memory);
    stm_start(fd);
    words[8192 / sizeof(long)] = 7;
    stm_commit(fd);
    ::munmap(memory, 65536);
    bool found = false;
    for (const std::string& line : buffer.lines("stm_fault", name))
        found = found || (word(line, "offset") == "8192" && word(line, "result") == "mapped" &&
                          line.find(" store ") != std::string::npos);
    EXPECT_TRUE(found);
}

TEST_F(Tracing, AWaitAndWhatADeadThreadLeavesAreTold) {
    const Buffer buffer;
    long value = 0;
    // A thread of this process, whose transaction the handle still has when it ends.
    std::thread([&] {
        EXPECT_EQ(stm_try_start(fd), 0);
        EXPECT_EQ(::pwrite(fd, &value, sizeof(value), 0), 8);
    }).join();
    ::close(::dup(fd));
    EXPECT_TRUE(eventually([&] { return !buffer.lines("stm_repair", name).empty(); }));
    const auto repairs = buffer.lines("stm_repair", name);
    ASSERT_FALSE(repairs.empty());
    EXPECT_EQ(word(repairs[0], "what"), "ended");

    ASSERT_EQ(stm_try_start(fd), 0);
    stm_defer_restarts();
    EXPECT_EQ(::pread(fd, &value, sizeof(value), 4096), 8);
    elsewhere(5, 4096);
    // It finds that what was read has changed.
    struct stm_wait wait {};
    wait.size = sizeof(wait);
    wait.timeout_ns = 1000000000;
    (void)request(fd, STM_IOC_WAIT, &wait);
    stm_allow_restarts();
    const auto waits = buffer.lines("stm_wait", name);
    ASSERT_FALSE(waits.empty());
    EXPECT_EQ(word(waits.back(), "what"), "change");
}

TEST_F(Tracing, TypedTransactionsAreToldAtTheirCommit) {
    ::close(fd);
    fd = -1;
    stm_unlink(name.c_str());
    auto region = stm::region::create(name.c_str(), 65536);
    auto& number = region.root<stm::var<long>>();
    const Buffer buffer;
    stm::atomically(region, [&](stm::transaction& tx) { tx[number] += 1; });
    const auto commits = buffer.lines("stm_commit", name);
    ASSERT_EQ(commits.size(), 1u);
    EXPECT_EQ(word(commits[0], "way"), "typed");
    EXPECT_EQ(word(commits[0], "written"), "1");
    const auto starts = buffer.lines("stm_start", name);
    ASSERT_EQ(starts.size(), 1u);
    EXPECT_EQ(word(starts[0], "way"), "typed");
    EXPECT_EQ(word(starts[0], "owner"), word(commits[0], "owner"));
    stm_unlink(name.c_str());
}

} // namespace
