// SPDX-License-Identifier: GPL-2.0
// What the tools make of text, and what they print.
#include "common/failure.hpp"
#include "common/text.hpp"
#include "stmctl/report.hpp"

#include <algorithm>
#include <cerrno>
#include <clocale>
#include <cstring>
#include <gtest/gtest.h>

using namespace stm::tools;

namespace {

struct stm_info example_region() {
    struct stm_info region {};
    region.id = 3ULL << 32 | 7;
    region.minor = 7;
    region.region_flags = STM_REGION_PLAIN | STM_REGION_EXEC;
    region.state = STM_STATE_SIZED;
    region.mode = 0640;
    region.region_size = 65536;
    region.resident_bytes = 8192;
    region.handles = 2;
    region.mappings = 1;
    region.creator_pid = 4242;
    region.created_ns = 1'700'000'000'123'456'789;
    std::strcpy(region.name, "example");
    return region;
}

TEST(Sizes, HaveSuffixes) {
    EXPECT_EQ(parse_size("0"), 0u);
    EXPECT_EQ(parse_size("4096"), 4096u);
    EXPECT_EQ(parse_size("4096B"), 4096u);
    EXPECT_EQ(parse_size("64K"), 65536u);
    EXPECT_EQ(parse_size("64k"), 65536u);
    EXPECT_EQ(parse_size("64KiB"), 65536u);
    EXPECT_EQ(parse_size("1M"), 1048576u);
    EXPECT_EQ(parse_size("2G"), 2147483648u);
    EXPECT_EQ(parse_size("1T"), 1099511627776u);
    EXPECT_EQ(parse_size("8388607T"), 8388607ULL << 40);
    EXPECT_EQ(parse_size("0064K"), 65536u) << "not octal";
    EXPECT_EQ(parse_size("000"), 0u);
}

TEST(Sizes, ThatAreNoneAreRefused) {
    for (const char* text :
         {"", "K", "-1", "+1", " 1", "1 K", "1.5M", "1Q", "1KK", "1KBB", "0x10", "one",
          "9223372036854775808", "99999999999999999999", "8388608T", "8796093022208M"})
        EXPECT_EQ(parse_size(text), std::nullopt) << text;
}

TEST(Sizes, ArePrintedAsTheyAreRead) {
    EXPECT_EQ(format_size(0), "0");
    EXPECT_EQ(format_size(5000), "5000");
    EXPECT_EQ(format_size(65536), "64K");
    EXPECT_EQ(format_size(1048576), "1M");
    EXPECT_EQ(format_size(1048576 + 4096), "1028K");
    EXPECT_EQ(format_size(99'999ULL << 10), "99999K");
    EXPECT_EQ(format_size(120'564ULL << 10), "117.7M");
    EXPECT_EQ(format_size((5ULL << 40) + 4096), "5.0T");
    EXPECT_EQ(format_size(5000ULL << 40), "5000T");
    for (std::uint64_t bytes : {1ULL, 4096ULL, 12345ULL, 3ULL << 40})
        EXPECT_EQ(parse_size(format_size(bytes)), bytes);
}

TEST(Modes, AreOctal) {
    EXPECT_EQ(parse_mode("640"), 0640u);
    EXPECT_EQ(parse_mode("0777"), 0777u);
    for (const char* text : {"", "8", "1000", "rw", "-1", "0o640", "640 "})
        EXPECT_EQ(parse_mode(text), std::nullopt) << text;
    EXPECT_EQ(format_mode(0640), "rw-r-----");
    EXPECT_EQ(format_mode(0777), "rwxrwxrwx");
    EXPECT_EQ(format_protection(5), "r-x");
}

TEST(Names, CanNotDriveTheTerminal) {
    ASSERT_NE(std::setlocale(LC_CTYPE, "C.UTF-8"), nullptr);
    EXPECT_EQ(printable("plain name/ü"), "plain name/ü");
    EXPECT_EQ(printable("\033[2J\n\x7f"), "\\x1b[2J\\x0a\\x7f");
    EXPECT_EQ(printable("\xffred\xc3"), "\\xffred\\xc3") << "no characters";
    EXPECT_EQ(printable("\xc2\x9b"), "\\xc2\\x9b") << "a control character beyond ASCII";
    EXPECT_EQ(printable(std::string_view("a\0b", 3)), "a\\x00b");
    // A terminal of which nothing is known.
    ASSERT_NE(std::setlocale(LC_CTYPE, "C"), nullptr);
    EXPECT_EQ(printable("plain name/ü"), "plain name/\\xc3\\xbc");
}

TEST(Tables, AreAligned) {
    Table table({{"N", Align::right}, {"WORD", Align::left}, {"LAST", Align::left}});
    table.add({"1", "a", "x"});
    table.add({"100", "longer", ""});
    EXPECT_EQ(table.format(), "  N  WORD    LAST\n"
                              "  1  a       x\n"
                              "100  longer\n");
}

TEST(Tables, WithoutRowsHaveAHeading) {
    EXPECT_EQ(Table({{"N", Align::right}, {"WORD", Align::left}}).format(), "N  WORD\n");
}

TEST(Json, OfARegionHasAllThereIs) {
    nlohmann::json json = region_json(example_region());
    EXPECT_EQ(json["name"], "example");
    EXPECT_EQ(json["id"], 12884901895);
    EXPECT_EQ(json["minor"], 7);
    EXPECT_EQ(json["kind"], "plain");
    EXPECT_EQ(json["exec"], true);
    EXPECT_EQ(json["ephemeral"], false);
    EXPECT_EQ(json["unlinked"], false);
    EXPECT_EQ(json["sized"], true);
    EXPECT_EQ(json["mode"], "0640");
    EXPECT_EQ(json["size"], 65536);
    EXPECT_EQ(json["resident"], 8192);
    EXPECT_EQ(json["handles"], 2);
    EXPECT_EQ(json["mappings"], 1);
    EXPECT_EQ(json["creator_pid"], 4242);
    EXPECT_EQ(json["created_ns"], 1700000000123456789);
    EXPECT_EQ(json["segment"], nullptr);
    EXPECT_EQ(json.size(), 21u) << "a new member belongs in this test";
    struct stm_info segment = example_region();
    std::strcpy(segment.name, "shm:0123456789abcdef");
    EXPECT_EQ(region_json(segment)["segment"], 3 << 16 | 7);
    EXPECT_EQ(list_json({example_region(), example_region()})["regions"].size(), 2u);
    EXPECT_EQ(list_json({})["regions"], nlohmann::json::array());
}

TEST(Json, OfAttachmentsIsByRegion) {
    struct stm_attachment mapping {};
    mapping.kind = STM_ATTACHMENT_MAPPING;
    mapping.pid = 4242;
    mapping.address = 0x10000000;
    mapping.length = 4096;
    mapping.protection = 3;
    std::strcpy(mapping.command, "program");
    nlohmann::json json = attachments_json({{example_region(), {mapping}}});
    ASSERT_EQ(json["regions"].size(), 1u);
    EXPECT_EQ(json["regions"][0]["name"], "example");
    nlohmann::json user = json["regions"][0]["attachments"][0];
    EXPECT_EQ(user["kind"], "mapping");
    EXPECT_EQ(user["pid"], 4242);
    EXPECT_EQ(user["command"], "program");
    EXPECT_EQ(user["address"], 0x10000000);
    EXPECT_EQ(user["protection"], "rw-");
    EXPECT_EQ(json["regions"][0]["unlinked"], false);
}

TEST(Text, OfARegionWithoutItsNameSaysSo) {
    struct stm_info region = example_region();
    region.state |= STM_STATE_UNLINKED;
    EXPECT_NE(list_text({region}).find("0x300000007  example (deleted)\n"), std::string::npos);
    EXPECT_NE(region_text(region).find("example (deleted)\n"), std::string::npos);
    struct stm_attachment handle {};
    handle.kind = STM_ATTACHMENT_HANDLE;
    EXPECT_NE(attachments_text({{region, {handle}}}).find("example (deleted)\n"),
              std::string::npos);
}

TEST(Text, OfASegmentShowsItsNumber) {
    struct stm_info region = example_region();
    std::strcpy(region.name, "shm:0123456789abcdef");
    const std::string number = std::to_string(3 << 16 | 7);
    EXPECT_NE(list_text({region}).find(number + "  shm:0123456789abcdef\n"), std::string::npos);
    EXPECT_NE(region_text(region).find("shm_create: " + number), std::string::npos);
}

TEST(Text, OfARegionNamesEverything) {
    std::string text = region_text(example_region());
    for (const char* part :
         {"name:       example", "0x300000007", "plain", "rw-r----- (0640)", "64K (65536 bytes)",
          "8K (8192 bytes)", "4242", "2023-11-14 22:13:20 UTC"})
        EXPECT_NE(text.find(part), std::string::npos) << part << " in\n" << text;
}

TEST(Text, OfAListEndsWithTheNames) {
    std::string text = list_text({example_region()});
    EXPECT_EQ(text.rfind("MINOR", 0), 0u);
    EXPECT_NE(text.find("exec    0x300000007  example\n"), std::string::npos) << text;
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
}

TEST(Failures, SayWhatToDo) {
    auto said = [](int error) { return std::string(region_failure(error, "x").what()); };
    EXPECT_NE(said(EBUSY).find("stmctl rm --deferred x"), std::string::npos);
    EXPECT_NE(said(ENOENT).find("stmctl ls"), std::string::npos);
    EXPECT_NE(said(ENOSPC).find("stmctl limits"), std::string::npos);
    EXPECT_NE(said(ENODEV).find("modprobe stm"), std::string::npos);
    EXPECT_NE(said(ENODEV).find("insmod stm.ko"), std::string::npos);
    EXPECT_NE(said(E2BIG).find("max_stripes"), std::string::npos);
    EXPECT_NE(said(ENOMEM).find("memory control group"), std::string::npos);
    EXPECT_EQ(region_failure(ENODEV, "x").exit(), Exit::no_module);
    EXPECT_EQ(region_failure(EBUSY, "x").exit(), Exit::failed);
    EXPECT_NE(said(EIO).find("Input/output error"), std::string::npos);
    EXPECT_EQ(region_failure(EBUSY, "x").error(), EBUSY);
    EXPECT_NE(std::string(region_failure(EBUSY, "two words").what())
                  .find("stmctl rm --deferred \"two words\""),
              std::string::npos);
    EXPECT_NE(std::string(region_failure(EBUSY, "id 0x7", "--id 0x7").what())
                  .find("stmctl attachments --id 0x7"),
              std::string::npos);
    EXPECT_NE(std::string(region_failure(EBUSY, "default").what()).find("always there"),
              std::string::npos);
}

} // namespace
