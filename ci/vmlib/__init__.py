# SPDX-License-Identifier: GPL-2.0
"""The host side of ci/vm and ci/kernel."""
