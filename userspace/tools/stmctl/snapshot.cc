// SPDX-License-Identifier: GPL-2.0
#include "snapshot.hpp"

#include "common/failure.hpp"
#include "extents.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>
#include <fmt/format.h>
#include <mutex>
#include <stm/ioctl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <thread>

namespace stm::tools {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kStripesOfPage = 64;
// After so many passes the next ones run alone.
constexpr std::uint64_t kSharedPasses = 3;

// The calling thread's transaction on a handle, for as long as it takes that nobody commits.
class SerialTransaction {
public:
    SerialTransaction(int fd, const Sink& sink) : fd_(fd) {
        int result;
        do {
            sink.go_on();
            result = ::ioctl(fd_, STM_IOC_START, STM_START_SERIAL);
        } while (result < 0 && errno == EINTR);
        if (result < 0)
            throw Failure(Exit::failed,
                          fmt::format("the region cannot be had alone: {}", std::strerror(errno)),
                          errno);
    }
    // It has read nothing by itself, so there is nothing that could fail.
    ~SerialTransaction() { ::ioctl(fd_, STM_IOC_COMMIT, 0); }
    SerialTransaction(const SerialTransaction&) = delete;

private:
    int fd_;
};

// Threads that call function(index) for each index below a count, each index once and in about
// that order. What it throws comes out of finish().
class Workers {
public:
    Workers(unsigned threads, std::size_t count, std::function<void(std::size_t)> function)
        : count_(count), function_(std::move(function)) {
        try {
            for (unsigned i = 0; i < threads; ++i)
                threads_.emplace_back([this] { work(); });
        } catch (...) {
            end();
            throw;
        }
    }
    ~Workers() { end(); }
    Workers(const Workers&) = delete;

    /** The calling thread helps until all is done, and tells what it does next. */
    void finish(const std::function<void(std::size_t)>& tell) {
        work(&tell);
        for (std::thread& thread : threads_)
            thread.join();
        threads_.clear();
        if (failure_)
            std::rethrow_exception(failure_);
    }

private:
    void work(const std::function<void(std::size_t)>* tell = nullptr) {
        try {
            for (std::size_t index; (index = next_.fetch_add(1)) < count_;) {
                if (tell != nullptr)
                    (*tell)(index);
                function_(index);
            }
        } catch (...) {
            next_.store(count_);
            const std::lock_guard lock(mutex_);
            failure_ = std::current_exception();
        }
    }
    void end() {
        next_.store(count_);
        for (std::thread& thread : threads_)
            thread.join();
    }

    const std::size_t count_;
    const std::function<void(std::size_t)> function_;
    std::atomic<std::size_t> next_{0};
    std::mutex mutex_;
    std::exception_ptr failure_; // under mutex_ until the threads have ended
    std::vector<std::thread> threads_;
};

// Calls function(first, count) for each run of ones.
template <typename Function>
void for_each_run_of_bits(std::uint64_t bits, Function function) {
    for (unsigned at = 0; at < 64 && bits >> at != 0;) {
        at += static_cast<unsigned>(std::countr_zero(bits >> at));
        const auto count = static_cast<unsigned>(std::countr_one(bits >> at));
        function(at, count);
        at += count;
    }
}

std::uint64_t bits_of(unsigned first, unsigned count) {
    return (count == 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1) << first;
}

} // namespace

Window::Window(int fd, std::uint64_t offset, std::uint64_t bytes)
    : bytes_(static_cast<std::size_t>(bytes)),
      data_(::mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(offset))) {
    if (data_ == MAP_FAILED)
        throw Failure(Exit::failed,
                      fmt::format("the region cannot be mapped: {}. With --pieces it is read by "
                                  "calls; each 256K are one state then, and the whole need not be",
                                  std::strerror(errno)),
                      errno);
}

Window::~Window() {
    ::munmap(data_, bytes_);
}

Snapshot::Snapshot(int fd, const struct stm_info& info)
    : fd_(fd), size_(info.region_size), direct_((info.region_flags & STM_REGION_DIRECT) != 0),
      committed_(fd, STM_OFFSET_COMMITTED, size_),
      records_(fd, STM_OFFSET_RECORDS,
               (size_ / kPage * kStripesOfPage * sizeof(std::uint64_t) + kPage - 1) / kPage *
                   kPage),
      clock_(fd, STM_OFFSET_CLOCK, kPage),
      missing_((size_ / kPage + kPagesOfChunk - 1) / kPagesOfChunk, ~std::uint64_t{0}),
      put_(missing_.size()), hot_(missing_.size()) {
}

