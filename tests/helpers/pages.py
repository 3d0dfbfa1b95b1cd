"""What README and site hold: code, commands, links and headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
REPOSITORY = "https://github.com/snntorch-ecl/snntorch-ecl"


def blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def prose(text: str) -> str:
    """The text without fenced blocks and inline code."""
    return re.sub(r"`[^`]*`", "", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def links(text: str) -> list[str]:
    """The targets of its links and pictures."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(text))


def anchors(text: str) -> set[str]:
    """What links to its headings end in, on GitHub as on the site."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


def commands(text: str) -> Iterator[list[str]]:
    """The words of each `snntorch-ecl` command of its shell blocks and inline code."""
    inline = re.findall(
        r"`(snntorch-ecl [^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    )
    lines = [line for block in blocks(text, "sh") for line in block.splitlines()] + inline
    for line in lines:
        words = line.split("#")[0].replace("-m snntorch_ecl.cli", "snntorch-ecl").split()
        if "snntorch-ecl" in words[:-1]:  # as the last word it is a folder
            yield words[words.index("snntorch-ecl") + 1 :]
