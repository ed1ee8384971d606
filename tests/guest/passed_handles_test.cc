// SPDX-License-Identifier: GPL-2.0
// A handle that another process gets, by a socket, by fork, by /proc or by changing its own user,
// can do what it could do when it was opened: no less and no more.
#include "guest.hpp"

#include <fcntl.h>
#include <grp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

using namespace stm::test;

namespace {

void send_descriptor(int socket, int fd) {
    char byte = 'd';
    iovec data{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof fd)] = {};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
    EXPECT_EQ(::sendmsg(socket, &message, 0), 1) << std::strerror(errno);
}

Fd receive_descriptor(int socket) {
    char byte = 0;
    iovec data{&byte, 1};
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    EXPECT_EQ(::recvmsg(socket, &message, 0), 1) << std::strerror(errno);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    if (header == nullptr || header->cmsg_type != SCM_RIGHTS) {
        ADD_FAILURE() << "no descriptor came";
        return {};
    }
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
    return Fd(fd);
}

// What somebody without rights of their own does with a handle that was sent to them.
void as_stranger_with(int fd, const std::function<void(int fd)>& body) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    Fd ours(ends[0]);
    Fd theirs(ends[1]);
    Child stranger = Child::doing([&] {
        // Nothing but the socket is inherited.
        ::close_range(3, static_cast<unsigned>(theirs.get()) - 1, 0);
        ::close_range(static_cast<unsigned>(theirs.get()) + 1, ~0U, 0);
        ASSERT_EQ(::setgroups(0, nullptr), 0);
        ASSERT_EQ(::setresgid(kNobody, kNobody, kNobody), 0);
        ASSERT_EQ(::setresuid(kNobody, kNobody, kNobody), 0);
        ASSERT_EQ(::prctl(PR_SET_DUMPABLE, 1), 0); // else /proc/self were root's
        Fd received = receive_descriptor(theirs.get());
        ASSERT_TRUE(received);
        body(received.get());
    });
    send_descriptor(ours.get(), fd);
    EXPECT_EQ(stranger.wait(), 0);
}

int open_error(const std::string& name, int flags) {
    Fd fd(stm_open(name.c_str(), 0, flags, 0));
    return fd ? 0 : errno;
}

TEST(PassedHandle, OpensWhatItsReceiverCouldNot) {
    Region region("passed", kPage, STM_PLAIN, 0600);
    as_stranger_with(region.fd(), [&](int fd) {
        EXPECT_EQ(open_error(region.name(), STM_RDONLY), EACCES);
        EXPECT_EQ(::pwrite(fd, "theirs", 6, 0), 6) << std::strerror(errno);
        Mapping mapping(fd, kPage);
        ASSERT_TRUE(mapping.ok()) << std::strerror(errno);
        mapping.at()[8] = 'x';
    });
    char text[9] = "";
    EXPECT_EQ(::pread(region.fd(), text, 9, 0), 9);
    EXPECT_EQ(std::string(text, 6), "theirs");
    EXPECT_EQ(text[8], 'x');
    EXPECT_EQ(info_of(region.name()).handles, 1u);
    EXPECT_EQ(info_of(region.name()).mappings, 0u);
}

TEST(PassedHandle, IsNoKeyToTheRegion) {
    Region region("no key", kPage, STM_PLAIN, 0600);
    as_stranger_with(region.fd(), [&](int fd) {
        // It names the region, but gives no other handle, and no right of the owner.
        auto open = make<struct stm_open>(STM_OPEN_BY_ID | STM_OPEN_READ);
        open.id = info_of(fd).id;
        EXPECT_EQ(request(fd, STM_IOC_OPEN, &open), EACCES);
        auto destroy = make<struct stm_destroy>(STM_BY_HANDLE | STM_DESTROY_DEFERRED);
        EXPECT_EQ(request(fd, STM_IOC_DESTROY, &destroy), EPERM);
        EXPECT_EQ(::fchmod(fd, 0666), -1);
        EXPECT_EQ(errno, EPERM);
        EXPECT_EQ(::fchown(fd, kNobody, kNobody), -1);
        EXPECT_EQ(errno, EPERM);
    });
    EXPECT_EQ(info_of(region.name()).mode, 0600u);
    EXPECT_EQ(info_of(region.name()).uid, 0u);
}

