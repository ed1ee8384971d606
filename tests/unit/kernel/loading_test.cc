// SPDX-License-Identifier: GPL-2.0
// Loading and unloading the module, and the settings that it takes.
#include "tests/unit/kernel/kernel_test.hpp"

namespace stm::test {
namespace {

class Loading : public testing::Test {
protected:
    Watch watch;
    stm_settings settings = usual_settings();
};

TEST_F(Loading, EndsWithNothingLeft) {
    const Module module(settings);
    EXPECT_GT(simulated::live().allocations, 0);
}

TEST_F(Loading, RefusesSettingsOutOfTheirRange) {
    const auto refused = [&](auto change) {
        stm_settings bad = usual_settings();
        change(bad);
        return stm_core_init(&bad);
    };
    EXPECT_EQ(refused([](auto& s) { s.max_regions = 0; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.max_regions = STM_MAX_REGIONS + 1; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.max_regions = ~0u; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.default_size = 0; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.default_size = s.max_region_bytes + 1; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.max_region_bytes = 0; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.max_user_regions = 0; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.max_user_bytes = 0; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.max_bytes = s.default_size - 1; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.default_mode = 01000; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.device_major = 4096; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.max_region_bytes = kPage - 1; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.max_stripes = 0; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.max_stripes = ~0u; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.max_contexts = 0; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.predicted_pages = 257; }), -EINVAL);
    EXPECT_EQ(refused([](auto& s) { s.warm_pages = 129; }), -EINVAL);
}

#define RANGE(settings, field) stm_core_setting_range(settings, offsetof(stm_settings, field))

TEST_F(Loading, TellsTheRangeOfEachSetting) {
    // Every word of the settings belongs to one that is known, and is valid within its range.
    std::size_t covered = 0;
    for (std::size_t offset = 0; offset < sizeof(stm_settings); offset += sizeof(unsigned)) {
        const stm_setting_range range = stm_core_setting_range(nullptr, offset);
        const stm_setting_range now = stm_core_setting_range(&settings, offset);
        if (range.least > range.most)
            continue;
        ++covered;
        EXPECT_EQ(now.least, range.least) << offset;
        EXPECT_LE(now.most, range.most) << offset;
    }
    EXPECT_EQ(covered, 18u) << "a setting without a range";
    EXPECT_EQ(RANGE(nullptr, max_regions).least, 1u);
    EXPECT_EQ(RANGE(nullptr, max_regions).most, STM_MAX_REGIONS);
    EXPECT_EQ(RANGE(nullptr, predicted_pages).most, 256u);
    EXPECT_EQ(RANGE(nullptr, warm_pages).most, 128u);
    EXPECT_EQ(RANGE(nullptr, max_old_bytes).least, 0u);
    EXPECT_EQ(RANGE(nullptr, max_user_old_bytes).least, 0u);
    EXPECT_EQ(RANGE(nullptr, default_mode).most, 0777u);
    EXPECT_EQ(RANGE(nullptr, default_size).most, ~std::uint64_t{0});
    settings.max_region_bytes = 5 * kPage + 17;
    EXPECT_EQ(RANGE(&settings, default_size).most, 5 * kPage);
    settings.max_bytes = 3 * kPage;
    EXPECT_EQ(RANGE(&settings, default_size).most, 3 * kPage);
}

TEST_F(Loading, AcceptsTheLimitsOfTheRanges) {
    settings.max_regions = 1;
    settings.max_user_regions = 1;
    settings.default_mode = 0777;
    { const Module module(settings); }
    settings.max_regions = STM_MAX_REGIONS;
    settings.default_mode = 0;
    const Module module(settings);
}

TEST_F(Loading, RefusesADefaultSizeThatNoRegionCanTake) {
    settings.default_size = kPage + 1; // two pages
    settings.max_region_bytes = 2 * kPage - 1;
    const int error = stm_core_init(&settings);
    EXPECT_EQ(error, -EINVAL);
    if (error == 0)
        stm_core_exit();
}

TEST_F(Loading, IsRefusedWithoutMemoryAtEachAllocationAndWorksAfterwards) {
    std::size_t points = 0;
    for (std::size_t nth = 1;; ++nth) {
        const FailPoint point(nth);
        const int error = stm_core_init(&settings);
        if (point.happened() == Failure::none) {
            ASSERT_EQ(error, 0);
            stm_core_exit();
            break;
        }
        points = nth;
        EXPECT_EQ(error, simulated::errno_of(point.happened())) << "point " << nth;
        EXPECT_EQ(simulated::describe(simulated::live()), simulated::describe(Live()));
        if (error == 0)
            stm_core_exit();
    }
    std::printf("[  points  ] %-34s %zu\n", "stm_core_init", points);
    EXPECT_GE(points, 7u);
}

} // namespace
} // namespace stm::test
