// SPDX-License-Identifier: GPL-2.0
// mmap(), mremap(), remap_file_pages(), memory policies.
#include "rows.hpp"

#include <linux/mempolicy.h>
#include <sys/syscall.h>

namespace stm::test {

namespace {

constexpr std::size_t kBytes = Subject::kBytes;

std::string mapped(const void* result) {
    return result == MAP_FAILED ? said(-1) : "ok";
}

std::string map_again(Subject& subject, int protection, int flags) {
    return mapped(::mmap(nullptr, kBytes, protection, flags, subject.fd(), 0));
}

void* free_place(std::size_t bytes) {
    return ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

std::string shrink(Subject& subject) {
    const void* const result = ::mremap(subject.page(), kBytes, kBytes / 2, 0);
    if (result != MAP_FAILED)
        for (std::size_t page = Subject::kPages / 2; page < Subject::kPages; ++page)
            subject.is_now_at(page, nullptr);
    return mapped(result);
}

std::string move(Subject& subject, int more = 0) {
    void* const place = free_place(kBytes);
    void* const old = subject.page();
    void* const result = ::mremap(old, kBytes, kBytes, MREMAP_MAYMOVE | MREMAP_FIXED | more, place);
    if (result == MAP_FAILED)
        return said(-1);
    subject.all_are_now_at(result);
    if (more == 0)
        return "ok";
    return load(old) ? "ok, the old place has it too" : "ok, nothing is left at the old place";
}

std::string move_a_part(Subject& subject) {
    void* const result =
        ::mremap(subject.page(1), kPage, kPage, MREMAP_MAYMOVE | MREMAP_FIXED, free_place(kPage));
    if (result != MAP_FAILED)
        subject.is_now_at(1, result);
    return mapped(result);
}

std::string grow(Subject& subject, std::size_t from) {
    void* const result = ::mremap(subject.page(), from, kBytes + kPage, MREMAP_MAYMOVE);
    if (result != MAP_FAILED && from != 0)
        subject.all_are_now_at(result);
    return mapped(result);
}

std::string duplicate(Subject& subject) {
    void* const result = ::mremap(subject.page(), 0, kBytes, MREMAP_MAYMOVE);
    return mapped(result);
}

// Two mappings of the same memory, one behind the other, in one call.
std::string move_two(Subject& subject) {
    auto* const place = static_cast<char*>(free_place(2 * kBytes));
    const auto map_at = [&](char* where) {
        return ::mmap(where, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, subject.fd(),
                      0) == where;
    };
    if (!map_at(place + kBytes) || !map_at(place))
        return "mmap: " + said(-1);
    void* const result = ::mremap(place, 2 * kBytes, 2 * kBytes, MREMAP_MAYMOVE | MREMAP_FIXED,
                                  free_place(2 * kBytes));
    if (result != MAP_FAILED)
        subject.all_are_now_at(result);
    return mapped(result);
}

std::string shuffle(Subject& subject) {
    const long result = ::syscall(SYS_remap_file_pages, subject.page(0), kPage, 0, 1, 0);
    if (result != 0)
        return said(result);
    const bool shown = load(subject.page(0)) == subject.value(1);
    subject.is_now_at(0, nullptr);
    return shown ? "0, the first page shows the second" : "0, without effect";
}

// -- Memory policies. The guest has one node. --

std::string bind(Subject& subject, unsigned flags) {
    unsigned long nodes = 1;
    return said(
        ::syscall(SYS_mbind, subject.page(), kBytes, MPOL_BIND, &nodes, 8 * sizeof nodes, flags));
}

std::string node_of(Subject& subject) {
    int node = -1;
    const long result =
        ::syscall(SYS_get_mempolicy, &node, nullptr, 0, subject.page(), MPOL_F_NODE | MPOL_F_ADDR);
    return said(result) + (result == 0 ? ", node " + std::to_string(node) : "");
}

std::string page_status(Subject& subject, const int* node) {
    void* page = subject.page();
    int status = -1;
    const long result =
        ::syscall(SYS_move_pages, 0, 1, &page, node, &status, node == nullptr ? 0 : MPOL_MF_MOVE);
    if (status >= 0)
        return said(result) + ", node " + std::to_string(status);
    return said(result) + ", status " + ::strerrorname_np(-status);
}

constexpr int kFirstNode = 0;

} // namespace

Rows move_rows() {
    constexpr int kBoth = PROT_READ | PROT_WRITE;
    return {
        {"mmap(MAP_PRIVATE)", [](Subject& s) { return map_again(s, kBoth, MAP_PRIVATE); }},
        {"mmap(PROT_READ | PROT_EXEC)",
         [](Subject& s) { return map_again(s, PROT_READ | PROT_EXEC, MAP_SHARED); }},
        {"mmap(MAP_SHARED_VALIDATE | MAP_SYNC)",
         [](Subject& s) { return map_again(s, kBoth, MAP_SHARED_VALIDATE | MAP_SYNC); }},
        {"mmap(MAP_POPULATE)",
         [](Subject& s) { return map_again(s, kBoth, MAP_SHARED | MAP_POPULATE); }},
        {"mmap(MAP_LOCKED)",
         [](Subject& s) { return map_again(s, kBoth, MAP_SHARED | MAP_LOCKED); }},
        {"mmap(MAP_HUGETLB)",
         [](Subject& s) { return map_again(s, kBoth, MAP_SHARED | MAP_HUGETLB); }},
        {"mremap, shorter", shrink},
        {"mremap, longer", [](Subject& s) { return grow(s, kBytes); }},
        {"mremap, to another place", [](Subject& s) { return move(s); }},
        {"mremap, one page to another place", move_a_part},
        {"mremap, two mappings to another place", move_two},
        {"mremap, old length 0", duplicate},
        {"mremap(MREMAP_DONTUNMAP)", [](Subject& s) { return move(s, 4); }},
        {"remap_file_pages", shuffle},
        {"mbind(MPOL_BIND)", [](Subject& s) { return bind(s, 0); }},
        {"mbind(MPOL_BIND, MPOL_MF_STRICT | MPOL_MF_MOVE)",
         [](Subject& s) { return bind(s, MPOL_MF_STRICT | MPOL_MF_MOVE); }},
        {"get_mempolicy(MPOL_F_NODE | MPOL_F_ADDR)", node_of},
        {"move_pages, asking where", [](Subject& s) { return page_status(s, nullptr); }},
        {"move_pages, to the node where it is",
         [](Subject& s) { return page_status(s, &kFirstNode); }},
    };
}

} // namespace stm::test
