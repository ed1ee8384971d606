// SPDX-License-Identifier: GPL-2.0
// Reads and writes that are requested and not called: by io_uring and by Linux AIO, with nothing
// but the system calls.
#pragma once

#include "guest.hpp"

#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <memory>

namespace stm::test {

/** One io_uring, for one request at a time. */
class Ring {
public:
    /** @flags: IORING_SETUP_*. */
    explicit Ring(unsigned flags = 0);
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    /** 0, or why there is none: ENOSYS or EPERM where io_uring is switched off. */
    [[nodiscard]] int error() const { return error_; }
    [[nodiscard]] int fd() const { return fd_.get(); }

    /** Submits it; 0 or errno. */
    int submit(const io_uring_sqe& request);
    /** Waits for the next completion: its result, negative for an error, as Linux gives it. */
    int wait();
    /** Whether wait() would not wait. */
    [[nodiscard]] bool has_completion() const;

    /** Both: a request and its result. @flags: IOSQE_*. */
    int read(int fd, void* to, std::size_t bytes, off_t at, unsigned char flags = 0);
    int write(int fd, const void* from, std::size_t bytes, off_t at, unsigned char flags = 0);

    /** A request to be filled in. */
    static io_uring_sqe request(unsigned char what, int fd, const void* memory, std::size_t bytes,
                                off_t at, unsigned char flags = 0);

private:
    [[nodiscard]] unsigned* submission(unsigned offset) const;
    [[nodiscard]] unsigned* completion(unsigned offset) const;

    int error_ = 0;
    io_uring_params parameters_{};
    Fd fd_;
    std::unique_ptr<Mapping> submissions_, completions_, entries_;
};

/** A context of Linux AIO, for one request at a time. */
class Aio {
public:
    Aio();
    ~Aio();
    Aio(const Aio&) = delete;
    Aio& operator=(const Aio&) = delete;

    /** 0, or why there is none. */
    [[nodiscard]] int error() const { return error_; }
    /** The result, negative for an error, as Linux gives it. */
    long read(int fd, void* to, std::size_t bytes, off_t at) const;
    long write(int fd, const void* from, std::size_t bytes, off_t at) const;

private:
    [[nodiscard]] long do_request(unsigned short what, int fd, const void* memory,
                                  std::size_t bytes, off_t at) const;

    int error_ = 0;
    aio_context_t context_ = 0;
};

} // namespace stm::test
