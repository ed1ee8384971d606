// SPDX-License-Identifier: GPL-2.0
// Calls, one by one and vectored, and transactions in mappings.
#include "own_region.hpp"
#include "way.hpp"

#include <cerrno>
#include <iterator>
#include <numeric>
#include <stm/access.h>
#include <stm/stm.h>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

namespace stm::bench {
namespace {

class Handle {
public:
    Handle(std::string name, std::size_t bytes)
        : name_(std::move(name)), fd_(stm_open(name_.c_str(), bytes, kNew, 0600)) {
        if (fd_ < 0)
            fail("stm_open");
    }
    ~Handle() { ::close(fd_); }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    [[nodiscard]] int fd() const { return fd_; }
    void enter() {
        const int old = std::exchange(fd_, stm_open(name_.c_str(), 0, 0, 0));
        if (fd_ < 0)
            fail("stm_open");
        ::close(old);
    }

private:
    std::string name_;
    int fd_;
};

template <typename Words, typename Body>
long in_transaction(int fd, Words words, Body body) {
    long result = 0;
    do {
        stm_start(fd);
        result = body(words);
    } while (stm_commit(fd) != 0);
    return result;
}

class Calls {
    struct Words {
        int fd;

        long load(std::size_t index) {
            long value = 0;
            if (::pread(fd, &value, sizeof(value), static_cast<off_t>(index * 8)) < 0)
                fail("pread");
            return value;
        }
        void store(std::size_t index, long value) {
            if (::pwrite(fd, &value, sizeof(value), static_cast<off_t>(index * 8)) < 0)
                fail("pwrite");
        }
        long sum(std::size_t first, std::size_t count) {
            long values[kAccounts];
            if (::pread(fd, values, count * 8, static_cast<off_t>(first * 8)) < 0)
                fail("pread");
            return std::accumulate(values, values + count, 0L);
        }
    };

public:
    Calls() : Calls(own_name("calls"), kBytes) {}
    Calls(const std::string& name, std::size_t bytes) : handle_(name, bytes) {}

    void enter() { handle_.enter(); }
    template <typename Body>
    long atomically(Body body) {
        return in_transaction(handle_.fd(), Words{handle_.fd()}, body);
    }
    template <typename Body>
    long read_only(Body body) {
        return atomically(body);
    }

private:
    Handle handle_;
};

// Several reads or writes in one call. The first reads begin the transaction. The last writes and
// the commit are one call: they are kept until the transaction ends, or until something is read.
class Vectored {
public:
    // What a body does after a conflict has no effect, so it may go on to its end with zeros.
    class Words {
    public:
        explicit Words(int fd) : fd_(fd) {}

        long load(std::size_t index) {
            long value = 0;
            const stm_piece piece = stm_read_piece(index * 8, &value, sizeof(value));
            read(&piece, 1);
            return value;
        }
        void store(std::size_t index, long value) {
            if (kept_ == std::size(pieces_))
                write_kept();
            values_[kept_] = value;
            pieces_[kept_] = stm_write_piece(index * 8, &values_[kept_], sizeof(value));
            ++kept_;
        }
        template <std::size_t kCount>
        void load_all(const std::size_t (&places)[kCount], long (&values)[kCount]) {
            stm_piece pieces[kCount];
            for (std::size_t i = 0; i < kCount; ++i)
                pieces[i] = stm_read_piece(places[i] * 8, &values[i], sizeof(values[i]));
            read(pieces, kCount);
        }
        template <std::size_t kCount>
        void store_all(const std::size_t (&places)[kCount], long (&values)[kCount]) {
            for (std::size_t i = 0; i < kCount; ++i)
                store(places[i], values[i]);
        }
        long sum(std::size_t first, std::size_t count) {
            long values[kAccounts];
            const stm_piece piece = stm_read_piece(first * 8, values, count * 8);
            read(&piece, 1);
            return std::accumulate(values, values + count, 0L);
        }
        // 0, or more after a conflict.
        int commit() {
            if (state_ == State::over)
                return 1;
            // Writes alone are a transaction of their own.
            const int ended = state_ == State::outside ? stm_access(fd_, pieces_, kept_)
                                                       : stm_access_and_commit(fd_, pieces_, kept_);
            if (ended < 0)
                fail("commit");
            return ended;
        }

    private:
        enum class State { outside, running, over };

