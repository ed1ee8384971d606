// SPDX-License-Identifier: GPL-2.0
// Who uses a region: right at every moment, however a process began or ended to use it.
#include "guest.hpp"

#include <algorithm>
#include <csignal>
#include <fcntl.h>

using namespace stm::test;

namespace {

std::vector<struct stm_attachment> of_kind(const std::string& name, std::uint32_t kind) {
    std::vector<struct stm_attachment> list = attachments_of(name);
    std::erase_if(list, [kind](const struct stm_attachment& user) { return user.kind != kind; });
    return list;
}

std::size_t mappings(const std::string& name) {
    return of_kind(name, STM_ATTACHMENT_MAPPING).size();
}
std::size_t handles(const std::string& name) {
    return of_kind(name, STM_ATTACHMENT_HANDLE).size();
}

STM_HELPER(hold_mapping) {
    Fd fd(stm_open(words.at(0).c_str(), 0, 0, 0));
    Mapping mapping(fd.get(), kPage);
    ::pause();
    return 0;
}

STM_HELPER(idle) {
    ::pause();
    return 0;
}

TEST(Attachments, TellProcessPlaceAndRights) {
    Region region("who", 4 * kPage);
    Mapping mapping(region.fd(), 2 * kPage, PROT_READ, kPage);
    ASSERT_TRUE(mapping.ok());

    auto open = of_kind(region.name(), STM_ATTACHMENT_HANDLE);
    ASSERT_EQ(open.size(), 1u);
    EXPECT_EQ(open[0].pid, ::getpid());
    EXPECT_EQ(open[0].protection, 3u);
    EXPECT_EQ(open[0].address, 0u);
    EXPECT_EQ(std::string(open[0].command), "attachments_tes") << "15 bytes of the program's name";

    auto mapped = of_kind(region.name(), STM_ATTACHMENT_MAPPING);
    ASSERT_EQ(mapped.size(), 1u);
    EXPECT_EQ(mapped[0].pid, ::getpid());
    EXPECT_EQ(mapped[0].address, reinterpret_cast<std::uintptr_t>(mapping.data()));
    EXPECT_EQ(mapped[0].length, 2 * kPage);
    EXPECT_EQ(mapped[0].offset, kPage);
    EXPECT_EQ(mapped[0].protection, 1u);
    EXPECT_EQ(mapped[0].reserved, 0u);
}

TEST(Attachments, CountTwoMappingsOfOneProcess) {
    Region region("two");
    Mapping first(region.fd(), kPage);
    Mapping second(region.fd(), kPage);
    EXPECT_EQ(mappings(region.name()), 2u);
    EXPECT_EQ(info_of(region.name()).mappings, 2u);
}

TEST(Attachments, OfAForkedChildCount) {
    Region region("fork");
    Mapping mapping(region.fd(), kPage);
    Child child([] {
        ::pause();
        return 0;
    });
    EXPECT_EQ(mappings(region.name()), 2u);
    EXPECT_EQ(handles(region.name()), 1u) << "both have the same open file";
    auto list = of_kind(region.name(), STM_ATTACHMENT_MAPPING);
    EXPECT_EQ(std::count_if(list.begin(), list.end(),
                            [&](auto& user) { return user.pid == child.pid(); }),
              1);
    child.kill(SIGKILL);
    child.wait();
    EXPECT_EQ(mappings(region.name()), 1u);
}

TEST(Attachments, EndWithExit) {
    Region region("exit");
    EXPECT_EQ(Child::doing([&] {
                  int fd = stm_open(region.name().c_str(), 0, 0, 0);
                  ASSERT_NE(::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, fd, 0), MAP_FAILED);
                  EXPECT_EQ(handles(region.name()), 2u);
                  EXPECT_EQ(mappings(region.name()), 1u);
              }).wait(),
              0);
    EXPECT_EQ(handles(region.name()), 1u);
    EXPECT_EQ(mappings(region.name()), 0u);
}

TEST(Attachments, EndWithKill) {
    Region region("kill");
    Child child = Child::program("hold_mapping", {region.name()});
    ASSERT_TRUE(eventually([&] { return mappings(region.name()) == 1; }));
    EXPECT_EQ(of_kind(region.name(), STM_ATTACHMENT_MAPPING)[0].pid, child.pid());
    region.close();
    EXPECT_EQ(stm_unlink(region.name().c_str()), -1);
    EXPECT_EQ(errno, EBUSY);
    child.kill(SIGKILL);
    EXPECT_EQ(child.wait(), 128 + SIGKILL);
    EXPECT_EQ(stm_unlink(region.name().c_str()), 0) << std::strerror(errno);
}

