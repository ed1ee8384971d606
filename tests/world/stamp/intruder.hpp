// SPDX-License-Identifier: GPL-2.0
// A detector of intrusions: packets come in any order, are joined to flows, and the flows searched
// for what attackers send. Short transactions, and two queues that everybody wants.
#pragma once

#include "application.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace stm::stamp {

class Intruder {
public:
    static constexpr const char* kName = "intruder";
    static constexpr u64 kMostPieces = 8;

    explicit Intruder(unsigned size) {
        Random random(11);
        for (u64 flow = 0; flow < 128 * size; ++flow) {
            std::string text;
            for (u64 length = 64 + random.below(192); text.size() < length;)
                text += static_cast<char>('a' + random.below(26));
            if (random.below(10) == 0)
                text.replace(random.below(text.size() - kAttack.size()), kAttack.size(), kAttack);
            const u64 pieces = 1 + random.below(kMostPieces);
            for (u64 piece = 0; piece < pieces; ++piece) {
                const u64 begin = text.size() * piece / pieces;
                const u64 end = text.size() * (piece + 1) / pieces;
                packets_.push_back({flow, piece, pieces, text.substr(begin, end - begin)});
            }
        }
        for (u64 at = packets_.size(); at > 1; --at)
            std::swap(packets_[at - 1], packets_[random.below(at)]);
    }

    struct Piece {
        var<u64> packet;
        var<ptr<Piece>> next;
    };
    struct Flow {
        var<u64> there;
        var<ptr<Piece>> pieces;
    };
    struct Shared {
        Heap heaps[kMaxWorkers + 1];
        struct alignas(4096) {
            var<u64> captured; // packets that somebody has taken
        } capture;
        struct alignas(4096) {
            Queue<ptr<Piece>> flows; // whole ones
        } decoded;
        struct alignas(4096) {
            var<u64> flows, attacks;
        } found;
        Map<Flow, 512> flows;
    };

    template <typename Way>
    void fill(Way&, Shared&) const {}

    template <typename Way>
    void work(Way& way, Shared& shared, unsigned worker, unsigned) const {
        Heap& heap = shared.heaps[worker];
        u64 flows = 0, attacks = 0;
        for (;;) {
            const u64 taken = way.atomically([&](auto& tx) {
                const u64 at = tx[shared.capture.captured];
                if (at < packets_.size())
                    tx[shared.capture.captured] = at + 1;
                return at;
            });
            if (taken >= packets_.size())
                break;
            way.atomically([&](auto& tx) { decode(tx, shared, heap, taken); });
            const Decoded decoded =
                way.atomically([&](auto& tx) { return take(tx, shared, heap); });
            if (decoded.pieces != 0) {
                ++flows;
                attacks += is_attack(decoded) ? 1 : 0;
            }
        }
        way.atomically([&](auto& tx) {
            const u64 all_flows = tx[shared.found.flows], all_attacks = tx[shared.found.attacks];
            tx[shared.found.flows] = all_flows + flows;
            tx[shared.found.attacks] = all_attacks + attacks;
        });
    }

    template <typename Way>
    u64 result(Way& way, Shared& shared) const {
        return way.read_only([&](auto& tx) {
            const u64 flows = tx[shared.found.flows], attacks = tx[shared.found.attacks];
            return flows * 1000000 + attacks;
        });
    }

private:
    static inline const std::string kAttack = "ATTACK";

    struct Packet {
        u64 flow, piece, pieces;
        std::string text;
    };
    struct Decoded {
        u64 packets[kMostPieces];
        u64 pieces;
    };

    template <typename Tx>
    void decode(Tx& tx, Shared& shared, Heap& heap, u64 at) const {
        const Packet& packet = packets_[at];
        auto flow = shared.flows.find(tx, packet.flow);
        u64 there = 0;
        ptr<Piece> others;
        if (flow) {
            const u64 its_there = tx[tx[flow].value.there];
            there = its_there;
            others = tx[tx[flow].value.pieces];
        } else if (packet.pieces > 1) {
            flow = shared.flows.add(tx, heap, packet.flow);
        }
        const ptr<Piece> made = heap.allocate<Piece>(tx);
        tx[tx[made].packet] = at;
        tx[tx[made].next] = others;
        if (there + 1 < packet.pieces) {
            tx[tx[flow].value.there] = there + 1;
            tx[tx[flow].value.pieces] = made;
            return;
        }
        if (flow)
            shared.flows.remove(tx, heap, flow);
        shared.decoded.flows.push(tx, heap, made);
    }

    template <typename Tx>
    Decoded take(Tx& tx, Shared& shared, Heap& heap) const {
        Decoded decoded{};
        ptr<Piece> piece;
        if (!shared.decoded.flows.pop(tx, heap, piece))
            return decoded;
        while (piece) {
            const u64 packet = tx[tx[piece].packet];
            const ptr<Piece> following = tx[tx[piece].next];
            decoded.packets[decoded.pieces++] = packet;
            heap.release(tx, piece);
            piece = following;
        }
        return decoded;
    }

    [[nodiscard]] bool is_attack(const Decoded& decoded) const {
        std::string texts[kMostPieces], all;
        for (u64 at = 0; at < decoded.pieces; ++at)
            texts[packets_[decoded.packets[at]].piece] = packets_[decoded.packets[at]].text;
        for (const std::string& text : texts)
            all += text;
        return all.find(kAttack) != std::string::npos;
    }

    std::vector<Packet> packets_;
};

} // namespace stm::stamp
