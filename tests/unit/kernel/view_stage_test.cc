// SPDX-License-Identifier: GPL-2.0
// The stages of a context with respect to the view: each row of the table in view_stage.hpp, and
// that what is not in the table stops the program.
#include "kernel/core/view_stage.hpp"
#include "tests/unit/kernel/kernel_test.hpp"

#include <gtest/gtest.h>

#include <optional>

namespace stm::test {
namespace {

using kernel::Stage;
using kernel::ViewStage;
using Mapped = ViewStage::Mapped;
using Pages = ViewStage::Pages;

enum class Action {
    begin_call,
    begin,
    offer,
    withdraw_offer,
    take_offer_unmapped,
    take_offer_mapped,
    get_view,
    leave_without_pages,
    leave_with_pages,
    pages_are_out,
    give_up,
    begin_warm,
    leave_warm_without_stores,
    leave_warm_with_stores,
    pages_are_out_but_loaded,
    stay_warm,
    end
};
constexpr Action kLastAction = Action::end;

const char* const kStageNames[] = {"outside", "calling", "offered", "running",
                                   "viewing", "leaving", "left",    "given_up",
                                   "ending",  "warm",    "lent"};
const char* const kActionNames[] = {
    "a single call begins",
    "a transaction begins",
    "a start is offered",
    "the offer is taken back",
    "a taken offer, unmapped",
    "a taken offer, mapped",
    "it gets the view",
    "its end begins, without pages",
    "its end begins, with pages",
    "its pages are in no mapping",
    "its thread gives it up",
    "a warm transaction begins",
    "a warm end, nothing stored",
    "a warm end, with stores",
    "only loaded pages are left",
    "it has ended warm",
    "it has ended",
};

void perform(ViewStage& stage, Action action, stm_memory* memory) {
    switch (action) {
    case Action::begin_call:
        return stage.begin_call();
    case Action::begin:
        return stage.begin(memory);
    case Action::offer:
        return stage.offer(memory);
    case Action::withdraw_offer:
        return stage.withdraw_offer();
    case Action::take_offer_unmapped:
        return stage.take_offer(Mapped::nowhere);
    case Action::take_offer_mapped:
        return stage.take_offer(Mapped::somewhere);
    case Action::get_view:
        return stage.get_view();
    case Action::leave_without_pages:
        return stage.leave(Pages::none);
    case Action::leave_with_pages:
        return stage.leave(Pages::some);
    case Action::pages_are_out:
        return stage.pages_are_out();
    case Action::give_up:
        return stage.give_up(memory);
    case Action::begin_warm:
        return stage.begin_warm();
    case Action::leave_warm_without_stores:
        return stage.leave_warm(Pages::none);
    case Action::leave_warm_with_stores:
        return stage.leave_warm(Pages::some);
    case Action::pages_are_out_but_loaded:
        return stage.pages_are_out_but_loaded();
    case Action::stay_warm:
        return stage.stay_warm();
    case Action::end:
        return stage.end();
    }
}

struct Row {
    Stage from;
    Action action;
    Stage to;
};

// Everything that may happen. `end` and `give_up` change nothing where there is nothing to end or
// to give up, `leave` where the end has begun already.
constexpr Row kRows[] = {
    {Stage::outside, Action::begin_call, Stage::calling},
    {Stage::outside, Action::begin, Stage::running},
    {Stage::outside, Action::offer, Stage::offered},
    {Stage::outside, Action::leave_without_pages, Stage::outside},
    {Stage::outside, Action::leave_with_pages, Stage::outside},
    {Stage::outside, Action::give_up, Stage::outside},
    {Stage::outside, Action::end, Stage::outside},

    {Stage::calling, Action::leave_without_pages, Stage::calling},
    {Stage::calling, Action::leave_with_pages, Stage::calling},
    {Stage::calling, Action::give_up, Stage::calling},
    {Stage::calling, Action::end, Stage::outside},

    {Stage::offered, Action::withdraw_offer, Stage::outside},
    {Stage::offered, Action::take_offer_unmapped, Stage::running},
    {Stage::offered, Action::take_offer_mapped, Stage::viewing},
    {Stage::offered, Action::leave_without_pages, Stage::offered},
    {Stage::offered, Action::leave_with_pages, Stage::offered},
    {Stage::offered, Action::give_up, Stage::offered},
    {Stage::offered, Action::end, Stage::outside},

    {Stage::running, Action::get_view, Stage::viewing},
    {Stage::running, Action::leave_without_pages, Stage::left},
    {Stage::running, Action::leave_with_pages, Stage::left},
    {Stage::running, Action::give_up, Stage::given_up},
    {Stage::running, Action::end, Stage::outside},

    {Stage::viewing, Action::leave_without_pages, Stage::left},
    {Stage::viewing, Action::leave_with_pages, Stage::leaving},
    {Stage::viewing, Action::give_up, Stage::given_up},
    {Stage::viewing, Action::leave_warm_without_stores, Stage::ending},
    {Stage::viewing, Action::leave_warm_with_stores, Stage::leaving},
    {Stage::viewing, Action::end, Stage::outside},

    {Stage::leaving, Action::leave_with_pages, Stage::leaving},
    {Stage::leaving, Action::pages_are_out, Stage::left},
    {Stage::leaving, Action::pages_are_out_but_loaded, Stage::ending},
    {Stage::leaving, Action::give_up, Stage::leaving},
    {Stage::leaving, Action::end, Stage::outside},

    {Stage::left, Action::leave_without_pages, Stage::left},
    {Stage::left, Action::leave_with_pages, Stage::left},
    {Stage::left, Action::give_up, Stage::left},
    {Stage::left, Action::end, Stage::outside},

    {Stage::given_up, Action::leave_without_pages, Stage::left},
    {Stage::given_up, Action::leave_with_pages, Stage::given_up},
    {Stage::given_up, Action::pages_are_out, Stage::left},
    {Stage::given_up, Action::give_up, Stage::given_up},
    {Stage::given_up, Action::end, Stage::outside},

    {Stage::ending, Action::leave_without_pages, Stage::ending},
    {Stage::ending, Action::leave_with_pages, Stage::ending},
    {Stage::ending, Action::give_up, Stage::ending},
    {Stage::ending, Action::stay_warm, Stage::warm},
    {Stage::ending, Action::end, Stage::outside},

    {Stage::warm, Action::begin_warm, Stage::viewing},
    {Stage::warm, Action::offer, Stage::lent},
    {Stage::warm, Action::leave_without_pages, Stage::warm},
    {Stage::warm, Action::leave_with_pages, Stage::warm},
    {Stage::warm, Action::give_up, Stage::warm},
    {Stage::warm, Action::end, Stage::outside},

    {Stage::lent, Action::withdraw_offer, Stage::warm},
    {Stage::lent, Action::take_offer_unmapped, Stage::viewing},
    {Stage::lent, Action::take_offer_mapped, Stage::viewing},
    {Stage::lent, Action::leave_without_pages, Stage::lent},
    {Stage::lent, Action::leave_with_pages, Stage::lent},
    {Stage::lent, Action::give_up, Stage::lent},
    {Stage::lent, Action::end, Stage::outside},
};

std::optional<Stage> result_of(Stage from, Action action) {
    for (const Row& row : kRows) {
        if (row.from == from && row.action == action)
            return row.to;
    }
    return std::nullopt;
}

// What the columns "view" and "a load that faults" of the table say.
bool has_view(Stage stage) {
    return stage == Stage::viewing || stage == Stage::leaving || stage == Stage::given_up ||
           stage == Stage::ending || stage == Stage::warm || stage == Stage::lent;
}
bool names_a_memory(Stage stage) {
    return has_view(stage) || stage == Stage::offered || stage == Stage::running;
}

void bring_to(ViewStage& stage, Stage wanted, stm_memory* memory) {
    switch (wanted) {
    case Stage::outside:
        return;
    case Stage::calling:
        return stage.begin_call();
    case Stage::offered:
        return stage.offer(memory);
    case Stage::running:
        return stage.begin(memory);
    case Stage::viewing:
        stage.begin(memory);
        return stage.get_view();
    case Stage::leaving:
        bring_to(stage, Stage::viewing, memory);
        return stage.leave(Pages::some);
    case Stage::left:
        stage.begin(memory);
        return stage.leave(Pages::none);
    case Stage::given_up:
        bring_to(stage, Stage::viewing, memory);
        return stage.give_up(memory);
    case Stage::ending:
        bring_to(stage, Stage::viewing, memory);
        return stage.leave_warm(Pages::none);
    case Stage::warm:
        bring_to(stage, Stage::ending, memory);
        return stage.stay_warm();
    case Stage::lent:
        bring_to(stage, Stage::warm, memory);
        return stage.offer(memory);
    }
}

class ViewStages : public testing::Test {
protected:
    // What anybody sees of a context in that stage.
    void expect_seen_as(const ViewStage& stage, Stage expected, long references_before) {
        const bool view = has_view(expected);
        EXPECT_EQ(stage.stage(), expected);
        EXPECT_EQ(stage.now().memory, names_a_memory(expected) ? memory_ : nullptr);
        EXPECT_EQ(stage.viewing(), view ? memory_ : nullptr);
        EXPECT_EQ(stage.may_view(memory_), view || expected == Stage::offered);
        EXPECT_EQ(stage.claims_view_in(memory_), expected == Stage::running ||
                                                     expected == Stage::viewing ||
                                                     expected == Stage::given_up);
        EXPECT_EQ(stage.is_open(), expected == Stage::running || expected == Stage::viewing);
        EXPECT_EQ(stage.has_faults(), expected == Stage::viewing || expected == Stage::leaving);
        EXPECT_EQ(stage.is_warm(), expected == Stage::warm || expected == Stage::lent);
        EXPECT_EQ(stage.is_offered(), expected == Stage::offered || expected == Stage::lent);
        // The address space is held exactly as long as the view lasts.
        EXPECT_EQ(simulated::live().memory_references - references_before, view ? 1 : 0);
        EXPECT_FALSE(stage.may_view(other_memory_));
        EXPECT_FALSE(stage.claims_view_in(other_memory_));
    }

