// SPDX-License-Identifier: GPL-2.0
// <stm/ioctl.h> for the core, which has the fixed-width types from the interface instead of from
// Linux.
#pragma once

#include "kernel/interface/types.h"

#include <stm/ioctl.h>
