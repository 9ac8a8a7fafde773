"""Makes the connector importable by the name of its folder, and the types of its schemas where PySpark is not there."""

import importlib.util
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

if importlib.util.find_spec("pyspark") is None:
    import headwater_worker

    sys.path.append(str(Path(headwater_worker.__file__).parent / "standin"))
