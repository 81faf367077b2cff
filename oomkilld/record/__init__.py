# SPDX-License-Identifier: Apache-2.0
"""Stage "record": the small resident part. Neither bcc nor pydantic is imported here."""
