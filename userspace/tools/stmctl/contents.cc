// SPDX-License-Identifier: GPL-2.0
#include "contents.hpp"

#include "behind.hpp"
#include "common/failure.hpp"
#include "common/text.hpp"
#include "digest.hpp"
#include "extents.hpp"
#include "progress.hpp"
#include "report.hpp"
#include "snapshot.hpp"
#include "stopping.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <stm/stm.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

namespace stm::tools {
namespace {

constexpr std::size_t kChunk = PartDigests::kPart; // what is read and put at once
constexpr std::size_t kBlock = 4096;               // what becomes a hole or stays untouched

void throw_if_due(const Stopping& stopping, const std::string& region) {
    if (stopping.is_due())
        throw Failure(Exit::failed, fmt::format("interrupted: there is no '{}'", printable(region)),
                      EINTR);
}

Failure stream_failure(const char* which) {
    return {Exit::failed, fmt::format("{}: {}", which, std::strerror(errno)), errno};
}

bool is_zero(const char* data, std::size_t size) {
    return size == 0 || (data[0] == 0 && std::memcmp(data, data + 1, size - 1) == 0);
}

// Calls the function with each run of blocks that are not all zero.
template <typename Function>
void for_each_run(const char* data, std::size_t size, Function function) {
    for (std::size_t at = 0; at < size;) {
        const std::size_t begin = at;
        while (at < size && !is_zero(data + at, std::min(kBlock, size - at)))
            at += kBlock;
        at = std::min(at, size);
        if (at > begin)
            function(begin, at - begin);
        while (at < size && is_zero(data + at, std::min(kBlock, size - at)))
            at += kBlock;
    }
}

// Standard output that leaves holes where it is a file that can have them.
class Stdout {
public:
    Stdout() {
        struct stat status;
        int flags = ::fcntl(STDOUT_FILENO, F_GETFL);
        sparse_ = ::fstat(STDOUT_FILENO, &status) == 0 && S_ISREG(status.st_mode) && flags >= 0 &&
                  (flags & O_APPEND) == 0;
        // An older file may have other bytes where the holes would be.
        off_t position = sparse_ ? ::lseek(STDOUT_FILENO, 0, SEEK_CUR) : -1;
        if (position < 0 || position < status.st_size)
            sparse_ = false;
    }

    void put(const char* data, std::size_t size) {
        while (size > 0) {
            const std::size_t block = std::min(size, kChunk);
            if (sparse_) {
                std::size_t end = 0;
                for_each_run(data, block, [&](std::size_t begin, std::size_t length) {
                    skip(begin - end);
                    write(data + begin, length);
                    end = begin + length;
                });
                skip(block - end);
            } else {
                write(data, block);
            }
            data += block;
            size -= block;
        }
    }
    void write(const char* data, std::size_t size) {
        while (size > 0) {
            const ssize_t put = ::write(STDOUT_FILENO, data, size);
            if (put < 0 && errno == EINTR)
                continue;
            if (put < 0)
                throw stream_failure("standard output");
            data += put;
            size -= static_cast<std::size_t>(put);
        }
    }

    // A hole at the very end is made by giving the file its length.
    void finish() {
        if (!sparse_)
            return;
        off_t end = ::lseek(STDOUT_FILENO, 0, SEEK_CUR);
        if (end < 0 || ::ftruncate(STDOUT_FILENO, end) < 0)
            throw stream_failure("standard output");
    }

private:
    static void skip(std::size_t bytes) {
        if (bytes > 0 && ::lseek(STDOUT_FILENO, static_cast<off_t>(bytes), SEEK_CUR) < 0)
            throw stream_failure("standard output");
    }

    bool sparse_ = false;
};

// Fills the buffer from standard input unless that ends first.
std::size_t read_input(char* to, std::size_t size) {
    std::size_t filled = 0;
    while (filled < size) {
        ssize_t got = ::read(STDIN_FILENO, to + filled, size - filled);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            throw stream_failure("standard input");
        if (got == 0)
            break;
        filled += static_cast<std::size_t>(got);
    }
    return filled;
}

// Memory for a whole region. Where nothing is put it occupies none.
class Memory : public Sink {
public:
    explicit Memory(std::uint64_t size) : size_(static_cast<std::size_t>(size)) {
        if (size_ == 0)
            return;
        data_ = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (data_ == MAP_FAILED)
            throw Failure(Exit::failed, "there is not enough memory for the region's bytes", errno);
    }
    ~Memory() override {
        if (size_ != 0)
            ::munmap(data_, size_);
    }
    Memory(const Memory&) = delete;

