// SPDX-License-Identifier: GPL-2.0
// What memory of a plain region costs beside a memfd's, Linux's own shared memory without a file:
// page faults, mapping, read and write calls. Each repetition measures both, one right after the
// other, in changing order, so that a machine that is busy with something else disturbs both alike;
// what counts is the ratio of such a pair.
#include "report.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <functional>
#include <numeric>
#include <random>
#include <sched.h>
#include <stdexcept>
#include <stm/stm.h>
#include <string_view>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <system_error>
#include <unistd.h>

namespace stm::bench {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kPages = 1024;
constexpr std::size_t kBytes = kPages * kPage;

enum class Kind { region, memfd };

[[noreturn]] void fail(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
}

// Shared memory of kBytes that ends with this object.
class Memory {
public:
    explicit Memory(Kind kind)
        : file_(kind == Kind::region
                    ? stm_open("fault_bench", kBytes,
                               STM_CREATE | STM_EXCL | STM_PLAIN | STM_EPHEMERAL, 0600)
                    : ::memfd_create("fault_bench", 0)) {
        if (file_ < 0)
            fail(kind == Kind::region ? "stm_open" : "memfd_create");
        if (kind == Kind::memfd && ::ftruncate(file_, kBytes) < 0)
            fail("ftruncate");
    }
    ~Memory() { ::close(file_); }
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;

    int file() const { return file_; }

private:
    int file_;
};

class Mapping {
public:
    explicit Mapping(const Memory& memory) {
        void* address =
            ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.file(), 0);
        if (address == MAP_FAILED)
            fail("mmap");
        bytes_ = static_cast<volatile char*>(address);
    }
    ~Mapping() { ::munmap(const_cast<char*>(bytes_), kBytes); }
    Mapping(const Mapping&) = delete;
    Mapping& operator=(const Mapping&) = delete;

    void read(std::size_t page) const { static_cast<void>(bytes_[page * kPage]); }
    void write(std::size_t page) const { bytes_[page * kPage] = 1; }

private:
    volatile char* bytes_ = nullptr;
};

