// SPDX-License-Identifier: GPL-2.0
// Steps that read and write several times by one call.
#include "tests/fuzz/core/arguments.hpp"
#include "tests/fuzz/core/steps.hpp"

#include <utility>

namespace stm::fuzz {

namespace {

struct Piece {
    Range range;
    bool writes;
    Bytes bytes;
};

class Vector {
public:
    Vector(World& world, const Step& step) : world_(world), commits_((step.flags & 8) != 0) {
        const unsigned count = (step.large >> 24 & 7) == 7 ? 20 : step.small % 5;
        for (unsigned i = 0; i < count; ++i)
            add(step, i);
        if (!pieces_.empty() && (step.flags & 7) == 7)
            arguments_[step.small % count].address = step.large % simulated::kLowestAddress;
        if (!pieces_.empty() && (step.flags & 7) == 6)
            arguments_[step.small % count].flags |= 2;
    }
    Vector(const Vector&) = delete;
    Vector& operator=(const Vector&) = delete;

    long access(const Step& step, const File& file) {
        stm_vector argument{};
        argument.flags = commits_                ? STM_VECTOR_COMMIT
                         : begins(step)          ? STM_VECTOR_BEGIN
                         : (step.flags & 7) == 5 ? step.large
                                                 : 0;
        if (argument.flags == STM_VECTOR_BEGIN && !begins(step)) // the model does not know of it
            argument.flags |= STM_VECTOR_COMMIT;
        commits_ = argument.flags == STM_VECTOR_COMMIT;
        argument.pieces = reinterpret_cast<std::uint64_t>(arguments_.data());
        // More than may be asked for; there is no list of that length, and so no smaller number.
        argument.count = (step.flags & 7) == 4 ? STM_MAX_PIECES + 1 + step.large % (1u << 31)
                                               : static_cast<std::uint32_t>(arguments_.size());
        return world_.control(step, file, STM_IOC_VECTOR, argument);
    }

    bool commits() const { return commits_; }
    static bool begins(const Step& step) { return (step.flags & 15) == 3; }
    bool any_writes() const {
        return std::any_of(pieces_.begin(), pieces_.end(), [](const Piece& piece) {
            return piece.writes && piece.range.length != 0;
        });
    }
    bool any_bytes() const {
        return std::any_of(pieces_.begin(), pieces_.end(),
                           [](const Piece& piece) { return piece.range.length != 0; });
    }
    // All of it was done, by a transaction that has these pages of its own.
    void show(Observer& seen, const std::vector<bool>& touched) const {
        for (const Piece& piece : pieces_) {
            const auto [position, length] = piece.range;
            if (!piece.writes)
                seen.saw(position, piece.bytes.data(), length);
            for (std::size_t i = 0; piece.writes && i < length;) {
                const std::size_t place = position + i;
                const std::size_t part = std::min(length - i, kPage - place % kPage);
                const bool own = place / kPage < touched.size() && touched[place / kPage];
                seen.wrote(place, piece.bytes.data() + i, part,
                           own ? Observer::Way::if_different : Observer::Way::hard);
                i += part;
            }
        }
    }
    void expect_inside(const Region& region) const {
        for (const Piece& piece : pieces_)
            STM_FUZZ_EXPECT(piece.range.length == 0 ||
                            piece.range.position + piece.range.length <= region.size);
    }

private:
    void add(const Step& step, unsigned number) {
        Step part = step;
        part.large += number * step.small * 7u;
        part.small = static_cast<std::uint16_t>(part.small + number * 37u);
        Piece piece{range_of(part), (step.large >> (4 + number) & 1) != 0, {}};
        piece.bytes.assign(piece.range.length, 0xEE);
        for (std::size_t i = 0; piece.writes && i < piece.range.length; ++i)
            piece.bytes[i] = static_cast<std::uint8_t>(++world_.value >> (i % 3));
        pieces_.push_back(std::move(piece));
        arguments_.push_back({pieces_.back().range.position,
                              reinterpret_cast<std::uint64_t>(pieces_.back().bytes.data()),
                              static_cast<std::uint32_t>(pieces_.back().range.length),
                              pieces_.back().writes ? STM_PIECE_WRITE : 0u});
    }

