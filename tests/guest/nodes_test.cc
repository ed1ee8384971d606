// SPDX-License-Identifier: GPL-2.0
// Device nodes: /dev/stm, nodes made by hand, and those of stm_create.
#include "guest.hpp"

#include <climits>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

using namespace stm::test;

namespace {

unsigned device_major() {
    auto version = make<struct stm_version>();
    EXPECT_EQ(request(STM_IOC_VERSION, &version), 0);
    return version.device_major;
}

unsigned max_regions() {
    auto version = make<struct stm_version>();
    EXPECT_EQ(request(STM_IOC_VERSION, &version), 0);
    return version.max_regions;
}

// A path that is removed, with the region of its name, and with the one its node stands for, at the
// end of a test.
class Path {
public:
    explicit Path(const std::string& stem) : path_(unique_path(stem)) {}
    explicit Path(std::string path, int) : path_(std::move(path)) {}
    ~Path() {
        stm_unlink_deferred(path_.c_str());
        struct stat status;
        if (::lstat(path_.c_str(), &status) == 0 && S_ISCHR(status.st_mode))
            stm_unlink_deferred(("minor:" + std::to_string(minor(status.st_rdev))).c_str());
        ::unlink(path_.c_str());
    }
    [[nodiscard]] const std::string& text() const { return path_; }
    [[nodiscard]] const char* c_str() const { return path_.c_str(); }
    [[nodiscard]] char* data() { return path_.data(); }

