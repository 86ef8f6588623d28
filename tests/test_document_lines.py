"""On which line a value of a YAML document stands."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubemint.documents import DocumentLines

TEXT = b"""\
# a comment
kind: Policy
profiles:
  ci:
    requesters:
      - oidc: github
        claims:
          repository: acme/shop
          https://acme.test/team: [a,
            b]
          a.b: x
          a: {b: y, c.d: z}
      - token: ci
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("", 1),
        ("kind", 2),
        ("profiles", 3),
        ("profiles.ci.requesters", 5),
        ("profiles.ci.requesters.0", 6),
        ("profiles.ci.requesters.0.claims.repository", 8),
        ("profiles.ci.requesters.0.claims.https://acme.test/team", 9),
        ("profiles.ci.requesters.0.claims.https://acme.test/team.1", 10),
        ("profiles.ci.requesters.0.claims.a.b", 11),
        ("profiles.ci.requesters.0.claims.a.c.d", 12),
        ("profiles.ci.requesters.1.token", 13),
        ("profiles.ci.users", 4),
        ("profiles.other.users", 3),
        ("profiles.ci.requesters.7.token", 5),
        ("nothing", 1),
    ],
)
def test_a_path_has_a_line(path: str, line: int) -> None:
    """Keys may hold dots, and what is missing is missed where it should be."""
    assert DocumentLines(TEXT).line_of(path) == line


@pytest.mark.parametrize("text", [b"", b"a: [", b"\xff", b"a: &x 1\nb: *x\n", b"[" * 5000, b"a: 1\n---\nb: 2\n"])
def test_a_text_that_is_no_document_has_one_line(text: bytes) -> None:
    """The mistake in it is told by whoever reads it."""
    assert DocumentLines(text).line_of("a.b") == 1


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    text=st.binary(max_size=40) | st.text("ab.:- \n[]{},'\"1", max_size=40).map(str.encode),
    path=st.text("ab.01", max_size=8),
)
def test_any_text_and_any_path_have_a_line(text: bytes, path: str) -> None:
    """A message is never lost to the search for its line."""
    assert 1 <= DocumentLines(text).line_of(path) <= len(text.splitlines()) + 1
