"""Answers of a service that is another."""

from pathlib import Path

from client.peers import document, listening
from commands.cli import failed_cleanly, kubemint_process


def test_an_answer_without_a_certificate(tmp_path: Path) -> None:
    """A document that is none of a certificate is told as such, and no file is written."""
    with listening(document(user="jane")) as peer:
        ran = kubemint_process("request", "--user", "jane", "--url", peer.url, cwd=tmp_path)
    assert failed_cleanly(ran), ran.errors
    assert list(tmp_path.iterdir()) == []
