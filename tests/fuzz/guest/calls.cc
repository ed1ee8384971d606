// SPDX-License-Identifier: GPL-2.0
// Which call comes next.
#include "worker.hpp"

#include <csignal>
#include <cstdint>
#include <iterator>
#include <string>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

namespace stm::fuzz {

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
                                       : random() % 4 == 0 ? STM_START_FIXED
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

} // namespace stm::fuzz
