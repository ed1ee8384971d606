// SPDX-License-Identifier: GPL-2.0
// A sink that other threads fill, while more is read.
#pragma once

#include "contents.hpp"

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace stm::tools {

/**
 * Takes what is put, and lets threads of its own put it into the sink behind it: several at a time,
 * each another part, in any order. A put() waits while there are two pieces for each thread. What
 * that sink throws comes out of a later put(), or of finish(), without which nothing is sure to
 * have arrived. One thread uses it.
 *
 * Invariants: a piece is in full_, in empty_, or with one thread; busy_ counts those that the
 * threads of this object have. All but the pieces of others is under mutex_.
 */
class Behind : public Sink {
public:
    /** `most` is the largest size that is put. */
    Behind(Sink& sink, std::size_t most, unsigned threads)
        : sink_(sink), most_(most), left_(2 * threads) {
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
        changed_.wait(lock, [&] { return failure_ || !empty_.empty() || left_ > 0; });
        throw_failure();
        std::unique_ptr<Piece> piece;
        if (!empty_.empty()) {
            piece = std::move(empty_.back());
            empty_.pop_back();
        } else {
            --left_;
        }
        lock.unlock();
        if (!piece)
            piece = std::make_unique<Piece>(Piece{0, 0, std::vector<char>(most_)});
        piece->offset = offset;
        piece->size = size;
        std::memcpy(piece->data.data(), data, size);
        lock.lock();
        full_.push_back(std::move(piece));
        lock.unlock();
        changed_.notify_all();
    }
    void get(std::uint64_t offset, char* to, std::size_t size) override {
        finish();
        sink_.get(offset, to, size);
    }
    /** Returns when all that was put has arrived. */
    void finish() {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return failure_ || (full_.empty() && busy_ == 0); });
        throw_failure();
    }

private:
    struct Piece {
        std::uint64_t offset;
        std::size_t size;
        std::vector<char> data;
    };

    void throw_failure() const {
        if (failure_)
            std::rethrow_exception(failure_);
    }

    void work() {
        for (std::unique_lock lock(mutex_);;) {
            changed_.wait(lock, [&] { return ends_ || !full_.empty(); });
            if (ends_)
                return;
            std::unique_ptr<Piece> piece = std::move(full_.front());
            full_.pop_front();
            ++busy_;
            lock.unlock();
            std::exception_ptr failure;
            try {
                sink_.put(piece->offset, piece->data.data(), piece->size);
            } catch (...) {
                failure = std::current_exception();
            }
            lock.lock();
            --busy_;
            empty_.push_back(std::move(piece));
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
    std::size_t most_;
    std::deque<std::unique_ptr<Piece>> full_;
    std::vector<std::unique_ptr<Piece>> empty_;
    unsigned busy_ = 0;
    std::size_t left_; // pieces that may still be made
    std::mutex mutex_;
    std::condition_variable changed_;
    bool ends_ = false;
    std::exception_ptr failure_;
    std::vector<std::thread> threads_;
};

} // namespace stm::tools
