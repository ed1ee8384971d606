// SPDX-License-Identifier: GPL-2.0
#include "stopping.hpp"

#include "common/text.hpp"

#include <charconv>
#include <csignal>
#include <fmt/format.h>
#include <thread>

namespace stm::tools {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};
volatile std::sig_atomic_t due = 0;

} // namespace

Stopping::Stopping() {
    due = 0;
    for (const int signal : kSignals) {
        // Who called the command may have it ignore one, as nohup does.
        if (std::signal(signal, [](int) { due = 1; }) == SIG_IGN)
            std::signal(signal, SIG_IGN);
    }
}

Stopping::~Stopping() {
    for (const int signal : kSignals) {
        if (std::signal(signal, SIG_DFL) == SIG_IGN)
            std::signal(signal, SIG_IGN);
    }
}

bool Stopping::is_due() const {
    return due != 0;
}

void Stopping::sleep(std::chrono::duration<double> time) const {
    using Clock = std::chrono::steady_clock;
    const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(time);
    while (due == 0 && Clock::now() < end)
        std::this_thread::sleep_for(
            std::min<Clock::duration>(end - Clock::now(), std::chrono::milliseconds(50)));
}

std::chrono::duration<double> parse_seconds(const Call& call, const std::string& text) {
    double number = 0;
    const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || rest != text.data() + text.size() || !(number > 0) ||
        number > 86400.0 * 365)
        throw call.wrong_usage(
            fmt::format("'{}' is no number of seconds; it is a positive number", printable(text)));
    return std::chrono::duration<double>(number);
}

} // namespace stm::tools
