"""YAML and JSON that could be read in two ways are not read at all."""

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubemint.documents import parse_json, parse_yaml
from kubemint.errors import InvalidDocument

SECONDS_AT_MOST = 5.0  # for one document on a machine that is busy; none takes a tenth of it
FRIENDLY = settings(max_examples=150, deadline=None, derandomize=True)

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4),
    max_leaves=10,
)


def refusal_of_yaml(text: bytes) -> str:
    with pytest.raises(InvalidDocument) as caught:
        parse_yaml(text)
    return caught.value.message


def refusal_of_json(text: bytes) -> str:
    with pytest.raises(InvalidDocument) as caught:
        parse_json(text)
    return caught.value.message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"a: 1\nb: [x, 'y']\nc: {d: true}\n", {"a": 1, "b": ["x", "y"], "c": {"d": True}}),
        (b"# a comment\nlifetime: {default: 10m, max: 15m}\n", {"lifetime": {"default": "10m", "max": "15m"}}),
        (b"---\nname: J\xc3\xbcrgen\n", {"name": "Jürgen"}),
        (b"\xef\xbb\xbfa: 1\r\n", {"a": 1}),
        (b"csr: |\n  line 1\n  line 2\n", {"csr": "line 1\nline 2\n"}),
        (b"a: {x: 1}\nb: {x: 2}\n", {"a": {"x": 1}, "b": {"x": 2}}),
        (b'{"apiVersion": "kubemint/v1", "kind": "Policy"}', {"apiVersion": "kubemint/v1", "kind": "Policy"}),
        (b"", None),
    ],
)
def test_plain_yaml_is_read(text: bytes, value: Any) -> None:
    """What has one meaning has it: mappings, lists, block text, comments; a name may return in another mapping."""
    assert parse_yaml(text) == value


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"a: 1\na: 2\n", 2),
        (b"a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n", 5),
        (b"- {a: 1, a: 1}\n", 1),
        (b"a: 1\n'a': 2\n", 2),
        (b"{1: a, 01: b}\n", 1),
        (b"x: y\nz: {yes: a, on: b}\n", 2),
        (b"1: a\n1.0: b\n", 1),
        (b"~: a\nnull: b\n", 1),
    ],
)
def test_a_key_that_is_repeated_in_yaml_is_refused_with_its_line(text: bytes, line: int) -> None:
    """The last one would win in silence; the message says where to look."""
    message = refusal_of_yaml(text)
    assert message.startswith(f"line {line}: ")
    assert "repeated" in message


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"a: &x [1]\nb: *x\n", id="alias"),
        pytest.param(b"&x [*x]", id="alias of itself"),
        pytest.param(b"a: &x {k: v}\nb: {<<: *x}\n", id="merge key with an alias"),
        pytest.param(b"a: {<<: {k: v}}\n", id="merge key"),
        pytest.param(b"a: {<<: [{k: v}, {l: w}]}\n", id="merge key with a list"),
        pytest.param(b"a: 1\n---\na: 2\n", id="two documents"),
        pytest.param(b"a: 1\n...\nb: 2\n", id="two documents without a mark"),
        pytest.param(b"? [a, b]\n: 1\n", id="list as a key"),
        pytest.param(b"? {a: b}\n: 1\n", id="mapping as a key"),
        pytest.param(b"a: !!python/object/apply:os.system ['true']\n", id="tag of Python"),
        pytest.param(b"a: !secret x\n", id="tag of nobody"),
        pytest.param(b"a: !!bool x\n", id="tag on no boolean"),
        pytest.param(b"a: !!timestamp x\n", id="tag on no time"),
        pytest.param(b"a: !!int ''\n", id="tag on no integer"),
        pytest.param(b"a: !!map [a]\n", id="tag on no mapping"),
        pytest.param(b"a: !!str x\n", id="tag that changes nothing"),
        pytest.param(b"!!map {a: b}\n", id="tag on all of it"),
        pytest.param(b"!!str a: b\n", id="tag on a key"),
        pytest.param(b"a: ! x\n", id="tag without a name"),
        pytest.param(b'a: "\\UFFFFFFFF"\n', id="character beyond Unicode"),
        pytest.param(b"a: 2026-11-22T00:00:00+99:99\n", id="time of no zone"),
        pytest.param(b"a: .nan\n", id="NaN"),
        pytest.param(b"a: .inf\n", id="infinity"),
        pytest.param(b"a: [-.inf]\n", id="less than nothing"),
        pytest.param(b"a: 1.0e+999\n", id="number out of range"),
        pytest.param(b"a: b: c\n", id="no YAML"),
        pytest.param(b"\ta: 1\n", id="tab"),
        pytest.param(b"a: [1, 2\n", id="list without end"),
        pytest.param(b"a: 'x\n", id="text without end"),
        pytest.param(b"a: 2026-02-31\n", id="day that is none"),
        pytest.param(b"a: 1\x00\n", id="NUL"),
        pytest.param(b"a: \xff\n", id="not UTF-8"),
        pytest.param(b"a: \xed\xa0\x80\n", id="surrogate"),
        pytest.param("a: 1\n".encode("utf-16"), id="UTF-16"),
        pytest.param(b"a: " + b"9" * 5000, id="huge integer"),
        pytest.param(b"[" * 20_000, id="depth of lists"),
        pytest.param(b"{a: " * 20_000, id="depth of mappings"),
        pytest.param(b"- " * 20_000 + b"a", id="depth of block lists"),
    ],
)
def test_other_yaml_is_refused(text: bytes) -> None:
    """What expands, merges, nests without end or cannot be read is our error, said in one line, and soon."""
    begin = time.perf_counter()
    message = refusal_of_yaml(text)
    assert time.perf_counter() - begin < SECONDS_AT_MOST
    assert message
    assert "\n" not in message


