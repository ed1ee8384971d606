// SPDX-License-Identifier: GPL-2.0
#include "guest.hpp"

#include <chrono>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <grp.h>
#include <map>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <thread>

namespace stm::test {
namespace {

std::map<std::string, Helper>& helpers() {
    static std::map<std::string, Helper> table;
    return table;
}

// A child must not run its parent's tests to the end, nor write what the parent has buffered.
[[noreturn]] void finish(int status) {
    std::fflush(stdout);
    std::fflush(stderr);
    ::_exit(::testing::Test::HasFailure() ? 1 : status);
}

void prepare_child() {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
}

} // namespace

bool linux_is_at_least(int major, int minor) {
    utsname name{};
    int has_major = 0;
    int has_minor = 0;
    EXPECT_EQ(::uname(&name), 0);
    EXPECT_EQ(std::sscanf(name.release, "%d.%d", &has_major, &has_minor), 2) << name.release;
    return has_major > major || (has_major == major && has_minor >= minor);
}

int error_of_forbidden_exec() {
    return linux_is_at_least(7, 0) ? EPERM : EACCES;
}

std::string unique_name(const std::string& stem) {
    static int count = 0;
    return "test:" + std::to_string(::getpid()) + ":" + std::to_string(++count) + ":" + stem;
}

std::string unique_path(const std::string& stem) {
    return "/tmp/" + unique_name(stem);
}

Fd control() {
    Fd fd(::open("/dev/stm", O_RDWR | O_CLOEXEC));
    EXPECT_TRUE(fd) << "/dev/stm: " << std::strerror(errno);
    return fd;
}

int request(int fd, unsigned long number, void* argument) {
    int result = ::ioctl(fd, number, argument);
    if (result < 0)
        return errno;
    if (number == STM_IOC_OPEN)
        ::close(result);
    return 0;
}

int request(unsigned long number, void* argument) {
    Fd fd = control();
    return request(fd.get(), number, argument);
}

struct stm_info info_of(const std::string& name) {
    auto info = make_named<struct stm_info>(name, STM_BY_NAME);
    EXPECT_EQ(request(STM_IOC_INFO, &info), 0) << name;
    return info;
}

struct stm_info info_of(int handle) {
    auto info = make<struct stm_info>(STM_BY_HANDLE);
    EXPECT_EQ(request(handle, STM_IOC_INFO, &info), 0);
    return info;
}

bool exists(const std::string& name) {
    auto info = make_named<struct stm_info>(name, STM_BY_NAME);
    return request(STM_IOC_INFO, &info) == 0;
}

std::vector<struct stm_attachment> attachments_of(const std::string& name) {
    std::vector<struct stm_attachment> list(256);
    auto argument = make_named<struct stm_attachments>(name, STM_BY_NAME);
    argument.buffer = reinterpret_cast<std::uintptr_t>(list.data());
    argument.capacity = static_cast<std::uint32_t>(list.size());
    EXPECT_EQ(request(STM_IOC_ATTACHMENTS, &argument), 0) << name;
    list.resize(std::min<std::size_t>(argument.count, list.size()));
    return list;
}

Region::Region(const std::string& stem, std::size_t size, int flags, mode_t mode)
    : name_(unique_name(stem)),
      fd_(stm_open(name_.c_str(), size, flags | STM_CREATE | STM_EXCL, mode)) {
    EXPECT_TRUE(fd_) << name_ << ": " << std::strerror(errno);
}

Region::~Region() {
    fd_.reset();
    stm_unlink_deferred(name_.c_str());
}

int signal_of(const std::function<void()>& action) {
    std::fflush(stdout);
    pid_t pid = ::fork();
    if (pid == 0) {
        prepare_child();
        struct rlimit none {};
        ::setrlimit(RLIMIT_CORE, &none);
        for (int signal : {SIGSEGV, SIGBUS, SIGILL})
            ::signal(signal, SIG_DFL);
        action();
        ::_exit(0);
    }
    int status = 0;
    EXPECT_EQ(::waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

int signal_of_store(void* address) {
    return signal_of([address] { *static_cast<volatile char*>(address) = 1; });
}

int signal_of_load(const void* address) {
    return signal_of([address] { (void)*static_cast<const volatile char*>(address); });
}

Child::Child(const std::function<int()>& body) {
    std::fflush(stdout);
    pid_ = ::fork();
    if (pid_ != 0)
        return;
    prepare_child();
    finish(body());
}

Child Child::doing(const std::function<void()>& body) {
    return Child([&body] {
        body();
        return 0;
    });
}

Child Child::program(const std::string& helper, const std::vector<std::string>& words) {
    std::fflush(stdout);
    pid_t pid = ::fork();
    if (pid != 0)
        return Child(pid);
    prepare_child();
    std::vector<std::string> arguments{"/proc/self/exe", "--helper", helper};
    arguments.insert(arguments.end(), words.begin(), words.end());
    std::vector<char*> pointers;
    for (std::string& argument : arguments)
        pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    ::execv("/proc/self/exe", pointers.data());
    ::_exit(127);
}

Child::~Child() {
    if (pid_ > 0) {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
    }
}

void Child::kill(int signal) const {
    EXPECT_EQ(::kill(pid_, signal), 0);
}

int Child::wait() {
    int status = 0;
    pid_t waited = 0;
    do
        waited = ::waitpid(pid_, &status, 0);
    while (waited < 0 && errno == EINTR);
    EXPECT_EQ(waited, pid_);
    pid_ = -1;
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int as_user(unsigned uid, const std::function<void()>& body) {
    return Child::doing([&] {
               ASSERT_EQ(::setgroups(0, nullptr), 0);
               ASSERT_EQ(::setresgid(uid, uid, uid), 0);
               ASSERT_EQ(::setresuid(uid, uid, uid), 0);
               body();
           })
        .wait();
}

Output shell(const std::string& command) {
    std::fflush(stdout);
    std::FILE* pipe = ::popen(command.c_str(), "r");
    if (pipe == nullptr)
        return {-1, ""};
    std::string text;
    char buffer[4096];
    while (std::size_t got = std::fread(buffer, 1, sizeof buffer, pipe))
        text.append(buffer, got);
    int status = ::pclose(pipe);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), text};
}

double time_scale() {
    const char* scale = std::getenv("STM_TEST_TIME_SCALE");
    const double value = scale != nullptr ? std::atof(scale) : 1;
    return value > 0 ? value : 1;
}

bool eventually(const std::function<bool()>& condition) {
    auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(10 * time_scale());
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end)
            return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
}

StartingLine::StartingLine(int runners) : runners_(runners) {
    arrived_ = static_cast<int*>(
        ::mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

StartingLine::~StartingLine() {
    ::munmap(arrived_, kPage);
}

void StartingLine::wait() {
    __atomic_add_fetch(arrived_, 1, __ATOMIC_ACQ_REL);
    while (__atomic_load_n(arrived_, __ATOMIC_ACQUIRE) < runners_)
        ::usleep(100);
}

std::string build_folder() {
    if (const char* folder = std::getenv("STM_BUILD_DIR"))
        return folder;
    char path[PATH_MAX] = "";
    ssize_t length = ::readlink("/proc/self/exe", path, sizeof path - 1);
    std::string program(path, length > 0 ? static_cast<std::size_t>(length) : 0);
    return program.substr(0, program.rfind("/tests/guest/"));
}

int register_helper(const char* name, Helper helper) {
    helpers()[name] = helper;
    return 0;
}

int run_helper(int argc, char** argv) {
    auto found = helpers().find(argc > 2 ? argv[2] : "");
    if (found == helpers().end())
        return 126;
    int status = found->second({argv + 3, argv + argc});
    finish(status);
}

} // namespace stm::test
