// SPDX-License-Identifier: GPL-2.0
// Random calls on /dev/stm by several processes, for a guest: whatever they do, the kernel stays
// well, and when they are gone the module's books are as they were.
//
// A worker is a process that makes some hundred calls in two threads, forks now and then, and ends
// or is killed. Its children use what they have inherited beside it, also in threads of their own,
// and as the first to map it; and it calls exec, and goes on with its descriptors. Its seed decides
// what it calls; what the others do meanwhile does not repeat.
#include <stm/ioctl.h>

#include <atomic>
#include <cerrno>
#include <csetjmp>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr std::size_t kPage = 4096;
constexpr int kFiles = 8;
constexpr int kMappings = 6;
constexpr int kCalls = 400;
const char* const kNode = "/tmp/stm-fuzz-node-";

// What all processes share.
struct Shared {
    std::atomic<std::uint64_t> calls;
    std::atomic<std::uint64_t> succeeded;
    std::atomic<std::uint64_t> kinds[32]; // calls that succeeded
    std::atomic<std::uint64_t> signals;
};
Shared* shared;

// Where a store or load of this thread that faults goes on.
thread_local sigjmp_buf after_fault;
thread_local volatile sig_atomic_t may_fault = 0;

void on_fault(int signal) {
    shared->signals.fetch_add(1, std::memory_order_relaxed);
    if (may_fault != 0)
        siglongjmp(after_fault, 1);
    std::signal(signal, SIG_DFL);
}
void on_other(int) {
    shared->signals.fetch_add(1, std::memory_order_relaxed);
}

// The memory that all processes share, where exec leaves it.
constexpr int kSharedDescriptor = 200;
bool map_shared() {
    void* const memory =
        mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED, kSharedDescriptor, 0);
    shared = static_cast<Shared*>(memory);
    return memory != MAP_FAILED;
}

struct Mapping {
    std::atomic<std::uint8_t*> address;
    std::atomic<std::size_t> bytes;
};

