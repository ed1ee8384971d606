// SPDX-License-Identifier: GPL-2.0
// What takes the pages themselves: direct input, pipes, io_uring; and memory that the kernel itself
// may not look into as the buffer of calls on the handle.
#include "requests.hpp"
#include "rows.hpp"

#include <fcntl.h>
#include <linux/if_xdp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

namespace stm::test {

namespace {

constexpr long kNew = 7;
constexpr long kMemfdSecret = 447;

std::string said_by_request(int result) {
    return result < 0 ? ::strerrorname_np(-result) : std::to_string(result);
}

// A file that holds a number.
Fd source() {
    Fd file(::memfd_create("source", MFD_CLOEXEC));
    (void)!::pwrite(file.get(), &kNew, sizeof kNew, 0);
    return file;
}

// -- Direct input: this program's own file, from the host. --

std::string direct_input(Subject& subject) {
    const Fd file(::open("/proc/self/exe", O_RDONLY | O_DIRECT | O_CLOEXEC));
    if (!file)
        return "no O_DIRECT";
    const ssize_t bytes = ::pread(file.get(), subject.page(1), kPage, 0);
    const std::string result = said(bytes);
    long head = 0;
    const Fd plain(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    if (bytes > 0 && ::pread(plain.get(), &head, sizeof head, 0) > 0)
        subject.holds_now(1, head);
    return result;
}

// -- Pipes --

std::string to_pipe(Subject& subject) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return "pipe: " + said(-1);
    const iovec piece{subject.page(1), kPage};
    const std::string result = said(::vmsplice(ends[1], &piece, 1, 0));
    long found = 0;
    if (::read(ends[0], &found, sizeof found) > 0 && found != subject.value(1))
        return result + ", other bytes";
    return result;
}

std::string from_pipe(Subject& subject) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0 ||
        ::write(ends[1], &kNew, sizeof kNew) != sizeof kNew)
        return "pipe: " + said(-1);
    const iovec piece{subject.page(1), sizeof kNew};
    const ssize_t bytes = ::vmsplice(ends[0], &piece, 1, 0);
    if (bytes > 0)
        subject.holds_now(1, kNew);
    return said(bytes);
}

// -- io_uring --

std::string read_by_request(Subject& subject) {
    Ring ring;
    if (ring.error() != 0)
        return "no io_uring";
    const int result = ring.read(source().get(), subject.page(1), sizeof(long), 0);
    if (result > 0)
        subject.holds_now(1, kNew);
    return said_by_request(result);
}

std::string written_by_request(Subject& subject) {
    Ring ring;
    if (ring.error() != 0)
        return "no io_uring";
    const Fd file = source();
    const int result = ring.write(file.get(), subject.page(1), sizeof(long), 0);
    long found = 0;
    if (result > 0 &&
        (::pread(file.get(), &found, sizeof found, 0) < 0 || found != subject.value(1)))
        return said_by_request(result) + ", other bytes";
    return said_by_request(result);
}

// With the buffer registered first; the request only if that is allowed.
std::string with_fixed_buffer(Subject& subject, unsigned char what) {
    Ring ring;
    if (ring.error() != 0)
        return "no io_uring";
    const iovec buffer{subject.page(), Subject::kBytes};
    if (::syscall(SYS_io_uring_register, ring.fd(), IORING_REGISTER_BUFFERS, &buffer, 1) != 0)
        return "IORING_REGISTER_BUFFERS: " + said(-1);
    const Fd file = source();
    if (ring.submit(Ring::request(what, file.get(), subject.page(1), sizeof(long), 0)) != 0)
        return "not submitted";
    const int result = ring.wait();
    if (result > 0 && what == IORING_OP_READ_FIXED)
        subject.holds_now(1, kNew);
    long found = 0;
    if (result > 0 &&
        (::pread(file.get(), &found, sizeof found, 0) < 0 || found != subject.value(1)))
        return said_by_request(result) + ", other bytes";
    return said_by_request(result);
}

// -- A pin that lasts, as devices for networks have it: the memory for packets of an AF_XDP socket
// --

constexpr int kXdpLevel = 283;

std::string pinned(Subject& subject) {
    const Fd socket(::socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
    if (!socket)
        return "socket: " + said(-1);
    xdp_umem_reg memory{};
    memory.addr = reinterpret_cast<std::uintptr_t>(subject.page());
    memory.len = Subject::kBytes;
    memory.chunk_size = kPage;
    return said(::setsockopt(socket.get(), kXdpLevel, XDP_UMEM_REG, &memory, sizeof memory));
}

// -- memfd_secret --

std::string with_secret_buffer(Subject& subject, bool write) {
    const Fd file(static_cast<int>(::syscall(kMemfdSecret, O_CLOEXEC)));
    if (!file)
        return "memfd_secret: " + said(-1);
    (void)!::ftruncate(file.get(), kPage);
    const Mapping secret(file.get(), kPage);
    if (!secret.ok())
        return "mmap: " + said(-1);
    *secret.at<volatile long>() = kNew;
    if (write) {
        const ssize_t bytes = ::pwrite(subject.fd(), secret.data(), sizeof(long), kPage);
        if (bytes > 0)
            subject.holds_now(1, kNew);
        return said(bytes);
    }
    const ssize_t bytes = ::pread(subject.fd(), secret.data(), sizeof(long), kPage);
    return said(bytes) + (*secret.at<volatile long>() == subject.value(1) ? "" : ", other bytes");
}

} // namespace

Rows device_rows() {
    return {
        {"read with O_DIRECT into the mapping", direct_input},
        {"vmsplice, the mapping to a pipe", to_pipe},
        {"vmsplice, a pipe to the mapping", from_pipe},
        {"IORING_OP_READ into the mapping", read_by_request},
        {"IORING_OP_WRITE from the mapping", written_by_request},
        {"IORING_OP_READ_FIXED into the mapping",
         [](Subject& s) { return with_fixed_buffer(s, IORING_OP_READ_FIXED); }},
        {"IORING_OP_WRITE_FIXED from the mapping",
         [](Subject& s) { return with_fixed_buffer(s, IORING_OP_WRITE_FIXED); }},
        {"XDP_UMEM_REG", pinned},
        {"pread of the handle into memfd_secret",
         [](Subject& s) { return with_secret_buffer(s, false); }},
        {"pwrite to the handle from memfd_secret",
         [](Subject& s) { return with_secret_buffer(s, true); }},
    };
}

} // namespace stm::test
