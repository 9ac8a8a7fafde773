"""Options, types, specs, encoders, errors and secrets, without a process."""

from __future__ import annotations

import base64
import copy
import datetime
import decimal
import enum
import json
import math
import pickle
import uuid
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

import numpy
import pyspark.sql.types as types
import pytest
import vectors
from pyspark.sql import Row
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    CharType,
    DayTimeIntervalType,
    DecimalType,
    LongType,
    MapType,
    NullType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    VarcharType,
    VariantType,
    YearMonthIntervalType,
)

from databricks.labs.community_connector import interface
from databricks.labs.community_connector.libs.spec_parser import SpecParser
from databricks.labs.community_connector.pipeline import ingest
from headwater_worker import encode, errors
from headwater_worker.options import Options
from headwater_worker.plain import plain
from headwater_worker.redact import Redactor

# --- options


def test_options_keep_their_spelling_and_are_found_in_any_case() -> None:
    options = Options({"Base_Url": "u", "b": "2"})
    assert options["BASE_URL"] == options.get("base_url") == "u" and "bASE_url" in options
    assert list(options) == ["Base_Url", "b"] and dict(options) == {"Base_Url": "u", "b": "2"} == {**options}
    options["BASE_URL"] = "v"
    assert list(options.items()) == [("Base_Url", "v"), ("b", "2")]
    for same in (copy.copy(options), copy.deepcopy(options), options.copy(), pickle.loads(pickle.dumps(options))):
        assert type(same) is Options and same["base_url"] == "v" and same == options
    assert options.pop("BASE_url") == "v" and "Base_Url" not in options and options.pop("x", "d") == "d"
    options["BASE_URL"] = "w"
    assert list(options) == ["b", "BASE_URL"]
    assert (options | {"B": "3"})["b"] == "3" and ({"B": "3"} | options)["b"] == "2"
    options |= {"C": "4"}
    assert options.setdefault("c", "5") == "4" and type(options) is Options
    with pytest.raises(KeyError):
        options["missing"]
    del options["B"]
    assert "b" not in options and json.loads(json.dumps(options)) == {"BASE_URL": "w", "C": "4"}


# --- types


def test_a_schema_has_the_json_form_of_spark() -> None:
    schema = StructType([StructField("id", LongType(), False, {"comment": "key"})])
    schema.add("price", DecimalType(12, 2)).add("name", "string", False).add(
        StructField("tags", ArrayType(StringType()))
    )
    schema.add("map", MapType(StringType(), StructType([StructField("at", TimestampNTZType())]), False))
    value = schema.jsonValue()
    assert value["fields"][0] == {"name": "id", "type": "long", "nullable": False, "metadata": {"comment": "key"}}
    assert value["fields"][1]["type"] == "decimal(12,2)" and value["fields"][4]["type"]["valueContainsNull"] is False
    assert StructType.fromJson(value) == schema and StructType.fromJson(json.loads(schema.json())) == schema
    assert schema.fieldNames() == schema.names == ["id", "price", "name", "tags", "map"] and len(schema) == 5
    assert [field.name for field in schema] == schema.names and schema["price"].dataType == DecimalType(12, 2)
    assert schema[0].name == "id" and schema[1:3].fieldNames() == ["price", "name"]
    assert schema.simpleString() == (
        "struct<id:bigint,price:decimal(12,2),name:string,tags:array<string>,map:map<string,struct<at:timestamp_ntz>>>"
    )
    assert schema != StructType() and schema != 1
    assert repr(StructType([StructField("a", LongType(), True)])) == "StructType([StructField('a', LongType(), True)])"
    with pytest.raises(KeyError):
        schema["missing"]


