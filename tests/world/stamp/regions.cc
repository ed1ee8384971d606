// SPDX-License-Identifier: GPL-2.0
// A region, in each way of access, for processes.
#include "direct.hpp"
#include "run.hpp"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <stm/stm.hpp>

namespace stm::stamp {
namespace {

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "stamp: %s: %s\n", what, std::strerror(errno));
    std::_Exit(1);
}

std::string unique_name() {
    static unsigned number = 0;
    return "stamp:" + std::to_string(::getpid()) + ":" + std::to_string(++number);
}

/** A region that is gone with its last user. */
class RegionMemory {
public:
    static constexpr Workers kWorkers = Workers::processes;

    explicit RegionMemory(u64 bytes) : name_(unique_name()), bytes_(bytes) {}

    [[nodiscard]] int open() const {
        const int fd = stm_open(name_.c_str(), bytes_, STM_CREATE | STM_EPHEMERAL, 0600);
        if (fd < 0)
            fail("stm_open");
        return fd;
    }
    [[nodiscard]] u64 bytes() const { return bytes_; }

private:
    std::string name_;
    u64 bytes_;
};

// -- <stm/stm.hpp> --

class Typed : public RegionMemory {
public:
    using RegionMemory::RegionMemory;

    class Worker {
    public:
        Worker(Typed& memory, Barrier& barrier)
            : fd_(memory.open()), region_(region::attach(fd_)), barrier_(barrier) {}
        ~Worker() { ::close(fd_); }
        Worker(const Worker&) = delete;
        Worker& operator=(const Worker&) = delete;

        template <typename T>
        T& root() {
            return region_.at<T>(0);
        }
        template <typename Body>
        auto atomically(Body body) {
            return stm::atomically(region_, body);
        }
        // With transactions that could store, which bodies with references to variables need.
        template <typename Body>
        auto read_only(Body body) {
            return stm::atomically(region_, body);
        }
        void barrier() { barrier_.wait(); }
        template <typename T>
        void copy(var<T>* from, std::size_t count, T* to) {
            for (std::size_t at = 0; at < count; ++at)
                to[at] = from[at].unsafe_load();
        }

    private:
        int fd_;
        region region_;
        Barrier& barrier_;
    };
};

// -- Loads and stores in a mapping, and read and write calls --

// Repeats the body between stm_start and stm_commit.
template <typename Tx, typename Body>
auto repeat(int fd, char* base, Body& body) {
    Tx tx(fd, base);
    using Result = decltype(body(tx));
    if constexpr (std::is_void_v<Result>) {
        int result = 0;
        do {
            stm_start(fd);
            body(tx);
            result = stm_try_commit(fd);
        } while (result > 0);
        if (result < 0)
            fail("stm_try_commit");
    } else {
        Result value{};
        int result = 0;
        do {
            stm_start(fd);
            value = body(tx);
            result = stm_try_commit(fd);
        } while (result > 0);
        if (result < 0)
            fail("stm_try_commit");
        return value;
    }
}

class Mapped : public RegionMemory {
public:
    using RegionMemory::RegionMemory;

    struct Tx : Direct<Mapped> {
        Tx(int, char* base) : Direct(base) {}
    };

    class Worker {
    public:
        Worker(Mapped& memory, Barrier& barrier)
            : fd_(memory.open()), bytes_(memory.bytes()), barrier_(barrier) {
            void* mapped = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
            if (mapped == MAP_FAILED)
                fail("mmap");
            base_ = static_cast<char*>(mapped);
        }
        ~Worker() {
            ::munmap(base_, bytes_);
            ::close(fd_);
        }
        Worker(const Worker&) = delete;
        Worker& operator=(const Worker&) = delete;

        template <typename T>
        T& root() {
            return *reinterpret_cast<T*>(base_);
        }
        template <typename Body>
        auto atomically(Body body) {
            return repeat<Tx>(fd_, base_, body);
        }
        template <typename Body>
        auto read_only(Body body) {
            return repeat<Tx>(fd_, base_, body);
        }
        void barrier() { barrier_.wait(); }
        template <typename T>
        void copy(var<T>* from, std::size_t count, T* to) {
            for (std::size_t at = 0; at < count; ++at)
                to[at] = from[at].unsafe_load();
        }

    private:
        int fd_;
        u64 bytes_;
        Barrier& barrier_;
        char* base_ = nullptr;
    };
};

class Calls : public RegionMemory {
public:
    using RegionMemory::RegionMemory;

    // A variable that is read and written by calls. Its address stands for its place.
    template <typename T>
    class Reference {
    public:
        Reference(int fd, off_t offset) : fd_(fd), offset_(offset) {}
        operator T() const {
            T value{};
            if (::pread(fd_, &value, sizeof value, offset_) != sizeof value)
                fail("pread");
            return value;
        }
        void operator=(const T& value) const {
            if (::pwrite(fd_, &value, sizeof value, offset_) != sizeof value)
                fail("pwrite");
        }

    private:
        int fd_;
        off_t offset_;
    };

    class Tx {
    public:
        Tx(int fd, char* base) : fd_(fd), base_(base) {}
        template <typename T>
        Reference<T> operator[](var<T>& x) {
            return {fd_, reinterpret_cast<char*>(&x) - base_};
        }
        template <typename T>
        T& operator[](ptr<T> p) {
            return *reinterpret_cast<T*>(base_ + p.offset());
        }

    private:
        int fd_;
        char* base_;
    };

    class Worker {
    public:
        Worker(Calls& memory, Barrier& barrier)
            : fd_(memory.open()), bytes_(memory.bytes()), barrier_(barrier) {
            // Addresses at which nothing can be touched.
            void* mapped = ::mmap(nullptr, bytes_, PROT_NONE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
            if (mapped == MAP_FAILED)
                fail("mmap");
            base_ = static_cast<char*>(mapped);
        }
        ~Worker() {
            ::munmap(base_, bytes_);
            ::close(fd_);
        }
        Worker(const Worker&) = delete;
        Worker& operator=(const Worker&) = delete;

        template <typename T>
        T& root() {
            return *reinterpret_cast<T*>(base_);
        }
        template <typename Body>
        auto atomically(Body body) {
            return repeat<Tx>(fd_, base_, body);
        }
        template <typename Body>
        auto read_only(Body body) {
            return repeat<Tx>(fd_, base_, body);
        }
        void barrier() { barrier_.wait(); }
        template <typename T>
        void copy(var<T>* from, std::size_t count, T* to) {
            const std::size_t bytes = count * sizeof(T);
            if (::pread(fd_, to, bytes, reinterpret_cast<char*>(from) - base_) !=
                static_cast<ssize_t>(bytes))
                fail("pread");
        }

    private:
        int fd_;
        u64 bytes_;
        Barrier& barrier_;
        char* base_ = nullptr;
    };
};

} // namespace

WayInfo typed_way() {
    return {"typed", "processes, and <stm/stm.hpp>", Workers::processes, run<Typed>};
}
WayInfo mapped_way() {
    return {"mapped", "processes, and loads and stores in a mapping", Workers::processes,
            run<Mapped>};
}
WayInfo calls_way() {
    return {"calls", "processes, and read and write calls", Workers::processes, run<Calls>};
}

} // namespace stm::stamp
