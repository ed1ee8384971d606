// SPDX-License-Identifier: GPL-2.0
// stmctl: what ipcs, ipcmk and ipcrm are to System V memory, for the regions of the module stm. Its
// commands are in files of their own; they are listed in the order of this file.
#include "command.hpp"

#include <clocale>

int main(int argc, char** argv) {
    std::setlocale(LC_CTYPE, ""); // how wide a name is
    stm::tools::Program program;
    stm::tools::add_ls(program);
    stm::tools::add_info(program);
    stm::tools::add_statistics(program);
    stm::tools::add_stat(program);
    stm::tools::add_top(program);
    stm::tools::add_trace(program);
    stm::tools::add_heatmap(program);
    stm::tools::add_create(program);
    stm::tools::add_rm(program);
    stm::tools::add_attachments(program);
    stm::tools::add_ipcs(program);
    stm::tools::add_chmod(program);
    stm::tools::add_chown(program);
    stm::tools::add_limits(program);
    stm::tools::add_dump(program);
    stm::tools::add_load(program);
    stm::tools::add_copy(program);
    stm::tools::add_hexdump(program);
    stm::tools::add_doctor(program);
    stm::tools::add_completion(program);
    return program.run(argc, argv);
}