std::uint64_t Snapshot::clock() const {
    const auto& page = *reinterpret_cast<const struct stm_clock*>(clock_.data());
    return __atomic_load_n(&page.now, __ATOMIC_ACQUIRE);
}

// Whether all stripes of the pages are unlocked and not newer than that. The union of their records
// is at least as large as the largest of them; mostly it is not above the limit either.
bool Snapshot::is_settled(std::uint64_t page, std::uint64_t count, std::uint64_t version) const {
    const auto* record =
        reinterpret_cast<const std::uint64_t*>(records_.data()) + page * kStripesOfPage;
    const std::uint64_t limit = version << 1;
    for (; count != 0; --count, record += kStripesOfPage) {
        std::uint64_t bits = 0;
#pragma GCC unroll 16
        for (unsigned i = 0; i < kStripesOfPage; ++i)
            bits |= __atomic_load_n(record + i, __ATOMIC_RELAXED);
        std::atomic_thread_fence(std::memory_order_acquire);
        if (bits <= limit && (bits & 1) == 0)
            continue;
        for (unsigned i = 0; i < kStripesOfPage; ++i) {
            const std::uint64_t now = __atomic_load_n(record + i, __ATOMIC_ACQUIRE);
            if (now > limit || (now & 1) != 0)
                return false;
        }
    }
    return true;
}

std::vector<Snapshot::Part> Snapshot::touched_parts() const {
    std::vector<Part> parts;
    for (const Extent& extent : touched_extents(fd_, size_)) {
        for (std::uint64_t page = extent.begin / kPage; page < extent.end / kPage;) {
            const std::uint64_t chunk = page / kPagesOfChunk;
            const std::uint64_t end = std::min(extent.end / kPage, (chunk + 1) * kPagesOfChunk);
            if (parts.empty() || parts.back().chunk != chunk)
                parts.push_back({chunk, 0});
            parts.back().pages |= bits_of(static_cast<unsigned>(page % kPagesOfChunk),
                                          static_cast<unsigned>(end - page));
            page = end;
        }
    }
    return parts;
}

// The pages of the part that do not have, or no longer have, the state of the pass before.
std::uint64_t Snapshot::stale_pages(const Part& part) const {
    std::uint64_t stale = part.pages & missing_[part.chunk];
    for_each_run_of_bits(part.pages & ~stale, [&](unsigned first, unsigned count) {
        const std::uint64_t page = part.chunk * kPagesOfChunk + first;
        if (is_settled(page, count, previous_))
            return;
        for (unsigned i = 0; i < count; ++i) {
            if (!is_settled(page + i, 1, previous_))
                stale |= bits_of(first + i, 1);
        }
    });
    return stale;
}

// Those of the pages that have the state of the snapshot of this pass.
std::uint64_t Snapshot::settled_pages(const Part& part, std::uint64_t pages) const {
    std::uint64_t settled = 0;
    for_each_run_of_bits(pages, [&](unsigned first, unsigned count) {
        const std::uint64_t page = part.chunk * kPagesOfChunk + first;
        if (is_settled(page, count, now_)) {
            settled |= bits_of(first, count);
            return;
        }
        for (unsigned i = 0; i < count; ++i)
            settled |= is_settled(page + i, 1, now_) ? bits_of(first + i, 1) : 0;
    });
    return settled;
}

std::string Snapshot::digest_of(const Part& part) const {
    const std::uint64_t offset = part.chunk * PartDigests::kPart;
    Digest digest;
    std::uint64_t position = 0;
    for_each_run_of_bits(part.pages, [&](unsigned first, unsigned count) {
        digest.add_zeros(first * kPage - position);
        digest.add(committed_.data() + offset + first * kPage, count * kPage);
        position = (first + count) * kPage;
    });
    digest.add_zeros(digests_->bytes_of(part.chunk) - position);
    return digest.text();
}