    void put(std::uint64_t offset, const char* data, std::size_t size) override {
        for (std::size_t at = 0; at < size; at += kBlock) {
            const std::size_t block = std::min(kBlock, size - at);
            char* const to = this->data() + offset + at;
            if (!is_zero(data + at, block) || !is_zero(to, block))
                std::memcpy(to, data + at, block);
        }
    }
    void get(std::uint64_t offset, char* to, std::size_t size) override {
        std::memcpy(to, data() + offset, size);
    }
    [[nodiscard]] char* data() { return static_cast<char*>(data_); }
    [[nodiscard]] std::size_t size() const { return size_; }

private:
    std::size_t size_;
    void* data_ = nullptr;
};

// A region that held zeros before. Threads may put different chunks at once.
class NewRegion : public Sink {
public:
    NewRegion(int fd, std::string name, std::uint64_t size, const Stopping& stopping)
        : fd_(fd), name_(std::move(name)), touched_((size + kChunk - 1) / kChunk),
          stopping_(stopping) {}

    void put(std::uint64_t offset, const char* data, std::size_t size) override {
        // It may have been put before, with bytes where there are zeros now.
        if (touched_[offset / kChunk] != 0)
            return write(offset, data, size);
        for_each_run(data, size, [&](std::size_t begin, std::size_t length) {
            write(offset + begin, data + begin, length);
            touched_[offset / kChunk] = 1;
        });
    }
    void get(std::uint64_t offset, char* to, std::size_t size) override {
        const ssize_t got = ::pread(fd_, to, size, static_cast<off_t>(offset));
        if (got < 0 || static_cast<std::size_t>(got) != size)
            throw region_failure(got < 0 ? errno : EIO, name_);
    }
    void go_on() const override { throw_if_due(stopping_, name_); }

private:
    // Each call is a transaction. The module writes a block of whole stripes up to this size
    // without keeping its bytes first.
    void write(std::uint64_t offset, const char* data, std::size_t size) {
        constexpr std::size_t kMost = 16 * 1024;
        for (std::size_t done = 0; done < size; done += kMost) {
            const std::size_t part = std::min(kMost, size - done);
            const ssize_t put = ::pwrite(fd_, data + done, part, static_cast<off_t>(offset + done));
            if (put < 0)
                throw region_failure(errno, name_);
            if (static_cast<std::size_t>(put) != part)
                throw Failure(Exit::failed, "the region took less than it has room for");
        }
    }

