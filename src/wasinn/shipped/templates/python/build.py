"""Builds @NAME@.wasm: python build.py"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "sdk"))

from build_guest import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main([str(HERE / "app.py"), "--out", str(HERE / "@NAME@.wasm")]))
