// SPDX-License-Identifier: LGPL-2.1-or-later
// Settings that all programs of a machine share: "configuration set KEY VALUE…" changes any number
// of them at once, "configuration get KEY" reads one, and "configuration watch [TIMES]" prints all
// of them whenever any has changed. A watcher sleeps meanwhile, and never sees half of a change.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <limits>
#include <stdexcept>
#include <stm/stm.hpp>
#include <string>

// Text of a fixed size. What is behind its end is zero, so equal texts have equal bytes.
template <std::size_t Size>
struct text {
    std::array<char, Size> characters{};

    text() = default;
    explicit text(const char* from) {
        if (std::strlen(from) >= Size)
            throw std::length_error(std::string(from) + " is too long");
        std::strcpy(characters.data(), from);
    }
    [[nodiscard]] const char* c_str() const { return characters.data(); }
    auto operator<=>(const text&) const = default;
};

struct configuration {
    stm::map<text<32>, text<128>> settings;
    stm::var<long> version; // the number of changes
};

static void set(const stm::region& region, configuration& all, int count, char** words) {
    stm::atomically(region, [&](stm::transaction& tx) {
        for (int word = 0; word + 1 < count; word += 2)
            all.settings.insert_or_assign(tx, text<32>(words[word]), text<128>(words[word + 1]));
        ++tx[all.version];
    });
}

static int get(const stm::region& region, configuration& all, const char* key) {
    const auto found = stm::read_only(
        region, [&](stm::read_transaction& tx) { return all.settings.find(tx, text<32>(key)); });
    if (!found)
        return 1;
    std::printf("%s\n", found->c_str());
    return 0;
}

static void watch(const stm::region& region, configuration& all, long times) {
    long seen = -1;
    for (; times > 0; --times) {
        // Printing waits until it is known that all of this was there at once.
        const std::string line = stm::read_only(region, [&](stm::read_transaction& tx) {
            const long version = tx[all.version];
            if (version == seen)
                tx.retry(); // sleeps until something changes that was read
            seen = version;
            std::string now = std::to_string(version) + ":";
            for (auto [key, value] : all.settings.in(tx))
                now += std::string(" ") + key.c_str() + "=" + value.c_str();
            return now;
        });
        std::printf("%s\n", line.c_str());
        std::fflush(stdout);
    }
}

int main(int argc, char** argv) try {
    auto region = stm::region::create("configuration", 1 << 20);
    auto& all = region.root<configuration>();
    const std::string what = argc > 1 ? argv[1] : "";
    if (what == "set" && argc >= 4 && argc % 2 == 0) {
        set(region, all, argc - 2, argv + 2);
    } else if (what == "get" && argc == 3) {
        return get(region, all, argv[2]);
    } else if (what == "watch") {
        watch(region, all, argc > 2 ? std::atol(argv[2]) : std::numeric_limits<long>::max());
    } else {
        std::fprintf(stderr, "usage: configuration set KEY VALUE…|get KEY|watch [TIMES]\n");
        return 2;
    }
} catch (const std::exception& error) {
    std::fprintf(stderr, "configuration: %s\n", error.what());
    return 1;
}