@pytest.mark.parametrize(
    ("kind", "name", "simple", "shown"),
    [
        (CharType(3), "char(3)", "char(3)", "CharType(3)"),
        (VarcharType(9), "varchar(9)", "varchar(9)", "VarcharType(9)"),
        (VariantType(), "variant", "variant", "VariantType()"),
        (NullType(), "void", "void", "NullType()"),
        (BinaryType(), "binary", "binary", "BinaryType()"),
        (types.ByteType(), "byte", "tinyint", "ByteType()"),
        (types.ShortType(), "short", "smallint", "ShortType()"),
        (types.IntegerType(), "integer", "int", "IntegerType()"),
        (types.CalendarIntervalType(), "interval", "interval", "CalendarIntervalType()"),
        (DayTimeIntervalType(), "interval day to second", "interval day to second", "DayTimeIntervalType(0, 3)"),
        (DayTimeIntervalType(1), "interval hour", "interval hour", "DayTimeIntervalType(1, 1)"),
        (YearMonthIntervalType(), "interval year to month", "interval year to month", "YearMonthIntervalType(0, 1)"),
    ],
)
def test_types_have_the_names_of_spark(kind: types.DataType, name: str, simple: str, shown: str) -> None:
    assert (kind.jsonValue(), kind.simpleString(), repr(kind)) == (name, simple, shown)
    assert types._parse_datatype_json_value(name) == kind and hash(types._parse_datatype_json_value(name)) == hash(kind)