    void make_node(unsigned minor_number) {
        EXPECT_EQ(::mknod(path_.c_str(), S_IFCHR | 0666, makedev(device_major(), minor_number)), 0)
            << std::strerror(errno);
        EXPECT_EQ(::chmod(path_.c_str(), 0666), 0);
    }
    [[nodiscard]] unsigned node_minor() const {
        struct stat status {};
        EXPECT_EQ(::lstat(path_.c_str(), &status), 0);
        EXPECT_TRUE(S_ISCHR(status.st_mode));
        EXPECT_EQ(major(status.st_rdev), device_major());
        return minor(status.st_rdev);
    }

private:
    std::string path_;
};

// The lowest minor that stands for no region: named regions of tests that run beside this one take
// high ones.
unsigned free_minor() {
    for (unsigned candidate = 1;; ++candidate) {
        auto info = make<struct stm_info>(STM_BY_NEXT);
        info.minor = candidate;
        if (request(STM_IOC_INFO, &info) == ENOENT || info.minor != candidate)
            return candidate;
    }
}

std::string text_of(int fd) {
    char text[100] = "";
    ssize_t got = ::pread(fd, text, sizeof text - 1, 0);
    return got < 0 ? "error" : std::string(text);
}

int create_error(const char* path, int size) {
    std::string copy(path);
    Fd fd(stm_create(copy.data(), size));
    return fd ? 0 : errno;
}

TEST(Device, IsThereByItself) {
    struct stat status;
    ASSERT_EQ(::stat("/dev/stm", &status), 0);
    EXPECT_TRUE(S_ISCHR(status.st_mode));
    EXPECT_EQ(minor(status.st_rdev), 0u);
    EXPECT_EQ(major(status.st_rdev), device_major());
    EXPECT_EQ(shell("grep -c ' stm$' /proc/devices").text, "1\n");
}

TEST(Device, IsNoUserOfTheDefaultRegionBeforeItsFirstUse) {
    unsigned before = info_of("default").handles;
    Fd device = control();
    EXPECT_EQ(info_of("default").handles, before);
    char byte = 0;
    ASSERT_EQ(::pread(device.get(), &byte, 1, 0), 1);
    EXPECT_EQ(info_of("default").handles, before + 1);
}

TEST(Device, IsTheDefaultRegionForReadAndWrite) {
    Fd device = control();
    ASSERT_EQ(::pwrite(device.get(), "default", 8, 0), 8);
    Fd handle(stm_open("default", 0, 0, 0));
    ASSERT_TRUE(handle) << std::strerror(errno);
    EXPECT_EQ(text_of(handle.get()), "default");
    Mapping mapping(device.get(), kPage, PROT_READ);
    ASSERT_TRUE(mapping.ok());
    EXPECT_STREQ(mapping.at(), "default");
    EXPECT_EQ(info_of("default").minor, 0u);
}

TEST(Node, MadeByHandStandsForARegion) {
    Path path("node");
    unsigned number = free_minor();
    path.make_node(number);
    Output output = shell("echo abc > '" + path.text() + "' && head -c 4 '" + path.text() + "'");
    EXPECT_EQ(output.status, 0);
    EXPECT_EQ(output.text, "abc\n");
    struct stm_info info = info_of("minor:" + std::to_string(number));
    EXPECT_EQ(info.minor, number);
    EXPECT_GT(info.region_size, 0u) << "the first use gives it the default size";

    // cat reads to the end of the region: the text, then zeros.
    output = shell("cat '" + path.text() + "' | wc -c");
    EXPECT_EQ(output.text, std::to_string(info.region_size) + "\n");
    output = shell("cat '" + path.text() + "' | tr -d '\\0'");
    EXPECT_EQ(output.text, "abc\n");
    output = shell("dd if='" + path.text() + "' bs=1 skip=1 count=2 2>/dev/null");
    EXPECT_EQ(output.text, "bc");
}

TEST(Node, IsTheSameRegionUnderEveryName) {
    Path first("first");
    Path second("second");
    unsigned number = free_minor();
    first.make_node(number);
    second.make_node(number);
    EXPECT_EQ(shell("echo same > '" + first.text() + "'").status, 0);
    EXPECT_EQ(shell("head -c 5 '" + second.text() + "'").text, "same\n");
}

TEST(Node, OfAFreeMinorCanNotBeOpenedForReadingOnly) {
    Path path("free");
    path.make_node(free_minor());
    EXPECT_EQ(::open(path.c_str(), O_RDONLY), -1);
    EXPECT_EQ(errno, ENXIO);
}

TEST(Node, BeyondTheLastMinorDoesNotOpen) {
    Path path("beyond");
    path.make_node(max_regions());
    EXPECT_EQ(::open(path.c_str(), O_RDWR), -1);
    EXPECT_TRUE(errno == ENXIO || errno == ENODEV) << errno;
}

TEST(Node, GetsItsSizeOnce) {
    Path path("size");
    path.make_node(free_minor());
    Fd fd(::open(path.c_str(), O_RDWR));
    ASSERT_TRUE(fd) << std::strerror(errno);
    EXPECT_EQ(stm_size(fd.get()), 0);
    auto size = make<struct stm_set_size>();
    EXPECT_EQ(request(fd.get(), STM_IOC_SET_SIZE, &size), EINVAL);
    size.region_size = ~0ULL;
    EXPECT_EQ(request(fd.get(), STM_IOC_SET_SIZE, &size), EFBIG);
    EXPECT_EQ(stm_size(fd.get()), 0);
    size.region_size = 5000;
    EXPECT_EQ(request(fd.get(), STM_IOC_SET_SIZE, &size), 0);
    EXPECT_EQ(size.region_size, 2 * kPage);
    size.region_size = kPage;
    EXPECT_EQ(request(fd.get(), STM_IOC_SET_SIZE, &size), 0);
    EXPECT_EQ(size.region_size, 2 * kPage);
    size.region_size = 3 * kPage;
    EXPECT_EQ(request(fd.get(), STM_IOC_SET_SIZE, &size), EBUSY);
    EXPECT_EQ(stm_size(fd.get()), 2 * static_cast<ssize_t>(kPage));
}

TEST(Node, GivesItsOwnerAndModeToTheRegionThatItMakes) {
    Path path("owner");
    path.make_node(free_minor());
    ASSERT_EQ(::chmod(path.c_str(), 0620), 0);
    ASSERT_EQ(::chown(path.c_str(), kNobody, 1234), 0);
    Fd fd(::open(path.c_str(), O_RDWR));
    ASSERT_TRUE(fd) << std::strerror(errno);
    struct stm_info info = info_of(fd.get());
    EXPECT_EQ(info.mode, 0620u);
    EXPECT_EQ(info.uid, kNobody);
    EXPECT_EQ(info.gid, 1234u);
}

TEST(Node, HasANameThatNobodyElseCanTake) {
    Fd fd(stm_open("minor:7", kPage, STM_CREATE, 0600));
    EXPECT_FALSE(fd);
    EXPECT_EQ(errno, EINVAL);
}

TEST(Node, OfANamedRegionStandsForIt) {
    Region region("named", kPage, 0);
    ASSERT_EQ(::pwrite(region.fd(), "named", 6, 0), 6);
    Path path("named");
    path.make_node(info_of(region.fd()).minor);
    Fd fd(::open(path.c_str(), O_RDWR));
    ASSERT_TRUE(fd) << std::strerror(errno);
    EXPECT_EQ(text_of(fd.get()), "named");
    EXPECT_EQ(info_of(fd.get()).id, info_of(region.fd()).id);
}

TEST(Create, MakesANodeAndItsRegion) {
    Path path("create");
    Fd fd(stm_create(path.data(), 5000));
    ASSERT_TRUE(fd) << std::strerror(errno);
    EXPECT_EQ(stm_size(fd.get()), 2 * static_cast<ssize_t>(kPage));
    EXPECT_EQ(info_of(path.text()).minor, path.node_minor());
    struct stat status;
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0644u) << "0666 less the umask";
    ASSERT_EQ(::write(fd.get(), "made", 5), 5);
    EXPECT_EQ(shell("head -c 4 '" + path.text() + "'").text, "made");
    EXPECT_EQ(::fcntl(fd.get(), F_GETFD), 0) << "inherited by exec";
}

