// SPDX-License-Identifier: GPL-2.0
#include "tests/unit/kernel/simulated/rules.hpp"
#include "tests/unit/kernel/simulated/service.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stm/ioctl.h>

struct stm_pin {
    std::uint64_t address;
};

struct stm_user_buffer {
    std::uint8_t* memory;
    std::size_t bytes;
    std::size_t done;
    std::size_t fault_at;
};

namespace stm::simulated {

namespace {

bool mapped(std::uint64_t address, std::size_t bytes) {
    return address >= kLowestAddress && address + bytes >= address;
}

bool writable(std::uint64_t address, std::size_t bytes) {
    if (!mapped(address, bytes))
        return false;
    return thread.read_only_bytes == 0 || address + bytes <= thread.read_only_from ||
           address >= thread.read_only_from + thread.read_only_bytes;
}

// How much goes through until the buffer's memory ends.
unsigned long through(const stm_user_buffer* buffer, unsigned long bytes) {
    const unsigned long readable = buffer->fault_at - std::min(buffer->fault_at, buffer->done);
    return std::min({bytes, buffer->bytes - buffer->done, readable});
}

} // namespace

ReadOnlyMemory::ReadOnlyMemory(const void* from, std::size_t bytes) {
    thread.read_only_from = reinterpret_cast<std::uint64_t>(from);
    thread.read_only_bytes = bytes;
}

ReadOnlyMemory::~ReadOnlyMemory() {
    thread.read_only_bytes = 0;
}

UnpinnableMemory::UnpinnableMemory() {
    ++thread.unpinnable;
}

UnpinnableMemory::~UnpinnableMemory() {
    --thread.unpinnable;
}

UserBuffer::UserBuffer(void* memory, std::size_t bytes)
    : buffer_(new stm_user_buffer{static_cast<std::uint8_t*>(memory), bytes, 0, bytes}) {
}

UserBuffer::~UserBuffer() {
    delete buffer_;
}

void UserBuffer::fault_at(std::size_t offset) {
    buffer_->fault_at = offset;
}

std::size_t UserBuffer::consumed() const {
    return buffer_->done;
}

} // namespace stm::simulated

using namespace stm::simulated;