@pytest.mark.skipif(
    "headwater_worker" not in str(types.__file__), reason="PySpark itself is here, with texts of its own"
)
def test_mistakes_with_types_are_told() -> None:
    with pytest.raises(TypeError, match="parentheses"):
        StructField("a", LongType)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        StructType(["a"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="no type"):
        StructType().add("a", "strin")
    with pytest.raises(ImportError, match="PySpark is not installed"):
        from pyspark.sql import functions  # noqa: F401
    with pytest.raises(ImportError):
        import pyspark.ml  # noqa: F401


def test_everything_in_all_is_there() -> None:
    names: dict[str, Any] = {}
    exec("from pyspark.sql.types import *\nfrom pyspark.sql.datasource import *", names)
    assert {"StructType", "LongType", "DataSource", "VariantVal", "Row"} <= set(names)
    assert all(hasattr(interface, name) for name in interface.__all__)


STANDS_IN = "headwater_worker" in str(types.__file__)


@pytest.mark.skipif(not STANDS_IN, reason="PySpark itself is here, and reads DDL with a session only")
def test_types_are_read_from_ddl() -> None:
    def check(ddl: str, expected: Any) -> None:
        assert types.DataType.fromDDL(ddl) == expected

    check("bigint", LongType())
    check(" Decimal ( 12 , 3 ) ", types.DecimalType(12, 3))
    check("numeric", types.DecimalType())
    check("varchar(7)", types.VarcharType(7))
    check("timestamp_ntz", types.TimestampNTZType())
    check("array<map<string, tinyint>>", types.ArrayType(types.MapType(StringType(), types.ByteType())))
    inner = StructType().add("x", LongType(), False).add("y z", StringType())
    check("struct<x: long not null, `y z`: string>", inner)
    check("struct<>", StructType())
    expected = (
        StructType().add("a", LongType(), False, {"comment": "it's"}).add("s", inner).add("i", "interval day to second")
    )
    check(
        "a BIGINT NOT NULL COMMENT 'it\\'s', s struct<x: bigint NOT NULL,`y z` STRING>, i INTERVAL DAY TO SECOND",
        expected,
    )
    check("date date, `in``t` int", StructType().add("date", "date").add("in`t", "integer"))


@pytest.mark.skipif(not STANDS_IN, reason="PySpark itself is here, with texts of its own")
def test_ddl_that_is_none_is_told() -> None:
    for ddl in (
        "",
        "nothing",
        "a",
        "a int,",
        "array<int",
        "decimal(x)",
        "a int b int",
        "a int comment x",
        "a ?",
        "int int int",
    ):
        with pytest.raises(ValueError, match="neither a type"):
            types.DataType.fromDDL(ddl)


def test_variants_have_the_binary_form_of_spark() -> None:
    # As the reference implementation wrote it.
    variant = types.VariantVal.parseJson('{"a":1}')
    assert (variant.value, variant.metadata) == (base64.b64decode("AgEAAAIMAQ=="), base64.b64decode("AQEAAWE="))
    document: dict[str, Any] = {
        "b": [1, -300, 70_000, 2**40, 10**30, 1.5, None, True, False, "x" * 100],
        "a": {"é": "", "b": {}},
        "c": [],
    }
    document["many"] = [{f"k{i}": i} for i in range(300)]
    variant = types.VariantVal.parseJson(json.dumps(document))
    again = types.VariantVal(variant.value, variant.metadata)
    if STANDS_IN:
        assert again.toPython() == document and json.loads(again.toJson()) == document
    else:
        # PySpark reads ours.
        assert again.toPython() == {**document, "b": [*document["b"][:4], decimal.Decimal(10**30), *document["b"][5:]]}


def test_variants_hold_more_than_json() -> None:
    def value(hexadecimal: str) -> Any:
        return types.VariantVal(bytes.fromhex(hexadecimal), b"\x01\x00\x00").toPython()

    assert value("20 02 96000000") == decimal.Decimal("1.50")
    assert value("2c d54d0000") == datetime.date(2024, 7, 21)
    assert value("34 0100000000000000") == datetime.datetime(1970, 1, 1, 0, 0, 0, 1)
    assert value("3c 02000000 00ff") == b"\x00\xff"
    assert value("38 0000c03f") == 1.5
    assert value("05 61") == "a"


@pytest.mark.skipif(not STANDS_IN, reason="PySpark itself is here, with texts of its own")
def test_bytes_that_are_no_variant_are_told() -> None:
    for hexadecimal in ("", "0c", "fc00", "0203000102", "40 ff000000 61"):
        with pytest.raises(ValueError, match="variant"):
            types.VariantVal(bytes.fromhex(hexadecimal), b"\x01\x00\x00").toPython()
    with pytest.raises(ValueError, match="metadata"):
        types.VariantVal(b"\x00", b"").toPython()


# --- specs

SPEC: dict[str, Any] = {
    "connection_name": "c",
    "objects": [
        {"table": {"source_table": "a"}},
        {
            "table": {
                "source_table": "b",
                "destination_catalog": "main",
                "destination_schema": "s",
                "destination_table": "bb",
                "table_configuration": {
                    "SCD_TYPE": "scd_type_2",
                    "primary_keys": ["x", "y"],
                    "sequence_by": "at",
                    "cluster_by": "x, y",
                    "pageSize": 3,
                    "list": [1, "a"],
                    "flag": True,
                },
            }
        },
    ],
}


def test_a_spec_answers_questions() -> None:
    for given in (SPEC, json.dumps(SPEC), {"ingestion_definition": SPEC}):
        spec = SpecParser(given)
        assert spec.connection_name() == "c" and spec.get_table_list() == ["a", "b"]
        assert spec.get_table_configuration("b") == {"pageSize": "3", "list": '[1,"a"]', "flag": "true"}
        assert spec.get_table_configurations()["a"] == {}
        assert (spec.get_scd_type("b"), spec.get_scd_type("a")) == ("SCD_TYPE_2", None)
        assert (spec.get_primary_keys("b"), spec.get_primary_keys("a")) == (["x", "y"], None)
        assert (spec.get_sequence_by("b"), spec.get_cluster_by("b")) == ("at", ["x", "y"])
        assert spec.get_full_destination_table_name("b") == "main.s.bb"
        assert spec.get_full_destination_table_name("a") == "a"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"connection_name": None}, "connection_name must be a text"),
        ({"objects": []}, "at least one table"),
        ({"objects": [{"schema": {}}]}, r"objects\[0\] is a schema"),
        ({"objects": [{"table": {}}]}, r"objects\[0\].table.source_table"),
        ({"objects": [{"table": {"source_table": "a"}}] * 2}, "a second time"),
        ({"objects": [{"table": {"source_table": "a", "table_configuration": {"scd_type": "x"}}}]}, "SCD_TYPE_1"),
        ({"objects": [{"table": {"source_table": "a", "table_configuration": {"p": 1, "P": 2}}}]}, "only by case"),
    ],
)
def test_a_wrong_spec_is_told(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        SpecParser({**SPEC, **change})
    with pytest.raises(ValueError, match="no JSON"):
        SpecParser("{")


def test_ingest_says_how_to_run_a_spec() -> None:
    with pytest.raises(RuntimeError, match="headwater run"):
        ingest(None, SPEC)
    with pytest.raises(ValueError, match="connection_name"):
        ingest(None, {})


# --- encoders


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Name(str, enum.Enum):
    X = "x"


class Text(str):
    pass


class Kilo(float):
    pass


class Model:
    model_fields = {"a": None}

    def model_dump(self) -> dict[str, Any]:
        return {"a": decimal.Decimal("1.0")}


class OldModel:
    __fields__ = {"a": None}

    def dict(self) -> Any:
        return {"a": 1}


class Attrs:
    class _Field:
        name = "a"

    __attrs_attrs__ = (_Field,)
    a = (1, 2)


@dataclass
class Point:
    x: int
    _hidden: Any = None


Pair = namedtuple("Pair", "a b")
UTC = datetime.timezone.utc
HALF_PAST_FIVE = datetime.timezone(datetime.timedelta(hours=5, minutes=30))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (2**63, "9223372036854775808"),
        (-(10**30), "-1" + "0" * 30),
        (0.1, "0.1"),
        (-0.0, "-0.0"),
        (float("nan"), "NaN"),
        ([1, -math.inf, None], "[1,-Infinity,null]"),
        ("\ud800", '"\\ud800"'),
        ("é\u2028\x7f\x00", None),
        (datetime.datetime(2024, 1, 5, 10, 11, 12), '"2024-01-05 10:11:12"'),
        (datetime.datetime(2024, 1, 5, 10, 11, 12, 5, UTC), '"2024-01-05 10:11:12.000005+00:00"'),
        (datetime.datetime(2024, 1, 5, tzinfo=HALF_PAST_FIVE), '"2024-01-05 00:00:00+05:30"'),
        (datetime.date(2024, 1, 5), '"2024-01-05"'),
        (datetime.time(1, 2), '"01:02:00"'),
        (datetime.timedelta(hours=25), '"1 day, 1:00:00"'),
        (decimal.Decimal("1E+5"), '"1E+5"'),
        (decimal.Decimal("NaN"), '"NaN"'),
        (b"\x00\xff", '"AP8="'),
        (bytearray(b"ab"), '"YWI="'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        ((1, (2,)), "[1,[2]]"),
        ({3, 1, 2}, "[1,2,3]"),
        (frozenset(["b", "a"]), '["a","b"]'),
        (Pair(1, 2), "[1,2]"),
        (range(3), "[0,1,2]"),
        ({"a": 1}.keys(), '["a"]'),
        (Colour.RED, '"red"'),
        (Level.HIGH, "3"),
        (Name.X, '"x"'),
        (Text("t"), '"t"'),
        (Kilo(1.5), "1.5"),
        (Point(1, [None]), '{"x":1,"_hidden":[null]}'),
        (Model(), '{"a":"1.0"}'),
        (OldModel(), '{"a":1}'),
        (Attrs(), '{"a":[1,2]}'),
        (Row(a=1, b=Row(c=2)), '{"a":1,"b":{"c":2}}'),
        (OrderedDict(b=1, a=2), '{"b":1,"a":2}'),
        ({2: "a", None: "b", True: "c", 1.5: "d", Colour.RED: "e"}, None),
        ({datetime.date(2024, 1, 5): 1, (1, 2): 2}, '{"2024-01-05":1,"(1, 2)":2}'),
        (1j, '"1j"'),
    ],
)
def test_both_encoders_write_the_same_values(value: Any, text: str | None) -> None:
    record = {"v": value, "none": None}
    written = {name: encode.choose(name)(record) for name in ("orjson", "json")}
    written["exact"] = encode.exact(record)
    written["list"] = encode.choose("orjson")([record])[1:-1]
    values = {name: json.dumps(json.loads(got)) for name, got in written.items()}
    assert len(set(values.values())) == 1, written
    if text is not None:
        assert json.dumps(json.loads(written["exact"])["v"]) == json.dumps(json.loads(text))


