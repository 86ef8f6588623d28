"""Checkpoints are those of C2SP, signed by the key that was asked for, or refused."""

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from kubemint.errors import InvalidProof
from kubemint.transparency.checkpoint import (
    SIGNATURES_MAX,
    Checkpoint,
    NoteSigner,
    NoteVerifier,
    add_signature_lines,
    key_name_problem,
    note_text,
    open_checkpoint,
    parse_checkpoint,
    signature_lines,
)
from kubemint.transparency.notation import encode_base64

# Made with Go's golang.org/x/mod/sumdb/note out of the key whose seed is the octets 0 to 31.
NAME = "log.example/minted"
VKEY = "log.example/minted+c7a21fbe+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
NOTE = """\
log.example/minted
3
rra8/idLcKFPsGel5VeCZNsPqbUa9eC6FZFY8yngbnc=

— log.example/minted x6IfvoL+kBXk5bmAT03u420eg5SopEKW5ID0VnHd/6LZ7rwSjsby4QIXJzI7b8DOXReidS5DWBaSG8nS++gqm7LwBwY=
"""

ROOT = bytes.fromhex("aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77")
CHECKPOINT = Checkpoint(origin=NAME, size=3, root=ROOT)
SIGNER = NoteSigner(NAME, Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
VERIFIER = NoteVerifier.from_vkey(VKEY)
STRANGER = NoteSigner("stranger.example", Ed25519PrivateKey.generate())

NAMES = ["a", "log.example", "log.example/été", "名", "oid/1.2.3", "a=b"]
BAD_NAMES = [
    "",
    " ",
    "a b",
    "a\tb",
    "a\nb",
    "a+b",
    "+",
    "a\u00a0b",
    "a\u2003",
    "\u3000",
    "a\u2028",
    "\x00",
    "\ud800",
]


def flipped(text: str) -> Iterator[str]:
    """Give a text with each one of its bits changed, as far as that gives a text."""
    octets = text.encode()
    for position in range(len(octets) * 8):
        place, bit = divmod(position, 8)
        changed = octets[:place] + bytes([octets[place] ^ 1 << bit]) + octets[place + 1 :]
        try:
            yield changed.decode()
        except UnicodeDecodeError:
            continue


def test_notes_are_those_of_go() -> None:
    """Key and note must be, octet by octet, what Go makes out of the same seed."""
    assert SIGNER.vkey == VKEY
    assert SIGNER.sign(CHECKPOINT.text) == NOTE


def test_a_signed_checkpoint_is_read() -> None:
    """What the log has signed must be read as it was."""
    assert open_checkpoint(NOTE, VERIFIER) == CHECKPOINT
    assert open_checkpoint(NOTE, SIGNER.verifier) == CHECKPOINT


def test_no_bit_of_a_note_may_be_another() -> None:
    """With any bit changed, of the text or of the signature, a note must be refused."""
    for changed in flipped(NOTE):
        with pytest.raises(InvalidProof):
            open_checkpoint(changed, VERIFIER)


def test_no_part_of_a_note_is_one() -> None:
    """A note that ends early must be refused, wherever it ends."""
    for length in range(len(NOTE)):
        with pytest.raises(InvalidProof):
            open_checkpoint(NOTE[:length], VERIFIER)


def test_the_key_counts_and_not_the_name() -> None:
    """A note that another key signed under the log's name must be refused."""
    impostor = NoteSigner(NAME, Ed25519PrivateKey.generate())

    with pytest.raises(InvalidProof, match="not signed by"):
        open_checkpoint(impostor.sign(CHECKPOINT.text), VERIFIER)


def test_an_id_that_is_forged_does_not_help() -> None:
    """A line with the log's name and key ID and another key's signature must be refused, beside a good one too."""
    signature = Ed25519PrivateKey.generate().sign(CHECKPOINT.text.encode())
    line = f"— {NAME} {encode_base64(VERIFIER.key_id + signature)}"
    forged = f"{CHECKPOINT.text}\n{line}\n"

    for note in (forged, add_signature_lines(NOTE, [line]), add_signature_lines(forged, signature_lines(NOTE))):
        with pytest.raises(InvalidProof, match="does not hold"):
            open_checkpoint(note, VERIFIER)


def test_lines_of_strangers_are_ignored() -> None:
    """Whoever else signs, with whatever is no signature at all, must not stand in the log's way."""
    lines = [*signature_lines(STRANGER.sign(CHECKPOINT.text)), "— stranger.example AAAAAAA="]
    note = add_signature_lines(NOTE, lines)

    assert open_checkpoint(note, VERIFIER) == CHECKPOINT
    assert open_checkpoint(
        CHECKPOINT.text + "\n" + "".join(f"{line}\n" for line in [*lines, *signature_lines(NOTE)]), VERIFIER
    )


def test_the_log_is_the_one_of_the_key() -> None:
    """A checkpoint of another log must be refused, even with a good signature of this log's key."""
    other = Checkpoint(origin="other.example", size=3, root=ROOT)

    with pytest.raises(InvalidProof, match=r"of 'other\.example'"):
        open_checkpoint(SIGNER.sign(other.text), VERIFIER)


def test_a_signed_note_need_not_be_a_checkpoint() -> None:
    """A good signature must not make a checkpoint of another text."""
    with pytest.raises(InvalidProof, match="a checkpoint has"):
        open_checkpoint(SIGNER.sign("hello\n"), VERIFIER)


@given(origin=st.sampled_from(NAMES), size=st.integers(0, 2**63 - 1), root=st.binary(min_size=32, max_size=32))
@settings(derandomize=True)
def test_checkpoints_are_read_as_written(origin: str, size: int, root: bytes) -> None:
    """A checkpoint must be read from its text as it was."""
    checkpoint = Checkpoint(origin=origin, size=size, root=root)

    assert parse_checkpoint(checkpoint.text) == checkpoint


def test_extension_lines_are_passed_over() -> None:
    """Lines after the root must change nothing, and be signed all the same."""
    text = CHECKPOINT.text + "extension\nanother one\n"
    note = SIGNER.sign(text)

    assert parse_checkpoint(text) == open_checkpoint(note, VERIFIER) == CHECKPOINT
    with pytest.raises(InvalidProof):
        open_checkpoint(note.replace("another", "changed"), VERIFIER)


_ROOT_LINE = encode_base64(ROOT)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "log.example\n3\n",
        f"log.example\n3\n{_ROOT_LINE}",  # no last newline
        f"\n3\n{_ROOT_LINE}\n",
        f"log.example\n\n{_ROOT_LINE}\n",
        f"log.example\n03\n{_ROOT_LINE}\n",
        f"log.example\n-3\n{_ROOT_LINE}\n",
        f"log.example\n3 \n{_ROOT_LINE}\n",
        f"log.example\n{2**63}\n{_ROOT_LINE}\n",
        f"log.example\n3\n{_ROOT_LINE[:-1]}\n",
        f"log.example\n3\n{_ROOT_LINE.replace('=', 'A')}\n",
        f"log.example\n3\n{_ROOT_LINE} \n",
        f"log.example\n3\n{_ROOT_LINE}\n\n",
        f"log.example\n3\n{_ROOT_LINE}\n\nextension\n",
        f"log.example\r\n3\r\n{_ROOT_LINE}\r\n",
        f"log\x00example\n3\n{_ROOT_LINE}\n",
        f"log\ud800example\n3\n{_ROOT_LINE}\n",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    """What is nearly a checkpoint must be refused."""
    with pytest.raises(InvalidProof):
        parse_checkpoint(text)


@pytest.mark.parametrize("name", NAMES)
def test_names_of_keys(name: str) -> None:
    """A name without spaces and plus must do, and be found again in the verifier key."""
    signer = NoteSigner(name, Ed25519PrivateKey.generate())

    assert key_name_problem(name) is None
    assert NoteVerifier.from_vkey(signer.vkey) == signer.verifier
    assert signer.verifier.name == signer.name == name


@pytest.mark.parametrize("name", BAD_NAMES)
def test_other_names_are_refused(name: str) -> None:
    """A name that a note could not hold must be refused by name, and nothing be signed under it."""
    assert key_name_problem(name) is not None
    with pytest.raises(InvalidProof, match="name of a key"):
        NoteSigner(name, Ed25519PrivateKey.generate())


def test_no_bit_of_a_verifier_key_may_be_another() -> None:
    """With any bit changed, a verifier key must be refused: its ID is a hash of the rest."""
    for changed in flipped(VKEY):
        with pytest.raises(InvalidProof, match="verifier key"):
            NoteVerifier.from_vkey(changed)


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "++",
        VKEY + "\n",
        " " + VKEY,
        VKEY + "=",
        VKEY.replace("c7a21fbe", "C7A21FBE"),
        VKEY.replace("log.example/minted", ""),
        VKEY.removeprefix("log.example/minted+"),
        "log.example/minted+c7a21fbe+AQ==",
    ],
)
def test_other_verifier_keys_are_refused(vkey: str) -> None:
    """What is nearly a verifier key must be refused."""
    with pytest.raises(InvalidProof, match="not a verifier key"):
        NoteVerifier.from_vkey(vkey)


