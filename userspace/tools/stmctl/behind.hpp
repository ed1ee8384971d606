// SPDX-License-Identifier: GPL-2.0
// A sink that other threads fill, while more is read.
#pragma once

#include "contents.hpp"

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace stm::tools {

/**
 * Takes what is put at once, unless all its pieces are full, and lets threads of its own put it
 * into the sink behind it: several at a time, each another part, in any order. What that sink
 * throws comes out of a later put(), or of finish(), without which nothing is sure to have arrived.
 * One thread uses it.
 *
 * Invariants: put() alone touches a piece that is empty, and one of the threads alone one that is
 * busy; nobody one that is full. All but the pieces' offsets and bytes is under mutex_.
 */
class Behind : public Sink {
public:
    /** `most` is the largest size that is put. */
    Behind(Sink& sink, std::size_t most, unsigned threads) : sink_(sink), pieces_(2 * threads) {
        for (Piece& piece : pieces_)
            piece.data.resize(most);
        try {
            for (unsigned count = 0; count < threads; ++count)
                threads_.emplace_back([this] { work(); });
        } catch (...) {
            end();
            throw;
        }
    }
    ~Behind() override { end(); }
    Behind(const Behind&) = delete;

    void put(std::uint64_t offset, const char* data, std::size_t size) override {
        std::unique_lock lock(mutex_);
        Piece* piece = nullptr;
        changed_.wait(lock, [&] { return failure_ || (piece = find(State::empty)) != nullptr; });
        throw_failure();
        lock.unlock();
        piece->offset = offset;
        piece->size = size;
        std::memcpy(piece->data.data(), data, size);
        lock.lock();
        piece->state = State::full;
        lock.unlock();
        changed_.notify_all();
    }
    void rewind() override {
        finish();
        sink_.rewind();
    }
    /** Returns when all that was put has arrived. */
    void finish() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] {
            return failure_ || (find(State::full) == nullptr && find(State::busy) == nullptr);
        });
        throw_failure();
    }

private:
    enum class State { empty, full, busy };
    struct Piece {
        State state = State::empty;
        std::uint64_t offset = 0;
        std::size_t size = 0;
        std::vector<char> data;
    };

    Piece* find(State state) {
        for (Piece& piece : pieces_)
            if (piece.state == state)
                return &piece;
        return nullptr;
    }
    void throw_failure() const {
        if (failure_)
            std::rethrow_exception(failure_);
    }

    void work() {
        for (std::unique_lock lock(mutex_);;) {
            Piece* piece = nullptr;
            changed_.wait(lock, [&] { return ends_ || (piece = find(State::full)) != nullptr; });
            if (ends_)
                return;
            piece->state = State::busy;
            lock.unlock();
            std::exception_ptr failure;
            try {
                sink_.put(piece->offset, piece->data.data(), piece->size);
            } catch (...) {
                failure = std::current_exception();
            }
            lock.lock();
            piece->state = State::empty;
            if (failure)
                failure_ = failure;
            changed_.notify_all();
        }
    }

    void end() {
        {
            const std::lock_guard lock(mutex_);
            ends_ = true;
        }
        changed_.notify_all();
        for (std::thread& thread : threads_)
            thread.join();
    }

    Sink& sink_;
    std::vector<Piece> pieces_;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool ends_ = false;
    std::exception_ptr failure_;
    std::vector<std::thread> threads_;
};

} // namespace stm::tools