def test_nan_is_not_lost_at_any_depth_or_beside_other_nulls() -> None:
    fast = encode.choose("orjson")
    nan = float("nan")
    for value in (
        [nan],
        numpy.float64(nan),
        numpy.array([nan]),
        numpy.float32(nan),
        {nan},
        {"x": {"y": [None, nan]}},
        [None, [nan, "null"]],
        Kilo(nan),
        Point(1, nan),
    ):
        for record in ({"v": value}, {"v": value, "n": None, "s": "null"}):
            assert b"NaN" in fast(record) and b"NaN" in fast([{"a": None}, record])
    assert json.loads(fast({"a": numpy.array([1, 2]), "n": None})) == {"a": [1, 2], "n": None}
    tricky = {"bytes like a NaN": "g\x00\x00\x00\x00\x00\x00\xf8\x7f", "n": [None]}
    assert json.loads(fast(tricky)) == tricky


def test_what_holds_itself_is_an_error_and_not_the_end() -> None:
    loop: list[Any] = []
    loop.append(loop)
    for name in ("orjson", "json"):
        with pytest.raises((ValueError, RecursionError)):
            encode.choose(name)({"v": loop})


def sent(raw: dict[str, Any]) -> str:
    """How the decoder's own tests expect a worker to write a value of the vectors."""
    for tag in ("$dec", "$d", "$b"):
        if tag in raw:
            return json.dumps(raw[tag])
    for tag in ("$ts", "$tz"):
        if tag in raw:
            return json.dumps(raw[tag].replace("T", " ").replace(".000000", ""))
    for tag in ("$tuple", "$set"):
        if tag in raw:
            return json.dumps(raw[tag])
    if "$variant" in raw:
        return json.dumps(raw["$variant"]["json"])
    pairs = [f"{json.dumps(k if isinstance(k, str) else json.dumps(k))}:{json.dumps(v)}" for k, v in raw["$map"]]
    return "{" + ",".join(pairs) + "}"


