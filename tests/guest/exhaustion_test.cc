// SPDX-License-Identifier: GPL-2.0
// One user takes all that the module gives to one user, and another works on as if nothing were.
#include "guest.hpp"

#include <fcntl.h>
#include <fstream>
#include <stm/ioctl.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <thread>

using namespace stm::test;

namespace {

constexpr unsigned kGreedy = 2001;
constexpr unsigned kModest = 2002;

class Parameter {
public:
    Parameter(const std::string& name, unsigned long value)
        : path_("/sys/module/stm/parameters/" + name) {
        std::ifstream(path_) >> before_;
        set(value);
    }
    ~Parameter() { set(before_); }
    Parameter(const Parameter&) = delete;
    Parameter& operator=(const Parameter&) = delete;

private:
    void set(unsigned long value) { std::ofstream(path_) << value << std::endl; }
    std::string path_;
    unsigned long before_ = 0;
};

// A user who takes something and keeps it until told otherwise.
class Hoarder {
public:
    explicit Hoarder(const std::function<void()>& take) {
        EXPECT_EQ(::pipe2(taken_, O_CLOEXEC), 0);
        child_.emplace_back(Child::doing([&] {
            struct rlimit many {
                65536, 65536
            };
            ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &many), 0);
            ASSERT_EQ(::setresgid(kGreedy, kGreedy, kGreedy), 0);
            ASSERT_EQ(::setresuid(kGreedy, kGreedy, kGreedy), 0);
            take();
            ASSERT_EQ(::write(taken_[1], "x", 1), 1);
            ::pause();
        }));
        ::close(taken_[1]);
        char byte = 0;
        EXPECT_EQ(::read(taken_[0], &byte, 1), 1) << "it could not even take";
    }
    ~Hoarder() { ::close(taken_[0]); }
    Hoarder(const Hoarder&) = delete;
    Hoarder& operator=(const Hoarder&) = delete;

private:
    int taken_[2];
    std::vector<Child> child_;
};

void store_together(int fd, volatile char* where, char what) {
    do {
        stm_start(fd);
        *where = what;
    } while (stm_commit(fd) != 0);
}

// All that a user needs: a region of each kind, made, written, mapped, read, in transactions, and
// destroyed.
void expect_modest_work() {
    EXPECT_EQ(as_user(kModest,
                      [] {
                          for (int kind : {STM_PLAIN, 0, STM_MUTEX}) {
                              Region region("modest", 4 * kPage, kind);
                              ASSERT_GE(region.fd(), 0);
                              ASSERT_EQ(::pwrite(region.fd(), "x", 1, kPage), 1)
                                  << std::strerror(errno);
                              Mapping mapping(region.fd(), 4 * kPage);
                              ASSERT_TRUE(mapping.ok()) << std::strerror(errno);
                              EXPECT_EQ(*mapping.at(kPage), 'x');
                              if (kind == STM_PLAIN) {
                                  *mapping.at(0) = 'y';
                                  continue;
                              }
                              store_together(region.fd(), mapping.at(2 * kPage), 'z');
                              char byte = 0;
                              EXPECT_EQ(::pread(region.fd(), &byte, 1, 2 * kPage), 1);
                              EXPECT_EQ(byte, 'z');
                          }
                          EXPECT_FALSE(exists("no such region"));
                      }),
              0);
}

struct stm_version totals() {
    auto version = make<struct stm_version>();
    EXPECT_EQ(request(STM_IOC_VERSION, &version), 0);
    return version;
}

class Exhaustion : public ::testing::Test {
protected:
    void SetUp() override { before_ = totals(); }
    // What was taken comes back when its user ends.
    void TearDown() override {
        EXPECT_TRUE(eventually([&] {
            const struct stm_version now = totals();
            return now.regions == before_.regions && now.bytes == before_.bytes &&
                   now.resident_bytes == before_.resident_bytes;
        }));
    }
    struct stm_version before_ {};
};

TEST_F(Exhaustion, OfRegions) {
    Parameter limit("max_user_regions", 200);
    Hoarder greedy([] {
        int error = 0;
        int made = 0;
        for (; error == 0; ++made) {
            // Kept open by its number; never closed.
            if (stm_open(unique_name("greedy").c_str(), kPage,
                         STM_CREATE | STM_EPHEMERAL | STM_CLOEXEC, 0600) < 0)
                error = errno;
        }
        EXPECT_EQ(error, ENOSPC);
        EXPECT_EQ(made, 201);
    });
    expect_modest_work();
}

