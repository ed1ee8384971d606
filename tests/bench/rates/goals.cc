// SPDX-License-Identifier: GPL-2.0
#include "goals.hpp"

#include <tuple>

namespace stm::bench {
namespace {

constexpr std::size_t kMega = std::size_t{1} << 20;

Setup typed(const Work& work, std::size_t workers) {
    return {"typed", make_typed, work, workers};
}
Setup typed_of(std::size_t bytes, const Work& work) {
    return {"typed, " + std::to_string(bytes / kMega) + " MiB",
            [bytes] { return make_typed_in(own_name("sized"), bytes); }, work};
}
Setup attached(unsigned processes, const Work& work) {
    return {"typed, " + std::to_string(processes) + " attached",
            [processes] { return make_attached(processes - 1); }, work};
}
Setup beside_open(unsigned others, bool is_typed) {
    return {(is_typed ? "typed, " : "calls, ") + std::to_string(others) + " open",
            [others, is_typed] { return make_beside_open(others, is_typed); }, kBank};
}
Setup direct(const Work& work, std::size_t workers) {
    return {"direct", make_direct, work, workers};
}
Setup libitm(const Work& work, std::size_t workers) {
    return {"libitm", make_libitm, work, workers, Workers::threads};
}
Setup halves(unsigned regions) {
    return {std::to_string(regions) + (regions == 1 ? " region" : " regions"),
            [regions] { return make_halves(regions); }, kBank};
}
Setup allocating(std::size_t workers) {
    return {"allocating", make_allocating,    kHotCounter,
            workers,      Workers::processes, Setup::Sums::not_checked};
}

Setup scan(Job job, Company company) {
    return {std::string(job == Job::scan ? "a scan" : "a writer") +
                (company == Company::none ? " alone" : " beside the other"),
            [job, company] { return make_scan(job, company); },
            kHotCounter,
            1,
            Workers::processes,
            Setup::Sums::not_checked};
}

// Readers of many pages beside a writer. Turns are long enough for some scans.
void add_scans(std::vector<Goal>& goals) {
    constexpr unsigned kStretch = 10;
    for (const auto& [name, job, least] :
         {std::tuple{"scan of 64 MiB beside a writer to one alone", Job::scan, 1 / 1.3},
          std::tuple{"writer of a word beside scans of 64 MiB to one alone", Job::write, 0.8}})
        goals.push_back({name, scan(job, Company::none), scan(job, Company::present), least,
                         kStretch, Goal::In::time});
}

// Direct regions, beside what people use instead.
void add_direct(std::vector<Goal>& goals) {
    constexpr Work kHashSet{"hash-set-20", Kind::hash_set, 2};
    constexpr Work kOrderedMap{"ordered-map-20", Kind::ordered_map, 2};
    const auto add = [&](const char* name, const Setup& base, const Setup& variant, double least) {
        goals.push_back({std::string("direct: ") + name, base, variant, least});
    };
    add("bank to the one of a protected region", typed(kBank, 1), direct(kBank, 1), 5);
    add("bank to a robust mutex's with undo log, 2 processes",
        {"mutex-undo", make_mutex_undo, kBank, 2}, direct(kBank, 2), 1);
    add("disjoint counters, 2 processes to 1", direct(kDisjoint, 1), direct(kDisjoint, 2), 1.8);
    add("bank with 20 % sums to libitm's, 2 processes", libitm(kBankWithSums, 2),
        direct(kBankWithSums, 2), 10);
    add("hash set to libitm's, 2 processes", libitm(kHashSet, 2), direct(kHashSet, 2), 5);
    add("ordered map to libitm's, 2 processes", libitm(kOrderedMap, 2), direct(kOrderedMap, 2), 5);
#ifdef STM_BENCH_BOOST
    add("hash set to Boost.Interprocess', 2 processes", {"boost", make_boost, kHashSet, 2},
        direct(kHashSet, 2), 1.5);
    add("ordered map to Boost.Interprocess', 2 processes", {"boost", make_boost, kOrderedMap, 2},
        direct(kOrderedMap, 2), 1.5);
#endif
}

} // namespace

std::vector<Goal> all_goals() {
    const Setup lmdb_reads{"lmdb", make_lmdb, kReadOnly8, 1};
    const Setup lmdb_bank{"lmdb", make_lmdb, kBank, 1};
    const Setup lmdb_vacation{"lmdb", make_lmdb, kVacation, 1};
    const Setup lmdb_bank_2{"lmdb", make_lmdb, kBank, 2};
    const Setup mutex_reads_2{"mutex", make_mutex, kReadOnly8, 2};
    std::vector<Goal> goals{
        {"read-only of 8 words to LMDB's", lmdb_reads, typed(kReadOnly8, 1), 30},
        {"read-only of 8 words to a robust mutex's, 2 processes", mutex_reads_2,
         typed(kReadOnly8, 2), 1.0},
        {"bank to LMDB's", lmdb_bank, typed(kBank, 1), 4},
        {"bank to LMDB's, 2 processes", lmdb_bank_2, typed(kBank, 2), 6},
        {"disjoint counters, 2 processes to 1", typed(kDisjoint, 1), typed(kDisjoint, 2), 1.8},
        {"blocks allocated and freed, 2 processes to 1", allocating(1), allocating(2), 1.6},
        {"STAMP's vacation in a warm mapping to LMDB's",
         lmdb_vacation,
         {"warm", make_warm, kVacation},
         2},
        {"bank-2r2w over two regions to one", halves(1), halves(2), 1 / 1.15},
        {"bank in a region of 4 GiB to 1 MiB", typed_of(kMega, kBank),
         typed_of(4096 * kMega, kBank), 0.98},
        {"read-only of 8 words in a region of 4 GiB to 1 MiB", typed_of(kMega, kReadOnly8),
         typed_of(4096 * kMega, kReadOnly8), 0.98},
        {"bank with 256 processes attached to 1", attached(1, kBank), attached(256, kBank), 0.98},
        {"read-only of 8 words with 256 processes attached to 1", attached(1, kReadOnly8),
         attached(256, kReadOnly8), 0.98},
        {"bank beside 64 open transactions to none", beside_open(0, true), beside_open(64, true),
         0.99, 5},
        {"bank by calls beside 64 open transactions to none", beside_open(0, false),
         beside_open(64, false), 0.99, 5},
    };
    add_scans(goals);
    add_direct(goals);
    return goals;
}

} // namespace stm::bench