@pytest.mark.parametrize("name", ["orjson", "json"])
def test_the_values_of_the_vectors_are_written_as_the_decoder_expects(name: str) -> None:
    write = encode.choose(name)
    count = 0
    for line in vectors.lines("py"):
        expect = json.dumps(json.loads(sent(line["in"])))
        got = json.dumps(json.loads(write({"v": vectors.decode(line["in"])}))["v"])
        assert got == expect, line
        count += 1
    assert count == 114


def test_plain_takes_what_pandas_and_numpy_have() -> None:
    value = {"i": numpy.int64(3), "f": numpy.float32(0.5), "a": numpy.array([1, 2]), "b": numpy.bool_(True)}
    assert plain(value) == {"i": 3, "f": 0.5, "a": [1, 2], "b": True}


# --- errors


def http_error(status: int, **headers: str) -> Exception:
    class Response:
        status_code = status

    class HTTPError(OSError):
        pass

    Response.headers = {name.replace("_", "-"): value for name, value in headers.items()}  # type: ignore[attr-defined]
    error = HTTPError(f"{status} for url")
    error.response = Response()  # type: ignore[attr-defined]
    return error


class ConnectTimeout(OSError):
    pass


class InvalidURL(ValueError):
    pass


@pytest.mark.parametrize(
    ("error", "kind", "retry", "after"),
    [
        (http_error(401), "unauthorized", None, None),
        (http_error(403), "forbidden", None, None),
        (http_error(403, Retry_After="7"), "rate_limited", None, 7),
        (http_error(429, Retry_After="60"), "rate_limited", None, 60),
        (http_error(429, Retry_After="nonsense"), "rate_limited", None, None),
        (http_error(503, Retry_After="Thu, 01 Jan 1970 00:00:00 GMT"), "unavailable", None, 0),
        (http_error(404), "rejected", None, None),
        (http_error(408), "timeout", None, None),
        (http_error(302), "exception", "backoff", None),
        (ConnectionResetError("x"), "unavailable", None, None),
        (TimeoutError("x"), "timeout", None, None),
        (ConnectTimeout("x"), "timeout", None, None),
        (InvalidURL("x"), "exception", "never", None),
        (NotImplementedError("x"), "exception", "never", None),
        (KeyError("x"), "exception", "never", None),
        (json.JSONDecodeError("x", "", 0), "exception", "never", None),
        (ModuleNotFoundError("x"), "exception", "never", None),
        (RuntimeError("x"), "exception", "backoff", None),
        (OSError("x"), "exception", "backoff", None),
        (Exception(), "exception", "backoff", None),
        (KeyboardInterrupt(), "exception", "never", None),
        (errors.ContractError("x"), "bug", None, None),
        (interface.AgentError(interface.ErrorCode.NOT_FOUND, "x"), "rejected", None, None),
        (interface.AgentError("RATE_LIMITED", "x"), "rate_limited", None, None),
        (interface.AgentError("x", interface.ErrorCode.UNAVAILABLE), "unavailable", None, None),
    ],
)
def test_exceptions_have_kinds(error: BaseException, kind: str, retry: str | None, after: float | None) -> None:
    told = errors.describe(error, None, str)
    assert (told["kind"], told.get("retry"), told.get("retry_after_seconds")) == (kind, retry, after)
    assert told["message"]


