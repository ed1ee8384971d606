// SPDX-License-Identifier: GPL-2.0
// Requests of <stm/ioctl.h>.
#include "worker.hpp"

#include <csignal>
#include <cstdint>
#include <cstring>
#include <iterator>

#include <sys/ioctl.h>

namespace stm::fuzz {

long Worker::any_request(Random& random) {
    switch (random() % 15) {
    case 9:
    case 10:
        return typed_request(random);
    case 13:
    case 14:
        return vector_request(random);
    case 11: {
        stm_place place{};
        place.offset = some(random);
        place.length = random() % 2 == 0 ? 64 : some(random);
        std::fill_n(place.name, random() % 64 == 0 ? sizeof(place.name) : random() % 4, 'p');
        return request(STM_IOC_NAME_PLACE, place, random);
    }
    case 12: {
        stm_places list{};
        list.flags = 1u << random() % 3;
        list.capacity = static_cast<std::uint32_t>(random() % 16);
        list.buffer = reinterpret_cast<std::uint64_t>(memory(random, 16 * sizeof(stm_place)));
        random_name(list.name, random);
        return request(STM_IOC_PLACES, list, random);
    }
    case 0: {
        stm_set_size size{};
        size.region_size = some(random);
        return request(STM_IOC_SET_SIZE, size, random);
    }
    case 1: {
        stm_info info{};
        info.flags = 1u << random() % 6;
        info.minor = static_cast<std::uint32_t>(some(random));
        info.id = some(random);
        random_name(info.name, random);
        return request(STM_IOC_INFO, info, random);
    }
    case 2: {
        stm_attachments list{};
        list.flags = 1u << random() % 3;
        list.capacity = static_cast<std::uint32_t>(random() % 16);
        if (random() % 8 == 0)
            list.capacity = static_cast<std::uint32_t>(some(random));
        list.buffer = reinterpret_cast<std::uint64_t>(memory(random, 16 * sizeof(stm_attachment)));
        random_name(list.name, random);
        return request(STM_IOC_ATTACHMENTS, list, random);
    }
    case 3: {
        stm_destroy destroy{};
        destroy.flags = (1u << random() % 3) | (random() % 2 == 0 ? STM_DESTROY_DEFERRED : 0);
        destroy.id = some(random);
        random_name(destroy.name, random);
        return request(STM_IOC_DESTROY, destroy, random);
    }
    case 4: {
        if (random() % 4 == 0) {
            stm_change_segment change{};
            change.flags = 1u << random() % 3;
            change.id = some(random);
            change.uid = change.gid = static_cast<std::uint32_t>(random() % 3);
            change.mode = static_cast<std::uint32_t>(random() % 01000);
            return request(STM_IOC_CHANGE_SEGMENT, change, random);
        }
        if (random() % 2 == 0) {
            // The words are written to as well, like all memory that the calls are given.
            stm_cell cell{};
            cell.flags = random() % 2 == 0 ? STM_CELL_WARM : 0;
            cell.address = reinterpret_cast<std::uint64_t>(memory(random, sizeof(stm_warm_cell)));
            if (random() % 8 != 0)
                cell.address &= -sizeof(stm_warm_cell);
            cell.signal = random() % 2 == 0 ? SIGUSR1 : 0;
            return request(STM_IOC_CELL, cell, random);
        }
        stm_transaction transaction{};
        return request(STM_IOC_TRANSACTION, transaction, random);
    }
    case 5: {
        stm_statistics statistics{};
        statistics.flags = STM_BY_HANDLE | (random() % 2 == 0 ? STM_STATISTICS_OF_HANDLE : 0);
        return request(STM_IOC_STATISTICS, statistics, random);
    }
    case 6: {
        stm_version version{};
        return request(STM_IOC_VERSION, version, random);
    }
    case 7: // a known number, and anything as its structure
        return ioctl(file(random), STM_IOC_VERSION + random() % 0x1b, memory(random, 300));
    default:
        return ioctl(file(random), some(random), some(random));
    }
}

// Sets that are well formed, or nearly so.
long Worker::typed_request(Random& random) {
    constexpr unsigned kMost = 20;
    constexpr unsigned kStripes = 2 * kPage / 64;
    thread_local std::uint64_t reads[2][kMost];
    thread_local stm_stripe_write writes[2][kMost];
    stm_sets sets[2]{};
    for (unsigned part = 0; part < 2; ++part) {
        const auto read_count = static_cast<std::uint32_t>(random() % kMost);
        const auto write_count = static_cast<std::uint32_t>(random() % 4 == 0 ? 0 : random() % 5);
        for (std::uint64_t& read : reads[part])
            read =
                random() % 64 == 0 ? random() : STM_READ_RUN(random() % kStripes, 1 + random() % 4);
        std::uint64_t stripe = random() % 4;
        for (stm_stripe_write& write : writes[part]) {
            write.stripe = stripe;
            write.mask = random() % 32 == 0 ? 0 : random() | 1;
            std::memset(write.bytes, static_cast<int>(random()), sizeof(write.bytes));
            stripe += random() % 32 == 0 ? random() : 1 + random() % 8;
        }
        sets[part].handle = part == 0 ? -1 : file(random);
        // The clock is not looked at: a small number is often one that was.
        sets[part].snapshot = random() % 4 == 0 ? random() : random() % 2000;
        sets[part].reads = reinterpret_cast<std::uint64_t>(reads[part]);
        sets[part].writes = reinterpret_cast<std::uint64_t>(writes[part]);
        if (random() % 16 == 0)
            sets[part].reads = reinterpret_cast<std::uint64_t>(memory(random, sizeof(reads[part])));
        if (random() % 16 == 0)
            sets[part].writes =
                reinterpret_cast<std::uint64_t>(memory(random, sizeof(writes[part])));
        sets[part].read_count =
            random() % 32 == 0 ? static_cast<std::uint32_t>(some(random)) : read_count;
        sets[part].write_count =
            random() % 32 == 0 ? static_cast<std::uint32_t>(some(random)) : write_count;
    }
    const std::uint32_t other_count = random() % 32 == 0 ? static_cast<std::uint32_t>(some(random))
                                                         : static_cast<std::uint32_t>(random() % 2);
    if (random() % 4 == 0) {
        stm_wait_sets wait{};
        wait.sets = sets[0];
        wait.others = reinterpret_cast<std::uint64_t>(&sets[1]);
        wait.other_count = other_count;
        wait.sets.write_count = sets[1].write_count = 0;
        wait.timeout_ns = random() % 2'000'000;
        return request(STM_IOC_WAIT_SETS, wait, random);
    }
    stm_commit_sets commit{};
    commit.flags = random() % 8 == 0 ? STM_COMMIT_SERIAL : 0;
    commit.sets = sets[0];
    commit.others = reinterpret_cast<std::uint64_t>(&sets[1]);
    commit.other_count = other_count;
    return request(STM_IOC_COMMIT_SETS, commit, random);
}

// Pieces within the region, or nearly so. The memory of those that read may be a mapping.
long Worker::vector_request(Random& random) {
    constexpr unsigned kMost = 40;
    thread_local stm_vector_piece pieces[kMost];
    const auto count = static_cast<std::uint32_t>(random() % (random() % 4 == 0 ? kMost : 5));
    for (stm_vector_piece& piece : pieces) {
        const std::size_t bytes =
            random() % 2 == 0 ? 8 : random() % (random() % 16 == 0 ? 2 * kPage : 100);
        piece.offset = random() % 64 == 0 ? some(random) : random() % (4 * kPage);
        piece.bytes = random() % 128 == 0 ? static_cast<std::uint32_t>(some(random))
                                          : static_cast<std::uint32_t>(bytes);
        piece.flags = random() % 128 == 0 ? static_cast<std::uint32_t>(some(random))
                                          : static_cast<std::uint32_t>(random() % 2);
        // More bytes than there is room for are only written, or refused as behind the end.
        if (piece.bytes > bytes && (piece.flags & STM_PIECE_WRITE) == 0)
            piece.offset = random() | std::uint64_t{1} << 63;
        piece.address = reinterpret_cast<std::uint64_t>(memory(random, bytes));
    }
    stm_vector vector{};
    static constexpr std::uint32_t kFlags[] = {0, 0, 0, STM_VECTOR_COMMIT, STM_VECTOR_BEGIN};
    vector.flags = kFlags[random() % std::size(kFlags)];
    vector.pieces = random() % 16 == 0
                        ? reinterpret_cast<std::uint64_t>(memory(random, sizeof(pieces)))
                        : reinterpret_cast<std::uint64_t>(pieces);
    vector.count = random() % 64 == 0 ? static_cast<std::uint32_t>(some(random)) : count;
    return request(STM_IOC_VECTOR, vector, random);
}

} // namespace stm::fuzz
