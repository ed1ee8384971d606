// SPDX-License-Identifier: GPL-2.0
#include "tests/storm/board.hpp"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <sys/mman.h>
#include <unistd.h>

namespace stm::storm {

namespace {

void* map_board() {
    void* memory =
        ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED, kBoardDescriptor, 0);
    if (memory == MAP_FAILED) {
        std::perror("storm: the shared memory");
        std::exit(2);
    }
    return memory;
}

} // namespace

void Board::fail(const char* format, ...) {
    const unsigned index = failures.count.fetch_add(1);
    if (index >= Failures::kKept)
        return;
    std::va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(failures.text[index].data(), failures.text[index].size(), format, arguments);
    va_end(arguments);
}

Board* make_board() {
    const int file = ::memfd_create("storm", 0);
    if (file < 0 || ::dup2(file, kBoardDescriptor) < 0 ||
        ::ftruncate(kBoardDescriptor, sizeof(Board)) < 0) {
        std::perror("storm: the shared memory");
        std::exit(2);
    }
    ::close(file);
    return new (map_board()) Board;
}

Board* inherited_board() {
    return std::launder(static_cast<Board*>(map_board()));
}

} // namespace stm::storm