// One process. Its threads share files and mappings without a lock: a stale one is just another
// wrong argument.
class Worker {
public:
    explicit Worker(std::uint64_t seed) : seed_(seed) {
        for (auto& file : files_)
            file = -1;
        // Without one nothing succeeds.
        for (int i = 0; i < 3; ++i)
            files_[i] = open("/dev/stm", O_RDWR);
        for (Mapping& mapping : mappings_)
            mapping.bytes = 0;
        readable_ = static_cast<std::uint8_t*>(
            mmap(nullptr, 3 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        std::memset(readable_, 0x5a, kPage);
        mprotect(readable_ + kPage, kPage, PROT_READ);
        mprotect(readable_ + 2 * kPage, kPage, PROT_NONE);
    }

    // Of the program before an exec: the descriptors that are handles are still there.
    void adopt() {
        constexpr int kMost = 64;
        int place = 0;
        for (int number = 3; number < kMost && place < kFiles; ++number) {
            stm_info info{};
            info.size = sizeof(info);
            info.flags = STM_BY_HANDLE;
            if (ioctl(number, STM_IOC_INFO, &info) == 0)
                files_[place++] = number;
        }
    }

    void run(int calls) {
        std::thread other([this, calls] { run_thread(2, calls); });
        run_thread(1, calls);
        other.join();
    }

private:
    void run_thread(std::uint64_t which, int calls) {
        std::mt19937_64 random(seed_ * 2 + which);
        for (int i = 0; i < calls; ++i) {
            const unsigned kind = static_cast<unsigned>(random() % 24);
            const long result = call(kind, random);
            shared->calls.fetch_add(1, std::memory_order_relaxed);
            if (result >= 0) {
                shared->succeeded.fetch_add(1, std::memory_order_relaxed);
                shared->kinds[kind].fetch_add(1, std::memory_order_relaxed);
            }
        }
    }

    using Random = std::mt19937_64;
    static std::uint64_t some(Random& random) { // often at the edge of something
        static constexpr std::uint64_t kEdges[] = {
            0,    1,     2,    7,       8,          63,         64,  4095,  4096,
            4097, 65536, 8192, 1 << 20, 0x7fffffff, 0x80000000, ~0u, ~0ull, 1ull << 63};
        switch (random() % 4) {
        case 0:
            return kEdges[random() % std::size(kEdges)];
        case 1:
            return random() % 256;
        case 2:
            return random() % (8 * kPage);
        default:
            return random();
        }
    }
    int file(Random& random) { return files_[random() % kFiles]; }

    // Memory for a call: good, read-only, missing, behind the end, the kernel's, or in a mapping.
    std::uint8_t* memory(Random& random, std::size_t bytes) {
        thread_local std::uint8_t good[2 * kPage];
        switch (random() % 8) {
        case 0: {
            const Mapping& mapping = mappings_[random() % kMappings];
            const std::size_t size = mapping.bytes;
            return size == 0 ? nullptr : mapping.address + random() % size;
        }
        case 1:
            return readable_ + kPage - random() % (bytes + 1);
        case 2:
            return readable_ + 2 * kPage - random() % (bytes + 1);
        case 3:
            if (random() % 4 == 0)
                return reinterpret_cast<std::uint8_t*>(some(random));
            return good;
        case 4:
            if (random() % 8 == 0)
                return reinterpret_cast<std::uint8_t*>(0xffff888000000000ull + random() % 4096);
            return good;
        default:
            return good;
        }
    }

    static void random_name(char (&to)[STM_NAME_SIZE], Random& random) {
        switch (random() % 12) {
        case 0:
            for (char& byte : to)
                byte = static_cast<char>(random());
            return;
        case 1:
            std::strcpy(to, "default");
            return;
        case 2:
            std::snprintf(to, sizeof(to), "minor:%u", static_cast<unsigned>(random() % 8));
            return;
        default:
            std::snprintf(to, sizeof(to), "fuzz-%u", static_cast<unsigned>(random() % 6));
        }
    }

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
    static bool touch(std::uint8_t* to, const void* from, std::size_t bytes) {
        may_fault = 1;
        const bool done = sigsetjmp(after_fault, 1) == 0;
        if (done)
            std::memcpy(to, from, bytes);
        may_fault = 0;
        return done;
    }
    static bool look(const std::uint8_t* from, std::size_t bytes) {
        may_fault = 1;
        const bool done = sigsetjmp(after_fault, 1) == 0;
        if (done) {
            std::uint8_t sum = 0;
            for (std::size_t i = 0; i < bytes; ++i)
                sum = static_cast<std::uint8_t>(sum +
                                                static_cast<const volatile std::uint8_t*>(from)[i]);
        }
        may_fault = 0;
        return done;
    }

    long keep(int descriptor, Random& random) {
        if (descriptor < 0)
            return -1;
        const int old = files_[random() % kFiles].exchange(descriptor);
        if (old >= 0)
            close(old);
        return 0;
    }

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

long Worker::call(unsigned kind, Random& random) {
    switch (kind) {
    case 0: {
        static constexpr int kModes[] = {O_RDWR, O_RDWR, O_RDWR, O_RDONLY, O_WRONLY, 3, O_PATH};
        const int mode = kModes[random() % std::size(kModes)];
        if (random() % 3 != 0)
            return keep(open("/dev/stm", mode), random);
        const std::string node = kNode + std::to_string(random() % 4);
        return keep(open(node.c_str(), mode), random);
    }
    case 1:
    case 2: {
        stm_open open{};
        open.flags = STM_OPEN_READ | STM_OPEN_WRITE | STM_OPEN_CREATE;
        if (random() % 4 == 0)
            open.flags = static_cast<std::uint32_t>(random()) & 0x3f;
        open.region_flags = random() % 2 == 0 ? 0 : static_cast<std::uint32_t>(random() % 16);
        open.mode = random() % 4 == 0 ? static_cast<std::uint32_t>(random()) & 01777 : 0666;
        open.region_size = random() % 8 == 0 ? some(random) : random() % (20 * kPage);
        open.id = some(random);
        random_name(open.name, random);
        return keep(static_cast<int>(request(STM_IOC_OPEN, open, random)), random);
    }
    case 3:
    case 4:
        return any_request(random);
    case 5:
    case 6: {
        const unsigned long argument = random() % 8 == 0   ? some(random)
                                       : random() % 4 == 0 ? STM_START_RESTART
                                       : random() % 4 == 0 ? STM_START_SIGNAL(SIGUSR1)
                                       : random() % 8 == 0 ? STM_START_SERIAL
                                                           : 0;
        const unsigned long site = random() % 2 == 0 ? STM_START_SITE(random() % 4) : 0;
        return ioctl(file(random), STM_IOC_START, argument | site);
    }
    case 7:
    case 8:
        return ioctl(file(random), STM_IOC_COMMIT, random() % 32 == 0 ? some(random) : 0ul);
    case 9:
        if (random() % 8 == 0)
            return ioctl(file(random), STM_IOC_DUMP, random() % 3);
        return ioctl(file(random), random() % 2 == 0 ? STM_IOC_CANCEL : STM_IOC_VALIDATE,
                     random() % 8 == 0 ? some(random) : random() % 2);
    case 10: {
        stm_wait wait{};
        wait.timeout_ns = random() % 2'000'000;
        return request(STM_IOC_WAIT, wait, random);
    }
    case 11:
    case 12: {
        const std::size_t bytes = random() % 32 == 0 ? some(random) % (1 << 20) : random() % 6000;
        std::uint8_t* const to = memory(random, bytes);
        return pread(file(random), to, bytes < 2 * kPage ? bytes : random() % (2 * kPage),
                     static_cast<off_t>(some(random)));
    }
    case 13:
    case 14: {
        const std::size_t bytes = random() % (2 * kPage);
        return pwrite(file(random), memory(random, bytes), bytes, static_cast<off_t>(some(random)));
    }
    case 15: {
        iovec parts[3];
        for (iovec& part : parts) {
            part.iov_len = random() % kPage;
            part.iov_base = memory(random, part.iov_len);
        }
        const auto at = static_cast<off_t>(random() % (4 * kPage));
        return random() % 2 == 0 ? preadv(file(random), parts, 3, at)
                                 : pwritev(file(random), parts, 3, at);
    }
    case 16:
    case 17:
    case 18: {
        const Mapping& mapping = mappings_[random() % kMappings];
        const std::size_t size = mapping.bytes;
        if (size == 0)
            return -1;
        std::uint8_t* const at = mapping.address + random() % size;
        const std::uint64_t value = random();
        const std::size_t bytes = 1 + random() % 8;
        return (random() % 2 == 0 ? touch(at, &value, bytes) : look(at, bytes)) ? 0 : -1;
    }
    case 19:
    case 20:
    case 21:
        return memory_call(random);
    case 22:
        return file_call(random);
    default:
        return process_call(random);
    }
}

long Worker::any_request(Random& random) {
    switch (random() % 15) {
    case 9:
    case 10:
        return typed_request(random);
    case 13:
    case 14:
        return vector_request(random);
    case 11: {
        stm_place place{};
        place.offset = some(random);
        place.length = random() % 2 == 0 ? 64 : some(random);
        std::fill_n(place.name, random() % 64 == 0 ? sizeof(place.name) : random() % 4, 'p');
        return request(STM_IOC_NAME_PLACE, place, random);
    }
    case 12: {
        stm_places list{};
        list.flags = 1u << random() % 3;
        list.capacity = static_cast<std::uint32_t>(random() % 16);
        list.buffer = reinterpret_cast<std::uint64_t>(memory(random, 16 * sizeof(stm_place)));
        random_name(list.name, random);
        return request(STM_IOC_PLACES, list, random);
    }
    case 0: {
        stm_set_size size{};
        size.region_size = some(random);
        return request(STM_IOC_SET_SIZE, size, random);
    }
    case 1: {
        stm_info info{};
        info.flags = 1u << random() % 6;
        info.minor = static_cast<std::uint32_t>(some(random));
        info.id = some(random);
        random_name(info.name, random);
        return request(STM_IOC_INFO, info, random);
    }
    case 2: {
        stm_attachments list{};
        list.flags = 1u << random() % 3;
        list.capacity = static_cast<std::uint32_t>(random() % 16);
        if (random() % 8 == 0)
            list.capacity = static_cast<std::uint32_t>(some(random));
        list.buffer = reinterpret_cast<std::uint64_t>(memory(random, 16 * sizeof(stm_attachment)));
        random_name(list.name, random);
        return request(STM_IOC_ATTACHMENTS, list, random);
    }
    case 3: {
        stm_destroy destroy{};
        destroy.flags = (1u << random() % 3) | (random() % 2 == 0 ? STM_DESTROY_DEFERRED : 0);
        destroy.id = some(random);
        random_name(destroy.name, random);
        return request(STM_IOC_DESTROY, destroy, random);
    }
    case 4: {
        if (random() % 4 == 0) {
            stm_change_segment change{};
            change.flags = 1u << random() % 3;
            change.id = some(random);
            change.uid = change.gid = static_cast<std::uint32_t>(random() % 3);
            change.mode = static_cast<std::uint32_t>(random() % 01000);
            return request(STM_IOC_CHANGE_SEGMENT, change, random);
        }
        if (random() % 2 == 0) {
            // The words are written to as well, like all memory that the calls are given.
            stm_cell cell{};
            cell.flags = random() % 2 == 0 ? STM_CELL_WARM : 0;
            cell.address = reinterpret_cast<std::uint64_t>(memory(random, sizeof(stm_warm_cell)));
            if (random() % 8 != 0)
                cell.address &= -sizeof(stm_warm_cell);
            cell.signal = random() % 2 == 0 ? SIGUSR1 : 0;
            return request(STM_IOC_CELL, cell, random);
        }
        stm_transaction transaction{};
        return request(STM_IOC_TRANSACTION, transaction, random);
    }
    case 5: {
        stm_statistics statistics{};
        statistics.flags = STM_BY_HANDLE | (random() % 2 == 0 ? STM_STATISTICS_OF_HANDLE : 0);
        return request(STM_IOC_STATISTICS, statistics, random);
    }
    case 6: {
        stm_version version{};
        return request(STM_IOC_VERSION, version, random);
    }
    case 7: // a known number, and anything as its structure
        return ioctl(file(random), STM_IOC_VERSION + random() % 0x1b, memory(random, 300));
    default:
        return ioctl(file(random), some(random), some(random));
    }
}

// Sets that are well formed, or nearly so.
long Worker::typed_request(Random& random) {
    constexpr unsigned kMost = 20;
    constexpr unsigned kStripes = 2 * kPage / 64;
    thread_local std::uint64_t reads[2][kMost];
    thread_local stm_stripe_write writes[2][kMost];
    stm_sets sets[2]{};
    for (unsigned part = 0; part < 2; ++part) {
        const auto read_count = static_cast<std::uint32_t>(random() % kMost);
        const auto write_count = static_cast<std::uint32_t>(random() % 4 == 0 ? 0 : random() % 5);
        for (std::uint64_t& read : reads[part])
            read =
                random() % 64 == 0 ? random() : STM_READ_RUN(random() % kStripes, 1 + random() % 4);
        std::uint64_t stripe = random() % 4;
        for (stm_stripe_write& write : writes[part]) {
            write.stripe = stripe;
            write.mask = random() % 32 == 0 ? 0 : random() | 1;
            std::memset(write.bytes, static_cast<int>(random()), sizeof(write.bytes));
            stripe += random() % 32 == 0 ? random() : 1 + random() % 8;
        }
        sets[part].handle = part == 0 ? -1 : file(random);
        // The clock is not looked at: a small number is often one that was.
        sets[part].snapshot = random() % 4 == 0 ? random() : random() % 2000;
        sets[part].reads = reinterpret_cast<std::uint64_t>(reads[part]);
        sets[part].writes = reinterpret_cast<std::uint64_t>(writes[part]);
        if (random() % 16 == 0)
            sets[part].reads = reinterpret_cast<std::uint64_t>(memory(random, sizeof(reads[part])));
        if (random() % 16 == 0)
            sets[part].writes =
                reinterpret_cast<std::uint64_t>(memory(random, sizeof(writes[part])));
        sets[part].read_count =
            random() % 32 == 0 ? static_cast<std::uint32_t>(some(random)) : read_count;
        sets[part].write_count =
            random() % 32 == 0 ? static_cast<std::uint32_t>(some(random)) : write_count;
    }
    const std::uint32_t other_count = random() % 32 == 0 ? static_cast<std::uint32_t>(some(random))
                                                         : static_cast<std::uint32_t>(random() % 2);
    if (random() % 4 == 0) {
        stm_wait_sets wait{};
        wait.sets = sets[0];
        wait.others = reinterpret_cast<std::uint64_t>(&sets[1]);
        wait.other_count = other_count;
        wait.sets.write_count = sets[1].write_count = 0;
        wait.timeout_ns = random() % 2'000'000;
        return request(STM_IOC_WAIT_SETS, wait, random);
    }
    stm_commit_sets commit{};
    commit.flags = random() % 8 == 0 ? STM_COMMIT_SERIAL : 0;
    commit.sets = sets[0];
    commit.others = reinterpret_cast<std::uint64_t>(&sets[1]);
    commit.other_count = other_count;
    return request(STM_IOC_COMMIT_SETS, commit, random);
}

// Pieces within the region, or nearly so. The memory of those that read may be a mapping.
long Worker::vector_request(Random& random) {
    constexpr unsigned kMost = 40;
    thread_local stm_vector_piece pieces[kMost];
    const auto count = static_cast<std::uint32_t>(random() % (random() % 4 == 0 ? kMost : 5));
    for (stm_vector_piece& piece : pieces) {
        const std::size_t bytes =
            random() % 2 == 0 ? 8 : random() % (random() % 16 == 0 ? 2 * kPage : 100);
        piece.offset = random() % 64 == 0 ? some(random) : random() % (4 * kPage);
        piece.bytes = random() % 128 == 0 ? static_cast<std::uint32_t>(some(random))
                                          : static_cast<std::uint32_t>(bytes);
        piece.flags = random() % 128 == 0 ? static_cast<std::uint32_t>(some(random))
                                          : static_cast<std::uint32_t>(random() % 2);
        // More bytes than there is room for are only written, or refused as behind the end.
        if (piece.bytes > bytes && (piece.flags & STM_PIECE_WRITE) == 0)
            piece.offset = random() | std::uint64_t{1} << 63;
        piece.address = reinterpret_cast<std::uint64_t>(memory(random, bytes));
    }
    stm_vector vector{};
    static constexpr std::uint32_t kFlags[] = {0, 0, 0, STM_VECTOR_COMMIT, STM_VECTOR_BEGIN};
    vector.flags = kFlags[random() % std::size(kFlags)];
    vector.pieces = random() % 16 == 0
                        ? reinterpret_cast<std::uint64_t>(memory(random, sizeof(pieces)))
                        : reinterpret_cast<std::uint64_t>(pieces);
    vector.count = random() % 64 == 0 ? static_cast<std::uint32_t>(some(random)) : count;
    return request(STM_IOC_VECTOR, vector, random);
}

long Worker::memory_call(Random& random) {
    Mapping& mapping = mappings_[random() % kMappings];
    const std::size_t size = mapping.bytes;
    std::uint8_t* const address = mapping.address;
    const std::size_t offset = size == 0 ? 0 : random() % size / kPage * kPage;
    const std::size_t bytes = size == 0 ? kPage : 1 + random() % (size - offset);
    switch (size == 0 ? 0 : random() % 10) {
    case 0:
    case 1: {
        static constexpr int kProtections[] = {PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE,
                                               PROT_READ, PROT_NONE, PROT_READ | PROT_EXEC};
        const int how = random() % 12 == 0  ? MAP_PRIVATE
                        : random() % 8 == 0 ? MAP_SHARED | MAP_POPULATE
                                            : MAP_SHARED;
        const std::size_t length =
            random() % 16 == 0 ? some(random) % (1ull << 40) : kPage * (1 + random() % 5);
        const bool window = random() % 4 == 0;
        const int protection = window && random() % 8 != 0
                                   ? PROT_READ
                                   : kProtections[random() % std::size(kProtections)];
        const std::uint64_t begin = window ? (1 + random() % 4) << 56 : 0;
        void* const fresh = mmap(nullptr, length, protection, how, file(random),
                                 static_cast<off_t>(begin + kPage * (random() % 4)));
        if (fresh == MAP_FAILED)
            return -1;
        if (size != 0)
            munmap(address, size);
        mapping.address = static_cast<std::uint8_t*>(fresh);
        mapping.bytes = length;
        return 0;
    }
    case 2: // a hole stays
        return munmap(address + offset, bytes);
    case 3: {
        static constexpr int kProtections[] = {PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE,
                                               PROT_READ | PROT_EXEC};
        return mprotect(address + offset, bytes, kProtections[random() % 4]);
    }
    case 4:
    case 5: {
        static constexpr int kAdvice[] = {
            MADV_DONTNEED, MADV_DONTNEED, MADV_WILLNEED,   MADV_DONTFORK,      MADV_DOFORK,
            MADV_REMOVE,   MADV_FREE,     MADV_WIPEONFORK, MADV_MERGEABLE,     MADV_COLD,
            MADV_PAGEOUT,  MADV_HUGEPAGE, MADV_DODUMP,     MADV_POPULATE_READ, MADV_POPULATE_WRITE};
        return madvise(address + offset, bytes, kAdvice[random() % std::size(kAdvice)]);
    }
    case 6: {
        const std::size_t length = kPage * (random() % 8);
        void* const moved = mremap(address, size, length, MREMAP_MAYMOVE);
        if (moved == MAP_FAILED)
            return -1;
        mapping.address = static_cast<std::uint8_t*>(moved);
        mapping.bytes = length;
        return 0;
    }
    case 7:
        return msync(address + offset, bytes, MS_SYNC);
    case 8: {
        iovec here{memory(random, 64), 1 + random() % 64};
        iovec there{address + offset, 1 + random() % 64};
        return random() % 2 == 0 ? process_vm_readv(getpid(), &here, 1, &there, 1, 0)
                                 : process_vm_writev(getpid(), &here, 1, &there, 1, 0);
    }
    default: {
        const int self = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
        std::uint8_t bytes_there[64];
        const auto at = static_cast<off_t>(reinterpret_cast<std::uint64_t>(address) + offset);
        const long result = random() % 2 == 0 ? pread(self, bytes_there, sizeof(bytes_there), at)
                                              : pwrite(self, bytes_there, sizeof(bytes_there), at);
        close(self);
        return result;
    }
    }
}

long Worker::file_call(Random& random) {
    const int own = file(random);
    switch (random() % 18) {
    case 16: {
        // A duplicate comes and goes, perhaps inside of a transaction.
        const int copy = dup(own);
        return copy < 0 ? -1 : close(copy);
    }
    case 17: {
        const int copy = dup(own);
        FILE* const stream = copy < 0 ? nullptr : fdopen(copy, "r");
        if (stream == nullptr)
            return copy < 0 ? -1 : close(copy);
        return std::fclose(stream);
    }
    case 0: {
        const int old = files_[random() % kFiles].exchange(-1);
        return old < 0 ? -1 : close(old);
    }
    case 1:
        return keep(dup(own), random);
    case 2:
        return lseek(own, static_cast<off_t>(some(random)), static_cast<int>(random() % 5));
    case 3: {
        struct stat status;
        return fstat(own, &status);
    }
    case 4:
        return fchmod(own, static_cast<mode_t>(random() % 8 == 0 ? random() & 0777 : 0666));
    case 5:
        return fcntl(own, F_SETFL, random() % 2 == 0 ? O_NONBLOCK : O_APPEND | O_DIRECT);
    case 6: {
        pollfd poll_one{own, POLLIN | POLLOUT, 0};
        return poll(&poll_one, 1, static_cast<int>(random() % 2));
    }
    case 7:
        return ftruncate(own, static_cast<off_t>(some(random)));
    case 8:
        return fsync(own);
    case 9:
    case 10: {
        int pipes[2];
        if (pipe2(pipes, O_NONBLOCK | O_CLOEXEC) != 0)
            return -1;
        const std::size_t bytes = 1 + random() % (2 * kPage);
        long result = -1;
        if (random() % 2 == 0) {
            off_t at = static_cast<off_t>(random() % (3 * kPage));
            result = splice(own, &at, pipes[1], nullptr, bytes, SPLICE_F_NONBLOCK);
        } else {
            const std::uint8_t some_bytes[100] = {};
            off_t at = static_cast<off_t>(random() % (3 * kPage));
            if (write(pipes[1], some_bytes, sizeof(some_bytes)) > 0)
                result = splice(pipes[0], nullptr, own, &at, bytes, SPLICE_F_NONBLOCK);
        }
        // Pages of a mapping in a pipe: pinned while the mapping goes on.
        const Mapping& mapping = mappings_[random() % kMappings];
        const std::size_t size = mapping.bytes;
        if (size != 0) {
            iovec part{mapping.address, kPage};
            if (vmsplice(pipes[1], &part, 1, SPLICE_F_NONBLOCK) > 0)
                ioctl(own, STM_IOC_COMMIT, 0);
        }
        close(pipes[0]);
        close(pipes[1]);
        return result;
    }
    case 11: {
        const std::string path = "/proc/self/fd/" + std::to_string(own);
        return keep(open(path.c_str(), O_RDWR), random);
    }
    case 12: {
        const std::string path = "/proc/self/fdinfo/" + std::to_string(own);
        const int told = open(path.c_str(), O_RDONLY);
        char text[600];
        const long result = read(told, text, sizeof(text));
        close(told);
        return result;
    }
    case 13:
        return static_cast<long>(read(own, memory(random, 100), random() % 100));
    case 14:
        return static_cast<long>(write(own, memory(random, 100), random() % 100));
    default:
        return fallocate(own, 0, 0, static_cast<off_t>(kPage));
    }
}

// With everything that it has inherited, and its only thread, or several.
void Worker::be_child(Random& random) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    alarm(5);
    std::signal(SIGALRM, SIG_DFL);
    const int calls = static_cast<int>(random() % 60);
    const std::uint64_t kind = random() % 4;
    if (kind == 0) {
        // The first that maps it, if nobody has.
        Mapping& mapping = mappings_[0];
        void* const fresh =
            mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, file(random), 0);
        if (fresh != MAP_FAILED) {
            mapping.address = static_cast<std::uint8_t*>(fresh);
            mapping.bytes = kPage;
            look(mapping.address, 8);
        }
    }
    const auto go_on = [this, calls](std::uint64_t seed) {
        Random own(seed);
        for (int i = 0; i < calls; ++i)
            call(static_cast<unsigned>(own() % 23), own);
    };
    if (kind == 1) {
        std::thread one(go_on, random());
        std::thread other(go_on, random());
        one.join();
        other.join();
    } else {
        go_on(random());
    }
    _exit(0);
}

// All but those that a load or store that may fault needs, until the next time.
long Worker::block_signals(Random& random) {
    sigset_t all;
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    return pthread_sigmask(random() % 3 == 0 ? SIG_BLOCK : SIG_UNBLOCK, &all, nullptr);
}

// The other thread ends by that, wherever it is.
void Worker::become_new(std::uint64_t seed) {
    const std::string text = std::to_string(seed);
    execl("/proc/self/exe", "guest_fuzz", "--heir", text.c_str(), static_cast<char*>(nullptr));
    _exit(1);
}

long Worker::process_call(Random& random) {
    switch (random() % 24) {
    case 0:
    case 1:
    case 2:
        break;
    case 3:
    case 4:
        return block_signals(random);
    case 5:
        if (random() % 8 == 0)
            become_new(random());
        return 0;
    default:
        return sched_yield();
    }
    const pid_t child = fork();
    if (child == 0)
        be_child(random);
    if (child < 0)
        return -1;
    // Beside us, until it has ended or the alarm comes; a child that nobody waits for is init's.
    if (random() % 2 == 0)
        return 0;
    if (random() % 3 == 0) {
        const timespec moment{0, static_cast<long>(random() % 3'000'000)};
        nanosleep(&moment, nullptr);
        kill(child, SIGKILL);
    }
    while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
    return 0;
}

// What the process of a worker does, also after exec.
enum class Program { first, after_exec };
[[noreturn]] void be_worker(std::uint64_t seed, Program program) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::mt19937_64 random(seed);
    struct sigaction action {};
    action.sa_handler = on_fault;
    action.sa_flags = SA_NODEFER;
    sigaction(SIGSEGV, &action, nullptr);
    sigaction(SIGBUS, &action, nullptr);
    action.sa_handler = on_other;
    action.sa_flags = 0; // interrupts calls
    for (int signal = SIGUSR1; signal <= 64; ++signal) {
        if (signal != SIGCHLD && signal != SIGSTOP && signal != SIGTSTP && signal != SIGTERM &&
            signal != SIGSEGV)
            sigaction(signal, &action, nullptr);
    }
    // What waits too long is interrupted again and again.
    itimerval often{{0, 100'000}, {0, 100'000}};
    setitimer(ITIMER_REAL, &often, nullptr);
    if (program == Program::first && random() % 3 == 0 &&
        (setgid(65534) != 0 || setuid(65534) != 0))
        _exit(1);
    // Not on the stack: the threads are killed with it, not joined, when a signal ends them.
    static Worker* process = nullptr;
    process = new Worker(seed);
    if (program == Program::after_exec)
        process->adopt();
    process->run(static_cast<int>(50 + random() % kCalls));
    _exit(0);
}