@pytest.mark.parametrize("octet", [0x00, 0x02, 0x05, 0x06, 0xFF])
def test_other_types_of_keys_are_refused(octet: int) -> None:
    """A key that signs something else must be refused, rather than taken for one of ours."""
    typed = bytes([octet]) + VERIFIER.public_key_octets

    with pytest.raises(InvalidProof, match="unknown type"):
        NoteVerifier.from_vkey(f"{NAME}+c7a21fbe+{encode_base64(typed)}")


def test_only_text_is_signed() -> None:
    """A text that cannot stand in a note must not be signed."""
    for text in ("", "no newline", "a\rb\n", "a\tb\n", "\ud800\n"):
        with pytest.raises(InvalidProof, match="valid text"):
            SIGNER.sign(text)


def test_a_note_is_split_at_its_last_empty_line() -> None:
    """A text may have empty lines, and what looks like a signature in it must be text."""
    text = f"a\n\n— {NAME} AAAAAAAA\n\n\nb\n"
    note = SIGNER.sign(text)

    assert note_text(note) == text
    assert len(signature_lines(note)) == 1


def test_added_lines_stand_once() -> None:
    """Adding a line must keep all others, and adding it again must change nothing."""
    (line,) = signature_lines(STRANGER.sign(CHECKPOINT.text))
    note = add_signature_lines(NOTE, [line, line])

    assert signature_lines(note) == (*signature_lines(NOTE), line)
    assert add_signature_lines(note, [line]) == note
    assert note_text(note) == CHECKPOINT.text


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        "- stranger.example AAAAAAA=",
        "— stranger.example",
        "— stranger.example ",
        "— stranger.example AAAAAA==",  # a key ID and nothing else
        "— stranger.example AAAAAAB=",  # a stray bit
        "— stranger example AAAAAAA=",
        "— stranger+example AAAAAAA=",
        "—  AAAAAAA=",
        " — stranger.example AAAAAAA=",
        "— stranger.example AAAAAAA=\n",
        "— stranger.example AAAAAAA=\n— stranger.example AAAAAAE=",
        "\n— stranger.example AAAAAAA=",
        "other text\n\n— stranger.example AAAAAAA=",
    ],
)
def test_other_lines_are_refused(line: str) -> None:
    """What is not one line of a signature must not be added, nor be read."""
    with pytest.raises(InvalidProof):
        add_signature_lines(NOTE, [line])
    with pytest.raises(InvalidProof):
        add_signature_lines(f"{NOTE}{line}\n\n", [])


