// SPDX-License-Identifier: GPL-2.0
#include "pages.hpp"

#include <fstream>
#include <string>

namespace stm::sweep {

// The file has, for each stack, its functions line by line, and then "nr_base_pages: COUNT".
long pages_of_module() {
    std::ifstream file("/sys/kernel/debug/page_owner_stacks/show_stacks");
    if (!file)
        return -1;
    const std::string mark = "nr_base_pages:";
    long pages = 0;
    bool ours = false;
    bool any = false;
    for (std::string line; std::getline(file, line);) {
        if (line.find("stm_linux_page_allocate") != std::string::npos)
            ours = true;
        if (const auto place = line.find(mark); place != std::string::npos) {
            any = true;
            if (ours)
                pages += std::stol(line.substr(place + mark.size()));
            ours = false;
        }
    }
    return any ? pages : -1;
}

} // namespace stm::sweep