pid_t start_worker(std::uint64_t seed) {
    const pid_t worker = fork();
    if (worker == 0)
        be_worker(seed, Program::first);
    return worker;
}

std::uint64_t seconds() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec);
}

// Regions beside `default`, and nodes.
enum class Tell { nothing, why };
bool clean_up(Tell tell) {
    const int control = open("/dev/stm", O_RDWR | O_CLOEXEC);
    if (control < 0)
        return false;
    std::uint32_t minor = 1;
    bool good = true;
    for (;;) {
        stm_info info{};
        info.size = sizeof(info);
        info.flags = STM_BY_NEXT;
        info.minor = minor;
        if (ioctl(control, STM_IOC_INFO, &info) != 0)
            break;
        minor = info.minor + 1;
        if (info.handles != 0 || info.mappings != 0) {
            if (tell == Tell::why)
                std::printf("region %s still has %u handles and %u mappings\n", info.name,
                            info.handles, info.mappings);
            good = false;
        }
        stm_destroy destroy{};
        destroy.size = sizeof(destroy);
        destroy.flags = STM_BY_ID;
        destroy.id = info.id;
        if (ioctl(control, STM_IOC_DESTROY, &destroy) != 0) {
            if (tell == Tell::why)
                std::printf("region %s cannot be destroyed: %s\n", info.name, std::strerror(errno));
            good = false;
        }
    }
    stm_version version{};
    version.size = sizeof(version);
    stm_info info{};
    info.size = sizeof(info);
    info.flags = STM_BY_HANDLE;
    if (ioctl(control, STM_IOC_VERSION, &version) != 0 || ioctl(control, STM_IOC_INFO, &info) != 0)
        good = false;
    if (version.regions != 1 || version.bytes != info.region_size) {
        if (tell == Tell::why)
            std::printf("%u regions of %llu bytes are left, of which default has %llu\n",
                        version.regions, version.bytes, info.region_size);
        good = false;
    }
    if (info.handles != 0) {
        if (tell == Tell::why)
            std::printf("%u handles of default are left\n", info.handles);
        good = false;
    }
    close(control);
    return good;
}

