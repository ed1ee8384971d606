// SPDX-License-Identifier: GPL-2.0
// What the tests of transactions share.
#pragma once

#include "guest.hpp"

#include <chrono>
#include <csignal> // IWYU pragma: export
#include <fcntl.h>
#include <fstream>
#include <sys/ioctl.h> // IWYU pragma: export

namespace stm::test {

inline constexpr int kTransactional = 0; // flags of a region
inline constexpr off_t kStripe = 64;     // bytes: numbers this far apart do not conflict

/** One number of a region, by one call. */
template <typename T = long>
T get(int fd, off_t at = 0) {
    T value{};
    EXPECT_EQ(::pread(fd, &value, sizeof value, at), static_cast<ssize_t>(sizeof value))
        << std::strerror(errno);
    return value;
}
template <typename T = long>
void put(int fd, T value, off_t at = 0) {
    EXPECT_EQ(::pwrite(fd, &value, sizeof value, at), static_cast<ssize_t>(sizeof value))
        << std::strerror(errno);
}

/** Does something in another process, to its end. In a transaction, it is not part of that; a
 * restart waits for it. */
template <typename Action>
void elsewhere(const Action& action) {
    stm_defer_restarts();
    EXPECT_EQ(Child::doing(action).wait(), 0);
    stm_allow_restarts();
}

/** A parameter of the module that is back at its old value at the end. */
class Parameter {
public:
    Parameter(const std::string& name, const std::string& value)
        : path_("/sys/module/stm/parameters/" + name) {
        std::ifstream(path_) >> before_;
        std::ofstream(path_) << value;
    }
    ~Parameter() { std::ofstream(path_) << before_; }
    Parameter(const Parameter&) = delete;
    Parameter& operator=(const Parameter&) = delete;

private:
    std::string path_;
    std::string before_;
};

/** The kernel's view of the calling thread's transaction. */
inline struct stm_transaction transaction(int fd) {
    auto now = make<struct stm_transaction>();
    EXPECT_EQ(request(fd, STM_IOC_TRANSACTION, &now), 0);
    return now;
}

inline struct stm_statistics statistics(int fd) {
    struct stm_statistics all {};
    EXPECT_EQ(stm_statistics(fd, &all), 0);
    return all;
}

/** A transactional region of its own for each test. */
class Transactions : public ::testing::Test {
protected:
    explicit Transactions(int flags = kTransactional) : region_("transactions", 64 * 1024, flags) {}
    void SetUp() override { ASSERT_GE(fd(), 0); }

    [[nodiscard]] int fd() const { return region_.fd(); }
    /** One more open file of the region. */
    [[nodiscard]] Fd another() const { return Fd(stm_open(region_.name().c_str(), 0, 0, 0)); }

    Region region_;
};

/** Seconds of processor time that the calling process has used. */
inline double processor_seconds() {
    struct timespec now {};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

inline double seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

} // namespace stm::test
