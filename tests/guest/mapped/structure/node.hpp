// SPDX-License-Identifier: GPL-2.0
// The memory that the structures are made of: nodes, at the same address in all processes.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stm::test {

enum class Home : std::uint32_t { nowhere, list, tree, table, unused };

struct Node {
    std::uint32_t stamp; // the attempt that changed it last
    Home home;           // the structure it belongs to
    long key;
    Node* parent;   // of the list: the one before
    Node* child[2]; // of the list and the table: the next one is child[0]
    std::uint32_t red;
    std::uint32_t unused;
};

inline constexpr std::uintptr_t kBase = 0x250000000000;
inline constexpr std::size_t kSpacing = 2048; // two in a page
inline constexpr std::size_t kBuckets = 8;
inline constexpr std::size_t kKeys = 32;  // 0 to 31, each at most once in each structure
inline constexpr std::size_t kStock = 48; // nodes to hold them

// The first nodes hold no key: they are what the structures hang off.
inline constexpr std::size_t kList = 0;
inline constexpr std::size_t kTree = 1;
inline constexpr std::size_t kUnused = 2;
inline constexpr std::size_t kTable = 3;
inline constexpr std::size_t kFirst = kTable + kBuckets;
inline constexpr std::size_t kNodes = kFirst + kStock;
inline constexpr std::size_t kBytes = (kNodes * kSpacing + 4095) / 4096 * 4096;

static_assert(sizeof(Node) <= 64); // one stripe

inline Node* node(std::size_t index) {
    return reinterpret_cast<Node*>(kBase + index * kSpacing);
}

} // namespace stm::test