// Workers may change its mode, and others come after us.
class DeviceMode {
public:
    DeviceMode() { stat("/dev/stm", &before_); }
    ~DeviceMode() {
        if (chmod("/dev/stm", before_.st_mode & 07777) != 0)
            std::perror("/dev/stm");
    }
    DeviceMode(const DeviceMode&) = delete;
    DeviceMode& operator=(const DeviceMode&) = delete;

private:
    struct stat before_ {};
};

void make_nodes() {
    const int control = open("/dev/stm", O_RDWR | O_CLOEXEC);
    stm_version version{};
    version.size = sizeof(version);
    if (control >= 0 && ioctl(control, STM_IOC_VERSION, &version) == 0) {
        for (unsigned minor = 1; minor <= 4; ++minor) {
            const std::string node = kNode + std::to_string(minor - 1);
            if (mknod(node.c_str(), S_IFCHR | 0666, makedev(version.device_major, minor)) == 0)
                chmod(node.c_str(), 0666);
        }
    }
    close(control);
}

int usage(int status) {
    std::puts("usage: guest_fuzz [--seconds N] [--seed S] [--processes N] [--workers N]\n"
              "  random calls on /dev/stm by N processes at a time (default 4), for N seconds\n"
              "  (default 10) or until N workers have run; S is the seed of the first worker");
    return status;
}

} // namespace