    int fd_;
    std::string name_;
    std::vector<char> touched_; // a byte each: threads may change neighbours
    const Stopping& stopping_;
};

} // namespace

Source::Source(const Module& module, const Selector& region)
    : handle_(module.open(region, Access::read)), region_(region) {
    // Seeking counts as the first use, which gives a region its size.
    if (::lseek(handle_.get(), 0, SEEK_END) < 0)
        throw region_failure(errno, region.text(), region.argument());
    info_ = module.info_of_handle(handle_, region.text());
}

// Each piece is read by one call. Others write them, while more is read.
Reading Source::read_pieces(const Call& call, Sink& sink, Digested digested) const {
    Reading result;
    result.size = info_.region_size;
    Progress progress(call, fmt::format("reading '{}'", printable(region_.text())), result.size);
    std::vector<char> buffer(kChunk);
    PartDigests digests(result.size);
    Behind behind(sink, kChunk, std::clamp(std::thread::hardware_concurrency(), 2U, 4U) - 1);
    const std::vector<Extent> extents = touched_extents(handle_.get(), result.size);
    auto extent = extents.begin();
    for (std::uint64_t part = 0; part < digests.count() && extent != extents.end(); ++part) {
        const std::uint64_t begin = part * kChunk;
        const std::uint64_t size = digests.bytes_of(part);
        if (extent->begin >= begin + size)
            continue;
        while (extent != extents.end() && extent->end <= begin + size)
            ++extent;
        // By one call, with the pages that nobody had touched: somebody may have written all of it
        // meanwhile. They are zeros otherwise, and stay untouched.
        read_piece(buffer.data(), begin, size);
        behind.put(begin, buffer.data(), size);
        if (digested == Digested::yes) {
            Digest digest;
            digest.add(buffer.data(), size);
            digests.set(part, digest.text());
        }
        progress.at(begin + size, 0);
        sink.go_on();
    }
    behind.finish();
    if (digested == Digested::yes)
        result.digest = digests.text();
    return result;
}

void Source::read_piece(char* to, std::uint64_t position, std::size_t size) const {
    const ssize_t got = ::pread(handle_.get(), to, size, static_cast<off_t>(position));
    if (got < 0 || static_cast<std::size_t>(got) != size)
        throw region_failure(got < 0 ? errno : EIO, region_.text(), region_.argument());
}

Reading Source::read(const Call& call, Consistency consistency, Sink& sink,
                     Digested digested) const {
    if (consistency == Consistency::pieces || (info_.region_flags & STM_REGION_PLAIN) != 0)
        return read_pieces(call, sink, digested);
    Progress progress(call, fmt::format("reading '{}'", printable(region_.text())),
                      info_.region_size);
    Snapshot snapshot(handle_.get(), info_);
    PartDigests digests(info_.region_size);
    const Snapshot::Result read = snapshot.read(
        sink, digested == Digested::yes ? &digests : nullptr,
        [&](std::uint64_t position, std::uint64_t pass) { progress.at(position, pass - 1); });
    Reading result{info_.region_size, read.passes, read.alone_seconds, {}};
    if (digested == Digested::yes) {
        std::vector<char> buffer(kChunk);
        for (const std::uint64_t part : snapshot.without_digest(digests)) {
            Digest digest;
            sink.get(part * kChunk, buffer.data(), digests.bytes_of(part));
            digest.add(buffer.data(), digests.bytes_of(part));
            digests.set(part, digest.text());
        }
        result.digest = digests.text();
    }
    return result;
}

namespace {

// A program that reads the archive finds in its first line what it is and what the region was.
constexpr char kMagic[] = "stm-archive 1 ";
// A run of bytes of the region; the last one has the region's size as its offset, and no bytes.
struct Run {
    std::uint64_t offset;
    std::uint64_t length;
};

// The flags by which a region like this one is made.
int flags_like(std::uint32_t region_flags) {
    int flags = STM_CREATE | STM_CLOEXEC;
    flags |= (region_flags & STM_REGION_PLAIN) != 0 ? STM_PLAIN : 0;
    flags |= (region_flags & STM_REGION_MUTEX) != 0 ? STM_MUTEX : 0;
    flags |= (region_flags & STM_REGION_EXEC) != 0 ? STM_EXEC : 0;
    flags |= (region_flags & STM_REGION_DIRECT) != 0 ? STM_DIRECT : 0;
    return flags;
}

std::string hex(const std::string& bytes) {
    std::string result;
    for (const char letter : bytes)
        result += fmt::format("{:02x}", static_cast<unsigned char>(letter));
    return result;
}

std::string unhex(const std::string& text) {
    std::string result;
    for (std::size_t at = 0; at + 1 < text.size(); at += 2)
        result += static_cast<char>(std::stoi(text.substr(at, 2), nullptr, 16));
    return result;
}

// Writes what differs from what is there.
void write_changed(int fd, const Selector& region, std::uint64_t position, const char* data,
                   std::size_t size) {
    std::vector<char> present(size);
    const ssize_t got = ::pread(fd, present.data(), size, static_cast<off_t>(position));
    if (got < 0)
        throw region_failure(errno, region.text(), region.argument());
    for (std::size_t at = 0; at < size; at += kBlock) {
        const std::size_t block = std::min(kBlock, size - at);
        if (at + block <= static_cast<std::size_t>(got) &&
            std::memcmp(data + at, &present[at], block) == 0)
            continue;
        const ssize_t put = ::pwrite(fd, data + at, block, static_cast<off_t>(position + at));
        if (put < 0)
            throw region_failure(errno, region.text(), region.argument());
        if (static_cast<std::size_t>(put) != block)
            throw Failure(Exit::failed, "the region took less than it has room for");
    }
}

Failure no_archive(const std::string& why) {
    return {Exit::failed, fmt::format("standard input is no archive of a region: {}", why)};
}

} // namespace

// These read first and write then: standard output may be slow, and cannot take anything back.

void dump_region(const Call& call, const Source& source, Consistency consistency) {
    Memory memory(source.info().region_size);
    (void)source.read(call, consistency, memory, Digested::no);
    Stdout output;
    output.put(memory.data(), memory.size());
    output.finish();
}

void archive_region(const Call& call, const Source& source, Consistency consistency) {
    const struct stm_info& info = source.info();
    Memory memory(info.region_size);
    const Reading reading = source.read(call, consistency, memory, Digested::no);
    const nlohmann::json head = {
        {"name", hex(info.name)}, // any bytes
        {"kind", kind_name(info.region_flags)},
        {"region_flags", info.region_flags & (STM_REGION_FLAGS & ~STM_REGION_EPHEMERAL)},
        {"mode", info.mode},
        {"size", reading.size}};
    const std::string line = kMagic + head.dump() + "\n";
    Digest digest;
    Stdout output;
    const auto put = [&](const void* data, std::size_t size) {
        digest.add(data, size);
        output.write(static_cast<const char*>(data), size);
    };
    put(line.data(), line.size());
    Progress progress(call, fmt::format("writing '{}'", printable(info.name)), reading.size);
    for (std::size_t at = 0; at < memory.size(); at += kChunk) {
        const std::size_t size = std::min(kChunk, memory.size() - at);
        for_each_run(memory.data() + at, size, [&](std::size_t begin, std::size_t length) {
            const Run run{at + begin, length};
            put(&run, sizeof run);
            put(memory.data() + at + begin, length);
        });
        progress.at(at + size, 0);
    }
    const Run last{reading.size, 0};
    put(&last, sizeof last);
    const std::string sum = digest.text();
    output.write(sum.data(), sum.size());
    output.write("\n", 1);
}

void load_region(const Module& module, const Selector& region) {
    Descriptor handle = module.open(region, Access::read_write);
    // Seeking counts as the first use, which gives a region its size.
    off_t end = ::lseek(handle.get(), 0, SEEK_END);
    if (end < 0)
        throw region_failure(errno, region.text(), region.argument());
    auto room = static_cast<std::uint64_t>(end);
    std::vector<char> input(kChunk);
    std::uint64_t position = 0;
    while (std::size_t filled = read_input(input.data(), input.size())) {
        std::size_t fits = std::min<std::uint64_t>(filled, room - position);
        write_changed(handle.get(), region, position, input.data(), fits);
        position += fits;
        if (fits < filled)
            throw Failure(
                Exit::failed,
                fmt::format("the input is longer than region '{}', which has {} bytes; these "
                            "were written",
                            printable(region.text()), room));
    }
}

void load_archive(const Call& call, const std::string& name) {
    // All of it is read and checked before anything is changed.
    Digest digest;
    const auto get = [&](void* to, std::size_t size) {
        if (read_input(static_cast<char*>(to), size) != size)
            throw no_archive("it ends too early");
        digest.add(to, size);
    };
    std::string line(sizeof kMagic - 1, '\0');
    get(line.data(), line.size());
    if (line != kMagic)
        throw no_archive("it does not begin as one");
    std::string text;
    for (char letter = 0; letter != '\n' && text.size() < 4096;) {
        get(&letter, 1);
        text += letter;
    }
    const nlohmann::json head = nlohmann::json::parse(text, nullptr, false);
    if (!head.is_object() || !head.contains("size") || !head["size"].is_number_unsigned() ||
        !head.contains("name") || !head["name"].is_string() || !head.contains("mode") ||
        !head["mode"].is_number_unsigned() || !head.contains("region_flags") ||
        !head["region_flags"].is_number_unsigned())
        throw no_archive("its first line is no description of a region");
    const auto size = head["size"].get<std::uint64_t>();
    Memory memory(size);
    Progress progress(call, "reading the archive", size);
    for (std::uint64_t next = 0;;) {
        Run run{};
        get(&run, sizeof run);
        if (run.length == 0 && run.offset == size)
            break;
        if (run.offset < next || run.offset > size || run.length > size - run.offset ||
            run.length == 0)
            throw no_archive("a part of it does not belong to the region");
        get(memory.data() + run.offset, run.length);
        next = run.offset + run.length;
        progress.at(next, 0);
    }
    std::string sum(digest.text().size(), '\0');
    const std::string expected = digest.text();
    if (read_input(sum.data(), sum.size()) != sum.size() || sum != expected)
        throw no_archive("its checksum is wrong");

    const std::string to = name.empty() ? unhex(head["name"].get<std::string>()) : name;
    const Selector region = Selector::by_name(to);
    const auto traits = head["region_flags"].get<std::uint32_t>();
    const Stopping stopping;
    // A new one can be opened by nobody else but root before it is whole.
    int fd = stm_open(to.c_str(), size, flags_like(traits) | STM_EXCL, 0);
    const bool made = fd >= 0;
    if (!made && errno == EEXIST)
        fd = stm_open(to.c_str(), size, flags_like(traits), 0);
    if (fd < 0 && errno == EINVAL)
        throw Failure(Exit::failed,
                      fmt::format("region '{}' exists, and is smaller or of another kind: the "
                                  "archive is of a {} one with {} bytes",
                                  printable(to), kind_name(traits), size),
                      EINVAL);
    if (fd < 0)
        throw region_failure(errno, to);
    const Descriptor handle(fd);
    try {
        for (std::uint64_t at = 0; at < size; at += kChunk) {
            write_changed(handle.get(), region, at, memory.data() + at,
                          std::min<std::uint64_t>(kChunk, size - at));
            // What was there before is not left half filled.
            if (made)
                throw_if_due(stopping, to);
        }
        if (made && ::fchmod(handle.get(), head["mode"].get<mode_t>() & 0777U) < 0)
            throw region_failure(errno, to);
    } catch (...) {
        if (made)
            stm_unlink_deferred(to.c_str());
        throw;
    }
}

void copy_region(const Call& call, const Module& module, const Source& source,
                 const std::string& to, Consistency consistency) {
    const auto began = std::chrono::steady_clock::now();
    const struct stm_info& info = source.info();
    const Selector target = Selector::by_name(to);
    const Stopping stopping;
    // Nobody else but root can open it before it is whole.
    const int fd =
        stm_open(to.c_str(), info.region_size, flags_like(info.region_flags) | STM_EXCL, 0);
    if (fd < 0 && errno == EEXIST)
        throw Failure(Exit::failed,
                      fmt::format("region '{}' exists already; remove it first: stmctl rm {}",
                                  printable(to), command_word(to)),
                      EEXIST);
    if (fd < 0)
        throw region_failure(errno, to);
    const Descriptor handle(fd);
    try {
        NewRegion sink(handle.get(), to, info.region_size, stopping);
        const Reading reading = source.read(call, consistency, sink, Digested::yes);
        if (::fchmod(handle.get(), info.mode) < 0)
            throw region_failure(errno, to);
        const double seconds =
            std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
        if (call.json())
            print({{"from", info.name},
                   {"to", to},
                   {"size", reading.size},
                   {"passes", reading.passes},
                   {"alone_seconds", reading.alone_seconds},
                   {"xxh128", reading.digest},
                   {"seconds", seconds}});
        else
            fmt::print(
                "copied {} from '{}' to '{}' in {:.1f} s{}; XXH128 {}\n", format_size(reading.size),
                printable(info.name), printable(to), seconds,
                reading.alone_seconds == 0
                    ? ""
                    : fmt::format(", of which commits waited for {:.3f} s", reading.alone_seconds),
                reading.digest);
    } catch (...) {
        module.destroy(target, When::deferred);
        throw;
    }
}

} // namespace stm::tools