TEST(PassedHandle, ThatMayOnlyReadStaysSo) {
    for (int kind : {STM_PLAIN, 0}) {
        Region region("read only", kPage, kind, 0600);
        ASSERT_EQ(::pwrite(region.fd(), "old", 3, 0), 3);
        Fd reader(stm_open(region.name().c_str(), 0, STM_RDONLY, 0));
        as_stranger_with(reader.get(), [&](int fd) {
            char text[3];
            EXPECT_EQ(::pread(fd, text, 3, 0), 3);
            EXPECT_EQ(::pwrite(fd, "new", 3, 0), -1);
            EXPECT_EQ(errno, EBADF);
            Mapping writable(fd, kPage);
            EXPECT_FALSE(writable.ok());
            Mapping mapping(fd, kPage, PROT_READ);
            ASSERT_TRUE(mapping.ok());
            EXPECT_EQ(::mprotect(mapping.data(), kPage, PROT_READ | PROT_WRITE), -1);
            EXPECT_EQ(errno, EACCES);
            EXPECT_EQ(::fcntl(fd, F_SETFL, O_RDWR), 0);
            EXPECT_EQ(::pwrite(fd, "new", 3, 0), -1) << "a flag made it writable";
            auto size = make<struct stm_set_size>();
            size.region_size = kPage;
            EXPECT_EQ(request(fd, STM_IOC_SET_SIZE, &size), EBADF);
            // Not by way of somebody who writes into memory that is only readable.
            Fd memory(::open("/proc/self/mem", O_RDWR));
            ASSERT_TRUE(memory);
            EXPECT_EQ(
                ::pwrite(memory.get(), "new", 3,
                         static_cast<off_t>(reinterpret_cast<std::uintptr_t>(mapping.data()))),
                -1);
            iovec local{text, 3};
            iovec remote{mapping.data(), 3};
            EXPECT_EQ(::process_vm_writev(::getpid(), &local, 1, &remote, 1, 0), -1);
            // Nor as the target of a read call.
            int pipe[2];
            ASSERT_EQ(::pipe(pipe), 0);
            ASSERT_EQ(::write(pipe[1], "new", 3), 3);
            EXPECT_EQ(::read(pipe[0], mapping.data(), 3), -1);
            EXPECT_EQ(errno, EFAULT);
        });
        char text[4] = "";
        EXPECT_EQ(::pread(region.fd(), text, 3, 0), 3);
        EXPECT_STREQ(text, "old");
    }
}

TEST(PassedHandle, OfATransactionalRegionGivesItsReceiverTransactions) {
    Region region("transactions", kPage, 0, 0600);
    long value = 1;
    ASSERT_EQ(::pwrite(region.fd(), &value, sizeof value, 0), 8);
    // Ours runs while theirs commits on the same open file: they never mix.
    stm_start(region.fd());
    ASSERT_EQ(::pread(region.fd(), &value, sizeof value, 64), 8);
    as_stranger_with(region.fd(), [&](int fd) {
        EXPECT_EQ(::ioctl(fd, STM_IOC_COMMIT, 0), -1) << "somebody else's transaction";
        EXPECT_EQ(errno, EINVAL);
        long theirs = 0;
        do {
            stm_start(fd);
            ASSERT_EQ(::pread(fd, &theirs, sizeof theirs, 0), 8);
            ++theirs;
            ASSERT_EQ(::pwrite(fd, &theirs, sizeof theirs, 0), 8);
        } while (stm_commit(fd) != 0);
        // One that dies with them.
        stm_start(fd);
        ASSERT_EQ(::pwrite(fd, &value, sizeof value, 8), 8);
    });
    ASSERT_EQ(::pread(region.fd(), &value, sizeof value, 0), 8);
    EXPECT_EQ(value, 2);
    EXPECT_EQ(stm_commit(region.fd()), 0);
    ASSERT_EQ(::pread(region.fd(), &value, sizeof value, 8), 8);
    EXPECT_EQ(value, 0);
}

TEST(PassedHandle, OnItsWayKeepsTheRegion) {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    Fd ours(ends[0]);
    Fd theirs(ends[1]);
    std::string name = unique_name("on its way");
    Fd fd(stm_open(name.c_str(), kPage, STM_CREATE | STM_PLAIN | STM_EPHEMERAL, 0600));
    ASSERT_TRUE(fd);
    ASSERT_EQ(::pwrite(fd.get(), "kept", 4, 0), 4);
    send_descriptor(ours.get(), fd.get());
    fd.reset();
    EXPECT_TRUE(exists(name)) << "a handle in a socket is a user";
    EXPECT_EQ(stm_unlink(name.c_str()), -1);
    EXPECT_EQ(errno, EBUSY);
    Fd again = receive_descriptor(theirs.get());
    char text[5] = "";
    EXPECT_EQ(::pread(again.get(), text, 4, 0), 4);
    EXPECT_STREQ(text, "kept");
    // One that nobody takes out of the socket ends with it.
    send_descriptor(ours.get(), again.get());
    again.reset();
    ours.reset();
    theirs.reset();
    EXPECT_TRUE(eventually([&] { return !exists(name); }));
}

