/* SPDX-License-Identifier: Apache-2.0 */
/* Empty on purpose: bcc includes this header, and linux/kconfig.h has all that bcc needs of it. */
