// SPDX-License-Identifier: GPL-2.0
// What a program does in the middle of a typed transaction: it calls exec, forks, closes
// descriptors, blocks signals, unmaps. And what becomes of the mappings that the library reads in.
#include "typed.hpp"

#include <algorithm>
#include <chrono>
#include <csignal>
#include <thread>

using namespace stm::test;

namespace {

constexpr int kKinds[] = {0, STM_TX_SERIAL};

std::size_t mappings_of(const std::string& region, pid_t pid) {
    const auto all = attachments_of(region);
    return static_cast<std::size_t>(
        std::count_if(all.begin(), all.end(), [pid](const struct stm_attachment& each) {
            return each.kind == STM_ATTACHMENT_MAPPING && each.pid == pid;
        }));
}

[[noreturn]] void become(const char* command) {
    ::execl("/bin/sh", "sh", "-c", command, static_cast<char*>(nullptr));
    ::_exit(127);
}

TEST(TypedEndings, ExecInTheMiddleHasNoEffect) {
    const TypedRegion region("exec");
    for (const int kind : kKinds) {
        Child child([&] {
            stm_tx* const tx = stm_tx_begin(region, kind);
            EXPECT_NE(tx, nullptr);
            EXPECT_EQ(add(tx, region, 0, 1), 0);
            become("exec sleep 100");
            return 1;
        });
        // What it had mapped is gone, and so is its token.
        EXPECT_TRUE(eventually([&] { return mappings_of(region.name(), child.pid()) == 0; }));
        set_value(region, 64, kind + 1);
        EXPECT_EQ(value_at(region, 0), 0);
        EXPECT_EQ(value_at(region, 64), kind + 1);
        child.kill(SIGKILL);
        EXPECT_EQ(child.wait(), 128 + SIGKILL);
    }
}

TEST(TypedEndings, AHandleThatExecKeepsIsUsedByTheNextProgram) {
    const TypedRegion region("kept");
    Child child([&] {
        const int fd = stm_open(region.name().c_str(), 0, 0, 0);
        stm_region* const own = stm_region_attach(fd);
        stm_tx* const tx = stm_tx_begin(own, 0);
        EXPECT_EQ(add(tx, own, 0, 1), 0);
        EXPECT_EQ(::dup2(fd, 9), 9);
        // The transaction was the old program's; each call of the new one is another one.
        become("printf 12345678 >&9");
        return 1;
    });
    EXPECT_EQ(child.wait(), 0);
    char text[9] = "";
    EXPECT_EQ(::pread(region.fd(), text, 8, 0), 8);
    EXPECT_STREQ(text, "12345678");
}

TEST(TypedEndings, DuplicatesClosedInTheMiddleChangeNothing) {
    const TypedRegion region("closed");
    for (const int kind : kKinds) {
        const int fd = stm_open(region.name().c_str(), 0, 0, 0);
        const Attached own(stm_region_attach(fd));
        int attempts = 0;
        ASSERT_TRUE(atomically(own, kind, [&](stm_tx* tx) {
            ++attempts;
            EXPECT_EQ(add(tx, own, 0, 1), 0);
            EXPECT_EQ(::close(fd), 0) << "the one that was attached";
            EXPECT_EQ(::close(::dup(stm_region_fd(own))), 0);
            Child([&] { return ::close(stm_region_fd(own)); }).wait();
            EXPECT_EQ(add(tx, own, 640, 1), 0);
        })) << std::strerror(errno);
        EXPECT_EQ(attempts, 1);
    }
    EXPECT_EQ(value_at(region, 0), 2);
    EXPECT_EQ(value_at(region, 640), 2);
}

TEST(TypedEndings, OnesWithAllSignalsBlockedAreLikeOthers) {
    const TypedRegion region("blocked");
    constexpr int kProcesses = 3;
    constexpr int kEach = 300;
    StartingLine line(kProcesses);
    std::vector<Child> children;
    for (int i = 0; i < kProcesses; ++i)
        children.push_back(Child::doing([&] {
            sigset_t all;
            ::sigfillset(&all);
            ::pthread_sigmask(SIG_SETMASK, &all, nullptr);
            for (const int signal : {SIGURG, SIGUSR1, SIGALRM, SIGSEGV})
                ::raise(signal); // it stays pending
            line.wait();
            for (int k = 0; k < kEach; ++k)
                EXPECT_TRUE(atomically(region, k % 50 == 49 ? STM_TX_SERIAL : 0, [&](stm_tx* tx) {
                    if (add(tx, region, 0, 1) == 0)
                        static_cast<void>(add(tx, region, 3 * kPage, 1));
                })) << std::strerror(errno);
            // A wait is ended by signals that are not blocked alone.
            stm_tx* const tx = stm_tx_begin(region, 0);
            long value = 0;
            while (stm_tx_load(tx, region, 5 * kPage, &value, sizeof value) != 0)
                static_cast<void>(stm_tx_commit(tx));
            EXPECT_EQ(stm_tx_wait(tx, 20'000'000), -1);
            EXPECT_EQ(errno, ETIMEDOUT);
        }));
    for (Child& child : children)
        EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(value_at(region, 0), kProcesses * kEach);
    EXPECT_EQ(value_at(region, 3 * kPage), kProcesses * kEach);
}

TEST(TypedEndings, AChildOfTheMiddleHasNoTransaction) {
    const TypedRegion region("fork");
    int attempts = 0;
    ASSERT_TRUE(atomically(region, 0, [&](stm_tx* tx) {
        ++attempts;
        EXPECT_EQ(add(tx, region, 0, 1), 0);
        const int status = Child::doing([&] {
                               EXPECT_EQ(stm_tx_current(), nullptr);
                               EXPECT_EQ(value_at(region, 0), attempts == 1 ? 0 : 10);
                               if (attempts == 1)
                                   set_value(region, 0, 10);
                           }).wait();
        EXPECT_EQ(status, 0);
        EXPECT_EQ(stm_tx_current(), tx);
    }));
    EXPECT_EQ(attempts, 2) << "the child has changed what it had read";
    EXPECT_EQ(value_at(region, 0), 11);
}

TEST(TypedEndings, AChildOfTheMiddleLeavesTheTokenToItsParent) {
    const TypedRegion region("fork_serial");
    std::vector<Child> children;
    int attempts = 0;
    bool late = false;
    ASSERT_TRUE(atomically(region, STM_TX_SERIAL, [&](stm_tx* tx) {
        const auto began = std::chrono::steady_clock::now();
        if (add(tx, region, 0, 1) != 0 || ++attempts != 1)
            return;
        // One that only ends, and one that has to wait.
        EXPECT_EQ(Child([] { return 0; }).wait(), 0);
        children.push_back(Child::doing([&] {
            EXPECT_EQ(stm_tx_current(), nullptr);
            EXPECT_TRUE(atomically(
                region, 0, [&](stm_tx* own) { static_cast<void>(add(own, region, 0, 10)); }));
        }));
        ::usleep(100'000);
        long value = 0;
        EXPECT_EQ(::pread(region.fd(), &value, sizeof value, 0), 8);
        // On a slow machine it may have lost the token by its lease.
        if (std::chrono::steady_clock::now() - began < std::chrono::milliseconds(900)) {
            EXPECT_EQ(value, 0) << "it did not wait";
        } else {
            late = true;
        }
        static_cast<void>(add(tx, region, 640, 1));
    }));
    EXPECT_TRUE(attempts == 1 || late) << attempts;
    EXPECT_EQ(children[0].wait(), 0);
    EXPECT_EQ(value_at(region, 0), 11);
}

TEST(TypedEndings, ThreadsOfAProcessThatForksGoOn) {
    const TypedRegion region("threads");
    constexpr int kEach = 2000;
    std::thread other([&] {
        for (int i = 0; i < kEach; ++i)
            EXPECT_TRUE(atomically(region, 0, [&](stm_tx* tx) { return add(tx, region, 0, 1); }));
    });
    int children = 0;
    for (int i = 0; i < 20; ++i) {
        // The other thread is anywhere. The child has none.
        EXPECT_EQ(Child::doing([&] {
                      EXPECT_EQ(stm_tx_current(), nullptr);
                      EXPECT_TRUE(atomically(region, 0,
                                             [&](stm_tx* tx) { return add(tx, region, 64, 1); }));
                  }).wait(),
                  0);
        ++children;
    }
    other.join();
    EXPECT_EQ(value_at(region, 0), kEach);
    EXPECT_EQ(value_at(region, 64), children);
}

// -- The windows --

constexpr off_t kCommitted = static_cast<off_t>(STM_OFFSET_COMMITTED);

TEST(TypedEndings, ChildrenSeeInTheWindowsWhatIsCommittedLater) {
    const TypedRegion region("window");
    const Mapping window(region.fd(), kPage, PROT_READ, kCommitted);
    StartingLine line(2);
    Child child = Child::doing([&] {
        EXPECT_EQ(*window.at<volatile long>(), 0);
        line.wait();
        EXPECT_TRUE(eventually([&] { return *window.at<volatile long>() == 7; }));
        EXPECT_EQ(signal_of_store(window.at()), SIGSEGV);
        EXPECT_EQ(::munmap(window.data(), kPage), 0);
        EXPECT_EQ(value_at(region, 0), 7) << "the library has mappings of its own";
    });
    line.wait();
    set_value(region, 0, 7);
    EXPECT_EQ(child.wait(), 0);
    EXPECT_EQ(*window.at<volatile long>(), 7) << "the child's munmap was its own";
}

TEST(TypedEndings, AWindowThatIsUnmappedInPartsIsThereInParts) {
    const TypedRegion region("parts", 4 * kPage);
    for (std::uint64_t page = 0; page < 4; ++page)
        set_value(region, page * kPage, static_cast<long>(page) + 1);
    Mapping window(region.fd(), 4 * kPage, PROT_READ, kCommitted);
    ASSERT_TRUE(window.ok());
    EXPECT_EQ(*window.at<volatile long>(kPage), 2);
    ASSERT_EQ(::munmap(window.at<>(kPage), kPage), 0);
    EXPECT_EQ(signal_of_load(window.at<>(kPage)), SIGSEGV);
    EXPECT_EQ(*window.at<volatile long>(0), 1);
    set_value(region, 2 * kPage, 30);
    EXPECT_EQ(*window.at<volatile long>(2 * kPage), 30);
    EXPECT_EQ(*window.at<volatile long>(3 * kPage), 4);
    // In the middle of a transaction, which reads elsewhere.
    ASSERT_TRUE(atomically(region, 0, [&](stm_tx* tx) {
        EXPECT_EQ(add(tx, region, 3 * kPage, 1), 0);
        EXPECT_EQ(::munmap(window.data(), 4 * kPage), 0);
        EXPECT_EQ(add(tx, region, 0, 1), 0);
    }));
    window.release();
    EXPECT_EQ(value_at(region, 0), 2);
    EXPECT_EQ(value_at(region, 3 * kPage), 5);
}

TEST(TypedEndings, RegionsThatAreDetachedLeaveNoMappings) {
    const Region region("detached", 4 * kPage, 0);
    ASSERT_EQ(mappings_of(region.name(), ::getpid()), 0u);
    for (int i = 0; i < 3; ++i) {
        const Attached one(region.name());
        const Attached two(region.name());
        EXPECT_TRUE(atomically(one, 0, [&](stm_tx* tx) {
            if (add(tx, one, 0, 1) == 0)
                static_cast<void>(add(tx, two, 64, 1));
        }));
        EXPECT_EQ(mappings_of(region.name(), ::getpid()), 6u) << "three windows each";
    }
    EXPECT_EQ(mappings_of(region.name(), ::getpid()), 0u);
    EXPECT_EQ(info_of(region.fd()).handles, 1u);
}

} // namespace
