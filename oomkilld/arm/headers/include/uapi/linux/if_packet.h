/* SPDX-License-Identifier: Apache-2.0 */
/* Empty on purpose: bcc includes it, and what it needs of it stands in linux/kconfig.h. */
