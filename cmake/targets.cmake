# SPDX-License-Identifier: GPL-2.0
# stm_targets_below(FOLDER RESULT): the names of all targets that FOLDER and the folders below it
# define.
function(stm_targets_below folder result)
    get_property(targets DIRECTORY ${folder} PROPERTY BUILDSYSTEM_TARGETS)
    get_property(folders DIRECTORY ${folder} PROPERTY SUBDIRECTORIES)
    foreach(below IN LISTS folders)
        stm_targets_below(${below} more)
        list(APPEND targets ${more})
    endforeach()
    set(${result} ${targets} PARENT_SCOPE)
endfunction()
