// SPDX-License-Identifier: GPL-2.0
// madvise(), each advice on the whole mapping.
#include "rows.hpp"

#include <fstream>

namespace stm::test {

bool has_flag(const void* address, const std::string& letters) {
    std::ifstream smaps("/proc/self/smaps");
    const auto wanted = reinterpret_cast<std::uintptr_t>(address);
    bool found = false;
    for (std::string line; std::getline(smaps, line);) {
        unsigned long first = 0, last = 0;
        if (std::sscanf(line.c_str(), "%lx-%lx ", &first, &last) == 2)
            found = wanted >= first && wanted < last;
        else if (found && line.rfind("VmFlags:", 0) == 0)
            return line.find(" " + letters) != std::string::npos;
    }
    return false;
}

namespace {

std::string advised(const Subject& subject, int advice) {
    return said(::madvise(subject.page(), Subject::kBytes, advice));
}

std::string seen_by_a_child(const Subject& subject) {
    return in_child(
        [&] { return load(subject.page()) ? ", a child has it" : ", a child does not have it"; });
}

std::string dumped(const Subject& subject) {
    return has_flag(subject.page(), "dd") ? ", not in core files" : ", in core files";
}

struct Advice {
    const char* name;
    int number;
    std::string (*effect)(const Subject&) = nullptr;
};

// Numbers where the headers of an older system have no name.
constexpr Advice kAdvice[] = {
    {"MADV_NORMAL", 0},
    {"MADV_RANDOM", 1},
    {"MADV_SEQUENTIAL", 2},
    {"MADV_WILLNEED", 3},
    {"MADV_DONTNEED", 4},
    {"MADV_DONTNEED_LOCKED", 24},
    {"MADV_FREE", 8},
    {"MADV_REMOVE", 9},
    {"MADV_DONTFORK", 10, seen_by_a_child},
    {"MADV_KEEPONFORK", 19, seen_by_a_child},
    {"MADV_WIPEONFORK", 18, seen_by_a_child},
    {"MADV_DONTDUMP", 16, dumped},
    {"MADV_DODUMP", 17, dumped},
    {"MADV_MERGEABLE", 12},
    {"MADV_UNMERGEABLE", 13},
    {"MADV_HUGEPAGE", 14},
    {"MADV_NOHUGEPAGE", 15},
    {"MADV_COLLAPSE", 25},
    {"MADV_COLD", 20},
    {"MADV_PAGEOUT", 21},
    {"MADV_POPULATE_READ", 22},
    {"MADV_POPULATE_WRITE", 23},
    {"MADV_GUARD_INSTALL", 102},
    {"MADV_GUARD_REMOVE", 103},
};

} // namespace

Rows advice_rows() {
    Rows rows;
    for (const Advice& advice : kAdvice)
        rows.push_back({advice.name, [advice](Subject& subject) {
                            const std::string result = advised(subject, advice.number);
                            return advice.effect == nullptr ? result
                                                            : result + advice.effect(subject);
                        }});
    rows.push_back({"MADV_DOFORK after MADV_DONTFORK", [](Subject& subject) {
                        (void)advised(subject, MADV_DONTFORK);
                        const std::string result = advised(subject, MADV_DOFORK);
                        return result + seen_by_a_child(subject);
                    }});
    rows.push_back({"MADV_DONTFORK, then mmap(MAP_FIXED) of the same", [](Subject& subject) {
                        (void)advised(subject, MADV_DONTFORK);
                        const void* const again =
                            ::mmap(subject.page(), Subject::kBytes, PROT_READ | PROT_WRITE,
                                   MAP_SHARED | MAP_FIXED, subject.fd(), 0);
                        const std::string result = again == subject.page() ? "ok" : said(-1);
                        return result + seen_by_a_child(subject);
                    }});
    return rows;
}

} // namespace stm::test