def test_an_alias_bomb_does_not_go_off() -> None:
    """Nine lines that stand for a billion words are refused at the first alias."""
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{step}: &a{step} [{', '.join([f'*a{step - 1}'] * 10)}]" for step in range(1, 9)]
    assert refusal_of_yaml("\n".join(lines).encode()) == "line 2: aliases are not allowed"


@FRIENDLY
@given(text=st.binary(max_size=100) | st.text("ab01:-,[]{}&*?|>'\"#%@ \n\t.~<=+_", max_size=60).map(str.encode))
def test_garbage_in_yaml_raises_our_error_and_nothing_else(text: bytes) -> None:
    """No bytes end in another exception than ours."""
    with contextlib.suppress(InvalidDocument):
        parse_yaml(text)


@FRIENDLY
@given(value=JSON_VALUES)
def test_json_is_read_as_it_was_written(value: Any) -> None:
    """Each JSON value comes back the same, in ASCII or in UTF-8."""
    assert parse_json(json.dumps(value).encode()) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(b'{"a": 1, "a": 1}', "'a' is repeated", id="member twice"),
        pytest.param(b'{"a": {"b": 1, "b": 2}}', "'b' is repeated", id="member twice, inside"),
        pytest.param(b'[{"a": 1, "\\u0061": 2}]', "'a' is repeated", id="member twice, written in two ways"),
        pytest.param(b'{"a": NaN}', "NaN", id="NaN"),
        pytest.param(b"[Infinity]", "Infinity", id="infinity"),
        pytest.param(b"-Infinity", "-Infinity", id="less than nothing"),
        pytest.param(b"", "not JSON", id="empty"),
        pytest.param(b'{"a": 1} x', "not JSON", id="more after the end"),
        pytest.param(b"{'a': 1}", "not JSON", id="single quotes"),
        pytest.param(b'{"a": 1,}', "not JSON", id="trailing comma"),
        pytest.param(b"01", "not JSON", id="leading zero"),
        pytest.param(b'"\xff"', "not JSON", id="not UTF-8"),
        pytest.param('{"a": 1}'.encode("utf-16"), "not JSON", id="UTF-16"),
        pytest.param('{"a": 1}'.encode("utf-16-le"), "not JSON", id="UTF-16 without a mark"),
        pytest.param('{"a": 1}'.encode("utf-32"), "not JSON", id="UTF-32"),
        pytest.param(b'\xef\xbb\xbf{"a": 1}', "not JSON", id="byte order mark"),
        pytest.param(b"1e999", "1e999 is out of range", id="number out of range"),
        pytest.param(b'{"a": [-1e999]}', "-1e999 is out of range", id="number out of range, inside"),
        pytest.param(b"1." + b"9" * 9999 + b"e999", "is out of range", id="long number out of range"),
        pytest.param(b"9" * 5000, "not JSON", id="huge integer"),
        pytest.param(b"[" * 100_000, "not JSON", id="depth of arrays"),
        pytest.param(b'{"a":' * 100_000, "not JSON", id="depth of objects"),
    ],
)
def test_other_json_is_refused(text: bytes, said: str) -> None:
    """What RFC 8259 has not, and what it lets two readers read differently, is our error, and soon."""
    begin = time.perf_counter()
    message = refusal_of_json(text)
    assert time.perf_counter() - begin < SECONDS_AT_MOST
    assert said in message
    assert "\n" not in message


def test_the_same_member_in_two_objects_is_read() -> None:
    """Names are unique in their object, not in the document."""
    assert parse_json(b'{"a": {"x": 1}, "b": {"x": 1}}') == {"a": {"x": 1}, "b": {"x": 1}}


def test_a_message_repeats_little_of_the_document() -> None:
    """A name of any length is quoted short."""
    name = b"n" * 10_000
    assert len(refusal_of_json(b'{"%b": 1, "%b": 2}' % (name, name))) < 300
    assert len(refusal_of_yaml(b"'%b': 1\n'%b': 2\n" % (name, name))) < 300


@FRIENDLY
@given(text=st.binary(max_size=100) | st.text('{}[]",:0123456789.eE+-\\utrnfalsN ', max_size=60).map(str.encode))
def test_garbage_in_json_raises_our_error_and_nothing_else(text: bytes) -> None:
    """No bytes end in another exception than ours."""
    with contextlib.suppress(InvalidDocument):
        parse_json(text)