TEST(Create, AgainGivesTheSameRegion) {
    Path path("again");
    Fd first(stm_create(path.data(), kPage));
    ASSERT_TRUE(first);
    ASSERT_EQ(::write(first.get(), "kept", 5), 5);
    Fd second(stm_create(path.data(), kPage));
    ASSERT_TRUE(second) << std::strerror(errno);
    EXPECT_EQ(text_of(second.get()), "kept");
    first.reset();
    second.reset();
    Fd third(stm_create(path.data(), 1));
    EXPECT_EQ(text_of(third.get()), "kept") << "a region lives until it is destroyed";
    EXPECT_EQ(create_error(path.c_str(), 2 * kPage), EINVAL) << "larger than it is";
}

TEST(Create, ByEveryNameOfTheFileGivesTheSameRegion) {
    Path path("names");
    Fd first(stm_create(path.data(), kPage));
    ASSERT_EQ(::write(first.get(), "one", 4), 4);
    Path link("link");
    ASSERT_EQ(::symlink(path.c_str(), link.c_str()), 0);
    Fd by_link(stm_create(link.data(), kPage));
    EXPECT_EQ(text_of(by_link.get()), "one");
    std::string relative = "/tmp/../tmp/./" + path.text().substr(5);
    Fd by_detour(stm_create(relative.data(), kPage));
    EXPECT_EQ(text_of(by_detour.get()), "one");
    ASSERT_EQ(::chdir("/tmp"), 0);
    std::string base = path.text().substr(5);
    Fd by_base(stm_create(base.data(), kPage));
    EXPECT_EQ(text_of(by_base.get()), "one");
}

TEST(Create, ByEightProcessesAtOnceGivesOneRegion) {
    Path path("race");
    Mapping ids(-1, kPage, PROT_READ | PROT_WRITE, 0, MAP_SHARED | MAP_ANONYMOUS);
    StartingLine line(8);
    std::vector<Child> children;
    for (int index = 0; index < 8; ++index)
        children.push_back(Child::doing([&, index] {
            line.wait();
            Fd fd(stm_create(path.data(), kPage));
            ASSERT_TRUE(fd) << std::strerror(errno);
            ids.at<std::uint64_t>()[index] = info_of(fd.get()).id;
        }));
    for (Child& child : children)
        EXPECT_EQ(child.wait(), 0);
    for (int index = 0; index < 8; ++index)
        EXPECT_EQ(ids.at<std::uint64_t>()[index], info_of(path.text()).id);
}

TEST(Create, RefusesFilesOfOtherKinds) {
    Path path("file");
    ASSERT_EQ(shell("echo text > '" + path.text() + "'").status, 0);
    EXPECT_EQ(create_error(path.c_str(), kPage), EEXIST);
    EXPECT_EQ(shell("cat '" + path.text() + "'").text, "text\n");
    EXPECT_EQ(create_error("/tmp", kPage), EEXIST);
    EXPECT_EQ(create_error("/dev/null", kPage), EEXIST);
    EXPECT_FALSE(exists(path.text()));
    Path dangling("dangling");
    ASSERT_EQ(::symlink("/tmp/nowhere/at/all", dangling.c_str()), 0);
    EXPECT_NE(create_error(dangling.c_str(), kPage), 0);
}

TEST(Create, RefusesBadArguments) {
    EXPECT_EQ(stm_create(nullptr, kPage), -1);
    EXPECT_EQ(errno, EINVAL);
    Path path("bad");
    EXPECT_EQ(create_error(path.c_str(), 0), EINVAL);
    EXPECT_EQ(create_error(path.c_str(), -1), EINVAL);
    EXPECT_EQ(create_error(path.c_str(), INT_MIN), EINVAL);
    EXPECT_EQ(create_error("", kPage), ENOENT);
    EXPECT_EQ(create_error("/tmp/no/such/folder/x", kPage), ENOENT);
    EXPECT_EQ(create_error("/dev/null/x", kPage), ENOTDIR);
    EXPECT_EQ(create_error(("/tmp/" + std::string(251, 'x')).c_str(), kPage), ENAMETOOLONG);
    EXPECT_NE(::access(path.c_str(), F_OK), 0);
}

TEST(Create, ReplacesANodeWhoseRegionIsGone) {
    Path path("stale");
    { Fd fd(stm_create(path.data(), kPage)); }
    ASSERT_EQ(stm_unlink(path.c_str()), 0);
    Fd fd(stm_create(path.data(), 2 * kPage));
    ASSERT_TRUE(fd) << std::strerror(errno);
    EXPECT_EQ(stm_size(fd.get()), 2 * static_cast<ssize_t>(kPage));
    EXPECT_EQ(text_of(fd.get()), "");
    EXPECT_EQ(path.node_minor(), info_of(path.text()).minor);
}

