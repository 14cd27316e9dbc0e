# SPDX-License-Identifier: Apache-2.0
"""What a function in Spin's Python format imports, with the surface that its public documentation
describes, over kiln instead of WebAssembly: `http`, `key_value`, `variables` and the errors that
are caught, in `wit`."""