    template <typename Function>
    static void for_each_cell(Function function) {
        for (unsigned from = 0; from <= static_cast<unsigned>(Stage::lent); ++from) {
            for (unsigned action = 0; action <= static_cast<unsigned>(kLastAction); ++action) {
                SCOPED_TRACE(std::string(kStageNames[from]) + ": " + kActionNames[action]);
                function(static_cast<Stage>(from), static_cast<Action>(action));
            }
        }
    }

    Process process_{41, kRoot};
    const As caller_{process_};
    stm_memory* const memory_ = simulated::current_memory();
    Process other_process_{42, kRoot};
    stm_memory* const other_memory_ = [this] {
        const As other(other_process_);
        return simulated::current_memory();
    }();
};

TEST_F(ViewStages, GoFromOneToTheNextAsTheTableSays) {
    for_each_cell([this](Stage from, Action action) {
        const std::optional<Stage> to = result_of(from, action);
        if (!to.has_value())
            return;
        const long references = simulated::live().memory_references;
        {
            ViewStage stage;
            bring_to(stage, from, memory_);
            expect_seen_as(stage, from, references);
            perform(stage, action, memory_);
            expect_seen_as(stage, *to, references);
        }
        EXPECT_EQ(simulated::live().memory_references, references);
    });
}

TEST_F(ViewStages, GoNowhereByWhatTheTableDoesNotHave) {
    for_each_cell([this](Stage from, Action action) {
        if (result_of(from, action).has_value())
            return;
        EXPECT_DEATH(
            {
                ViewStage stage;
                bring_to(stage, from, memory_);
                perform(stage, action, memory_);
            },
            "not in the table");
    });
}

// A thread without an address space of its own, such as one that is ending, has nothing to view.
TEST_F(ViewStages, WithoutAnAddressSpaceNeverBecomeAView) {
    ViewStage stage;
    stage.begin(nullptr);
    EXPECT_EQ(stage.stage(), Stage::running);
    stage.give_up(nullptr);
    EXPECT_EQ(stage.stage(), Stage::running);
    EXPECT_EQ(stage.viewing(), nullptr);
}

// The address space before is only known, and may be gone, unless it has the view there.
TEST_F(ViewStages, TakeNoViewOfAnAddressSpaceThatTheirThreadHasLeft) {
    ViewStage stage;
    stage.begin(memory_);
    stage.give_up(other_memory_);
    EXPECT_EQ(stage.stage(), Stage::running);
    stage.give_up(nullptr);
    EXPECT_EQ(stage.stage(), Stage::running);
    stage.get_view();
    stage.give_up(other_memory_);
    EXPECT_EQ(stage.stage(), Stage::given_up);
    EXPECT_EQ(stage.viewing(), memory_);
}

} // namespace
} // namespace stm::test
