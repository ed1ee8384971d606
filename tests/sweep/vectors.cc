// SPDX-License-Identifier: GPL-2.0
// Sites: several reads and writes in one call, alone and as a part of a transaction.
#include "transaction.hpp"

namespace stm::sweep {
namespace {

using test::kPage;

const std::set<int> kErrors{ENOMEM, EFAULT};
// Pages that nobody has touched yet, with ownership records in different pages.
constexpr std::size_t kPlaces[] = {0, 9 * kPage, 17 * kPage, 40 * kPage};
constexpr std::size_t kEach = 48;

struct Pieces {
    std::vector<struct stm_vector_piece> all;
    std::vector<char> read; // what comes in; what goes out is Try::buffer
    std::size_t bytes = 0;  // of each piece
};
Pieces pieces;

// For each place a write, and then a read of what it has written.
void prepare_pieces(Try& attempt, std::size_t bytes) {
    pieces.all.clear();
    pieces.read.assign(std::size(kPlaces) * bytes, 0);
    pieces.bytes = bytes;
    char* to = pieces.read.data();
    for (const std::size_t place : kPlaces) {
        struct stm_vector_piece piece {};
        piece.offset = place;
        piece.bytes = static_cast<unsigned>(bytes);
        piece.address = reinterpret_cast<std::uintptr_t>(attempt.buffer.data());
        piece.flags = STM_PIECE_WRITE;
        pieces.all.push_back(piece);
        piece.address = reinterpret_cast<std::uintptr_t>(to);
        piece.flags = 0;
        pieces.all.push_back(piece);
        to += bytes;
    }
}

// As many as need memory for their list, and for the bytes.
void prepare_many(Try& attempt) {
    prepare_pieces(attempt, 6 * kPage);
    while (pieces.all.size() < 40) {
        pieces.all.push_back(pieces.all.back());
        pieces.all.back().bytes = 0;
    }
}

int access(Try& attempt, unsigned flags) {
    auto vector = test::make<struct stm_vector>(flags);
    vector.pieces = reinterpret_cast<std::uintptr_t>(pieces.all.data());
    vector.count = static_cast<unsigned>(pieces.all.size());
    return test::request(attempt.fd.get(), STM_IOC_VECTOR, &vector);
}

// A transaction is ended as the library does it. One without memory the sweep looks at itself.
int end_after(Try& attempt, int error) {
    if (error != 0 && error != ENOMEM && depth_of(attempt.fd) != 0)
        cancel(attempt);
    return error;
}

void expect_pieces(Try& attempt) {
    attempt.expect(pieces.read == std::vector<char>(pieces.read.size(), 'b'),
                   "a piece did not read what the one before it wrote");
    const std::vector<char> now = attempt.contents();
    for (const std::size_t place : kPlaces)
        attempt.expect(std::vector<char>(now.begin() + static_cast<long>(place),
                                         now.begin() + static_cast<long>(place + pieces.bytes)) ==
                           std::vector<char>(pieces.bytes, 'b'),
                       "what was written is not there");
}

void add_vectors(const Kind& kind) {
    const auto vectors = [&](const char* way, std::function<void(Try&)> prepare,
                             std::function<int(Try&)> act, bool ends) {
        add({.entry = "ioctl:STM_IOC_VECTOR",
             .region = kind.name,
             .way = way,
             .flags = kind.flags,
             .errors = kErrors,
             .prepare = std::move(prepare),
             .act = std::move(act),
             .done = expect_pieces,
             .ends_transaction = ends});
    };
    const auto alone = [](Try& attempt) { return access(attempt, 0); };
    const auto with_commit = [](Try& attempt) {
        return end_after(attempt, access(attempt, STM_VECTOR_COMMIT));
    };
    vectors(
        "alone", [](Try& attempt) { prepare_pieces(attempt, kEach); }, alone, false);
    vectors("alone,large", prepare_many, alone, false);
    vectors(
        "with-commit",
        [](Try& attempt) {
            start(attempt);
            prepare_pieces(attempt, kEach);
        },
        with_commit, true);
    vectors(
        "with-commit,large",
        [](Try& attempt) {
            start(attempt);
            prepare_many(attempt);
        },
        with_commit, true);
    vectors(
        "with-commit,mapped",
        [](Try& attempt) {
            if (!attempt.map)
                attempt.map_all();
            start(attempt);
            for (const std::size_t place : kPlaces)
                *attempt.at(place + kPage - 1) = 'm';
            prepare_pieces(attempt, kEach);
        },
        with_commit, true);
    const auto inside = [&](const char* way, std::function<void(Try&)> prepare) {
        add({.entry = "ioctl:STM_IOC_VECTOR",
             .region = kind.name,
             .way = way,
             .flags = kind.flags,
             .errors = kErrors,
             .prepare =
                 [=](Try& attempt) {
                     start(attempt);
                     prepare(attempt);
                 },
             .act = [](Try& attempt) { return end_after(attempt, access(attempt, 0)); },
             .done =
                 [](Try& attempt) {
                     commit(attempt);
                     expect_pieces(attempt);
                 },
             .ends_transaction = true});
    };
    inside("in-transaction", [](Try& attempt) { prepare_pieces(attempt, kEach); });
    inside("in-transaction,large", prepare_many);
}

[[maybe_unused]] const int added = [] {
    for (const Kind& kind : kTransactionKinds)
        add_vectors(kind);
    return 0;
}();

} // namespace
} // namespace stm::sweep
