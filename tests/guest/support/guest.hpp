// SPDX-License-Identifier: GPL-2.0
// What the programs of tests/guest share: names, descriptors, mappings and child processes that
// clean up after themselves.
#pragma once

#include <cerrno> // IWYU pragma: export
#include <cstdint>
#include <cstring>
#include <functional>
#include <gtest/gtest.h> // IWYU pragma: export
#include <stm/ioctl.h>
#include <stm/stm.h>
#include <string>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>
#include <vector>

namespace stm::test {

inline constexpr std::size_t kPage = 4096;
inline constexpr unsigned kNobody = 65534;

// -- The kernel --

/** Whether this is Linux MAJOR.MINOR or a later one, for what it does otherwise since then. */
bool linux_is_at_least(int major, int minor);
/** What mmap says to PROT_EXEC where the region has no STM_EXEC. Linux 7 refuses it itself. */
int error_of_forbidden_exec();

// -- Names and descriptors --

/** A name that no other test, process or run uses: "test:PID:N:STEM". */
std::string unique_name(const std::string& stem);
/** A path in /tmp that does not exist, with unique_name()'s parts. */
std::string unique_path(const std::string& stem);

class Fd {
public:
    Fd() = default;
    explicit Fd(int fd) : fd_(fd) {}
    Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
    Fd& operator=(Fd&& other) noexcept {
        reset();
        fd_ = std::exchange(other.fd_, -1);
        return *this;
    }
    ~Fd() { reset(); }
    void reset() {
        if (fd_ >= 0)
            ::close(std::exchange(fd_, -1));
    }
    [[nodiscard]] int get() const { return fd_; }
    explicit operator bool() const { return fd_ >= 0; }

private:
    int fd_ = -1;
};

/** The control device, open. */
Fd control();

/** 0, or errno, of an ioctl; a descriptor that it returns is closed. */
int request(int fd, unsigned long number, void* argument);
/** As request(), on a control descriptor of its own. */
int request(unsigned long number, void* argument);

/** A request with its size and flags filled in. */
template <typename Argument>
Argument make(std::uint32_t flags = 0) {
    Argument argument{};
    argument.size = sizeof argument;
    argument.flags = flags;
    return argument;
}
template <typename Argument>
Argument make_named(const std::string& name, std::uint32_t flags) {
    Argument argument = make<Argument>(flags);
    name.copy(argument.name, sizeof argument.name - 1);
    return argument;
}

/** What a region is; fails the test when it cannot be told. */
struct stm_info info_of(const std::string& name);
struct stm_info info_of(int handle);
std::vector<struct stm_attachment> attachments_of(const std::string& name);
bool exists(const std::string& name);

/** A region of its own for a test: made on construction, destroyed (deferred) at the end. */
class Region {
public:
    explicit Region(const std::string& stem, std::size_t size = kPage, int flags = STM_PLAIN,
                    mode_t mode = 0600);
    ~Region();
    Region(const Region&) = delete;
    Region& operator=(const Region&) = delete;

    [[nodiscard]] const std::string& name() const { return name_; }
    [[nodiscard]] int fd() const { return fd_.get(); }
    void close() { fd_.reset(); }

private:
    std::string name_;
    Fd fd_;
};

// -- Memory --

/** A mapping that ends with its owner. `data()` is MAP_FAILED when it could not be made; errno says
 * why. */
class Mapping {
public:
    Mapping(int fd, std::size_t size, int protection = PROT_READ | PROT_WRITE, off_t offset = 0,
            int flags = MAP_SHARED, void* where = nullptr)
        : data_(::mmap(where, size, protection, flags, fd, offset)), size_(size) {}
    ~Mapping() {
        if (ok())
            ::munmap(data_, size_);
    }
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;

    [[nodiscard]] bool ok() const { return data_ != MAP_FAILED; }
    [[nodiscard]] void* data() const { return data_; }
    template <typename T = char>
    [[nodiscard]] T* at(std::size_t offset = 0) const {
        return reinterpret_cast<T*>(static_cast<char*>(data_) + offset);
    }
    /** The test has taken it away itself. */
    void release() { data_ = MAP_FAILED; }

private:
    void* data_;
    std::size_t size_;
};

/** The signal that kills a child which does this; 0 when it survives. */
int signal_of(const std::function<void()>& action);
/** The signal that a store of a byte, or a load, gets. */
int signal_of_store(void* address);
int signal_of_load(const void* address);

// -- Processes --

/**
 * A child that runs a function and ends. Its EXPECTs and ASSERTs count: it ends with 1 when one
 * failed, else with what the function returns. Killed when its owner goes before it has been waited
 * for.
 */
class Child {
public:
    explicit Child(const std::function<int()>& body);
    /** A child for which nothing is expected to go wrong: the function returns nothing. */
    static Child doing(const std::function<void()>& body);
    /** This program again, running STM_HELPER `helper`: a process that inherits nothing but the
     * words and open descriptors. */
    static Child program(const std::string& helper, const std::vector<std::string>& words);
    ~Child();
    Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
    Child& operator=(Child&&) = delete;

    [[nodiscard]] pid_t pid() const { return pid_; }
    void kill(int signal) const;
    /** The exit status, or 128 and the signal that killed it. */
    int wait();

private:
    explicit Child(pid_t pid) : pid_(pid) {}
    pid_t pid_ = -1;
};

/** Runs a function in a child that has given up root for this user; the result of Child::wait(). */
int as_user(unsigned uid, const std::function<void()>& body);

/** Runs a shell command; its exit status, and its standard output with what it wrote. */
struct Output {
    int status;
    std::string text;
};
Output shell(const std::string& command);

/** How many times longer than usual things may take: STM_TEST_TIME_SCALE, for slow kernels. */
double time_scale();

/** Asks every few milliseconds until the condition holds, at most 10 s times time_scale(). */
bool eventually(const std::function<bool()>& condition);

/** A barrier in memory that is shared by fork, for children that should all start at once. */
class StartingLine {
public:
    explicit StartingLine(int runners);
    ~StartingLine();
    StartingLine(const StartingLine&) = delete;
    StartingLine& operator=(const StartingLine&) = delete;
    void wait();

private:
    int* arrived_;
    int runners_;
};

/** Where the tools and examples of this build are, from the environment variable STM_BUILD_DIR or
 * the program's place. */
std::string build_folder();

using Helper = int (*)(const std::vector<std::string>& words);
int register_helper(const char* name, Helper helper);
int run_helper(int argc, char** argv);

} // namespace stm::test

/** Defines a function that Child::program() can run in a process of its own. */
#define STM_HELPER(name)                                                                           \
    static int helper_##name(const std::vector<std::string>& words);                               \
    [[maybe_unused]] static const int registered_##name =                                          \
        ::stm::test::register_helper(#name, helper_##name);                                        \
    static int helper_##name([[maybe_unused]] const std::vector<std::string>& words)