extern "C" {

int stm_linux_copy_in(void* to, __u64 from, unsigned long bytes) {
    const Service service("copy_in", Context::no_lock, Failure::copy);
    if (service.fails() || !mapped(from, bytes))
        return -EFAULT;
    std::memcpy(to, reinterpret_cast<const void*>(from), bytes);
    return 0;
}

int stm_linux_copy_words_in(__u64* to, __u64 from, unsigned int count) {
    expect(count <= STM_MOST_WORDS, "more words than may be copied");
    return stm_linux_copy_in(to, from, count * sizeof(*to));
}

int stm_linux_copy_sized_in(__u64* to, __u64 from, unsigned int count, __u32 size, __u32* given) {
    expect(count <= STM_MOST_WORDS, "more words than may be copied");
    const int sized = stm_linux_copy_in(given, from, sizeof(*given));
    return sized != 0 || *given != size ? sized : stm_linux_copy_in(to, from, count * sizeof(*to));
}

// What is not to be written stays as it is, though Linux may copy it.
int stm_linux_copy_sets_in(__u64* reads, stm_stripe_write* writes, const stm_sets* sets) {
    const Service service("copy_sets_in", Context::no_lock, Failure::copy);
    const std::size_t bytes_read = sets->read_count * sizeof(*reads);
    const std::size_t bytes_written = sets->write_count * sizeof(*writes);
    if (service.fails() || (bytes_read != 0 && !mapped(sets->reads, bytes_read)) ||
        (bytes_written != 0 && !mapped(sets->writes, bytes_written)))
        return -EFAULT;
    if (bytes_read != 0)
        std::memcpy(reads, reinterpret_cast<const void*>(sets->reads), bytes_read);
    const auto* const given = reinterpret_cast<const stm_stripe_write*>(sets->writes);
    for (std::uint32_t i = 0; i < sets->write_count; ++i) {
        writes[i].stripe = given[i].stripe;
        writes[i].mask = given[i].mask;
        for (std::size_t byte = 0; byte < sizeof(given[i].bytes); ++byte)
            if ((given[i].mask >> byte & 1) != 0)
                writes[i].bytes[byte] = given[i].bytes[byte];
    }
    return 0;
}

int stm_linux_copy_words_of(const stm_vector_piece* pieces, unsigned int count, __u64* to) {
    const Service service("copy_words_of", Context::no_lock, Failure::copy);
    if (service.fails())
        return -EFAULT;
    for (unsigned i = 0; i < count; ++i) {
        expect(pieces[i].bytes == sizeof(*to), "a piece that is no word");
        if ((pieces[i].flags & STM_PIECE_WRITE) == 0)
            continue;
        if (!mapped(pieces[i].address, sizeof(*to)))
            return -EFAULT;
        std::memcpy(to + i, reinterpret_cast<const void*>(pieces[i].address), sizeof(*to));
    }
    return 0;
}

int stm_linux_put_words_of(const stm_vector_piece* pieces, unsigned int count, const __u64* from) {
    const Service service("put_words_of", Context::no_lock, Failure::copy);
    if (service.fails())
        return -EFAULT;
    for (unsigned i = 0; i < count; ++i) {
        if ((pieces[i].flags & STM_PIECE_WRITE) != 0)
            continue;
        if (!writable(pieces[i].address, sizeof(*from)))
            return -EFAULT;
        std::memcpy(reinterpret_cast<void*>(pieces[i].address), from + i, sizeof(*from));
    }
    return 0;
}

int stm_linux_put_u64(__u64 to, __u64 value) {
    return stm_linux_copy_out(to, &value, sizeof(value));
}

int stm_linux_copy_out(__u64 to, const void* from, unsigned long bytes) {
    const Service service("copy_out", Context::no_lock, Failure::copy);
    if (service.fails() || !writable(to, bytes))
        return -EFAULT;
    std::memcpy(reinterpret_cast<void*>(to), from, bytes);
    return 0;
}

int stm_linux_copy_struct_in(void* to, unsigned long known, __u64 from, unsigned long given) {
    const Service service("copy_struct_in", Context::no_lock, Failure::copy);
    if (service.fails() || !mapped(from, given))
        return -EFAULT;
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(from);
    for (std::size_t offset = known; offset < given; ++offset) {
        if (bytes[offset] != 0)
            return -E2BIG;
    }
    std::memset(to, 0, known);
    std::memcpy(to, bytes, std::min(known, given));
    return 0;
}

unsigned long stm_linux_buffer_left(stm_user_buffer* buffer) {
    return buffer->bytes - buffer->done;
}

unsigned long stm_linux_buffer_put(stm_user_buffer* buffer, const void* from, unsigned long bytes) {
    const Service service("buffer_put", Context::no_lock, Failure::buffer);
    if (service.fails())
        return 0;
    const unsigned long count = through(buffer, bytes);
    std::memcpy(buffer->memory + buffer->done, from, count);
    buffer->done += count;
    return count;
}

unsigned long stm_linux_buffer_get(stm_user_buffer* buffer, void* to, unsigned long bytes) {
    const Service service("buffer_get", Context::no_lock, Failure::buffer);
    if (service.fails())
        return 0;
    const unsigned long count = through(buffer, bytes);
    std::memcpy(to, buffer->memory + buffer->done, count);
    buffer->done += count;
    return count;
}

void stm_linux_buffer_revert(stm_user_buffer* buffer, unsigned long bytes) {
    expect(bytes <= buffer->done, "more is made unread than was read");
    buffer->done -= bytes;
}

int stm_linux_pin(__u64 address, unsigned long bytes, stm_pin** pin, void** memory) {
    const Service service("pin", Context::no_lock, Failure::pin);
    if (service.fails())
        return -ENOMEM;
    if (address % bytes != 0 || address % STM_PAGE_BYTES + bytes > STM_PAGE_BYTES)
        return -EINVAL;
    if (!writable(address, bytes))
        return -EFAULT;
    if (thread.unpinnable != 0)
        return -EINVAL;
    counters.pins.fetch_add(1, kRelaxed);
    *pin = new stm_pin{address};
    *memory = reinterpret_cast<void*>(address);
    return 0;
}

void stm_linux_unpin(stm_pin* pin) {
    const Service service("unpin", Context::may_release);
    counters.pins.fetch_sub(1, kRelaxed);
    delete pin;
}

} // extern "C"
