"""A connector's own tests, run as its connector is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from client import SRC, write

TEST = """
from databricks.labs.community_connector.sources.desk.desk import Base
from pyspark.sql.types import LongType

def test_the_schema():
    assert Base({}).get_table_schema("t", {}).fields[0].dataType == LongType()
    assert %s
"""


@pytest.mark.parametrize(("holds", "code"), [(True, 0), (False, 1)])
def test_tests_import_their_connector_by_its_path(tmp_path: Path, holds: bool, code: int) -> None:
    folder = write(tmp_path / "desk", desk="")
    (folder / "tests").mkdir()
    (folder / "tests" / "test_desk.py").write_text(TEST % holds)
    ran = subprocess.run(
        [sys.executable, "-m", "headwater_worker.own_tests", ".", "tests"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert ("1 passed" if holds else "1 failed") in ran.stdout


def test_wrong_usage_is_told() -> None:
    command = [sys.executable, "-m", "headwater_worker.own_tests"]
    ran = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": str(SRC)}, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2 and ran.stderr.startswith("usage:")
