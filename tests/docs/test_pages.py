"""What holds for all pages of docs/identity: parts, links, and policies and configurations that load."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.pages import FOLDER, Block, Page
from docs.serving import make_service
from kubemint import config
from kubemint.config_schemas import ConfigSchema
from kubemint.policy.loader import load_policy
from kubemint.policy.warnings import policy_warnings, unknown_authorities

INDEX = "README"
PAGES = {file.stem: Page.read(file.stem) for file in sorted(FOLDER.glob("*.md"))}
SOURCES = {name: page for name, page in PAGES.items() if name != INDEX}
BLOCKS = [(page, block) for page in SOURCES.values() for block in page.blocks]
PARTS = ("What proves the identity", "When it is refused", "Traps")
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)")


def of_kinds(*kinds: str) -> Any:
    """Give a test each block, or each of these kinds, with its page."""
    chosen = [(page, block) for page, block in BLOCKS if block.kind in kinds or not kinds]
    names = [f"{page.file.stem}-{block.kind}-{block.name}".rstrip("-") for page, block in chosen]
    return pytest.mark.parametrize(("page", "block"), chosen, ids=names)


def anchors(text: str) -> set[str]:
    """Give the anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_there_is_a_page_for_each_source() -> None:
    """The index names every page, and there are those that were promised."""
    expected = {"client-certificates", "github-actions", "gitlab-ci", "kubernetes-pod", "person-oidc"}
    assert set(SOURCES) == expected
    assert all(f"({name}.md)" in PAGES[INDEX].text for name in SOURCES)


@pytest.mark.parametrize("name", SOURCES)
def test_a_page_has_its_parts_in_order(name: str) -> None:
    """Proof first, then configuration and policy, the client, what to try, and the traps last."""
    text = SOURCES[name].text
    places = [text.index(f"## {part}\n") for part in PARTS]
    places.insert(1, text.index("<!-- configuration"))
    places.insert(2, text.index("<!-- policy"))
    assert places == sorted(places)


@pytest.mark.parametrize("name", PAGES)
def test_every_block_is_marked(name: str) -> None:
    """A fenced block that no test could find would be one that nobody has run."""
    page = PAGES[name]
    assert len(re.findall(r"^```[a-z]+$", page.text, re.MULTILINE)) == len(page.blocks)


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name: str) -> None:
    """Each relative link has its file, and each anchor its heading."""
    page = PAGES[name]
    for target, anchor in LINK.findall(page.text):
        file = (page.file.parent / target).resolve() if target else page.file
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text()), anchor


@of_kinds()
def test_a_block_can_be_read(page: Page, block: Block) -> None:
    """YAML and JSON parse, each as what reads it would."""
    match block.language:
        case "yaml":
            assert all(isinstance(document, dict) for document in yaml.safe_load_all(block.text))
        case "json":
            assert isinstance(page.json(block.kind, block.name), dict)
        case language:
            assert language == "sh"


@of_kinds("policy")
def test_a_policy_loads_without_a_warning(page: Page, block: Block) -> None:
    """The loader takes it, nothing in it is doubtful, and it names who is configured on the same page."""
    policy = load_policy(page.yaml("policy", block.name), block.text.encode(), page.file.name)
    assert list(policy_warnings(policy)) == []
    has_own = any(each.name == block.name for each in page.of_kind("configuration"))
    authentication = page.yaml("configuration", block.name if has_own else "")["authentication"]
    kinds = {"oidc": "oidc", "kubernetes": "kubernetes", "certificates": "certificate"}
    known = {kinds[kind]: [one["name"] for one in authentication.get(kind, ())] for kind in kinds}
    assert list(unknown_authorities(policy, known)) == []


@of_kinds("configuration")
def test_a_configuration_is_one(page: Page, block: Block, tmp_path: Path) -> None:
    """The schema takes it beside what `kubemint init` writes; where it names no other file, it loads."""
    authentication = page.yaml("configuration", block.name)["authentication"]
    policy = "{apiVersion: kubemint/v1, kind: Policy, profiles: {}}"
    service = make_service(tmp_path / "kubemint", authentication, policy)
    file = service.directory / "kubemint.yaml"
    assert ConfigSchema().validate(yaml.safe_load(file.read_text())) == {}
    if "File" not in block.text:
        config.load(file)


def test_no_key_or_token_is_on_a_page() -> None:
    """Examples are claims, never what could be taken for a secret."""
    secrets = re.compile(r"-----BEGIN|eyJ[A-Za-z0-9_-]{10}|kubemint_[A-Za-z0-9]{8}")
    assert [name for name, page in PAGES.items() if secrets.search(page.text)] == []


@of_kinds("policy")
def test_lifetimes_are_short(page: Page, block: Block) -> None:
    """No page hands out a certificate for longer than a working day."""
    policy = load_policy(page.yaml("policy", block.name), block.text.encode(), page.file.name)
    assert all(profile.max_lifetime <= timedelta(hours=8) for profile in policy.profiles)
