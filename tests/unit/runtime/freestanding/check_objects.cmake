# SPDX-License-Identifier: GPL-2.0
# cmake -DNM=… -DOBJDUMP=… -DOBJECTS=a.o;b.o -P check_objects.cmake
# Fails if an object needs what the kernel does not have, or has a static constructor or destructor.
cmake_minimum_required(VERSION 3.25)
set(known stm_allocate stm_free stm_panic memcpy memmove memset memcmp _ZdlPvm __cxa_pure_virtual)
foreach(object IN LISTS OBJECTS)
    execute_process(COMMAND ${NM} --undefined-only --format=posix ${object}
        OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
    string(REGEX MATCHALL "[^\n]+" symbols "${symbols}")
    foreach(symbol IN LISTS symbols)
        string(REGEX REPLACE " .*" "" symbol "${symbol}")
        if(NOT symbol IN_LIST known)
            message(SEND_ERROR "${object} needs ${symbol}")
        endif()
    endforeach()
    execute_process(COMMAND ${OBJDUMP} --section-headers ${object}
        OUTPUT_VARIABLE sections COMMAND_ERROR_IS_FATAL ANY)
    if(sections MATCHES "\\.(init_array|fini_array|ctors|dtors)")
        message(SEND_ERROR "${object} has ${CMAKE_MATCH_0}")
    endif()
endforeach()
