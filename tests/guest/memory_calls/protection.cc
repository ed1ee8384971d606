// SPDX-License-Identifier: GPL-2.0
// mprotect(), mlock(), mseal(), msync().
#include "rows.hpp"

namespace stm::test {

namespace {

constexpr long kMseal = 462;
constexpr int kBoth = PROT_READ | PROT_WRITE;

std::string sealed(const Subject& subject) {
    return said(::syscall(kMseal, subject.page(), Subject::kBytes, 0));
}

std::string protect(const Subject& subject, int protection) {
    return said(::mprotect(subject.page(), Subject::kBytes, protection));
}

// A protection that forbids something, what it forbids, and the mapping's own again.
std::string protect_and_back(Subject& subject, int protection) {
    std::string result = protect(subject, protection);
    if (result != "0")
        return result;
    result += load(subject.page()) ? "" : ", loads fail";
    result += store(subject.word(), 0) ? "" : ", stores fail";
    return result + "; back: " + protect(subject, kBoth);
}

std::string locked(const Subject& subject, long result) {
    return said(result) + (result != 0                      ? ""
                           : has_flag(subject.page(), "lo") ? ", locked"
                                                            : ", nothing is locked");
}

// What may still be done to a mapping that has been sealed.
std::string once_sealed(Subject& subject, const std::function<long(Subject&)>& call) {
    const std::string seal = sealed(subject);
    return seal == "0" ? said(call(subject)) : "mseal: " + seal;
}

} // namespace

Rows protection_rows() {
    return {
        {"mprotect(PROT_NONE) and back", [](Subject& s) { return protect_and_back(s, PROT_NONE); }},
        {"mprotect(PROT_READ) and back", [](Subject& s) { return protect_and_back(s, PROT_READ); }},
        {"mprotect(PROT_READ | PROT_EXEC) and back",
         [](Subject& s) { return protect_and_back(s, PROT_READ | PROT_EXEC); }},
        {"mlock", [](Subject& s) { return locked(s, ::mlock(s.page(), Subject::kBytes)); }},
        {"mlock2(MLOCK_ONFAULT)",
         [](Subject& s) { return locked(s, ::mlock2(s.page(), Subject::kBytes, MLOCK_ONFAULT)); }},
        {"mlockall(MCL_CURRENT)", [](Subject& s) { return locked(s, ::mlockall(MCL_CURRENT)); }},
        {"munlock", [](Subject& s) { return said(::munlock(s.page(), Subject::kBytes)); }},
        {"mseal", [](Subject& s) { return sealed(s); }},
        {"mseal, then munmap",
         [](Subject& s) {
             return once_sealed(s,
                                [](Subject& of) { return ::munmap(of.page(), Subject::kBytes); });
         }},
        {"mseal, then mprotect",
         [](Subject& s) {
             return once_sealed(
                 s, [](Subject& of) { return ::mprotect(of.page(), Subject::kBytes, PROT_READ); });
         }},
        {"mseal, then mremap",
         [](Subject& s) {
             return once_sealed(s, [](Subject& of) -> long {
                 return ::mremap(of.page(), Subject::kBytes, kPage, 0) == MAP_FAILED ? -1 : 0;
             });
         }},
        {"mseal, then MADV_DONTNEED",
         [](Subject& s) {
             return once_sealed(s, [](Subject& of) {
                 return ::madvise(of.page(), Subject::kBytes, MADV_DONTNEED);
             });
         }},
        {"msync(MS_SYNC)",
         [](Subject& s) { return said(::msync(s.page(), Subject::kBytes, MS_SYNC)); }},
        {"msync(MS_ASYNC)",
         [](Subject& s) { return said(::msync(s.page(), Subject::kBytes, MS_ASYNC)); }},
        {"msync(MS_INVALIDATE)",
         [](Subject& s) { return said(::msync(s.page(), Subject::kBytes, MS_INVALIDATE)); }},
    };
}

} // namespace stm::test