TEST(Attachments, EndWithExec) {
    Region region("exec");
    Mapping ready(-1, kPage, PROT_READ | PROT_WRITE, 0, MAP_SHARED | MAP_ANONYMOUS);
    ASSERT_EQ(::fcntl(region.fd(), F_SETFD, FD_CLOEXEC), 0);
    Mapping mapping(region.fd(), kPage);
    Child child = Child::program("idle", {});
    EXPECT_TRUE(eventually([&] { return mappings(region.name()) == 1; }))
        << "exec drops the mapping of the fork";
    region.close();
    EXPECT_TRUE(eventually([&] { return handles(region.name()) == 1; }))
        << "only the mapping's own file is left";
    child.kill(SIGKILL);
    child.wait();
}

TEST(Attachments, OfDescriptorsSurviveExec) {
    Region region("inherited");
    Child child = Child::program("idle", {});
    std::string name = region.name();
    ASSERT_TRUE(eventually([&] {
        return shell("tr '\\0' ' ' < /proc/" + std::to_string(child.pid()) + "/cmdline")
                   .text.find("idle") != std::string::npos;
    }));
    region.close();
    EXPECT_EQ(handles(name), 1u) << "the program that was started has it open";
    EXPECT_EQ(stm_unlink(name.c_str()), -1);
    EXPECT_EQ(errno, EBUSY);
    child.kill(SIGKILL);
    child.wait();
    EXPECT_EQ(stm_unlink(name.c_str()), 0);
}

TEST(Attachments, FollowMunmap) {
    Region region("munmap", 3 * kPage);
    Mapping mapping(region.fd(), 3 * kPage);
    ASSERT_EQ(::munmap(mapping.at(kPage), kPage), 0);
    auto list = of_kind(region.name(), STM_ATTACHMENT_MAPPING);
    ASSERT_EQ(list.size(), 2u);
    std::sort(list.begin(), list.end(),
              [](auto& left, auto& right) { return left.offset < right.offset; });
    EXPECT_EQ(list[0].length, kPage);
    EXPECT_EQ(list[1].offset, 2 * kPage);
    EXPECT_EQ(list[1].address, reinterpret_cast<std::uintptr_t>(mapping.at(2 * kPage)));
    ASSERT_EQ(::munmap(mapping.data(), 3 * kPage), 0);
    mapping.release();
    EXPECT_EQ(mappings(region.name()), 0u);
}

TEST(Attachments, BeyondTheCapacityAreOnlyCounted) {
    Region region("capacity");
    std::vector<Fd> more;
    for (int index = 0; index < 5; ++index)
        more.emplace_back(stm_open(region.name().c_str(), 0, 0, 0));
    struct stm_attachment list[3] = {};
    list[2].pid = -77;
    auto argument = make_named<struct stm_attachments>(region.name(), STM_BY_NAME);
    argument.buffer = reinterpret_cast<std::uintptr_t>(list);
    argument.capacity = 2;
    EXPECT_EQ(request(STM_IOC_ATTACHMENTS, &argument), 0);
    EXPECT_EQ(argument.count, 6u);
    EXPECT_EQ(argument.id, info_of(region.name()).id);
    EXPECT_EQ(list[0].pid, ::getpid());
    EXPECT_EQ(list[2].pid, -77) << "written beyond the capacity";
    argument.capacity = 0;
    argument.buffer = 0;
    EXPECT_EQ(request(STM_IOC_ATTACHMENTS, &argument), 0);
    EXPECT_EQ(argument.count, 6u);
    argument.capacity = 65537;
    EXPECT_EQ(request(STM_IOC_ATTACHMENTS, &argument), EINVAL);
}

TEST(Attachments, AreRightWhileProcessesComeAndGo) {
    Region region("storm");
    std::vector<Child> children;
    for (int index = 0; index < 6; ++index)
        children.push_back(Child::doing([&] {
            for (int round = 0; round < 30; ++round) {
                Fd fd(stm_open(region.name().c_str(), 0, 0, 0));
                ASSERT_TRUE(fd);
                Mapping mapping(fd.get(), kPage);
                ASSERT_TRUE(mapping.ok());
                *mapping.at() = 1;
                auto list = attachments_of(region.name());
                EXPECT_GE(std::count_if(list.begin(), list.end(),
                                        [](auto& user) { return user.pid == ::getpid(); }),
                          2);
            }
        }));
    for (Child& child : children)
        EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(handles(region.name()), 1u);
    EXPECT_EQ(mappings(region.name()), 0u);
}

} // namespace