// Returns how many of its pages are missing now.
std::uint64_t Snapshot::put_part(const Part& part, Sink& sink) {
    const std::uint64_t stale = stale_pages(part);
    if (stale == 0) {
        missing_[part.chunk] = ~part.pages;
        return 0;
    }
    put_[part.chunk] = 1;
    if (previous_ != kNever)
        hot_[part.chunk] = 1;
    const std::uint64_t ready = settled_pages(part, stale);
    for_each_run_of_bits(ready, [&](unsigned first, unsigned count) {
        const std::uint64_t offset = (part.chunk * kPagesOfChunk + first) * kPage;
        sink.put(offset, committed_.data() + offset, count * kPage);
    });
    std::string digest = digests_ != nullptr && ready == stale ? digest_of(part) : "";
    // What was put is the state at the snapshot if the records are still what they were then. So
    // are the bytes of the digest, which are all of the part.
    std::atomic_thread_fence(std::memory_order_acquire);
    const std::uint64_t settled =
        settled_pages(part, digests_ != nullptr ? part.pages : ready) & (ready | ~stale);
    const std::uint64_t missing = stale & ~settled;
    missing_[part.chunk] = missing | ~part.pages;
    if (digests_ != nullptr)
        digests_->set(part.chunk, settled == part.pages ? std::move(digest) : "");
    return static_cast<std::uint64_t>(std::popcount(missing));
}

std::vector<std::uint64_t> Snapshot::without_digest(const PartDigests& digests) const {
    std::vector<std::uint64_t> parts;
    for (std::uint64_t part = 0; part < put_.size(); ++part) {
        if (put_[part] != 0 && !digests.has(part))
            parts.push_back(part);
    }
    return parts;
}

// Returns how many pages are missing.
std::uint64_t Snapshot::run_pass(Sink& sink, Result& result) {
    ++result.passes;
    now_ = clock();
    std::vector<Part> parts = touched_parts();
    if (result.passes > 1)
        std::stable_partition(parts.begin(), parts.end(),
                              [this](const Part& part) { return hot_[part.chunk] != 0; });
    std::atomic<std::uint64_t> missing{0};
    const auto put = [&](std::size_t index) { missing.fetch_add(put_part(parts[index], sink)); };
    const unsigned threads = std::clamp(std::thread::hardware_concurrency(), 2U, 4U) - 1;
    Workers workers(threads, parts.size(), put);
    workers.finish([&](std::size_t index) {
        sink.go_on();
        progress_(parts[index].chunk * PartDigests::kPart, result.passes);
    });
    previous_ = now_;
    if (direct_ && missing != 0)
        settle(parts);
    return missing;
}

// Of the pages that are missing: asks the module about each record that is locked, or that has a
// version which the clock has not given. It tells by itself whose they are.
void Snapshot::settle(const std::vector<Part>& parts) const {
    const std::uint64_t limit = clock() << 1;
    for (const Part& part : parts) {
        for_each_run_of_bits(
            part.pages & missing_[part.chunk], [&](unsigned first, unsigned count) {
                const std::uint64_t begin = (part.chunk * kPagesOfChunk + first) * kStripesOfPage;
                const auto* record = reinterpret_cast<const std::uint64_t*>(records_.data());
                for (std::uint64_t i = begin; i < begin + count * kStripesOfPage; ++i) {
                    const std::uint64_t now = __atomic_load_n(record + i, __ATOMIC_RELAXED);
                    if (now > limit || (now & 1) != 0)
                        ::ioctl(fd_, STM_IOC_SETTLE, i);
                }
            });
    }
}

Snapshot::Result
Snapshot::read(Sink& sink, PartDigests* digests,
               const std::function<void(std::uint64_t bytes, std::uint64_t pass)>& progress) {
    digests_ = digests;
    progress_ = progress;
    Result result;
    while (run_pass(sink, result) != 0) {
        if (result.passes < kSharedPasses)
            continue;
        const auto began = std::chrono::steady_clock::now();
        const SerialTransaction alone(fd_, sink);
        const bool done = run_pass(sink, result) == 0;
        const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - began;
        result.alone_seconds = std::max(result.alone_seconds, taken.count());
        if (done)
            break;
    }
    return result;
}

} // namespace stm::tools
