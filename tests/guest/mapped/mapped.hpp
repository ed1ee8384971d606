// SPDX-License-Identifier: GPL-2.0
// What the tests of transactions in mappings share.
#pragma once

#include "transactions.hpp"

namespace stm::test {

/** An open file of a region of its own, and its mapping. Numbers are counted from the region's
 * start. */
class View {
public:
    View(const std::string& name, std::size_t size)
        : fd_(stm_open(name.c_str(), 0, 0, 0)), map_(fd_.get(), size) {
        EXPECT_TRUE(map_.ok()) << std::strerror(errno);
    }
    [[nodiscard]] int fd() const { return fd_.get(); }
    /** The number at that many bytes from the start. What is loaded may change with every load. */
    [[nodiscard]] volatile long& operator[](std::size_t at) const {
        return *map_.at<volatile long>(at);
    }
    [[nodiscard]] char* bytes(std::size_t at = 0) const { return map_.at(at); }
    [[nodiscard]] Mapping& mapping() { return map_; }
    void close() { fd_.reset(); }

private:
    Fd fd_;
    Mapping map_;
};

/** A transactional region of its own for each test, mapped. */
class Mapped : public ::testing::Test {
protected:
    explicit Mapped(std::size_t size = 64 * kPage)
        : size_(size), region_("mapped", size, kTransactional), view_(region_.name(), size) {}
    void SetUp() override { ASSERT_TRUE(view_.mapping().ok()); }

    [[nodiscard]] int fd() const { return view_.fd(); }
    [[nodiscard]] volatile long& number(std::size_t at) const { return view_[at]; }
    [[nodiscard]] char* bytes(std::size_t at = 0) const { return view_.bytes(at); }
    /** One more handle and mapping, for another process or thread. */
    [[nodiscard]] View another() const { return View(region_.name(), size_); }

    std::size_t size_;
    Region region_;
    View view_;
};

/** A store, as one transaction. */
inline void store(const View& view, std::size_t at, long value) {
    do {
        stm_start(view.fd());
        view[at] = value;
    } while (stm_commit(view.fd()) != 0);
}

} // namespace stm::test
