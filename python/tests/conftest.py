"""The packages of this folder are importable, and the stand-in for PySpark behind everything else."""

from __future__ import annotations

import os
import sys
from pathlib import Path

SRC = Path(__file__).resolve().parent.parent / "src"

os.environ["TZ"] = "UTC"
sys.path.insert(0, str(SRC))
sys.path.append(str(SRC / "headwater_worker" / "standin"))