def test_signatures_are_limited() -> None:
    """As many lines as the limit must be read, and one more be refused."""
    lines = [
        f"— stranger.example {encode_base64(bytes([0, 0, 0, 0, number]))}" for number in range(SIGNATURES_MAX)
    ]
    full = add_signature_lines(NOTE, lines[1:])

    assert open_checkpoint(full, VERIFIER) == CHECKPOINT
    with pytest.raises(InvalidProof, match="lines of signatures"):
        add_signature_lines(full, lines[:1])
    with pytest.raises(InvalidProof, match="lines of signatures"):
        open_checkpoint(f"{full}{lines[0]}\n", VERIFIER)


@given(
    note=st.text(max_size=80)
    | st.lists(st.sampled_from([NAME, "3", _ROOT_LINE, "", *signature_lines(NOTE)]), max_size=7).map("\n".join),
    vkey=st.text(max_size=80) | st.from_regex(r"[a-z]+\+[0-9a-f]{8}\+[A-Za-z0-9+/]{44}", fullmatch=True),
)
@settings(derandomize=True)
def test_garbage_raises_our_error_and_nothing_else(note: str, vkey: str) -> None:
    """Whatever is read as a note, a checkpoint or a key, our error must come."""
    if note != NOTE:
        with pytest.raises(InvalidProof):
            open_checkpoint(note, VERIFIER)
    with pytest.raises(InvalidProof):
        NoteVerifier.from_vkey(vkey)
    for read in (parse_checkpoint, note_text, signature_lines):
        try:
            read(note)
        except InvalidProof:
            continue
