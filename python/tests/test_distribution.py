"""The package as a distribution: pip installs it offline and sees the requirement of its name as met."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment."""
    folder = tmp_path_factory.mktemp("venv") / "env"
    venv.create(folder, with_pip=True)
    return folder / "bin" / "python"


def run(python: Path, *arguments: str) -> str:
    command = [str(python), "-I", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=python.parent)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wheel(folder: Path, requirement: str) -> Path:
    """A connector's own package, with the framework as a requirement and another part of `databricks`."""
    path = folder / "my_connector-1.0-py3-none-any.whl"
    info = "my_connector-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            "my_connector.py", "from databricks.labs.community_connector.interface import LakeflowConnect\n"
        )
        archive.writestr(
            f"{info}/METADATA",
            f"Metadata-Version: 2.1\nName: my-connector\nVersion: 1.0\nRequires-Dist: {requirement}\n",
        )
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def test_pip_installs_it_and_what_requires_it(python: Path, tmp_path: Path) -> None:
    pip = ["-m", "pip", "install", "--quiet", "--no-index", "--disable-pip-version-check"]
    run(python, *pip, str(ROOT))
    run(python, *pip, str(wheel(tmp_path, "lakeflow-community-connectors>=0.1.0,<1.0")))
    run(python, "-m", "pip", "check")
    assert (
        run(python, "-c", "import my_connector; print(my_connector.LakeflowConnect.__name__)").strip()
        == "LakeflowConnect"
    )
    other = python.parent.parent / "other"
    (other / "databricks" / "labs" / "elsewhere").mkdir(parents=True)
    (other / "databricks" / "labs" / "elsewhere" / "__init__.py").write_text("HERE = True")
    for package in ("databricks", "databricks/labs"):
        (other / package / "__init__.py").write_text("")
    code = f"import sys; sys.path.append({str(other)!r}); import databricks.labs.elsewhere as e; print(e.HERE)"
    assert run(python, "-c", code).strip() == "True"


def test_the_version_is_the_same_everywhere() -> None:
    import tomllib

    import headwater_worker
    from databricks.labs import community_connector

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert declared == headwater_worker.__version__ == community_connector.__version__
    assert sys.version_info >= (3, 11)