TEST(Proc, DoesNotOpenAnothersHandle) {
    Region region("proc", kPage, STM_PLAIN, 0600);
    Child owner([] {
        ::pause();
        return 0;
    });
    std::string path =
        "/proc/" + std::to_string(owner.pid()) + "/fd/" + std::to_string(region.fd());
    // Root may follow the link; there is nothing to open behind it, with any rights.
    for (int flags : {O_RDONLY, O_WRONLY, O_RDWR}) {
        EXPECT_EQ(::open(path.c_str(), flags | O_CLOEXEC), -1);
        EXPECT_EQ(errno, ENXIO);
    }
    EXPECT_EQ(as_user(kNobody,
                      [&] {
                          EXPECT_EQ(::open(path.c_str(), O_RDONLY), -1);
                          EXPECT_EQ(errno, EACCES);
                      }),
              0);
    EXPECT_EQ(::truncate(path.c_str(), 0), -1);
    EXPECT_EQ(info_of(region.fd()).region_size, kPage);
}

TEST(Proc, OpensANodeByTheNodesRights) {
    std::string path = unique_path("node");
    Fd fd(stm_create(path.data(), kPage));
    ASSERT_TRUE(fd) << std::strerror(errno);
    ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
    // The region behind it has a mode of its own; both must agree.
    EXPECT_EQ(as_user(kNobody,
                      [&] {
                          Fd reader(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
                          ASSERT_TRUE(reader) << std::strerror(errno);
                          std::string again = "/proc/self/fd/" + std::to_string(reader.get());
                          EXPECT_EQ(::open(again.c_str(), O_RDWR), -1);
                          EXPECT_EQ(errno, EACCES);
                          Fd second(::open(again.c_str(), O_RDONLY | O_CLOEXEC));
                          EXPECT_TRUE(second);
                          EXPECT_EQ(::pwrite(second.get(), "x", 1, 0), -1);
                      }),
              0);
    fd.reset();
    ::unlink(path.c_str());
    EXPECT_EQ(stm_unlink(path.c_str()), 0) << std::strerror(errno);
}

TEST(Proc, DescriptorOfAPidIsThePassedHandle) {
    // pidfd_getfd asks for the right to trace the owner, as reading its memory would.
    Region region("pidfd", kPage, STM_PLAIN, 0600);
    int pid_fd = static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0));
    if (pid_fd < 0)
        GTEST_SKIP() << "no pidfd_open";
    Fd us(pid_fd);
    EXPECT_EQ(as_user(kNobody,
                      [&] {
                          EXPECT_EQ(::syscall(SYS_pidfd_getfd, us.get(), region.fd(), 0), -1);
                          EXPECT_EQ(errno, EPERM);
                      }),
              0);
    Fd same(static_cast<int>(::syscall(SYS_pidfd_getfd, us.get(), region.fd(), 0)));
    ASSERT_TRUE(same) << std::strerror(errno);
    EXPECT_EQ(info_of(region.name()).handles, 1u) << "the same open file";
}

TEST(ChangedUser, KeepsItsHandleAndGetsNoOther) {
    Region region("setuid", kPage, 0, 0600);
    EXPECT_EQ(Child::doing([&] {
                  Mapping mapping(region.fd(), kPage);
                  ASSERT_TRUE(mapping.ok());
                  long value = 5;
                  stm_start(region.fd());
                  ASSERT_EQ(::pwrite(region.fd(), &value, sizeof value, 0), 8);
                  ASSERT_EQ(::setgroups(0, nullptr), 0);
                  ASSERT_EQ(::setresgid(kNobody, kNobody, kNobody), 0);
                  ASSERT_EQ(::setresuid(kNobody, kNobody, kNobody), 0);
                  // What has begun goes on.
                  *mapping.at<volatile long>(64) = 6;
                  EXPECT_EQ(stm_commit(region.fd()), 0);
                  EXPECT_EQ(::pread(region.fd(), &value, sizeof value, 0), 8);
                  EXPECT_EQ(value, 5);
                  EXPECT_EQ(open_error(region.name(), STM_RDONLY), EACCES);
                  // What is new is the new user's.
                  std::string name = unique_name("new user");
                  Fd fd(stm_open(name.c_str(), kPage, STM_CREATE | STM_EPHEMERAL, 0600));
                  ASSERT_TRUE(fd);
                  EXPECT_EQ(info_of(fd.get()).uid, kNobody);
              }).wait(),
              0);
    long value = 0;
    EXPECT_EQ(::pread(region.fd(), &value, sizeof value, 64), 8);
    EXPECT_EQ(value, 6);
}

TEST(ChangedUser, CountsOnlyWhileItLasts) {
    Region region("seteuid", kPage, STM_PLAIN, 0600);
    EXPECT_EQ(Child::doing([&] {
                  ASSERT_EQ(::setresuid(-1, kNobody, -1), 0);
                  EXPECT_EQ(open_error(region.name(), 0), EACCES);
                  auto destroy = make_named<struct stm_destroy>(region.name(),
                                                                STM_BY_NAME | STM_DESTROY_DEFERRED);
                  EXPECT_EQ(request(STM_IOC_DESTROY, &destroy), EPERM);
                  ASSERT_EQ(::setresuid(-1, 0, -1), 0);
                  EXPECT_EQ(open_error(region.name(), 0), 0);
              }).wait(),
              0);
}

} // namespace
