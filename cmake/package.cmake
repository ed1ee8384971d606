# SPDX-License-Identifier: GPL-2.0
# What `cmake --install` puts where, and how other projects find it: pkg-config stm, and
# find_package(stm) with the targets stm::stm (shared) and stm::static. Included where the libraries
# are defined.
include(CMakePackageConfigHelpers)

set(stm_cmake_dir ${CMAKE_INSTALL_LIBDIR}/cmake/stm)

install(TARGETS stm_shared stm_static EXPORT stmTargets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/userspace/lib/include/stm
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
    FILES_MATCHING PATTERN "*.h" PATTERN "*.hpp")
install(FILES ${PROJECT_SOURCE_DIR}/include/uapi/stm/ioctl.h
    DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/stm)

# Where Debian's Python looks for modules that a package brings.
install(FILES ${PROJECT_SOURCE_DIR}/userspace/python/stm.py DESTINATION lib/python3/dist-packages)

# Where gdb looks for what belongs to a library, if it is installed in /usr.
install(FILES ${PROJECT_SOURCE_DIR}/userspace/gdb/stm_printers.py
    DESTINATION ${CMAKE_INSTALL_DATADIR}/gdb/auto-load${CMAKE_INSTALL_FULL_LIBDIR}
    RENAME $<TARGET_FILE_NAME:stm_shared>-gdb.py)

# CMake
install(EXPORT stmTargets NAMESPACE stm:: DESTINATION ${stm_cmake_dir})
configure_package_config_file(${PROJECT_SOURCE_DIR}/cmake/stmConfig.cmake.in
    ${CMAKE_CURRENT_BINARY_DIR}/stmConfig.cmake
    INSTALL_DESTINATION ${stm_cmake_dir} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/stmConfigVersion.cmake
    COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/stmConfig.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/stmConfigVersion.cmake
    DESTINATION ${stm_cmake_dir})

# pkg-config. The prefix is worked out from where stm.pc lies, so a copy installed elsewhere
# (--prefix, DESTDIR) works.
file(RELATIVE_PATH stm_pc_to_prefix /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" stm_pc_to_prefix "${stm_pc_to_prefix}")
configure_file(${PROJECT_SOURCE_DIR}/cmake/stm.pc.in ${CMAKE_CURRENT_BINARY_DIR}/stm.pc @ONLY)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/stm.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
