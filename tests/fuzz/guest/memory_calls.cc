// SPDX-License-Identifier: GPL-2.0
// Mappings.
#include "worker.hpp"

#include <cstdint>
#include <iterator>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

namespace stm::fuzz {

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

} // namespace stm::fuzz
