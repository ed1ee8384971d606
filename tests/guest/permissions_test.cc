// SPDX-License-Identifier: GPL-2.0
// Who may do what: owner, group and mode of a region decide as those of a file do.
#include "guest.hpp"

#include <fcntl.h>
#include <grp.h>
#include <sys/stat.h>

using namespace stm::test;

namespace {

int open_error(const std::string& name, int flags) {
    Fd fd(stm_open(name.c_str(), 0, flags, 0));
    return fd ? 0 : errno;
}

TEST(Mode, KeepsOthersOut) {
    Region region("0600", kPage, STM_PLAIN, 0600);
    EXPECT_EQ(as_user(kNobody,
                      [&] {
                          EXPECT_EQ(open_error(region.name(), 0), EACCES);
                          EXPECT_EQ(open_error(region.name(), STM_RDONLY), EACCES);
                          // Nor by its number, nor by asking to create it.
                          auto open = make<struct stm_open>(STM_OPEN_BY_ID | STM_OPEN_READ);
                          open.id = info_of(region.name()).id;
                          EXPECT_EQ(request(STM_IOC_OPEN, &open), EACCES);
                          Fd fd(stm_open(region.name().c_str(), 0, STM_CREATE | STM_PLAIN, 0666));
                          EXPECT_FALSE(fd);
                          EXPECT_EQ(errno, EACCES);
                      }),
              0);
    EXPECT_EQ(info_of(region.name()).handles, 1u);
}

TEST(Mode, ChangedByFchmodLetsOthersIn) {
    Region region("fchmod", kPage, STM_PLAIN, 0600);
    ASSERT_EQ(::fchmod(region.fd(), 0644), 0) << std::strerror(errno);
    EXPECT_EQ(info_of(region.name()).mode, 0644u);
    EXPECT_EQ(as_user(kNobody,
                      [&] {
                          EXPECT_EQ(open_error(region.name(), STM_RDONLY), 0);
                          EXPECT_EQ(open_error(region.name(), 0), EACCES);
                          Fd fd(stm_open(region.name().c_str(), 0, STM_RDONLY, 0));
                          EXPECT_EQ(::fchmod(fd.get(), 0666), -1);
                          EXPECT_EQ(errno, EPERM);
                          EXPECT_EQ(::fchown(fd.get(), kNobody, -1), -1);
                          EXPECT_EQ(errno, EPERM);
                      }),
              0);
    ASSERT_EQ(::fchmod(region.fd(), 0666), 0);
    EXPECT_EQ(as_user(kNobody, [&] { EXPECT_EQ(open_error(region.name(), 0), 0); }), 0);
}

TEST(Mode, OfTheGroupCounts) {
    Region region("group", kPage, STM_PLAIN, 0660);
    ASSERT_EQ(::fchmod(region.fd(), 0660), 0); // whatever the umask took away
    ASSERT_EQ(::fchown(region.fd(), 0, 1234), 0) << std::strerror(errno);
    EXPECT_EQ(info_of(region.name()).gid, 1234u);
    EXPECT_EQ(as_user(kNobody, [&] { EXPECT_EQ(open_error(region.name(), 0), EACCES); }), 0);
    EXPECT_EQ(Child::doing([&] {
                  gid_t group = 1234;
                  ASSERT_EQ(::setgroups(1, &group), 0);
                  ASSERT_EQ(::setresuid(kNobody, kNobody, kNobody), 0);
                  EXPECT_EQ(open_error(region.name(), 0), 0);
              }).wait(),
              0);
}

TEST(Owner, IsWhoCreatedIt) {
    std::string name = unique_name("owner");
    EXPECT_EQ(as_user(kNobody,
                      [&] {
                          Fd fd(stm_open(name.c_str(), kPage, STM_CREATE | STM_PLAIN, 0600));
                          ASSERT_TRUE(fd) << std::strerror(errno);
                          EXPECT_EQ(info_of(fd.get()).uid, kNobody);
                          EXPECT_EQ(info_of(fd.get()).gid, kNobody);
                          EXPECT_EQ(::fchmod(fd.get(), 0640), 0);
                          struct stat status;
                          EXPECT_EQ(::fstat(fd.get(), &status), 0);
                          EXPECT_EQ(status.st_uid, kNobody);
                          EXPECT_EQ(status.st_mode & 0777, 0640u);
                      }),
              0);
    EXPECT_EQ(info_of(name).uid, kNobody);
    EXPECT_EQ(as_user(kNobody - 1,
                      [&] {
                          EXPECT_EQ(stm_unlink(name.c_str()), -1);
                          EXPECT_EQ(errno, EPERM);
                          EXPECT_EQ(stm_unlink_deferred(name.c_str()), -1);
                          EXPECT_EQ(errno, EPERM);
                      }),
              0);
    EXPECT_EQ(as_user(kNobody, [&] { EXPECT_EQ(stm_unlink(name.c_str()), 0); }), 0);
    EXPECT_FALSE(exists(name));
}

TEST(Owner, ChangedByFchownDecides) {
    Region region("fchown", kPage, STM_PLAIN, 0600);
    ASSERT_EQ(::fchown(region.fd(), kNobody, kNobody), 0) << std::strerror(errno);
    EXPECT_EQ(info_of(region.name()).uid, kNobody);
    EXPECT_EQ(as_user(kNobody, [&] { EXPECT_EQ(open_error(region.name(), 0), 0); }), 0);
}

TEST(Rights, AreNotWidenedThroughProc) {
    Region region("proc", kPage, STM_PLAIN, 0644);
    EXPECT_EQ(as_user(kNobody,
                      [&] {
                          Fd fd(stm_open(region.name().c_str(), 0, STM_RDONLY, 0));
                          ASSERT_TRUE(fd);
                          std::string path = "/proc/self/fd/" + std::to_string(fd.get());
                          Fd writable(::open(path.c_str(), O_RDWR));
                          EXPECT_FALSE(writable) << "a read-only handle became writable";
                      }),
              0);
}

TEST(Rights, OfAHandleStayWhenTheModeChanges) {
    Region region("stays", kPage, STM_PLAIN, 0666);
    ASSERT_EQ(::fchmod(region.fd(), 0666), 0);
    EXPECT_EQ(as_user(kNobody,
                      [&] {
                          Fd fd(stm_open(region.name().c_str(), 0, 0, 0));
                          ASSERT_TRUE(fd) << std::strerror(errno);
                          EXPECT_EQ(::pwrite(fd.get(), "x", 1, 0), 1);
                          Child::doing([] {}).wait();
                          EXPECT_EQ(::pwrite(fd.get(), "y", 1, 0), 1);
                      }),
              0);
}

TEST(Rights, EveryoneMayAskWhatThereIs) {
    Region region("info", kPage, STM_PLAIN, 0600);
    Mapping mapping(region.fd(), kPage);
    EXPECT_EQ(as_user(kNobody,
                      [&] {
                          EXPECT_EQ(info_of(region.name()).region_size, kPage);
                          EXPECT_EQ(info_of(region.name()).uid, 0u);
                          std::vector<struct stm_attachment> users = attachments_of(region.name());
                          EXPECT_GE(users.size(), 2u);
                          for (const struct stm_attachment& user : users)
                              EXPECT_EQ(user.address, 0u) << "an address of another user's process";
                      }),
              0);
}

TEST(DefaultRegion, FollowsItsOwnMode) {
    struct stm_info info = info_of("default");
    EXPECT_EQ(as_user(kNobody,
                      [&] {
                          Fd fd(::open("/dev/stm", O_RDWR));
                          ASSERT_TRUE(fd)
                              << "control requests are for everyone: " << std::strerror(errno);
                          char byte = 0;
                          bool may = (info.mode & 04) != 0;
                          EXPECT_EQ(::pread(fd.get(), &byte, 1, 0), may ? 1 : -1);
                      }),
              0);
}

} // namespace
