// SPDX-License-Identifier: GPL-2.0
// A worker: a process that makes some hundred calls on /dev/stm in two threads, forks now and then,
// and ends or is killed. Its children use what they have inherited beside it, also in threads of
// their own, and as the first to map it; and it calls exec, and goes on with its descriptors. Its
// seed decides what it calls; what the others do meanwhile does not repeat.
#pragma once

#include <stm/ioctl.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <random>

#include <sys/ioctl.h>
#include <sys/types.h>

namespace stm::fuzz {

inline constexpr std::size_t kPage = 4096;
inline constexpr int kFiles = 8;
inline constexpr int kMappings = 6;
// Nodes that workers open, with a digit behind it.
inline constexpr const char* kNode = "/tmp/stm-fuzz-node-";

struct Mapping {
    std::atomic<std::uint8_t*> address;
    std::atomic<std::size_t> bytes;
};

// One process. Its threads share files and mappings without a lock: a stale one is just another
// wrong argument.
class Worker {
public:
    explicit Worker(std::uint64_t seed);

    // Of the program before an exec: the descriptors that are handles are still there.
    void adopt();

    void run(int calls);

private:
    using Random = std::mt19937_64;

    void run_thread(std::uint64_t which, int calls);

    static std::uint64_t some(Random& random); // often at the edge of something
    int file(Random& random) { return files_[random() % kFiles]; }

    // Memory for a call: good, read-only, missing, behind the end, the kernel's, or in a mapping.
    std::uint8_t* memory(Random& random, std::size_t bytes);

    static void random_name(char (&to)[STM_NAME_SIZE], Random& random);

    // Puts a structure where it should lie, in part or as a whole wrong.
    template <typename Argument>
    long request(unsigned number, Argument& argument, Random& random) {
        argument.size = sizeof(argument);
        if (random() % 16 == 0)
            argument.size = static_cast<std::uint32_t>(some(random));
        if (random() % 16 == 0)
            argument.flags = static_cast<std::uint32_t>(some(random));
        std::uint8_t* const place = memory(random, sizeof(argument));
        touch(place, &argument, sizeof(argument));
        return ioctl(file(random), number, place);
    }
    // A store that may fault.
    static bool touch(std::uint8_t* to, const void* from, std::size_t bytes);
    static bool look(const std::uint8_t* from, std::size_t bytes);

    long keep(int descriptor, Random& random);

    long call(unsigned kind, Random& random);
    long any_request(Random& random);
    long typed_request(Random& random);
    long vector_request(Random& random);
    long memory_call(Random& random);
    long file_call(Random& random);
    long process_call(Random& random);
    void be_child(Random& random);
    static long block_signals(Random& random);
    [[noreturn]] static void become_new(std::uint64_t seed);

    std::uint64_t seed_;
    std::atomic<int> files_[kFiles];
    Mapping mappings_[kMappings];
    std::uint8_t* readable_;
};

// The handler of SIGSEGV and SIGBUS.
void on_fault(int signal);

// What the process of a worker does, also after exec.
enum class Program { first, after_exec };
[[noreturn]] void be_worker(std::uint64_t seed, Program program);

// Starts one. Its number, or a negative one.
pid_t start_worker(std::uint64_t seed);

} // namespace stm::fuzz
