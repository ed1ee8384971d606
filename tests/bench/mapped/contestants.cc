// SPDX-License-Identifier: GPL-2.0
#include "contestants.hpp"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <pthread.h>
#include <stm/stm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <system_error>
#include <unistd.h>

namespace stm::bench {
namespace {

[[noreturn]] void fail(const std::string& what) {
    throw std::system_error(errno, std::generic_category(), what);
}

// Memory that ends with this object; takes the descriptor.
class Shared {
public:
    Shared(int fd, std::size_t bytes, const char* what) : fd_(fd), bytes_(bytes) {
        if (fd < 0)
            fail(what);
        data_ = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (data_ == MAP_FAILED)
            fail(std::string("mmap of ") + what);
    }
    ~Shared() {
        ::munmap(data_, bytes_);
        ::close(fd_);
    }
    Shared(const Shared&) = delete;
    Shared& operator=(const Shared&) = delete;

    [[nodiscard]] int fd() const { return fd_; }
    [[nodiscard]] char* bytes() const { return static_cast<char*>(data_); }

private:
    int fd_;
    std::size_t bytes_;
    void* data_ = nullptr;
};

// The same accesses for all. What is stored differs from what was there.
void touch(char* memory, Access access, std::size_t pages, long value) {
    for (std::size_t page = 0; page < pages; ++page) {
        auto* number = reinterpret_cast<volatile long*>(memory + page * kPage);
        if (access == Access::load)
            static_cast<void>(*number);
        else
            *number = value;
    }
}

class Transaction : public Contestant {
public:
    explicit Transaction(Start start)
        : start_(start),
          memory_(stm_open(start == Start::cold ? "mapped_bench:cold" : "mapped_bench:predicted",
                           kMostPages * kPage, STM_CREATE | STM_EXCL | STM_EPHEMERAL, 0600),
                  kMostPages * kPage, "a region") {
        // Pages that nobody has written yet would be cheaper: they have nothing to copy.
        run(Access::store, kMostPages);
    }
    // A parameter of the module, which both kinds share.
    void prepare() override {
        const int fd = ::open("/sys/module/stm/parameters/predicted_pages", O_WRONLY | O_CLOEXEC);
        const std::string value = start_ == Start::cold ? "0" : std::to_string(kMostPages);
        if (fd < 0 || ::write(fd, value.data(), value.size()) < 0)
            fail("the module's parameter predicted_pages");
        ::close(fd);
    }
    void run(Access access, std::size_t pages) override {
        const long value = ++value_;
        do {
            stm_start(memory_.fd());
            touch(memory_.bytes(), access, pages, value);
        } while (stm_commit(memory_.fd()) != 0);
    }

private:
    Start start_;
    Shared memory_;
    long value_ = 0;
};

class Floor : public Contestant {
public:
    explicit Floor(const std::string& file)
        : module_(file), memory_(::open("/dev/stm_floor", O_RDWR | O_CLOEXEC), kMostPages * kPage,
                                 "/dev/stm_floor") {}
    void run(Access access, std::size_t pages) override {
        touch(memory_.bytes(), access, pages, ++value_);
        if (::ioctl(memory_.fd(), 0, pages) < 0)
            fail("the floor's ioctl");
    }

private:
    struct Module {
        explicit Module(const std::string& file) {
            const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
            if (fd < 0 || ::syscall(SYS_finit_module, fd, "", 0) < 0)
                fail(file);
            ::close(fd);
        }
        ~Module() { ::syscall(SYS_delete_module, "stm_floor", O_NONBLOCK); }
        Module(const Module&) = delete;
        Module& operator=(const Module&) = delete;
    };

    Module module_;
    Shared memory_; // gone before the module
    long value_ = 0;
};

class Mutex : public Contestant {
public:
    Mutex() : memory_(::memfd_create("mutex", MFD_CLOEXEC), sizeof(State)) {
        pthread_mutexattr_t attributes;
        pthread_mutexattr_init(&attributes);
        pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
        if (const int error = pthread_mutex_init(&state().mutex, &attributes); error != 0) {
            errno = error;
            fail("pthread_mutex_init");
        }
        run(Access::store, kMostPages); // the pages are there
    }
    void run(Access access, std::size_t pages) override {
        if (pthread_mutex_lock(&state().mutex) == EOWNERDEAD) {
            undo();
            pthread_mutex_consistent(&state().mutex);
        }
        const long value = ++value_;
        for (std::size_t page = 0; page < pages; ++page) {
            char* const memory = state().pages + page * kPage;
            if (access == Access::store)
                save(page);
            touch(memory, access, 1, value);
        }
        state().saved.store(0, std::memory_order_release);
        pthread_mutex_unlock(&state().mutex);
    }

private:
    struct State {
        pthread_mutex_t mutex;
        std::atomic<std::size_t> saved; // pages whose old contents count
        std::size_t places[kMostPages];
        alignas(kPage) char old[kMostPages * kPage];
        alignas(kPage) char pages[kMostPages * kPage];
    };
    struct Sized : Shared {
        Sized(int fd, std::size_t bytes) : Shared(sized(fd, bytes), bytes, "a memfd") {}
        static int sized(int fd, std::size_t bytes) {
            if (fd >= 0 && ::ftruncate(fd, static_cast<off_t>(bytes)) < 0)
                fail("ftruncate");
            return fd;
        }
    };

    State& state() { return *reinterpret_cast<State*>(memory_.bytes()); }

    void save(std::size_t page) {
        const std::size_t count = state().saved.load(std::memory_order_relaxed);
        std::memcpy(state().old + count * kPage, state().pages + page * kPage, kPage);
        state().places[count] = page;
        state().saved.store(count + 1, std::memory_order_release);
    }
    void undo() {
        for (std::size_t count = state().saved.load(); count != 0; --count)
            std::memcpy(state().pages + state().places[count - 1] * kPage,
                        state().old + (count - 1) * kPage, kPage);
        state().saved.store(0);
    }

    Sized memory_;
    long value_ = 0;
};

} // namespace

std::unique_ptr<Contestant> make_transaction(Start start) {
    return std::make_unique<Transaction>(start);
}

std::unique_ptr<Contestant> make_floor(const std::string& module_file) {
    return std::make_unique<Floor>(module_file);
}

std::unique_ptr<Contestant> make_mutex() {
    return std::make_unique<Mutex>();
}

} // namespace stm::bench
