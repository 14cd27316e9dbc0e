# SPDX-License-Identifier: Apache-2.0
"""Errors under the names that Spin's documentation tells to catch."""
