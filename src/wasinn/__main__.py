# SPDX-License-Identifier: Apache-2.0
"""`python -m wasinn`."""

import sys

from wasinn.cli.main import main

sys.exit(main())