    World& world_;
    bool commits_;
    std::vector<Piece> pieces_;
    std::vector<stm_vector_piece> arguments_;
};

void inside(World& world, std::size_t place, const Vector& vector, long result) {
    File& file = *world.files[place];
    Region& region = world.region_of(place);
    Transaction& own = *world.transaction(file);
    const stm_transaction now = world.tell_transaction(file);
    if (world.in_between(region))
        own.seen.reset();
    if (own.seen && result == 0)
        vector.show(*own.seen, own.touched);
    if (own.seen)
        expect_reason(result, *own.seen);
    const bool refused = result != 0 && now.depth == own.depth;
    if (!vector.commits() || refused) {
        STM_FUZZ_EXPECT(now.depth == own.depth);
        return;
    }
    STM_FUZZ_EXPECT(now.depth + 1 == own.depth);
    if (own.depth == 1)
        return ended_by_commit(world, place, own, result);
    --own.depth;
    if (own.seen)
        own.seen->commit_nested();
}

// Without a transaction before. `seen` began before the call.
void begun(World& world, std::size_t place, const Vector& vector, std::optional<Observer> seen,
           long result) {
    File& file = *world.files[place];
    if (result != 0) {
        if (result == -EBUSY) {
            const std::size_t viewer = file.viewers[world.process()];
            STM_FUZZ_EXPECT(viewer != kNobody && viewer != world.who);
        }
        STM_FUZZ_EXPECT(world.tell_transaction(file).depth == 0);
        return;
    }
    started(world, place, std::move(seen), false);
    Transaction& own = *world.transaction(file);
    if (world.in_between(world.region_of(place)))
        own.seen.reset();
    if (own.seen)
        vector.show(*own.seen, own.touched);
}

void alone(World& world, Region& region, const Vector& vector, std::optional<Observer> seen,
           long result, bool was_sized) {
    STM_FUZZ_EXPECT(result != 0 || !vector.commits());
    if (!region.history)
        return;
    const bool wrote = result == 0 && vector.any_writes();
    const bool compared = was_sized && seen && !world.in_between(region);
    if (compared && !world.disturbed) {
        if (result == 0)
            vector.show(*seen, {});
        expect_reason(result, *seen);
        if (wrote)
            seen->committed(*region.history, world.contents_or(region, region.history->last()));
    } else if (wrote || (world.disturbed && world.guessed)) {
        // Which state lay in between is not known.
        const std::optional<Bytes> actual = world.contents(region);
        if (actual)
            region.history->replace(*actual);
        else
            region.history.reset();
        world.forget_model(region);
    } else if (compared && result == 0) {
        vector.show(*seen, {});
    }
}

} // namespace

void vector(World& world, const Step& step, std::size_t place) {
    File& file = *world.files[place];
    world.look_at_size(place);
    Region& region = world.region_of(place);
    Vector request(world, step);
    const bool has_own = world.transaction(file) != nullptr;
    const long failed_before = has_own ? world.failure_of(file) : 0;
    const bool was_sized = region.size != 0;
    std::optional<Observer> seen;
    if (region.history && was_sized)
        seen.emplace(*region.history);
    const std::uint64_t outer = world.writing;
    const bool begins = Vector::begins(step);
    if (!has_own && !begins && request.any_writes() && outer != region.id) {
        world.writing = region.id;
        world.guessed = false;
    }
    const long result = request.access(step, file);
    world.writing = outer;
    world.look_at_size(place);
    STM_FUZZ_EXPECT(result == 0 ||
                    world.expected(result, {EAGAIN, EINVAL, EBADF, E2BIG, ENOSPC, EDEADLK, EACCES,
                                            EFBIG, ECANCELED, EOPNOTSUPP}) ||
                    (begins && world.expected(result, {EBUSY, EINTR})));
    if (region.plain)
        STM_FUZZ_EXPECT(result < 0);
    if (result == 0)
        request.expect_inside(region);
    if (result == 0 && failed_before != 0)
        STM_FUZZ_EXPECT(!request.any_bytes() && (!request.commits() || world.disturbed));
    if (has_own && begins)
        STM_FUZZ_EXPECT(result != 0);
    if (!has_own && begins)
        begun(world, place, request, std::move(seen), result);
    else if (has_own)
        inside(world, place, request, result);
    else
        alone(world, region, request, std::move(seen), result, was_sized);
}

} // namespace stm::fuzz