int main(int count, char** arguments) {
    if (count == 3 && std::strcmp(arguments[1], "--heir") == 0) {
        if (!map_shared())
            return 1;
        be_worker(std::strtoull(arguments[2], nullptr, 10), Program::after_exec);
    }
    std::uint64_t limit = 10;
    std::uint64_t seed = 1;
    std::uint64_t processes = 4;
    std::uint64_t workers = ~0ull;
    for (int i = 1; i < count; ++i) {
        const std::string option = arguments[i];
        if (option == "--help")
            return usage(0);
        if (i + 1 == count)
            return usage(2);
        char* end = nullptr;
        const std::uint64_t value = std::strtoull(arguments[++i], &end, 10);
        if (*end != 0 || end == arguments[i])
            return usage(2);
        if (option == "--seconds")
            limit = value;
        else if (option == "--seed")
            seed = value;
        else if (option == "--processes" && value != 0)
            processes = value;
        else if (option == "--workers")
            workers = value;
        else
            return usage(2);
    }
    const int memory = memfd_create("guest_fuzz", 0);
    if (memory < 0 || ftruncate(memory, sizeof(Shared)) != 0 ||
        dup2(memory, kSharedDescriptor) < 0 || !map_shared()) {
        std::perror("guest_fuzz: no memory to share");
        return 2;
    }
    close(memory);
    const DeviceMode mode;
    make_nodes();
    std::mt19937_64 random(seed);
    struct Slot {
        pid_t pid = 0;
        std::uint64_t since = 0;
        bool killed = false;
    };
    std::vector<Slot> slots(processes);
    std::uint64_t started = 0;
    std::uint64_t killed = 0;
    const std::uint64_t began = seconds();
    std::uint64_t told = began;
    std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
    std::fflush(stdout);
    bool running = true;
    while (running) {
        const bool over = seconds() - began >= limit || started >= workers;
        running = false;
        for (Slot& slot : slots) {
            int status = 0;
            if (slot.pid != 0 && waitpid(slot.pid, &status, WNOHANG) == slot.pid)
                slot.pid = 0;
            if (slot.pid == 0 && !over) {
                slot.pid = start_worker(seed + started++);
                slot.since = seconds();
                slot.killed = false;
            } else if (slot.pid != 0 &&
                       (random() % 400 == 0 || seconds() - slot.since > 20 || over)) {
                // Its time is over, or it has bad luck.
                kill(slot.pid, SIGKILL);
                killed += slot.killed ? 0 : 1;
                slot.killed = true;
            }
            running = running || slot.pid != 0;
        }
        if (seconds() - told >= 5) {
            told = seconds();
            std::printf("%llu s: %llu calls, workers with the seeds %llu to %llu\n",
                        static_cast<unsigned long long>(told - began),
                        static_cast<unsigned long long>(shared->calls),
                        static_cast<unsigned long long>(seed),
                        static_cast<unsigned long long>(seed + started));
            std::fflush(stdout);
        }
        const timespec moment{0, 10'000'000};
        nanosleep(&moment, nullptr);
    }
    // Children of killed workers are killed with them, and take a moment to go.
    constexpr int kAttempts = 300;
    bool good = false;
    for (int attempt = 0; attempt < kAttempts && !good; ++attempt) {
        if (attempt != 0) {
            const timespec moment{0, 200'000'000};
            nanosleep(&moment, nullptr);
        }
        good = clean_up(attempt == kAttempts - 1 ? Tell::why : Tell::nothing);
    }
    for (unsigned number = 0; number < 4; ++number)
        unlink((kNode + std::to_string(number)).c_str());
    std::printf("%llu workers, %llu of them killed; %llu calls, %llu of them succeeded; %llu "
                "signals\n",
                static_cast<unsigned long long>(started), static_cast<unsigned long long>(killed),
                static_cast<unsigned long long>(shared->calls),
                static_cast<unsigned long long>(shared->succeeded),
                static_cast<unsigned long long>(shared->signals));
    std::printf("successes by kind:");
    for (unsigned kind = 0; kind < 24; ++kind)
        std::printf(" %llu", static_cast<unsigned long long>(shared->kinds[kind]));
    std::printf("\n%s\n", good ? "1 passed, 0 failed" : "0 passed, 1 failed");
    return good ? 0 : 1;
}
