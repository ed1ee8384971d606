// SPDX-License-Identifier: GPL-2.0
// stm-check-history [--search | --replay | --graph] [FILE...]
// Joins the histories (standard input if no file is named) and checks them. Exit status: 0
// correct, 1 a violation, 2 not decided, 3 not readable.
#include "tests/history/history_check.hpp"

#include <fstream>
#include <iostream>
#include <sstream>

namespace {

int usage(std::ostream& out, int status) {
    out << "usage: stm-check-history [--search | --replay | --graph] [FILE...]\n"
           "exit status: 0 correct, 1 violation, 2 undecided, 3 unreadable\n";
    return status;
}

} // namespace

int main(int argc, char** argv) {
    using namespace stm::test;
    Verdict (*method)(const History&) = check;
    std::stringstream text;
    bool any = false;
    for (int i = 1; i < argc; ++i) {
        const std::string argument = argv[i];
        if (argument == "--help")
            return usage(std::cout, 0);
        if (argument == "--search") {
            method = check_by_search;
        } else if (argument == "--replay") {
            method = check_by_replay;
        } else if (argument == "--graph") {
            method = check_by_graph;
        } else if (argument.rfind("--", 0) == 0) {
            return usage(std::cerr, 3);
        } else {
            std::ifstream file(argument);
            if (!file) {
                std::cerr << "stm-check-history: cannot read " << argument << '\n';
                return 3;
            }
            text << file.rdbuf() << '\n';
            any = true;
        }
    }
    if (!any)
        text << std::cin.rdbuf();
    const Parsed parsed = parse(text);
    if (!parsed.error.empty()) {
        std::cerr << "stm-check-history: " << parsed.error << '\n';
        return 3;
    }
    const Verdict verdict = method(parsed.history);
    switch (verdict.kind) {
    case Verdict::Kind::correct:
        std::cout << "correct: " << parsed.history.attempts.size() << " transactions\n";
        return 0;
    case Verdict::Kind::violation:
        std::cout << "violation: " << verdict.why << '\n';
        return 1;
    case Verdict::Kind::undecided:
        std::cout << "undecided: " << verdict.why << '\n';
        return 2;
    }
    return 3;
}
