// SPDX-License-Identifier: GPL-2.0
// Regions as such: creating, opening, naming, sizing, destroying.
#include "guest.hpp"

#include <algorithm>
#include <csignal>
#include <ctime>
#include <fcntl.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/stat.h>

using namespace stm::test;

namespace {

int open_error(const std::string& name, std::size_t size, int flags, mode_t mode = 0600) {
    Fd fd(stm_open(name.c_str(), size, flags, mode));
    return fd ? 0 : errno;
}

int unlink_error(const std::string& name) {
    return stm_unlink(name.c_str()) == 0 ? 0 : errno;
}

std::string first_bytes(int fd, std::size_t count) {
    std::string text(count, '?');
    ssize_t got = ::pread(fd, text.data(), count, 0);
    text.resize(got < 0 ? 0 : static_cast<std::size_t>(got));
    return text;
}

TEST(Opening, OfAMissingRegionWithoutCreateIsEnoent) {
    EXPECT_EQ(open_error(unique_name("missing"), 0, 0), ENOENT);
    EXPECT_EQ(open_error(unique_name("missing"), kPage, STM_RDONLY), ENOENT);
}

TEST(Opening, FindsWhatAnotherCallCreated) {
    Region region("shared");
    ASSERT_EQ(::pwrite(region.fd(), "hello", 5, 0), 5);
    Fd second(stm_open(region.name().c_str(), 0, 0, 0));
    ASSERT_TRUE(second);
    EXPECT_EQ(first_bytes(second.get(), 5), "hello");
}

TEST(Opening, ExclusivelyOfAnExistingRegionIsEexist) {
    Region region("exclusive");
    EXPECT_EQ(open_error(region.name(), kPage, STM_CREATE | STM_EXCL | STM_PLAIN), EEXIST);
    EXPECT_EQ(open_error(region.name(), kPage, STM_CREATE | STM_PLAIN), 0);
}

TEST(Opening, RefusesFlagsOfOpen) {
    std::string name = unique_name("flags");
    EXPECT_EQ(open_error(name, kPage, O_CREAT), EINVAL);
    EXPECT_EQ(open_error(name, kPage, O_RDWR | O_CREAT | O_EXCL), EINVAL);
    EXPECT_EQ(open_error(name, kPage, STM_CREATE | 1), EINVAL);
    EXPECT_EQ(open_error(name, kPage, STM_EXCL), EINVAL);
    EXPECT_EQ(open_error(name, kPage, STM_CREATE | STM_PLAIN | STM_MUTEX), EINVAL);
    EXPECT_EQ(open_error(name, kPage, STM_CREATE | STM_EXEC), EINVAL);
    EXPECT_EQ(open_error(name, kPage, STM_CREATE, 01777), EINVAL);
    EXPECT_FALSE(exists(name));
}

TEST(Opening, AsAnotherKindIsRefused) {
    Region plain("plain", kPage, STM_PLAIN);
    Region transactional("transactional", kPage, 0);
    EXPECT_EQ(open_error(plain.name(), 0, 0), 0);
    EXPECT_EQ(open_error(plain.name(), 0, STM_PLAIN), 0);
    EXPECT_EQ(open_error(plain.name(), 0, STM_CREATE), EINVAL);
    EXPECT_EQ(open_error(plain.name(), 0, STM_CREATE | STM_PLAIN | STM_EXEC), EINVAL);
    EXPECT_EQ(open_error(transactional.name(), 0, STM_PLAIN), EINVAL);
    EXPECT_EQ(open_error(transactional.name(), 0, STM_CREATE | STM_MUTEX), EINVAL);
    EXPECT_EQ(info_of(plain.name()).handles, 1u) << "a refused open left a handle";
}

TEST(Opening, ByEightProcessesAtOnceMakesOneRegion) {
    std::string name = unique_name("race");
    Mapping ids(-1, kPage, PROT_READ | PROT_WRITE, 0, MAP_SHARED | MAP_ANONYMOUS);
    StartingLine line(8);
    {
        std::vector<Child> children;
        for (int index = 0; index < 8; ++index)
            children.push_back(Child::doing([&, index] {
                line.wait();
                Fd fd(stm_open(name.c_str(), 3 * kPage, STM_CREATE | STM_PLAIN, 0600));
                ASSERT_TRUE(fd) << std::strerror(errno);
                ids.at<std::uint64_t>()[index] = info_of(fd.get()).id;
            }));
        for (Child& child : children)
            EXPECT_EQ(child.wait(), 0);
    }
    for (int index = 1; index < 8; ++index)
        EXPECT_EQ(ids.at<std::uint64_t>()[index], ids.at<std::uint64_t>()[0]);
    EXPECT_EQ(unlink_error(name), 0);
}

TEST(Opening, ExclusivelyByEightProcessesSucceedsOnce) {
    std::string name = unique_name("exclusive race");
    StartingLine line(8);
    std::vector<Child> children;
    for (int index = 0; index < 8; ++index)
        children.push_back(Child([&] {
            line.wait();
            int error = open_error(name, kPage, STM_CREATE | STM_EXCL | STM_PLAIN);
            return error == 0 ? 0 : error == EEXIST ? 2 : 3;
        }));
    int winners = 0;
    for (Child& child : children) {
        int status = child.wait();
        EXPECT_TRUE(status == 0 || status == 2) << status;
        winners += status == 0 ? 1 : 0;
    }
    EXPECT_EQ(winners, 1);
    EXPECT_EQ(unlink_error(name), 0);
}

TEST(Opening, GivesADescriptorThatExecKeepsUnlessAskedOtherwise) {
    Region region("exec");
    EXPECT_EQ(::fcntl(region.fd(), F_GETFD), 0);
    Fd closing(stm_open(region.name().c_str(), 0, STM_CLOEXEC, 0));
    ASSERT_TRUE(closing);
    EXPECT_EQ(::fcntl(closing.get(), F_GETFD), FD_CLOEXEC);
}

TEST(Names, AreComparedInFull) {
    std::string stem = unique_name("");
    Fd first(stm_open((stem + "123").c_str(), kPage, STM_CREATE | STM_PLAIN, 0600));
    Fd second(stm_open((stem + "321").c_str(), kPage, STM_CREATE | STM_PLAIN, 0600));
    Fd third(stm_open((stem + "12").c_str(), kPage, STM_CREATE | STM_PLAIN, 0600));
    ASSERT_TRUE(first && second && third);
    ASSERT_EQ(::pwrite(first.get(), "one", 3, 0), 3);
    ASSERT_EQ(::pwrite(second.get(), "two", 3, 0), 3);
    EXPECT_EQ(first_bytes(first.get(), 3), "one");
    EXPECT_EQ(first_bytes(second.get(), 3), "two");
    EXPECT_EQ(first_bytes(third.get(), 3), std::string(3, '\0'));
    for (const char* end : {"123", "321", "12"})
        stm_unlink_deferred((stem + end).c_str());
}

TEST(Names, MayBeAnythingButEmpty) {
    EXPECT_EQ(open_error("", kPage, STM_CREATE | STM_PLAIN), EINVAL);
    for (const char* name : {"/", "a b", "\xff\xfe", "../x", "%s%n", "\n"}) {
        std::string full = unique_name(name);
        EXPECT_EQ(open_error(full, kPage, STM_CREATE | STM_PLAIN), 0) << full;
        EXPECT_TRUE(exists(full));
        EXPECT_EQ(unlink_error(full), 0);
    }
}

TEST(Names, OfUpTo255BytesAreAllowed) {
    std::string longest = unique_name("");
    longest.resize(255, 'x');
    EXPECT_EQ(open_error(longest, kPage, STM_CREATE | STM_PLAIN), 0);
    std::string other = longest;
    other.back() = 'y';
    EXPECT_EQ(open_error(other, 0, 0), ENOENT);
    EXPECT_EQ(unlink_error(longest), 0);
    EXPECT_EQ(open_error(longest + "x", kPage, STM_CREATE | STM_PLAIN), ENAMETOOLONG);
    EXPECT_EQ(unlink_error(longest + "x"), ENAMETOOLONG);
}

TEST(Sizes, AreRoundedUpToPages) {
    for (auto [asked, got] : std::vector<std::pair<std::size_t, ssize_t>>{
             {1, 4096}, {4095, 4096}, {4096, 4096}, {4097, 8192}, {65536, 65536}}) {
        Region region("size", asked);
        EXPECT_EQ(stm_size(region.fd()), got);
    }
}

TEST(Sizes, OfAnExistingRegionStay) {
    Region region("fixed", 2 * kPage);
    EXPECT_EQ(open_error(region.name(), kPage, 0), 0);
    EXPECT_EQ(open_error(region.name(), 2 * kPage, 0), 0);
    EXPECT_EQ(open_error(region.name(), 2 * kPage + 1, 0), EINVAL);
    EXPECT_EQ(stm_size(region.fd()), 2 * static_cast<ssize_t>(kPage));
    EXPECT_NE(::ftruncate(region.fd(), 0), 0);
    EXPECT_EQ(stm_size(region.fd()), 2 * static_cast<ssize_t>(kPage));
}

TEST(Sizes, BeyondTheLimitAreEfbig) {
    auto version = make<struct stm_version>();
    ASSERT_EQ(request(STM_IOC_VERSION, &version), 0);
    std::string name = unique_name("large");
    EXPECT_EQ(open_error(name, version.max_region_bytes + 1, STM_CREATE | STM_PLAIN), EFBIG);
    EXPECT_EQ(open_error(name, ~std::size_t{0}, STM_CREATE | STM_PLAIN), EFBIG);
    EXPECT_EQ(open_error(name, ~std::size_t{0} - kPage, STM_CREATE | STM_PLAIN), EFBIG);
    EXPECT_EQ(open_error(name, std::size_t{1} << 63, STM_CREATE | STM_PLAIN), EFBIG);
    EXPECT_FALSE(exists(name));
}

TEST(Sizes, OfWhatIsNoHandleAreAnError) {
    EXPECT_EQ(stm_size(-1), -1);
    EXPECT_EQ(errno, EBADF);
    Fd null(::open("/dev/null", O_RDONLY));
    EXPECT_EQ(stm_size(null.get()), -1);
    EXPECT_TRUE(errno == ENOTTY || errno == EINVAL) << errno;
}

TEST(Destroying, OfAMissingRegionIsEnoent) {
    EXPECT_EQ(unlink_error(unique_name("missing")), ENOENT);
}

TEST(Destroying, IsRefusedWhileAHandleIsOpen) {
    Region region("busy");
    EXPECT_EQ(unlink_error(region.name()), EBUSY);
    region.close();
    EXPECT_EQ(unlink_error(region.name()), 0);
    EXPECT_FALSE(exists(region.name()));
}

TEST(Destroying, IsRefusedWhileAMappingIsLeft) {
    Region region("mapped");
    Mapping mapping(region.fd(), kPage);
    ASSERT_TRUE(mapping.ok());
    region.close();
    EXPECT_EQ(unlink_error(region.name()), EBUSY);
    *mapping.at() = 'x';
    ::munmap(mapping.data(), kPage);
    mapping.release();
    EXPECT_EQ(unlink_error(region.name()), 0);
}

TEST(Destroying, DeferredTakesTheNameNowAndTheMemoryLater) {
    Region region("deferred");
    Mapping mapping(region.fd(), kPage);
    ASSERT_TRUE(mapping.ok());
    std::strcpy(mapping.at(), "old");
    ASSERT_EQ(stm_unlink_deferred(region.name().c_str()), 0);
    EXPECT_EQ(open_error(region.name(), 0, 0), ENOENT);
    EXPECT_STREQ(mapping.at(), "old");
    EXPECT_EQ(first_bytes(region.fd(), 3), "old");
    EXPECT_TRUE(info_of(region.fd()).state & STM_STATE_UNLINKED);

    // Another region may have the name meanwhile.
    Fd successor(stm_open(region.name().c_str(), kPage, STM_CREATE | STM_EXCL | STM_PLAIN, 0600));
    ASSERT_TRUE(successor);
    ASSERT_EQ(::pwrite(successor.get(), "new", 3, 0), 3);
    EXPECT_STREQ(mapping.at(), "old");
}

TEST(Destroying, FreesTheMemoryAndNothingElseDoes) {
    std::string name = unique_name("freed");
    Fd fd(stm_open(name.c_str(), 64 * kPage, STM_CREATE | STM_PLAIN, 0600));
    ASSERT_TRUE(fd);
    std::string data(64 * kPage, 'x');
    ASSERT_EQ(::pwrite(fd.get(), data.data(), data.size(), 0), static_cast<ssize_t>(data.size()));
    fd.reset();
    EXPECT_EQ(info_of(name).resident_bytes, 64 * kPage) << "a region lives until it is destroyed";
    fd = Fd(stm_open(name.c_str(), 0, 0, 0));
    EXPECT_EQ(first_bytes(fd.get(), data.size()), data);
    fd.reset();
    EXPECT_EQ(unlink_error(name), 0);
    EXPECT_FALSE(exists(name));
}

TEST(Destroying, AndCreatingAgainGivesZeros) {
    std::string name = unique_name("zeros");
    for (int round = 0; round < 3; ++round) {
        Fd fd(stm_open(name.c_str(), 256 * kPage, STM_CREATE | STM_EXCL | STM_PLAIN, 0600));
        ASSERT_TRUE(fd);
        std::string data = first_bytes(fd.get(), 256 * kPage);
        ASSERT_EQ(data.size(), 256 * kPage);
        ASSERT_EQ(data.find_first_not_of('\0'), std::string::npos) << "round " << round;
        Mapping mapping(fd.get(), 256 * kPage);
        ASSERT_TRUE(mapping.ok());
        for (std::size_t at = 0; at < 256 * kPage; ++at)
            ASSERT_EQ(mapping.at()[at], 0) << at;
        std::memset(mapping.data(), 0xa5, 256 * kPage);
        fd.reset();
        ::munmap(mapping.data(), 256 * kPage);
        mapping.release();
        ASSERT_EQ(unlink_error(name), 0);
    }
}

TEST(Destroying, OfTheDefaultRegionIsRefused) {
    EXPECT_EQ(unlink_error("default"), EBUSY);
    EXPECT_EQ(stm_unlink_deferred("default"), -1);
    EXPECT_EQ(errno, EBUSY);
    EXPECT_TRUE(exists("default"));
}

TEST(Destroying, ByHandleDoesNotCountThatHandle) {
    Region region("by handle");
    auto destroy = make<struct stm_destroy>(STM_BY_HANDLE);
    {
        Fd second(stm_open(region.name().c_str(), 0, 0, 0));
        EXPECT_EQ(request(region.fd(), STM_IOC_DESTROY, &destroy), EBUSY);
    }
    EXPECT_EQ(request(region.fd(), STM_IOC_DESTROY, &destroy), 0);
    EXPECT_FALSE(exists(region.name()));
}

TEST(Ids, OfARegionThatIsGoneAreStale) {
    std::string name = unique_name("stale");
    Fd fd(stm_open(name.c_str(), kPage, STM_CREATE | STM_PLAIN, 0600));
    struct stm_info old = info_of(fd.get());
    fd.reset();
    ASSERT_EQ(unlink_error(name), 0);
    fd = Fd(stm_open(name.c_str(), kPage, STM_CREATE | STM_PLAIN, 0600));
    EXPECT_NE(info_of(fd.get()).id, old.id);

    auto info = make<struct stm_info>(STM_BY_ID);
    info.id = old.id;
    EXPECT_EQ(request(STM_IOC_INFO, &info), ESTALE);
    auto open = make<struct stm_open>(STM_OPEN_BY_ID | STM_OPEN_READ);
    open.id = old.id;
    EXPECT_EQ(request(STM_IOC_OPEN, &open), ESTALE);
    auto destroy = make<struct stm_destroy>(STM_BY_ID);
    destroy.id = old.id;
    EXPECT_EQ(request(STM_IOC_DESTROY, &destroy), ESTALE);
    EXPECT_TRUE(exists(name));
    fd.reset();
    EXPECT_EQ(unlink_error(name), 0);
}

TEST(Ids, OpenTheRegion) {
    Region region("by id");
    ASSERT_EQ(::pwrite(region.fd(), "id", 2, 0), 2);
    auto open = make<struct stm_open>(STM_OPEN_BY_ID | STM_OPEN_READ);
    open.id = info_of(region.fd()).id;
    Fd device = control();
    Fd handle(::ioctl(device.get(), STM_IOC_OPEN, &open));
    ASSERT_TRUE(handle);
    EXPECT_EQ(first_bytes(handle.get(), 2), "id");
    EXPECT_EQ(open.region_size, kPage);
}

TEST(Ephemeral, GoesWithItsLastHandle) {
    std::string name = unique_name("ephemeral");
    Fd first(stm_open(name.c_str(), kPage, STM_CREATE | STM_PLAIN | STM_EPHEMERAL, 0600));
    Fd second(stm_open(name.c_str(), 0, 0, 0));
    ASSERT_TRUE(first && second);
    first.reset();
    EXPECT_TRUE(exists(name));
    second.reset();
    EXPECT_FALSE(exists(name));
}

TEST(Ephemeral, GoesWithItsLastMapping) {
    std::string name = unique_name("ephemeral");
    Fd fd(stm_open(name.c_str(), 2 * kPage, STM_CREATE | STM_PLAIN | STM_EPHEMERAL, 0600));
    Mapping mapping(fd.get(), 2 * kPage);
    ASSERT_TRUE(mapping.ok());
    fd.reset();
    EXPECT_TRUE(exists(name));
    ::munmap(mapping.data(), kPage);
    EXPECT_TRUE(exists(name));
    ::munmap(mapping.at(kPage), kPage);
    mapping.release();
    EXPECT_FALSE(exists(name));
}

TEST(Ephemeral, GoesWithAKilledProcess) {
    std::string name = unique_name("ephemeral");
    Child child([&] {
        int fd = stm_open(name.c_str(), kPage, STM_CREATE | STM_PLAIN | STM_EPHEMERAL, 0600);
        ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        ::pause();
        return 0;
    });
    EXPECT_TRUE(eventually([&] { return exists(name) && info_of(name).mappings == 1; }));
    child.kill(SIGKILL);
    EXPECT_EQ(child.wait(), 128 + SIGKILL);
    EXPECT_TRUE(eventually([&] { return !exists(name); }));
}

TEST(Info, TellsWhatARegionIs) {
    Region region("info", 3 * kPage, STM_PLAIN | STM_EXEC, 0640);
    struct stm_info info = info_of(region.name());
    EXPECT_EQ(info.region_size, 3 * kPage);
    EXPECT_EQ(info.region_flags, static_cast<unsigned>(STM_REGION_PLAIN | STM_REGION_EXEC));
    EXPECT_EQ(info.mode, 0640u);
    EXPECT_EQ(info.uid, 0u);
    EXPECT_EQ(info.creator_pid, ::getpid());
    EXPECT_EQ(info.state, static_cast<unsigned>(STM_STATE_SIZED));
    EXPECT_EQ(info.handles, 1u);
    EXPECT_EQ(info.mappings, 0u);
    EXPECT_EQ(info.resident_bytes, 0u);
    EXPECT_STREQ(info.name, region.name().c_str());
    EXPECT_EQ(info.id & 0xffffffff, info.minor);
    EXPECT_NEAR(static_cast<double>(info.created_ns) / 1e9, static_cast<double>(::time(nullptr)),
                5);
    char byte = 0;
    ASSERT_EQ(::pread(region.fd(), &byte, 1, 0), 1);
    ASSERT_EQ(::pwrite(region.fd(), &byte, 1, 0), 1);
    EXPECT_EQ(info_of(region.name()).reads, info.reads + 1);
    EXPECT_EQ(info_of(region.name()).writes, info.writes + 1);
}

TEST(Info, ListsEveryRegionByRisingMinor) {
    Region first("list");
    Region second("list");
    std::vector<std::string> names;
    std::uint32_t last = 0;
    for (std::uint32_t minor = 0;;) {
        auto info = make<struct stm_info>(STM_BY_NEXT);
        info.minor = minor;
        int error = request(STM_IOC_INFO, &info);
        if (error != 0) {
            EXPECT_EQ(error, ENOENT);
            break;
        }
        EXPECT_GE(info.minor, minor);
        EXPECT_TRUE(names.empty() || info.minor > last);
        last = info.minor;
        names.emplace_back(info.name);
        minor = info.minor + 1;
    }
    ASSERT_FALSE(names.empty());
    EXPECT_EQ(names.front(), "default");
    EXPECT_EQ(std::count(names.begin(), names.end(), first.name()), 1);
    EXPECT_EQ(std::count(names.begin(), names.end(), second.name()), 1);
}

TEST(Umask, AppliesToANewRegion) {
    mode_t before = ::umask(027);
    Region region("umask", kPage, STM_PLAIN, 0666);
    ::umask(before);
    EXPECT_EQ(info_of(region.name()).mode, 0640u);
}

} // namespace