def test_an_exception_around_what_the_source_answered_has_its_kind() -> None:
    def wrapped(inner: Exception, outer: Exception) -> dict[str, Any]:
        try:
            try:
                raise inner
            except Exception as error:
                raise outer from error
        except Exception as error:
            return errors.describe(error, None, str)

    told = wrapped(http_error(429, Retry_After="3"), RuntimeError("page 7"))
    assert (told["kind"], told["retry_after_seconds"], told["class"]) == ("rate_limited", 3, "RuntimeError")
    assert told["message"].startswith("page 7; caused by ") and "429 for url" in told["message"]
    assert wrapped(http_error(401), RuntimeError("x"))["kind"] == "unauthorized"
    assert wrapped(http_error(503), ValueError("x"))["kind"] == "exception"
    assert wrapped(KeyError("a"), RuntimeError("x"))["retry"] == "backoff"


# --- secrets


def test_secrets_are_replaced_in_every_form() -> None:
    secret = 'p@ss/wörd+1 "x"'
    key = json.dumps({"type": "service", "private_key": "-----BEGIN\nAAAABBBBCCCCDDDD1111\n-----END", "id": "kept"})
    redact = Redactor()
    redact.learn({"Login": secret, "api_TOKEN": "tok-1234", "account_key": key, "user": "ann"}, ["login"])
    basic = base64.b64encode(f"ann:{secret}".encode()).decode()
    shown = redact(f"{secret}|{quote_plus(secret)}|{basic}|tok-1234|{json.dumps(secret)}|{secret!r}|ann|kept")
    for form in ("p@ss", "p%40ss", "tok-1234", base64.b64encode(b"wording")[:3].decode() + "zz"):
        assert form not in shown
    assert shown.endswith("|ann|kept")
    assert basic[8:-4] not in shown
    assert "AAAABBBB" not in redact("line AAAABBBBCCCCDDDD1111 of the key")


def test_short_and_harmless_options_are_left_alone() -> None:
    redact = Redactor()
    redact.learn({"key_column": "identifier", "token": "a", "base_url": "https://x", "primary_keys": "number"}, [])
    assert redact("a identifier number https://x") == "a identifier number https://x"