TEST_F(Exhaustion, OfBytesAllTouched) {
    Parameter limit("max_user_bytes", 64 << 20);
    Hoarder greedy([] {
        int fd = stm_open(unique_name("greedy").c_str(), 64 << 20,
                          STM_CREATE | STM_PLAIN | STM_EPHEMERAL, 0600);
        ASSERT_GE(fd, 0) << std::strerror(errno);
        void* memory = ::mmap(nullptr, 64 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        ASSERT_NE(memory, MAP_FAILED);
        std::memset(memory, 1, 64 << 20);
        EXPECT_LT(stm_open(unique_name("more").c_str(), kPage, STM_CREATE | STM_EPHEMERAL, 0600),
                  0);
        EXPECT_EQ(errno, ENOSPC);
    });
    expect_modest_work();
}

TEST_F(Exhaustion, OfHandles) {
    // As many as a process may have; the limit is that of files.
    Hoarder greedy([] {
        struct rlimit some {
            4000, 4000
        };
        ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &some), 0);
        std::string name = unique_name("handles");
        int error = 0;
        int made = 0;
        for (; error == 0; ++made)
            if (stm_open(name.c_str(), kPage, STM_CREATE | STM_EPHEMERAL, 0600) < 0)
                error = errno;
        EXPECT_EQ(error, EMFILE);
        EXPECT_GT(made, 3900);
    });
    expect_modest_work();
}

TEST_F(Exhaustion, OfMappings) {
    Hoarder greedy([] {
        int fd =
            stm_open(unique_name("mappings").c_str(), 2 * kPage, STM_CREATE | STM_EPHEMERAL, 0600);
        ASSERT_GE(fd, 0);
        long made = 0;
        // Mappings side by side, of pages in turn, so that no two become one.
        while (made < 100000 &&
               ::mmap(nullptr, kPage, PROT_READ, MAP_SHARED, fd, made % 2 * kPage) != MAP_FAILED)
            ++made;
        EXPECT_EQ(errno, ENOMEM) << "vm.max_map_count";
        EXPECT_GT(made, 1000);
        // Each is looked at when somebody asks who uses the region.
        EXPECT_GT(info_of(fd).mappings, 1000u);
    });
    expect_modest_work();
}

TEST_F(Exhaustion, OfContexts) {
    Parameter limit("max_contexts", 50);
    Hoarder greedy([] {
        int fd = stm_open(unique_name("contexts").c_str(), kPage, STM_CREATE | STM_EPHEMERAL, 0600);
        ASSERT_GE(fd, 0);
        // Threads with a transaction that never ends, until one is refused.
        static int error;
        for (int started = 0; error == 0; ++started) {
            ASSERT_LE(started, 51);
            int pipe[2];
            ASSERT_EQ(::pipe(pipe), 0);
            std::thread([fd, end = pipe[1]] {
                const bool refused = ::ioctl(fd, STM_IOC_START, 0) < 0;
                const int told = refused ? errno : 0;
                EXPECT_EQ(::write(end, &told, sizeof told), static_cast<ssize_t>(sizeof told));
                while (!refused)
                    ::pause();
            }).detach();
            ASSERT_EQ(::read(pipe[0], &error, sizeof error), static_cast<ssize_t>(sizeof error));
            ::close(pipe[0]);
            ::close(pipe[1]);
        }
        EXPECT_EQ(error, ENOSPC);
    });
    expect_modest_work();
}

TEST_F(Exhaustion, OfStripesInOneTransaction) {
    Parameter limit("max_stripes", 4096);
    Hoarder greedy([] {
        int fd =
            stm_open(unique_name("stripes").c_str(), 1 << 20, STM_CREATE | STM_EPHEMERAL, 0600);
        ASSERT_GE(fd, 0);
        ASSERT_EQ(::ioctl(fd, STM_IOC_START, 0), 1);
        int error = 0;
        for (off_t at = 0; at < 1 << 20 && error == 0; at += 64)
            if (::pwrite(fd, "x", 1, at) != 1)
                error = errno;
        EXPECT_EQ(error, E2BIG);
        // It stays in that transaction.
    });
    expect_modest_work();
}

TEST_F(Exhaustion, ByTransactionsThatHoldARegionsToken) {
    // In its own mutex region, which nobody else needs.
    Hoarder greedy([] {
        int fd = stm_open(unique_name("token").c_str(), kPage,
                          STM_CREATE | STM_MUTEX | STM_EPHEMERAL, 0600);
        ASSERT_GE(fd, 0);
        ASSERT_EQ(::ioctl(fd, STM_IOC_START, 0), 1);
    });
    expect_modest_work();
}

TEST_F(Exhaustion, AndAllOfItIsBackAtOnce) {
    Parameter regions("max_user_regions", 20);
    for (int round = 0; round < 5; ++round) {
        EXPECT_EQ(as_user(kGreedy,
                          [] {
                              int made = 0;
                              while (stm_open(unique_name("greedy").c_str(), kPage,
                                              STM_CREATE | STM_EPHEMERAL, 0600) >= 0)
                                  ++made;
                              EXPECT_EQ(errno, ENOSPC);
                              EXPECT_EQ(made, 20);
                          }),
                  0)
            << round;
    }
    expect_modest_work();
}

} // namespace
