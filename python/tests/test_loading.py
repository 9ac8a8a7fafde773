"""Where a connector's code is found, under which name, and which class of it is taken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from client import SRC, worker, write

CLASS = """
class {name}(Base):
    def read_table(self, table_name, start_offset, table_options):
        return [{{"id": {value}}}], {{}}
"""


def cls(name: str, value: str = "1") -> str:
    return CLASS.format(name=name, value=value)


def describe(*arguments: str | Path) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "headwater_worker", *map(str, arguments), "--describe"],
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(SRC)},
        check=False,
    )
    told: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (1 if "error" in told else 0), done.stderr
    return told


def rows(*arguments: str | Path, **environment: str) -> Any:
    with worker(*arguments, **environment) as client:
        client.open()
        return client.read("t")[0]


def test_modules_import_each_other_by_the_path_that_they_lie_under_elsewhere(tmp_path: Path) -> None:
    own = "databricks.labs.community_connector.sources.shop"
    folder = write(
        tmp_path / "checkout-of-shop",
        shop=f"from {own}.shop_helpers import VALUE\nfrom {own} import shop_more\nfrom .shop_more import MORE\n"
        + cls("ShopLakeflowConnect", "VALUE + MORE"),
        shop_helpers="print('helpers')\nVALUE = 40",
        shop_more="MORE = 2",
        test_shop="raise AssertionError('tests are not imported')",
    )
    (folder / "tests").mkdir()
    (folder / "tests" / "bad.py").write_text("raise AssertionError('tests are not imported')")
    (folder / "__init__.py").write_text("")
    assert rows("--path", folder) == [{"id": 42}]
    told = describe("--path", folder, "--name", "my_shop")
    assert told["package"] == own and told["class"] == "ShopLakeflowConnect"
    assert told["file"] == str(folder / "shop.py") and told["module"] == f"{own}.shop"


def test_a_package_that_imports_names_from_itself_has_its_own_name(tmp_path: Path) -> None:
    own = "databricks.labs.community_connector.sources.shop"
    folder = write(tmp_path / "clone", core=f"from {own} import VALUE\n" + cls("Shop", "VALUE"))
    (folder / "__init__.py").write_text("VALUE = 8")
    assert rows("--path", folder, "--name", "mine") == [{"id": 8}]
    chain = tmp_path / "databricks" / "labs" / "community_connector" / "sources"
    assert describe("--path", write(chain / "other", a=cls("Shop")), "--name", "mine")["package"].endswith(".other")


def test_the_class_that_the_data_source_names_is_taken(tmp_path: Path) -> None:
    folder = write(tmp_path / "shop", shop=cls("ShopLakeflowConnect", "7") + cls("Other"))
    (folder / "__init__.py").write_text(
        "from databricks.labs.community_connector.sparkpds import LakeflowSource\n"
        "from databricks.labs.community_connector.sources.shop.shop import ShopLakeflowConnect\n"
        "class ShopDataSource(LakeflowSource):\n    _lakeflow_connect_cls = ShopLakeflowConnect\n"
        "    @classmethod\n    def name(cls):\n        return 'shop'\n"
    )
    assert rows("--path", folder) == [{"id": 7}]
    assert describe("--path", folder)["class"] == "ShopLakeflowConnect"


def test_several_classes_or_none_are_an_error_that_lists_what_was_found(tmp_path: Path) -> None:
    folder = write(tmp_path / "shop", a=cls("First"), b=cls("Second"))
    message = describe("--path", folder)["error"]["message"]
    assert "a:First" in message and "b:Second" in message
    assert describe("--path", folder, "--class", "b:Second")["class"] == "Second"
    assert "no class Third" in describe("--path", folder, "--class", "b:Third")["error"]["message"]
    empty = write(tmp_path / "empty", a="X = 1")
    assert "holds no concrete class" in describe("--path", empty)["error"]["message"]
    with worker("--path", folder) as client:
        client.result("hello", protocols=[1])
        assert client.error("open", options={}, secrets=[], table=None)["kind"] == "no_connector"


def test_of_classes_derived_from_each_other_the_last_is_taken(tmp_path: Path) -> None:
    folder = write(tmp_path / "shop", a=cls("Common"), b="from .a import Common\nclass Special(Common):\n    pass\n")
    assert describe("--path", folder)["class"] == "Special"


def test_a_module_that_does_not_import_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "shop", a="import not_there_at_all\n" + cls("Shop"))
    error = describe("--path", folder)["error"]
    assert error["class"] == "ModuleNotFoundError" and "not_there_at_all" in error["message"]
    assert error["trace"][-1]["file"] == "a.py"
    write(folder, b=cls("Other"))
    assert describe("--path", folder)["class"] == "Other"


def test_files_beside_the_code_and_plain_imports_are_found(tmp_path: Path) -> None:
    body = "from pathlib import Path\nimport plain_helper\nVALUE = int(Path(__file__).with_name('n.txt').read_text())\n"
    folder = write(tmp_path / "my-shop.v2", shop=body + cls("Shop", "VALUE + plain_helper.ONE"))
    (folder / "plain_helper.py").write_text("ONE = 1")
    (folder / "n.txt").write_text("5")
    assert rows("--path", folder) == [{"id": 6}]


def test_a_folder_around_the_package_will_do(tmp_path: Path) -> None:
    write(tmp_path / "repo" / "src" / "shop", shop=cls("Shop"))
    (tmp_path / "repo" / "setup.cfg").write_text("")
    assert describe("--path", tmp_path / "repo")["folder"] == str(tmp_path / "repo" / "src" / "shop")
    write(tmp_path / "repo" / "src" / "other", other=cls("Other"))
    message = describe("--path", tmp_path / "repo")["error"]["message"]
    assert "src/other" in message and "src/shop" in message
    assert describe("--path", tmp_path / "repo", "--name", "shop")["class"] == "Shop"


def test_other_parts_of_the_repository_are_found_behind_ours(tmp_path: Path) -> None:
    chain = tmp_path / "repo" / "src" / "databricks" / "labs" / "community_connector"
    write(chain / "libs", simple="VALUE = 3", utils="raise AssertionError('ours goes first')")
    write(chain / "sources" / "other", other_lib="VALUE = 4")
    for package in (chain.parents[1], chain.parents[0], chain, chain / "libs"):
        (package / "__init__.py").write_text("raise AssertionError('ours goes first')")
    text = (
        "from databricks.labs.community_connector.libs.simple import VALUE\n"
        "from databricks.labs.community_connector.libs.utils import parse_value\n"
        "from databricks.labs.community_connector.sources.other.other_lib import VALUE as OTHER\n"
    )
    folder = write(chain / "sources" / "shop", shop=text + cls("Shop", "VALUE * 10 + OTHER"))
    assert rows("--path", folder, "--repo", tmp_path / "repo") == [{"id": 34}]
    error = describe("--path", folder)["error"]
    assert error["class"] == "ModuleNotFoundError"


def test_a_single_file_and_an_installed_module(tmp_path: Path) -> None:
    folder = write(tmp_path / "files", shop=cls("Shop", "3"), unrelated=cls("Unrelated"))
    assert rows("--path", folder / "shop.py") == [{"id": 3}]
    assert describe("--path", folder / "shop.py")["class"] == "Shop"
    write(tmp_path / "site" / "shop_package", core=cls("Installed", "9"))
    (tmp_path / "site" / "shop_package" / "__init__.py").write_text("")
    environment = {"PYTHONPATH": f"{SRC}{os.pathsep}{tmp_path / 'site'}"}
    assert rows("--module", "shop_package", **environment) == [{"id": 9}]
    with worker("--module", "not_installed") as client:
        client.result("hello", protocols=[1])
        assert "not installed" in client.error("open", options={}, secrets=[], table=None)["message"]


MERGED = '''
from typing import Any, Iterator
from abc import ABC, abstractmethod
VERSION = 1

def register_lakeflow_source(spark):
    """Registers the source."""
    from pyspark.sql import Row, SparkSession
    from pyspark.sql.datasource import DataSource, DataSourceReader, SimpleDataSourceStreamReader
    from pyspark.sql.types import LongType, StructField, StructType

    def parse_value(value, data_type):
        return value

    class LakeflowConnect(ABC):
        def __init__(self, options): pass
        @abstractmethod
        def list_tables(self): ...
        @abstractmethod
        def get_table_schema(self, table_name, table_options): ...
        @abstractmethod
        def read_table_metadata(self, table_name, table_options): ...
        def read_table(self, table_name, start_offset, table_options): ...

    class SupportsNamespaces(ABC):
        @abstractmethod
        def list_namespaces(self, prefix=None): ...

    class ShopClient:
        value = 11

    class ShopLakeflowConnect(LakeflowConnect, SupportsNamespaces):
        def __init__(self, options):
            self.client = ShopClient()
        def list_tables(self): return ["t"]
        def list_namespaces(self, prefix=None): return [["a"]]
        def list_tables_in_namespace(self, namespace): return ["t"]
        def get_table_schema(self, table_name, table_options): return StructType([StructField("id", LongType())])
        def read_table_metadata(self, table_name, table_options): return {}
        def read_table(self, table_name, start_offset, table_options):
            return iter([{"id": self.client.value}]), {}

    {alias}

    class LakeflowStreamReader(SimpleDataSourceStreamReader):
        def read(self, start): return iter([]), {}

    class LakeflowSource(DataSource):
        {attribute}
        def __init__(self, options):
            self.connector = {made}(options)
        @classmethod
        def name(cls): return "lakeflow_connect"
        def simpleStreamReader(self, schema): return LakeflowStreamReader()

    spark.dataSource.register(LakeflowSource)
'''


@pytest.mark.parametrize(
    ("alias", "attribute", "made"),
    [
        ("pass", "pass", "ShopLakeflowConnect"),
        ("LakeflowConnectImpl = ShopLakeflowConnect", "pass", "LakeflowConnectImpl"),
        ("pass", "_lakeflow_connect_cls = ShopLakeflowConnect", "self._lakeflow_connect_cls"),
        ("make = {'shop': ShopLakeflowConnect}", "pass", "make['shop']"),
    ],
)
def test_the_class_in_a_merged_file_is_found(tmp_path: Path, alias: str, attribute: str, made: str) -> None:
    file = tmp_path / "_generated_shop_python_source.py"
    text = MERGED.replace("{alias}", alias).replace("{attribute}", attribute).replace("{made}", made)
    file.write_text(text)
    assert rows("--path", file) == [{"id": 11}]
    told = describe("--path", file)
    assert told["class"] == "ShopLakeflowConnect" and told["merged"] and told["abilities"] == ["namespaces"]
    assert describe("--path", file, "--class", told["selector"])["class"] == "ShopLakeflowConnect"


def test_the_current_folder_is_not_searched(tmp_path: Path) -> None:
    folder = write(tmp_path / "shop", shop=cls("Shop", "5"))
    (tmp_path / "json.py").write_text("raise AssertionError('from the current folder')")
    command = [sys.executable, "-m", "headwater_worker", "--path", str(folder), "--describe"]
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment, check=False)
    assert json.loads(done.stdout)["class"] == "Shop", done.stderr


def test_what_is_printed_while_a_connector_is_described_stays_out_of_the_json(tmp_path: Path) -> None:
    told = describe("--path", write(tmp_path / "shop", shop="print('hello')\n" + cls("Shop")))
    assert told["candidates"] == ["databricks.labs.community_connector.sources.shop.shop:Shop"]
    (tmp_path / "shop" / "connector_spec.yaml").write_text("a: b")
    assert describe("--path", tmp_path / "shop")["spec"] == str(tmp_path / "shop" / "connector_spec.yaml")
