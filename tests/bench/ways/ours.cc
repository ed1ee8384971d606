// SPDX-License-Identifier: GPL-2.0
#include "way.hpp"

#include <cerrno>
#include <numeric>
#include <stm/stm.h>
#include <stm/tx.h>
#include <sys/mman.h>
#include <system_error>
#include <unistd.h>

namespace stm::bench {
namespace {

[[noreturn]] void fail(const char* what) {
    throw std::system_error(errno, std::generic_category(), what);
}

std::string own_name(const char* way) {
    return "ways_bench:" + std::to_string(::getpid()) + ":" + way;
}

// -- Typed --

class Typed {
    // What a body does after a conflict has no effect, so it may go on to its end with zeros.
    class Words {
    public:
        Words(stm_tx* tx, stm_region* region) : tx_(tx), region_(region) {}

        [[nodiscard]] long load(std::size_t index) const {
            std::uint64_t value;
            if (stm_tx_load_word(tx_, region_, index * 8, &value) < 0)
                fail("stm_tx_load_word");
            return static_cast<long>(value);
        }
        void store(std::size_t index, long value) {
            if (stm_tx_store(tx_, region_, index * 8, &value, sizeof(value)) < 0)
                fail("stm_tx_store");
        }
        long sum(std::size_t first, std::size_t count) {
            long values[kAccounts];
            if (stm_tx_load(tx_, region_, first * 8, values, count * 8) < 0)
                fail("stm_tx_load");
            return std::accumulate(values, values + count, 0L);
        }

    private:
        stm_tx* tx_;
        stm_region* region_;
    };
    // The same in a transaction that only reads.
    class Reader : public Words {
    public:
        Reader(stm_tx* tx, stm_region* region) : Words(tx, region), view_(stm_tx_view_of(tx)) {}

        [[nodiscard]] long load(std::size_t index) const {
            std::uint64_t value;
            if (stm_tx_view_load_word(&view_, index * 8, &value) < 0)
                fail("stm_tx_view_load_word");
            return static_cast<long>(value);
        }

    private:
        stm_tx_view view_;
    };

public:
    Typed()
        : region_(stm_region_open(own_name("typed").c_str(), kBytes,
                                  STM_CREATE | STM_EXCL | STM_EPHEMERAL, 0600)) {
        if (region_ == nullptr)
            fail("stm_region_open");
    }
    ~Typed() { stm_region_close(region_); }
    Typed(const Typed&) = delete;
    Typed& operator=(const Typed&) = delete;

    template <typename Body>
    long atomically(Body body) {
        return run<Words>(body, 0);
    }
    template <typename Body>
    long read_only(Body body) {
        return run<Reader>(body, STM_TX_READ_ONLY);
    }

private:
    template <typename View, typename Body>
    long run(Body body, int flags) {
        stm_tx* const tx = stm_tx_begin(region_, flags);
        if (tx == nullptr)
            fail("stm_tx_begin");
        long result = 0;
        int ended = 0;
        do {
            View view(tx, region_);
            result = body(view);
            ended = stm_tx_commit(tx);
        } while (ended > 0);
        if (ended < 0)
            fail("stm_tx_commit");
        return result;
    }

    stm_region* region_;
};

// -- By calls, and in a mapping --

class Handle {
public:
    explicit Handle(const char* name)
        : fd_(stm_open(own_name(name).c_str(), kBytes, STM_CREATE | STM_EXCL | STM_EPHEMERAL,
                       0600)) {
        if (fd_ < 0)
            fail("stm_open");
    }
    ~Handle() { ::close(fd_); }
    Handle(const Handle&) = delete;
    Handle& operator=(const Handle&) = delete;
    [[nodiscard]] int fd() const { return fd_; }

private:
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
    template <typename Body>
    long atomically(Body body) {
        return in_transaction(handle_.fd(), Words{handle_.fd()}, body);
    }
    template <typename Body>
    long read_only(Body body) {
        return atomically(body);
    }

private:
    Handle handle_{"calls"};
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
    Mapped() {
        void* const memory =
            ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, handle_.fd(), 0);
        if (memory == MAP_FAILED)
            fail("mmap");
        memory_ = static_cast<volatile long*>(memory);
    }
    ~Mapped() { ::munmap(const_cast<long*>(memory_), kBytes); }
    Mapped(const Mapped&) = delete;
    Mapped& operator=(const Mapped&) = delete;

    template <typename Body>
    long atomically(Body body) {
        return in_transaction(handle_.fd(), Words{memory_}, body);
    }
    template <typename Body>
    long read_only(Body body) {
        return atomically(body);
    }

private:
    Handle handle_{"mapped"};
    volatile long* memory_;
};

} // namespace

std::unique_ptr<Contestant> make_typed() {
    return std::make_unique<ContestantOf<Typed>>();
}

std::unique_ptr<Contestant> make_calls() {
    return std::make_unique<ContestantOf<Calls>>();
}

std::unique_ptr<Contestant> make_mapped() {
    return std::make_unique<ContestantOf<Mapped>>();
}

} // namespace stm::bench
