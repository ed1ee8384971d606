// SPDX-License-Identifier: GPL-2.0
#include "memory_limit.hpp"

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <malloc.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace stm::sweep {
namespace {

constexpr long kPage = 4096;
constexpr auto kLongestTry = std::chrono::seconds(20);

// Between the process in the group and the one that looks after it.
struct Watch {
    std::atomic<unsigned> tries{0}; // armed so often
    std::atomic<bool> armed{false};
    std::atomic<bool> lifted{false}; // by the other one, since the try came to no end
};
Watch* watch = nullptr;
int lifting = -1; // memory.max, open

[[noreturn]] void give_up(const std::string& what) {
    std::fprintf(stderr, "sweep: %s: %s\n", what.c_str(), std::strerror(errno));
    std::abort();
}

int open_or_give_up(const std::string& path, int how) {
    const int fd = ::open(path.c_str(), how | O_CLOEXEC);
    if (fd < 0)
        give_up(path);
    return fd;
}

bool write_text(int fd, const char* text) {
    return ::pwrite(fd, text, std::strlen(text), 0) >= 0;
}

void set(const char* path, const char* value) {
    std::ofstream(path) << value << std::flush;
}

// In a process of its own, as long as the one in the group is there.
[[noreturn]] void look_after(pid_t process, int max) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    unsigned seen = 0;
    auto since = std::chrono::steady_clock::now();
    while (::getppid() == process) {
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
        const auto now = std::chrono::steady_clock::now();
        if (!watch->armed || watch->tries != seen) {
            seen = watch->tries;
            since = now;
        } else if (now - since > kLongestTry) {
            watch->lifted = true;
            write_text(max, "max");
            since = now;
        }
    }
    ::_exit(0);
}

// On the stack and on the heap: more than any site needs.
[[gnu::noinline]] void touch_own_memory() {
    volatile char stack[256 * 1024];
    for (std::size_t place = 0; place < sizeof stack; place += 1024)
        stack[place] = 1;
    ::mallopt(M_MMAP_THRESHOLD, 1 << 30);
    ::mallopt(M_TRIM_THRESHOLD, 1 << 30);
    ::free(std::memset(std::malloc(16 << 20), 1, 16 << 20));
    if (::mlockall(MCL_CURRENT) != 0)
        give_up("mlockall");
}

} // namespace

MemoryLimit::MemoryLimit(const std::string& group)
    : max_(open_or_give_up(group + "/memory.max", O_WRONLY)),
      high_(open_or_give_up(group + "/memory.high", O_WRONLY)),
      current_(open_or_give_up(group + "/memory.current", O_RDONLY)),
      events_(open_or_give_up(group + "/memory.events", O_RDONLY)) {
    // Each processor keeps pages for the group in advance: so only one, and it gives them back.
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    if (::sched_setaffinity(0, sizeof one, &one) != 0)
        give_up("sched_setaffinity");
    lifting = max_;
    touch_own_memory();
    reached_before_ = times_reached(); // the files have their buffers now
    (void)pages();
}

MemoryLimit::~MemoryLimit() {
    lifting = -1;
    for (const int fd : {max_, high_, current_, events_})
        ::close(fd);
}

long MemoryLimit::pages() const {
    char text[32] = "";
    // A limit that only slows down: to set it gives back what is kept in advance.
    if (!write_text(high_, "0") || !write_text(high_, "max") ||
        ::pread(current_, text, sizeof text - 1, 0) <= 0)
        give_up("memory.current");
    return std::atol(text) / kPage;
}

// "max COUNT" is one of the lines.
long MemoryLimit::times_reached() const {
    char text[512] = "";
    if (::pread(events_, text, sizeof text - 1, 0) <= 0)
        give_up("memory.events");
    const char* const line = std::strstr(text, "\nmax ");
    return line != nullptr ? std::atol(line + 5) : 0;
}

void MemoryLimit::arm(unsigned n) const {
    reached_before_ = times_reached();
    watch->tries.fetch_add(1);
    char text[32];
    std::snprintf(text, sizeof text, "%ld", (pages() + static_cast<long>(n) - 1) * kPage);
    watch->armed = true;
    if (!write_text(max_, text))
        give_up("memory.max");
}

bool MemoryLimit::disarm() const {
    if (!write_text(max_, "max"))
        give_up("memory.max");
    watch->armed = false;
    return times_reached() != reached_before_;
}

std::string MemoryLimit::trouble() const {
    return watch->lifted.exchange(false) ? "came to no end until the limit was lifted" : "";
}

int in_memory_group(const std::function<int(const std::string&)>& body) {
    const std::string group = "/sys/fs/cgroup/sweep." + std::to_string(::getpid());
    if (::mkdir(group.c_str(), 0755) != 0 || ::access((group + "/memory.max").c_str(), W_OK) != 0) {
        std::fprintf(stderr, "sweep: %s: no memory cgroup can be made\n", group.c_str());
        return 2;
    }
    void* const shared =
        ::mmap(nullptr, sizeof(Watch), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    watch = new (shared) Watch;
    // Each time the limit is reached Linux tells all about the group, since it finds nobody to
    // kill.
    set("/proc/sys/vm/oom_dump_tasks", "0");
    set("/proc/sys/kernel/printk", "1");
    const pid_t self = ::getpid();
    const pid_t helper = ::fork();
    if (helper == 0)
        look_after(self, open_or_give_up(group + "/memory.max", O_WRONLY));
    set("/proc/self/oom_score_adj", "-1000");
    set((group + "/cgroup.procs").c_str(), "0");
    const int result = body(group);
    set("/sys/fs/cgroup/cgroup.procs", "0");
    set("/proc/sys/kernel/printk", "7");
    ::kill(helper, SIGKILL);
    while (::waitpid(helper, nullptr, 0) < 0 && errno == EINTR) {
    }
    ::rmdir(group.c_str());
    return result;
}

pid_t fork_under_limit() {
    if (lifting < 0)
        return ::fork();
    // The same system call twice, by parent and child: it does no harm.
    long result = 0;
    register long position asm("r10") = 0;
    register long forked asm("r12") = 0;
    asm volatile("mov $57, %%eax\n\tsyscall\n\t" // fork
                 "mov %%rax, %%r12\n\t"
                 "mov $18, %%eax\n\tsyscall" // pwrite64(lifting, "max", 3, 0)
                 : "=&a"(result), "+r"(forked)
                 : "D"(static_cast<long>(lifting)), "S"("max"), "d"(3L), "r"(position)
                 : "rcx", "r11", "memory");
    if (forked < 0) {
        errno = static_cast<int>(-forked);
        return -1;
    }
    return static_cast<pid_t>(forked);
}

} // namespace stm::sweep
