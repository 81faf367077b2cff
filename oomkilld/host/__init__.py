# SPDX-License-Identifier: Apache-2.0
"""Reading the machine: /proc, cgroups, kubelet, clocks, system calls, processes."""
