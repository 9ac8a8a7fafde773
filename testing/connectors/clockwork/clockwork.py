"""Streams whose offsets are hard to keep: nanoseconds, floats to the last bit, nulls, keys in another order."""
import random
from itertools import count

from databricks.labs.community_connector.interface import LakeflowConnect
from pyspark.sql.types import *  # noqa: F403

NANOS = 1714560000123456789
FLOATS = [0.1 + 0.2, 1e-310, 1.7976931348623157e308, -0.0, 5e-324]
HUGE = 2**200 + 1


def shuffled(**items):
    pairs = list(items.items())
    random.shuffle(pairs)
    return dict(pairs)


# What comes back has to be what went out, type and bits included.
def same(a, b):
    if isinstance(a, float):
        return isinstance(b, float) and a.hex() == b.hex()
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


class Clockwork(LakeflowConnect):
    STEPS = {
        "nanos": [{"ns": NANOS + i} for i in range(4)],
        "floats": [{"at": f} for f in FLOATS],
        "nulls": [{"pageToken": "a", "n": 0}, {"pageToken": None, "n": 1}, {"pageToken": None}],
        "huge": [{"id": HUGE + i, "neg": -HUGE} for i in range(2)],
        "texts": [{"a": "\u2028 \\ \" \U0001f600 é\x00\x7f"}, {"": {"": [[], {}, [None, True, "x"]]}}, {"1": 1, "01": False}],
        "shuffled": [{"a": i, "b": [i], "c": {"x": 1, "y": None, "z": 0.5}} for i in range(4)],
    }

    def list_tables(self):
        return list(self.STEPS)

    def get_table_schema(self, table, opts):
        return StructType([StructField("n", LongType()), StructField("offset_was", StringType())])  # noqa: F405

    def read_table_metadata(self, table, opts):
        return {"primary_keys": ["n"], "cursor_field": "n", "ingestion_type": "append"}

    def read_table(self, table, offset, opts):
        steps = self.STEPS[table]
        if offset == {}:
            at = 0
        else:
            at = next((i + 1 for i, step in enumerate(steps) if same(step, offset)), None)
            if at is None:
                raise RuntimeError(f"nobody made the offset {offset!r}")
        if at == len(steps):
            return map(dict, ()), shuffled(**offset)
        numbers = zip(range(at * 10, at * 10 + 2), count())
        return map(lambda pair: {"n": pair[0], "offset_was": repr(offset)[:8]}, numbers), shuffled(**steps[at])
