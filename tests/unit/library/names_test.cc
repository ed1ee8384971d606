// SPDX-License-Identifier: GPL-2.0
// What the library makes of flags, paths and ids before it asks the module anything.
#include "open_flags.hpp"
#include "path.hpp"
#include "userspace/connection/segment_id.hpp"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <string>
#include <sys/stat.h>
#include <unistd.h>

using namespace stm::connection;
using namespace stm::library;

namespace {

TEST(Flags, BecomeThoseOfTheInterface) {
    EXPECT_EQ(translate_flags(0)->open, static_cast<unsigned>(STM_OPEN_READ | STM_OPEN_WRITE));
    EXPECT_EQ(translate_flags(STM_RDONLY)->open, static_cast<unsigned>(STM_OPEN_READ));
    OpenFlags all = *translate_flags(STM_CREATE | STM_EXCL | STM_PLAIN | STM_EXEC | STM_EPHEMERAL |
                                     STM_CLOEXEC);
    EXPECT_EQ(all.open, static_cast<unsigned>(STM_OPEN_READ | STM_OPEN_WRITE | STM_OPEN_CREATE |
                                              STM_OPEN_EXCL | STM_OPEN_CLOEXEC));
    EXPECT_EQ(all.region,
              static_cast<unsigned>(STM_REGION_PLAIN | STM_REGION_EXEC | STM_REGION_EPHEMERAL));
    EXPECT_EQ(translate_flags(STM_CREATE | STM_MUTEX)->region,
              static_cast<unsigned>(STM_REGION_MUTEX));
}

TEST(Flags, ThatMakeNoSenseAreRefused) {
    EXPECT_FALSE(translate_flags(STM_EXCL));
    EXPECT_FALSE(translate_flags(STM_CREATE | STM_PLAIN | STM_MUTEX));
    EXPECT_FALSE(translate_flags(STM_CREATE | STM_EXEC));
    EXPECT_FALSE(translate_flags(STM_CREATE | STM_DIRECT | STM_PLAIN));
    EXPECT_FALSE(translate_flags(STM_CREATE | STM_DIRECT | STM_MUTEX));
    EXPECT_FALSE(translate_flags(0x4));
}

TEST(Flags, ShareNoBitWithThoseOfOpenOrOfTheInterface) {
    constexpr int kOpen = O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND |
                          O_NONBLOCK | O_DSYNC | O_SYNC | O_ASYNC | O_DIRECT | O_LARGEFILE |
                          O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_PATH | O_TMPFILE;
    EXPECT_EQ(kAllFlags & kOpen, 0);
    EXPECT_EQ(kAllFlags & STM_OPEN_FLAGS, 0);
    EXPECT_EQ(kAllFlags & STM_REGION_FLAGS, 0);
    EXPECT_EQ(translate_flags(STM_CREATE | STM_DIRECT)->region,
              static_cast<unsigned>(STM_REGION_DIRECT));
    for (int bit = 0; bit < 31; ++bit) {
        if ((kOpen & 1 << bit) != 0) {
            EXPECT_FALSE(translate_flags(1 << bit)) << bit;
        }
    }
}

TEST(Kind, MustBeEqualToCreateAndIncludedToOpen) {
    OpenFlags create_plain = *translate_flags(STM_CREATE | STM_PLAIN);
    OpenFlags open_plain = *translate_flags(STM_PLAIN);
    OpenFlags open_any = *translate_flags(0);
    EXPECT_TRUE(kind_suits(create_plain, STM_REGION_PLAIN));
    EXPECT_TRUE(kind_suits(create_plain, STM_REGION_PLAIN | STM_REGION_EPHEMERAL));
    EXPECT_FALSE(kind_suits(create_plain, 0));
    EXPECT_FALSE(kind_suits(create_plain, STM_REGION_PLAIN | STM_REGION_EXEC));
    EXPECT_TRUE(kind_suits(open_plain, STM_REGION_PLAIN | STM_REGION_EXEC));
    EXPECT_FALSE(kind_suits(open_plain, STM_REGION_MUTEX));
    EXPECT_TRUE(kind_suits(open_any, STM_REGION_PLAIN | STM_REGION_EXEC));
    EXPECT_TRUE(kind_suits(open_any, STM_REGION_MUTEX));
}

class Paths : public ::testing::Test {
protected:
    void SetUp() override {
        char folder[] = "/tmp/stm-paths-XXXXXX";
        ASSERT_NE(::mkdtemp(folder), nullptr);
        char resolved[PATH_MAX];
        ASSERT_NE(::realpath(folder, resolved), nullptr);
        folder_ = resolved;
        ASSERT_EQ(::mkdir((folder_ + "/sub").c_str(), 0755), 0);
        ASSERT_EQ(::symlink("sub", (folder_ + "/link").c_str()), 0);
        ASSERT_EQ(::close(::open((folder_ + "/file").c_str(), O_CREAT | O_WRONLY, 0644)), 0);
        ASSERT_EQ(::symlink("../file", (folder_ + "/sub/file-link").c_str()), 0);
    }
    void TearDown() override {
        for (const char* name : {"/sub/file-link", "/link", "/file"})
            ::unlink((folder_ + name).c_str());
        ::rmdir((folder_ + "/sub").c_str());
        ::rmdir(folder_.c_str());
    }
    // The canonical path, or "errno N".
    static std::string canonical(const std::string& filename) {
        char result[PATH_MAX];
        if (canonical_path(filename.c_str(), result) < 0)
            return "errno " + std::to_string(errno);
        return result;
    }
    std::string folder_;
};

TEST_F(Paths, OfAFileThatExistsHaveNoLinks) {
    EXPECT_EQ(canonical(folder_ + "/file"), folder_ + "/file");
    EXPECT_EQ(canonical(folder_ + "/./sub/../file"), folder_ + "/file");
    EXPECT_EQ(canonical(folder_ + "//link/file-link"), folder_ + "/file");
}

TEST_F(Paths, OfAFileToBeMadeHaveNoLinksInTheFolder) {
    EXPECT_EQ(canonical(folder_ + "/new"), folder_ + "/new");
    EXPECT_EQ(canonical(folder_ + "/link/new"), folder_ + "/sub/new");
    EXPECT_EQ(canonical(folder_ + "/link/..//sub/./new"), folder_ + "/sub/new");
    EXPECT_EQ(canonical("/stm-no-such-file"), "/stm-no-such-file");
}

TEST_F(Paths, MayBeRelative) {
    char before[PATH_MAX];
    ASSERT_NE(::getcwd(before, sizeof before), nullptr);
    ASSERT_EQ(::chdir((folder_ + "/link").c_str()), 0);
    EXPECT_EQ(canonical("new"), folder_ + "/sub/new");
    EXPECT_EQ(canonical("../new"), folder_ + "/new");
    EXPECT_EQ(canonical("file-link"), folder_ + "/file");
    ASSERT_EQ(::chdir(before), 0);
}

TEST_F(Paths, ThatLeadNowhereAreErrors) {
    char result[PATH_MAX];
    EXPECT_EQ(canonical_path(nullptr, result), -1);
    EXPECT_EQ(errno, EINVAL);
    EXPECT_EQ(canonical(""), "errno " + std::to_string(ENOENT));
    EXPECT_EQ(canonical(folder_ + "/missing/new"), "errno " + std::to_string(ENOENT));
    EXPECT_EQ(canonical(folder_ + "/new/"), "errno " + std::to_string(ENOENT));
    EXPECT_EQ(canonical(folder_ + "/file/new"), "errno " + std::to_string(ENOTDIR));
    EXPECT_EQ(canonical(folder_ + "/" + std::string(300, 'x')),
              "errno " + std::to_string(ENAMETOOLONG));
    EXPECT_EQ(canonical(std::string(2 * PATH_MAX, '/') + "x"),
              "errno " + std::to_string(ENAMETOOLONG));
}

TEST(SegmentIds, ArePositiveAndTellTheMinor) {
    for (std::uint64_t generation : {1ULL, 2ULL, 0x7fffULL, 0x8001ULL, 0xffffffffULL})
        for (std::uint64_t minor : {1ULL, 7ULL, 0x8000ULL, 0xffffULL}) {
            int id = segment_id(generation << 32 | minor);
            EXPECT_GT(id, 0);
            EXPECT_EQ(segment_minor(id), minor);
        }
}

TEST(SegmentIds, DifferForEachLifeOfAMinor) {
    EXPECT_NE(segment_id(1ULL << 32 | 5), segment_id(2ULL << 32 | 5));
    EXPECT_NE(segment_id(0x7fffULL << 32 | 5), segment_id(0x8000ULL << 32 | 5));
    EXPECT_EQ(segment_id(1ULL << 32 | 5), segment_id(0x8001ULL << 32 | 5));
}

TEST(SegmentIds, OfLargeMinorsDoNotExist) {
    EXPECT_EQ(segment_id(1ULL << 32 | 0x10000), -1);
    EXPECT_EQ(segment_id(1ULL << 32 | 0xffffffff), -1);
}

} // namespace