        void read(const stm_piece* pieces, unsigned count) {
            write_kept();
            access(pieces, count);
        }
        void write_kept() {
            if (kept_ != 0)
                access(pieces_, kept_);
            kept_ = 0;
        }
        void access(const stm_piece* pieces, unsigned count) {
            if (state_ == State::over)
                return;
            const int done = state_ == State::outside ? stm_begin_access(fd_, pieces, count)
                                                      : stm_access(fd_, pieces, count);
            if (done == 0) {
                state_ = State::running;
                return;
            }
            if (errno != EAGAIN)
                fail("stm_access");
            stm_cancel(fd_);
            state_ = State::over;
        }

        int fd_;
        State state_ = State::outside;
        unsigned kept_ = 0;
        stm_piece pieces_[4];
        long values_[4];
    };

    void enter() { handle_.enter(); }
    template <typename Body>
    long atomically(Body body) {
        long result = 0;
        int ended = 0;
        do {
            Words words(handle_.fd());
            result = body(words);
            ended = words.commit();
        } while (ended > 0);
        return result;
    }
    template <typename Body>
    long read_only(Body body) {
        return atomically(body);
    }
    // One call is a transaction of its own.
    template <typename Body>
    long read_at_once(Body body) {
        Single words{handle_.fd()};
        return body(words);
    }

private:
    struct Single {
        int fd;

        template <std::size_t kCount>
        void load_all(const std::size_t (&places)[kCount], long (&values)[kCount]) {
            stm_piece pieces[kCount];
            for (std::size_t i = 0; i < kCount; ++i)
                pieces[i] = stm_read_piece(places[i] * 8, &values[i], sizeof(values[i]));
            read(pieces, kCount);
        }
        long sum(std::size_t first, std::size_t count) {
            long values[kAccounts];
            const stm_piece piece = stm_read_piece(first * 8, values, count * 8);
            read(&piece, 1);
            return std::accumulate(values, values + count, 0L);
        }
        void read(const stm_piece* pieces, unsigned count) const {
            if (stm_access(fd, pieces, count) < 0)
                fail("stm_access");
        }
    };

    Handle handle_{own_name("vectored"), kBytes};
};

class Mapped {
    struct Words {
        volatile long* memory;

        long load(std::size_t index) { return memory[index]; }
        void store(std::size_t index, long value) { memory[index] = value; }
        long sum(std::size_t first, std::size_t count) {
            const long* const words = const_cast<const long*>(memory);
            return std::accumulate(words + first, words + first + count, 0L);
        }
    };

public:
    explicit Mapped(const char* way = "mapped") : handle_(own_name(way), kBytes) { map(); }
    ~Mapped() { unmap(); }
    Mapped(const Mapped&) = delete;
    Mapped& operator=(const Mapped&) = delete;

    void enter() {
        unmap();
        handle_.enter();
        map();
    }
    template <typename Body>
    long atomically(Body body) {
        return in_transaction(handle_.fd(), Words{memory_}, body);
    }
    template <typename Body>
    long read_only(Body body) {
        return atomically(body);
    }

protected:
    [[nodiscard]] int fd() const { return handle_.fd(); }

private:
    void map() {
        void* const memory =
            ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, handle_.fd(), 0);
        if (memory == MAP_FAILED)
            fail("mmap");
        memory_ = static_cast<volatile long*>(memory);
    }
    void unmap() { ::munmap(const_cast<long*>(memory_), kBytes); }

    Handle handle_;
    volatile long* memory_ = nullptr;
};

// The same in a mapping that stays warm.
class Warm : public Mapped {
public:
    Warm() : Mapped("warm") { keep(); }
    void enter() {
        Mapped::enter();
        keep();
    }

private:
    void keep() {
        if (::stm_set_warm(fd(), 1) < 0)
            fail("stm_set_warm");
    }
};

} // namespace

std::unique_ptr<Contestant> make_calls() {
    return std::make_unique<ContestantOf<Calls>>();
}

std::unique_ptr<Contestant> make_calls_in(const std::string& region, std::size_t bytes) {
    return std::make_unique<ContestantOf<Calls>>(region, bytes);
}

std::unique_ptr<Contestant> make_vectored() {
    return std::make_unique<ContestantOf<Vectored>>();
}

std::unique_ptr<Contestant> make_warm() {
    return std::make_unique<ContestantOf<Warm>>();
}

std::unique_ptr<Contestant> make_mapped() {
    return std::make_unique<ContestantOf<Mapped>>();
}

} // namespace stm::bench
