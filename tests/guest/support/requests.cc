// SPDX-License-Identifier: GPL-2.0
#include "requests.hpp"

#include <sys/syscall.h>

namespace stm::test {

// -- io_uring --

Ring::Ring(unsigned flags) {
    parameters_.flags = flags;
    fd_ = Fd(static_cast<int>(::syscall(SYS_io_uring_setup, 8, &parameters_)));
    if (!fd_) {
        error_ = errno;
        return;
    }
    const auto map = [&](std::size_t bytes, off_t what) {
        return std::make_unique<Mapping>(fd_.get(), bytes, PROT_READ | PROT_WRITE, what,
                                         MAP_SHARED | MAP_POPULATE);
    };
    submissions_ = map(parameters_.sq_off.array + parameters_.sq_entries * sizeof(unsigned),
                       IORING_OFF_SQ_RING);
    completions_ = map(parameters_.cq_off.cqes + parameters_.cq_entries * sizeof(io_uring_cqe),
                       IORING_OFF_CQ_RING);
    entries_ = map(parameters_.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES);
    if (!submissions_->ok() || !completions_->ok() || !entries_->ok())
        error_ = errno;
}

unsigned* Ring::submission(unsigned offset) const {
    return submissions_->at<unsigned>(offset);
}
unsigned* Ring::completion(unsigned offset) const {
    return completions_->at<unsigned>(offset);
}

int Ring::submit(const io_uring_sqe& request) {
    const unsigned tail = *submission(parameters_.sq_off.tail);
    const unsigned slot = tail & *submission(parameters_.sq_off.ring_mask);
    entries_->at<io_uring_sqe>()[slot] = request;
    submission(parameters_.sq_off.array)[slot] = slot;
    __atomic_store_n(submission(parameters_.sq_off.tail), tail + 1, __ATOMIC_RELEASE);
    const unsigned flags =
        (parameters_.flags & IORING_SETUP_SQPOLL) != 0 ? IORING_ENTER_SQ_WAKEUP : 0;
    long submitted = 0;
    do
        submitted = ::syscall(SYS_io_uring_enter, fd_.get(), 1, 0, flags, nullptr, 0);
    while (submitted < 0 && errno == EINTR);
    if (submitted >= 0)
        return 0;
    const int error = errno;
    // What Linux did not take is not to be submitted with the next one.
    if (__atomic_load_n(submission(parameters_.sq_off.head), __ATOMIC_ACQUIRE) == tail)
        __atomic_store_n(submission(parameters_.sq_off.tail), tail, __ATOMIC_RELEASE);
    return error;
}

bool Ring::has_completion() const {
    return __atomic_load_n(completion(parameters_.cq_off.tail), __ATOMIC_ACQUIRE) !=
           *completion(parameters_.cq_off.head);
}

int Ring::wait() {
    while (!has_completion()) {
        if (::syscall(SYS_io_uring_enter, fd_.get(), 0, 1, IORING_ENTER_GETEVENTS, nullptr, 0) <
                0 &&
            errno != EINTR)
            return -errno;
    }
    const unsigned head = *completion(parameters_.cq_off.head);
    const unsigned slot = head & *completion(parameters_.cq_off.ring_mask);
    const int result = completions_->at<io_uring_cqe>(parameters_.cq_off.cqes)[slot].res;
    __atomic_store_n(completion(parameters_.cq_off.head), head + 1, __ATOMIC_RELEASE);
    return result;
}

io_uring_sqe Ring::request(unsigned char what, int fd, const void* memory, std::size_t bytes,
                           off_t at, unsigned char flags) {
    io_uring_sqe request{};
    request.opcode = what;
    request.flags = flags;
    request.fd = fd;
    request.off = static_cast<unsigned long long>(at);
    request.addr = reinterpret_cast<unsigned long long>(memory);
    request.len = static_cast<unsigned>(bytes);
    return request;
}

int Ring::read(int fd, void* to, std::size_t bytes, off_t at, unsigned char flags) {
    const int error = submit(request(IORING_OP_READ, fd, to, bytes, at, flags));
    return error != 0 ? -error : wait();
}

int Ring::write(int fd, const void* from, std::size_t bytes, off_t at, unsigned char flags) {
    const int error = submit(request(IORING_OP_WRITE, fd, from, bytes, at, flags));
    return error != 0 ? -error : wait();
}

// -- Linux AIO --

Aio::Aio() {
    if (::syscall(SYS_io_setup, 8, &context_) != 0)
        error_ = errno;
}

Aio::~Aio() {
    if (error_ == 0)
        ::syscall(SYS_io_destroy, context_);
}

long Aio::do_request(unsigned short what, int fd, const void* memory, std::size_t bytes,
                     off_t at) const {
    iocb request{};
    request.aio_lio_opcode = what;
    request.aio_fildes = static_cast<unsigned>(fd);
    request.aio_buf = reinterpret_cast<unsigned long long>(memory);
    request.aio_nbytes = bytes;
    request.aio_offset = at;
    iocb* requests[] = {&request};
    if (::syscall(SYS_io_submit, context_, 1, requests) != 1)
        return -errno;
    io_event event{};
    // Nothing can fail for good from here on, and the request must not be left.
    while (::syscall(SYS_io_getevents, context_, 1, 1, &event, nullptr) != 1) {
    }
    return static_cast<long>(event.res);
}

long Aio::read(int fd, void* to, std::size_t bytes, off_t at) const {
    return do_request(IOCB_CMD_PREAD, fd, to, bytes, at);
}

long Aio::write(int fd, const void* from, std::size_t bytes, off_t at) const {
    return do_request(IOCB_CMD_PWRITE, fd, from, bytes, at);
}

} // namespace stm::test
