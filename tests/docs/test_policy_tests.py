"""docs/policy-tests.md, executed: its cases hold, and a policy that is changed makes them fail."""

from pathlib import Path

import pytest

from commands.cli import kubemint

PAGE = Path(__file__).parents[2] / "docs" / "policy-tests.md"


def _block(kind: str) -> str:
    _, _, rest = PAGE.read_text().partition(f"<!-- {kind} -->\n```yaml\n")
    return rest.partition("\n```")[0]


@pytest.mark.parametrize(("old", "new", "code"), [("", "", 0), ("max: 15m", "max: 1h", 1)])
def test_the_cases_of_the_page(tmp_path: Path, old: str, new: str, code: int) -> None:
    """They pass with the policy of the page, and notice one that allows more."""
    (tmp_path / "policy.yaml").write_text(_block("policy").replace(old, new) if old else _block("policy"))
    (tmp_path / "cases.yaml").write_text(_block("cases"))
    ran = kubemint("policy", "test", "cases.yaml", cwd=tmp_path)
    assert ran.code == code, ran.output + ran.errors
    assert "no deployment outlives a quarter of an hour" in ran.output
