# SPDX-License-Identifier: Apache-2.0
"""`wasi:nn` for components: hosting, and the adapter that makes bulk data cheap."""
