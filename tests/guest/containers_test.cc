// SPDX-License-Identifier: GPL-2.0
// Containers: a region's name is one for the whole machine, its rights are those of the user
// outside, and what a container is told about others is told in its own numbers. docs/design.md has
// the rule.
#include "guest.hpp"

#include <fcntl.h>
#include <fstream>
#include <grp.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>

using namespace stm::test;

namespace {

constexpr int kUnavailable = 77;

bool write_file(const char* path, const std::string& text) {
    int fd = ::open(path, O_WRONLY | O_CLOEXEC);
    bool good =
        fd >= 0 && ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    ::close(fd);
    return good;
}

// Runs body as root of a user namespace that an ordinary user has made, without any other right.
// kUnavailable: this kernel lets no user make one.
int as_root_of_a_container(unsigned uid, int namespaces, const std::function<void()>& body) {
    return Child([&] {
               EXPECT_EQ(::setgroups(0, nullptr), 0);
               EXPECT_EQ(::setresgid(uid, uid, uid), 0);
               EXPECT_EQ(::setresuid(uid, uid, uid), 0);
               // Else /proc/self were root's.
               EXPECT_EQ(::prctl(PR_SET_DUMPABLE, 1), 0);
               if (::unshare(CLONE_NEWUSER | namespaces) != 0)
                   return kUnavailable;
               EXPECT_TRUE(write_file("/proc/self/setgroups", "deny"));
               EXPECT_TRUE(write_file("/proc/self/uid_map", "0 " + std::to_string(uid) + " 1\n"));
               EXPECT_TRUE(write_file("/proc/self/gid_map", "0 " + std::to_string(uid) + " 1\n"));
               EXPECT_EQ(::getuid(), 0u);
               body();
               return 0;
           })
        .wait();
}

#define EXPECT_CONTAINER(result)                                                                   \
    do {                                                                                           \
        const int ended = (result);                                                                \
        if (ended == kUnavailable)                                                                 \
            GTEST_SKIP() << "this kernel lets no user make a user namespace";                      \
        EXPECT_EQ(ended, 0);                                                                       \
    } while (false)

int open_error(const std::string& name, int flags) {
    Fd fd(stm_open(name.c_str(), 0, flags, 0));
    return fd ? 0 : errno;
}

TEST(Container, ItsRootIsNoRootOutside) {
    Region region("outside", kPage, STM_PLAIN, 0600);
    EXPECT_CONTAINER(as_root_of_a_container(kNobody, CLONE_NEWIPC, [&] {
        EXPECT_EQ(open_error(region.name(), STM_RDONLY), EACCES);
        EXPECT_EQ(stm_unlink_deferred(region.name().c_str()), -1);
        EXPECT_EQ(errno, EPERM);
        // Nobody of the container owns it: it is told as the user that is shown for all strangers.
        EXPECT_EQ(info_of(region.name()).uid, 65534u);
        EXPECT_EQ(info_of(region.name()).gid, 65534u);
    }));
    EXPECT_EQ(info_of(region.name()).uid, 0u);
}

TEST(Container, OfAnotherUserGetsNothingOfAThird) {
    std::string name = unique_name("third");
    ASSERT_EQ(as_user(kNobody - 1,
                      [&] {
                          Fd fd(stm_open(name.c_str(), kPage, STM_CREATE | STM_PLAIN, 0600));
                          ASSERT_TRUE(fd);
                      }),
              0);
    EXPECT_CONTAINER(as_root_of_a_container(kNobody, 0, [&] {
        EXPECT_EQ(open_error(name, STM_RDONLY), EACCES);
        EXPECT_EQ(stm_unlink(name.c_str()), -1);
        EXPECT_EQ(errno, EPERM);
    }));
    EXPECT_EQ(stm_unlink(name.c_str()), 0);
}

TEST(Container, SharesTheNamesAndTheRegionsOfItsUser) {
    // As System V shared memory would not: an IPC namespace has no names of its own here.
    std::string name = unique_name("shared");
    EXPECT_CONTAINER(as_root_of_a_container(kNobody, CLONE_NEWIPC | CLONE_NEWNS, [&] {
        Fd fd(stm_open(name.c_str(), kPage, STM_CREATE | STM_PLAIN, 0600));
        ASSERT_TRUE(fd) << std::strerror(errno);
        EXPECT_EQ(info_of(fd.get()).uid, 0u) << "its own number for itself";
        EXPECT_EQ(info_of(fd.get()).gid, 0u);
        EXPECT_EQ(::pwrite(fd.get(), "inside", 6, 0), 6);
        struct stat status;
        ASSERT_EQ(::fstat(fd.get(), &status), 0);
        EXPECT_EQ(status.st_uid, 0u);
    }));
    ASSERT_TRUE(exists(name));
    EXPECT_EQ(info_of(name).uid, kNobody);
    EXPECT_EQ(as_user(kNobody,
                      [&] {
                          Fd fd(stm_open(name.c_str(), 0, 0, 0));
                          ASSERT_TRUE(fd);
                          char text[7] = "";
                          EXPECT_EQ(::pread(fd.get(), text, 6, 0), 6);
                          EXPECT_STREQ(text, "inside");
                          EXPECT_EQ(stm_unlink_deferred(name.c_str()), 0);
                      }),
              0);
}

TEST(Container, HasTheLimitsOfItsUser) {
    // Otherwise a user namespace were a way round them.
    std::string file = "/sys/module/stm/parameters/max_user_regions";
    unsigned before = 0;
    std::ifstream(file) >> before;
    ASSERT_TRUE(write_file(file.c_str(), "2"));
    std::string name = unique_name("limit");
    int status = as_root_of_a_container(kNobody, 0, [&] {
        Fd first(
            stm_open((name + "1").c_str(), kPage, STM_CREATE | STM_PLAIN | STM_EPHEMERAL, 0600));
        EXPECT_TRUE(first) << std::strerror(errno);
        Fd second(
            stm_open((name + "2").c_str(), kPage, STM_CREATE | STM_PLAIN | STM_EPHEMERAL, 0600));
        EXPECT_TRUE(second) << std::strerror(errno);
        ::unshare(CLONE_NEWUSER); // and one inside of it
        Fd third(
            stm_open((name + "3").c_str(), kPage, STM_CREATE | STM_PLAIN | STM_EPHEMERAL, 0600));
        EXPECT_FALSE(third);
        EXPECT_EQ(errno, ENOSPC);
    });
    ASSERT_TRUE(write_file(file.c_str(), std::to_string(before)));
    EXPECT_CONTAINER(status);
}

TEST(Container, CanNotGiveItsRegionToAStranger) {
    std::string name = unique_name("chown");
    EXPECT_CONTAINER(as_root_of_a_container(kNobody, 0, [&] {
        Fd fd(stm_open(name.c_str(), kPage, STM_CREATE | STM_PLAIN | STM_EPHEMERAL, 0600));
        ASSERT_TRUE(fd);
        EXPECT_EQ(::fchown(fd.get(), 1, -1), -1) << "a user that the container does not know";
        EXPECT_EQ(errno, EINVAL);
        EXPECT_EQ(::fchmod(fd.get(), 0644), 0) << std::strerror(errno);
        EXPECT_EQ(info_of(fd.get()).mode, 0644u);
    }));
}

TEST(Container, SeesNoProcessThatIsNotItsOwn) {
    Region region("processes", kPage, STM_PLAIN, 0666);
    Mapping mapping(region.fd(), kPage);
    EXPECT_CONTAINER(as_root_of_a_container(kNobody, CLONE_NEWPID, [&] {
        // The namespace is that of the children.
        EXPECT_EQ(
            Child::doing([&] {
                ASSERT_EQ(::getpid(), 1);
                EXPECT_EQ(info_of(region.name()).creator_pid, 0);
                // Its own copy of the mapping it sees, and nothing of the others but that they are
                // there.
                std::size_t strangers = 0;
                for (const struct stm_attachment& user : attachments_of(region.name())) {
                    if (user.pid == ::getpid())
                        continue;
                    ++strangers;
                    EXPECT_EQ(user.pid, 0);
                    EXPECT_EQ(user.address, 0u);
                    EXPECT_STREQ(user.command, "");
                }
                EXPECT_GE(strangers, 2u);
                // Its own it sees, by its own number.
                std::string own = unique_name("own");
                Fd fd(stm_open(own.c_str(), kPage, STM_CREATE | STM_PLAIN | STM_EPHEMERAL, 0600));
                ASSERT_TRUE(fd);
                EXPECT_EQ(info_of(fd.get()).creator_pid, 1);
                ASSERT_EQ(attachments_of(own).size(), 1u);
                EXPECT_EQ(attachments_of(own)[0].pid, 1);
            }).wait(),
            0);
    }));
    EXPECT_EQ(info_of(region.name()).creator_pid, ::getpid());
}

TEST(Container, GetsAHandleThatIsPassedToIt) {
    Region region("passed in", kPage, 0, 0600);
    EXPECT_CONTAINER(as_root_of_a_container(kNobody, CLONE_NEWIPC, [&] {
        long value = 7;
        stm_start(region.fd());
        EXPECT_EQ(::pwrite(region.fd(), &value, sizeof value, 0), 8);
        EXPECT_EQ(stm_commit(region.fd()), 0);
        EXPECT_EQ(::fchmod(region.fd(), 0666), -1) << "not its owner";
    }));
    long value = 0;
    EXPECT_EQ(::pread(region.fd(), &value, sizeof value, 0), 8);
    EXPECT_EQ(value, 7);
}

} // namespace
