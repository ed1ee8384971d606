// SPDX-License-Identifier: GPL-2.0
// A gene is put together from short pieces of it that overlap, many of them more than once: a set
// of the pieces, then pairs that overlap most, then less and less. Its transactions are short and
// touch a few places of large tables.
#pragma once

#include "application.hpp"

#include <algorithm>
#include <vector>

namespace stm::stamp {

class Genome {
public:
    static constexpr const char* kName = "genome";

    // A piece is 32 nucleotides of two bits, the first ones in the highest bits.
    explicit Genome(unsigned size) {
        Random random(5);
        for (u64 at = 0; at < 1024 * size; ++at)
            gene_.push_back(static_cast<unsigned char>(random.below(4)));
        const u64 last = gene_.size() - kLength;
        for (u64 at = 0; at < last; at += 1 + random.below(kLength - kLeast))
            pieces_.push_back(piece_at(at));
        pieces_.push_back(piece_at(last));
        for (u64 more = pieces_.size() * 3; more > 0; --more)
            pieces_.push_back(pieces_[random.below(pieces_.size())]);
        for (u64 at = pieces_.size(); at > 1; --at)
            std::swap(pieces_[at - 1], pieces_[random.below(at)]);
    }

    struct Piece {
        var<u64> text, overlap; // with the next one
        var<ptr<Piece>> next, before;
        var<ptr<Piece>> in_list; // of the worker who found it
    };
    using Pieces = Map<Piece, 2048>;
    struct Found {
        var<ptr<Piece>> piece;
    };
    struct Shared {
        Heap heaps[kMaxWorkers + 1];
        Pieces set;
        Map<Found, 4096> beginnings; // by their length and text
        struct alignas(4096) List {
            var<ptr<Piece>> first;
        } lists[kMaxWorkers];
    };

    template <typename Way>
    void fill(Way&, Shared&) const {}

    template <typename Way>
    void work(Way& way, Shared& shared, unsigned worker, unsigned workers) const {
        Heap& heap = shared.heaps[worker];
        std::vector<ptr<Piece>> mine;
        for (u64 at = worker; at < pieces_.size(); at += workers) {
            const u64 text = pieces_[at];
            const ptr<Piece> made = way.atomically(
                [&](auto& tx) { return add(tx, shared, heap, shared.lists[worker], text); });
            if (made)
                mine.push_back(made);
        }
        for (u64 length = kLength - 1; length >= kLeast; --length) {
            way.barrier();
            for (const ptr<Piece> piece : mine)
                way.atomically([&](auto& tx) {
                    const ptr<Piece> before = tx[tx[piece].before];
                    const u64 text = tx[tx[piece].text];
                    const u64 key = key_of(text >> 2 * (kLength - length), length);
                    if (before || shared.beginnings.find(tx, key))
                        return;
                    const auto made = shared.beginnings.add(tx, heap, key);
                    tx[tx[made].value.piece] = piece;
                });
            way.barrier();
            for (const ptr<Piece> piece : mine)
                way.atomically([&](auto& tx) {
                    const ptr<Piece> next = tx[tx[piece].next];
                    if (next)
                        return;
                    const u64 text = tx[tx[piece].text];
                    const u64 end = text & ((u64{1} << 2 * length) - 1);
                    const auto found = shared.beginnings.find(tx, key_of(end, length));
                    if (!found)
                        return;
                    const ptr<Piece> other = tx[tx[found].value.piece];
                    const ptr<Piece> its_before = tx[tx[other].before];
                    if (its_before || other == piece)
                        return;
                    tx[tx[piece].next] = other;
                    tx[tx[piece].overlap] = length;
                    tx[tx[other].before] = piece;
                });
        }
    }

    /** Whether what was put together is the gene, with the number of its pieces. */
    template <typename Way>
    u64 result(Way& way, Shared& shared) const {
        std::vector<unsigned char> made;
        u64 count = 0;
        for (auto& list : shared.lists) {
            ptr<Piece> piece = way.read_only([&](auto& tx) {
                const ptr<Piece> first = tx[list.first];
                return first;
            });
            while (piece)
                piece = way.read_only([&](auto& tx) {
                    const ptr<Piece> before = tx[tx[piece].before];
                    const ptr<Piece> following = tx[tx[piece].in_list];
                    if (!before) {
                        made.clear();
                        count = 0;
                        put_together(tx, piece, made, count);
                    }
                    return following;
                });
        }
        return made == gene_ ? count : 0;
    }

private:
    static constexpr u64 kLength = 32;
    static constexpr u64 kLeast = 16; // that two pieces have in common

    [[nodiscard]] u64 piece_at(u64 at) const {
        u64 text = 0;
        for (u64 nucleotide = at; nucleotide < at + kLength; ++nucleotide)
            text = text << 2 | gene_[nucleotide];
        return text;
    }
    static constexpr u64 key_of(u64 text, u64 length) { return mix(text) * 64 + length; }

    // The piece, if it is a new one.
    template <typename Tx>
    static ptr<Piece> add(Tx& tx, Shared& shared, Heap& heap, Shared::List& list, u64 text) {
        if (shared.set.find(tx, text))
            return {};
        const auto node = shared.set.add(tx, heap, text);
        const ptr<Piece> piece(node.offset() + offsetof(Pieces::Node, value));
        const ptr<Piece> first = tx[list.first];
        tx[tx[piece].text] = text;
        tx[tx[piece].overlap] = u64{0};
        tx[tx[piece].next] = ptr<Piece>();
        tx[tx[piece].before] = ptr<Piece>();
        tx[tx[piece].in_list] = first;
        tx[list.first] = piece;
        return piece;
    }

    template <typename Tx>
    static void put_together(Tx& tx, ptr<Piece> piece, std::vector<unsigned char>& made,
                             u64& count) {
        for (u64 skip = 0; piece; ++count) {
            const u64 text = tx[tx[piece].text];
            for (u64 at = skip; at < kLength; ++at)
                made.push_back(static_cast<unsigned char>(text >> 2 * (kLength - 1 - at) & 3));
            const u64 overlap = tx[tx[piece].overlap];
            skip = overlap;
            piece = tx[tx[piece].next];
        }
    }

    std::vector<unsigned char> gene_;
    std::vector<u64> pieces_;
};

} // namespace stm::stamp