double now() {
    struct timespec time;
    ::clock_gettime(CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

template <typename Operation>
double nanoseconds_each(std::size_t times, const Operation& operation) {
    double begin = now();
    for (std::size_t index = 0; index < times; ++index)
        operation(index);
    return (now() - begin) / static_cast<double>(times);
}

void touch_all(const Memory& memory) {
    Mapping mapping(memory);
    for (std::size_t page = 0; page < kPages; ++page)
        mapping.write(page);
}

std::vector<std::size_t> random_order() {
    std::vector<std::size_t> pages(kPages);
    std::iota(pages.begin(), pages.end(), std::size_t{0});
    std::shuffle(pages.begin(), pages.end(), std::mt19937(1));
    return pages;
}

// -- What is measured: one sample, nanoseconds for one operation --

enum class State { fresh, resident };
enum class Access { read, write };

// The first access to each page through a new mapping.
double faults(Kind kind, State state, Access access, const std::vector<std::size_t>& order) {
    Memory memory(kind);
    if (state == State::resident)
        touch_all(memory);
    Mapping mapping(memory);
    if (access == Access::read)
        return nanoseconds_each(kPages, [&](std::size_t index) { mapping.read(order[index]); });
    return nanoseconds_each(kPages, [&](std::size_t index) { mapping.write(order[index]); });
}

// `touch` is what happens between the two.
double map_and_unmap(Kind kind, void (*touch)(const Mapping&)) {
    Memory memory(kind);
    touch_all(memory);
    return nanoseconds_each(200, [&](std::size_t) {
        Mapping mapping(memory);
        touch(mapping);
    });
}

// Creating the memory, touching all of it, and giving it back.
double life(Kind kind) {
    return nanoseconds_each(2, [&](std::size_t) {
        Memory memory(kind);
        touch_all(memory);
    });
}

double calls(Kind kind, Access access, std::size_t bytes) {
    Memory memory(kind);
    touch_all(memory);
    std::vector<char> buffer(bytes, 'x');
    return nanoseconds_each(kPages, [&](std::size_t index) {
        auto position = static_cast<off_t>(index * kPage);
        ssize_t done = access == Access::read
                           ? ::pread(memory.file(), buffer.data(), bytes, position)
                           : ::pwrite(memory.file(), buffer.data(), bytes, position);
        if (done != static_cast<ssize_t>(bytes))
            fail("a read or write call");
    });
}

struct Case {
    const char* name;
    const char* goal;
    std::function<double(Kind)> sample;
};

std::vector<Case> all_cases() {
    std::vector<std::size_t> sequential(kPages);
    std::iota(sequential.begin(), sequential.end(), std::size_t{0});
    auto fault = [](State state, Access access, std::vector<std::size_t> order) {
        return [=](Kind kind) { return faults(kind, state, access, order); };
    };
    auto call = [](Access access, std::size_t bytes) {
        return [=](Kind kind) { return calls(kind, access, bytes); };
    };
    auto map = [](void (*touch)(const Mapping&)) {
        return [=](Kind kind) { return map_and_unmap(kind, touch); };
    };
    constexpr const char* kGoal = "1.00";
    return {
        {"fault: first touch, write", kGoal, fault(State::fresh, Access::write, sequential)},
        {"fault: first touch, read", kGoal, fault(State::fresh, Access::read, sequential)},
        {"fault: first touch, write, random", kGoal,
         fault(State::fresh, Access::write, random_order())},
        {"fault: resident, read, sequential", kGoal,
         fault(State::resident, Access::read, sequential)},
        {"fault: resident, write, sequential", kGoal,
         fault(State::resident, Access::write, sequential)},
        {"fault: resident, read, random", kGoal,
         fault(State::resident, Access::read, random_order())},
        {"fault: resident, write, random", kGoal,
         fault(State::resident, Access::write, random_order())},
        {"mmap + munmap", "", map([](const Mapping&) {})},
        {"mmap + read of one page + munmap", "", map([](const Mapping& m) { m.read(kPages / 2); })},
        {"mmap + write to one page + munmap", "",
         map([](const Mapping& m) { m.write(kPages / 2); })},
        {"create, write to 1024 pages, destroy", "", life},
        {"pread, 64 bytes", "", call(Access::read, 64)},
        {"pread, 4096 bytes", "", call(Access::read, kPage)},
        {"pwrite, 64 bytes", "", call(Access::write, 64)},
        {"pwrite, 4096 bytes", "", call(Access::write, kPage)},
    };
}

std::vector<Measurement> measure(const std::vector<Case>& cases, int repetitions) {
    std::vector<Measurement> measurements;
    for (const Case& one : cases)
        measurements.push_back({one.name, one.goal, {}, {}});
    // The first repetition grows the caches of the kernel; it does not count.
    for (int repetition = -1; repetition < repetitions; ++repetition) {
        for (std::size_t index = 0; index < cases.size(); ++index) {
            bool region_first = repetition % 2 == 0;
            double first = cases[index].sample(region_first ? Kind::region : Kind::memfd);
            double second = cases[index].sample(region_first ? Kind::memfd : Kind::region);
            if (repetition < 0)
                continue;
            measurements[index].region.push_back(region_first ? first : second);
            measurements[index].memfd.push_back(region_first ? second : first);
        }
    }
    return measurements;
}

// Another processor has other caches.
void stay_on_this_processor() {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(static_cast<unsigned>(::sched_getcpu()), &set);
    if (::sched_setaffinity(0, sizeof(set), &set) < 0)
        fail("sched_setaffinity");
}

constexpr const char* kUsage =
    "usage: fault_bench [--json] [--counted] [--repetitions N] [--only WORD]\n"
    "  Compares a plain region with a memfd. Needs the loaded module. 1024 pages, 4 MiB.\n"
    "  --counted      this is a guest that counts instructions: nanoseconds stand for them\n"
    "  --repetitions  pairs of samples of each case (default 15)\n"
    "  --only         only the cases whose name contains WORD\n";

int run(int argc, char** argv) {
    Machine machine;
    bool json = false;
    int repetitions = 15;
    std::string_view only;
    for (int index = 1; index < argc; ++index) {
        std::string_view word = argv[index];
        if (word == "--json")
            json = true;
        else if (word == "--counted")
            machine.counted = true;
        else if (word == "--repetitions" && index + 1 < argc)
            repetitions = std::atoi(argv[++index]);
        else if (word == "--only" && index + 1 < argc)
            only = argv[++index];
        else {
            std::fputs(kUsage, word == "--help" ? stdout : stderr);
            return word == "--help" ? 0 : 2;
        }
    }
    std::vector<Case> cases;
    for (Case& one : all_cases())
        if (std::string_view(one.name).find(only) != std::string_view::npos)
            cases.push_back(one);
    if (repetitions < 1 || cases.empty()) {
        std::fputs(kUsage, stderr);
        return 2;
    }

    struct utsname system;
    ::uname(&system);
    machine.kernel = system.release;
    machine.processors = ::sysconf(_SC_NPROCESSORS_ONLN);
    stay_on_this_processor();
    std::vector<Measurement> measurements = measure(cases, repetitions);
    std::string report = json ? json_of(machine, measurements) : table_of(machine, measurements);
    return std::fputs(report.c_str(), stdout) < 0 ? 1 : 0;
}

} // namespace
} // namespace stm::bench

int main(int argc, char** argv) {
    try {
        return stm::bench::run(argc, argv);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "fault_bench: %s\n", error.what());
        return 1;
    }
}