// The node of a region that is gone, whose number another region got since: nobody must get that by
// the old file.
TEST(Create, NeverLeadsToTheRegionOfAnotherName) {
    Region other("other", kPage, 0);
    ASSERT_EQ(::pwrite(other.fd(), "secret", 7, 0), 7);
    Path path("taken");
    path.make_node(info_of(other.fd()).minor);
    Fd fd(stm_create(path.data(), kPage));
    ASSERT_TRUE(fd) << std::strerror(errno);
    EXPECT_EQ(text_of(fd.get()), "");
    EXPECT_STREQ(info_of(fd.get()).name, path.c_str());
    EXPECT_EQ(path.node_minor(), info_of(fd.get()).minor);
    EXPECT_EQ(text_of(other.fd()), "secret");
}

TEST(Create, ReusesANodeThatWasMadeAndOpenedByHand) {
    Path path("by hand");
    path.make_node(free_minor());
    ASSERT_EQ(shell("echo hand > '" + path.text() + "'").status, 0);
    Fd fd(stm_create(path.data(), 5));
    ASSERT_TRUE(fd) << std::strerror(errno);
    EXPECT_EQ(text_of(fd.get()), "hand\n");
}

TEST(Create, OfTheControlDeviceIsTheDefaultRegion) {
    std::string path = "/dev/stm";
    Fd fd(stm_create(path.data(), 1));
    ASSERT_TRUE(fd) << std::strerror(errno);
    EXPECT_STREQ(info_of(fd.get()).name, "default");
}

TEST(Create, WithoutTheRightToMakeNodesAttachesByName) {
    Path path("unprivileged");
    EXPECT_EQ(as_user(kNobody,
                      [&] {
                          Fd fd(stm_create(path.data(), kPage));
                          ASSERT_TRUE(fd) << std::strerror(errno);
                          ASSERT_EQ(::write(fd.get(), "nobody", 7), 7);
                          EXPECT_EQ(stm_size(fd.get()), static_cast<ssize_t>(kPage));
                      }),
              0);
    EXPECT_NE(::access(path.c_str(), F_OK), 0) << "there is a node";
    EXPECT_EQ(info_of(path.text()).uid, kNobody);
    // Who has the right makes the node of the same region.
    Fd fd(stm_create(path.data(), kPage));
    ASSERT_TRUE(fd) << std::strerror(errno);
    EXPECT_EQ(text_of(fd.get()), "nobody");
    EXPECT_EQ(path.node_minor(), info_of(path.text()).minor);
    // And who has not still finds it, through the node.
    ASSERT_EQ(::chmod(path.c_str(), 0666), 0);
    EXPECT_EQ(as_user(kNobody,
                      [&] {
                          Fd again(stm_create(path.data(), kPage));
                          ASSERT_TRUE(again) << std::strerror(errno);
                          EXPECT_EQ(text_of(again.get()), "nobody");
                      }),
              0);
}

TEST(Create, OnAFileSystemWithoutDevicesAttachesByName) {
    std::string folder = unique_path("nodev");
    ASSERT_EQ(::mkdir(folder.c_str(), 0755), 0);
    if (::mount("none", folder.c_str(), "tmpfs", MS_NODEV, "size=1m") != 0) {
        ::rmdir(folder.c_str());
        GTEST_SKIP() << "no tmpfs can be mounted here: " << std::strerror(errno);
    }
    {
        Path path(folder + "/node", 0);
        Fd first(stm_create(path.data(), kPage));
        ASSERT_TRUE(first) << std::strerror(errno);
        ASSERT_EQ(::write(first.get(), "nodev", 6), 6);
        Fd second(stm_create(path.data(), kPage));
        ASSERT_TRUE(second) << std::strerror(errno);
        EXPECT_EQ(text_of(second.get()), "nodev");
    }
    ::umount(folder.c_str());
    ::rmdir(folder.c_str());
}

TEST(Create, ThatFailsLeavesNothing) {
    Path path("nothing");
    auto version = make<struct stm_version>();
    ASSERT_EQ(request(STM_IOC_VERSION, &version), 0);
    if (version.max_region_bytes < INT_MAX) {
        EXPECT_EQ(create_error(path.c_str(), INT_MAX), EFBIG);
    }
    EXPECT_EQ(as_user(kNobody, [&] { EXPECT_EQ(create_error("/root/x", kPage), EACCES); }), 0);
    EXPECT_NE(::access(path.c_str(), F_OK), 0);
    EXPECT_FALSE(exists(path.text()));
}

} // namespace
