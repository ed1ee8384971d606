// SPDX-License-Identifier: GPL-2.0
// Descriptors, and the device as a file.
#include "worker.hpp"

#include <cstdint>
#include <string>

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

namespace stm::fuzz {

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

} // namespace stm::fuzz
