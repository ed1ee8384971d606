// SPDX-License-Identifier: GPL-2.0
#include "tests/storm/hardship.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <fstream>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace stm::storm {

namespace {

constexpr std::uint64_t kReserve = 128 << 20; // that the hog leaves
constexpr std::uint64_t kMostHogged = 512 << 20;
constexpr const char* kSqueezeLimit = "16777216";

bool write_file(const std::string& path, const std::string& text) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    const bool good = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    ::close(fd);
    return good;
}

std::uint64_t available_memory() {
    std::ifstream info("/proc/meminfo");
    std::string word;
    while (info >> word) {
        if (word == "MemAvailable:") {
            std::uint64_t kilobytes = 0;
            info >> kilobytes;
            return kilobytes << 10;
        }
    }
    return 0;
}

// The kernel's choice when memory is short: not the storm.
void be_first_to_go() {
    write_file("/proc/self/oom_score_adj", "1000");
}

} // namespace

pid_t start_hog(unsigned length_ms) {
    const std::uint64_t available = available_memory();
    if (available <= kReserve)
        return 0;
    const std::uint64_t bytes = std::min(available - kReserve, kMostHogged);
    const pid_t pid = ::fork();
    if (pid != 0)
        return std::max(pid, 0);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    be_first_to_go();
    // Else it were slower to take memory than the others to live without.
    ::setpriority(PRIO_PROCESS, 0, -15);
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory != MAP_FAILED)
        ::usleep(length_ms * 1000);
    ::_exit(0);
}

pid_t start_hotplug(unsigned length_ms) {
    const long last = ::sysconf(_SC_NPROCESSORS_CONF) - 1;
    const std::string file = "/sys/devices/system/cpu/cpu" + std::to_string(last) + "/online";
    if (last < 1 || ::access(file.c_str(), W_OK) != 0)
        return 0;
    const pid_t pid = ::fork();
    if (pid != 0)
        return std::max(pid, 0);
    // Not ended with its parent: the processor must come back.
    const bool out = write_file(file, "0");
    ::usleep(length_ms * 1000);
    const bool back = write_file(file, "1") || !out;
    ::_exit(out && back ? kUnplugged : 1);
}

Unload try_to_unload() {
    if (::syscall(SYS_delete_module, "stm", O_NONBLOCK) == 0)
        return Unload::unloaded;
    return errno == EAGAIN || errno == EBUSY ? Unload::refused : Unload::failed;
}

Squeeze::Squeeze(const std::string& name) {
    const std::string root = "/sys/fs/cgroup/";
    write_file(root + "cgroup.subtree_control", "+memory");
    const std::string folder = root + name;
    if (::mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST)
        return;
    if (!write_file(folder + "/memory.max", kSqueezeLimit)) {
        ::rmdir(folder.c_str());
        return;
    }
    folder_ = folder;
}

Squeeze::~Squeeze() {
    if (exists())
        ::rmdir(folder_.c_str());
}

void Squeeze::enter() const {
    be_first_to_go();
    write_file(folder_ + "/cgroup.procs", "0");
}

std::uint64_t Squeeze::kills() const {
    std::ifstream events(folder_ + "/memory.events");
    std::string name;
    std::uint64_t number = 0;
    while (events >> name >> number)
        if (name == "oom_kill")
            return number;
    return 0;
}

} // namespace stm::storm
