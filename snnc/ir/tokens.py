"""The tokens of one line of the text form."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from snnc.errors import CompileError

_TOKEN = re.compile(
    r"""\s*(?:(?P<string>"(?:[^"\\]|\\.)*")|(?P<punct>[()\[\]{}=,:%@?*])
        |(?P<word>[^\s()\[\]{}=,%@?*"]+))""",
    re.VERBOSE,
)


class Tokens:
    """A reader over the tokens of one line."""

    def __init__(self, line: str, number: int) -> None:
        self.line, self.number = line, number
        self.items = list(_tokenize(line, number))
        self.at = 0

    def peek(self) -> tuple[str, str]:
        return self.items[self.at] if self.at < len(self.items) else ("end", "")

    def next(self) -> tuple[str, str]:
        token = self.peek()
        self.at += 1
        return token

    def accept(self, text: str) -> bool:
        if self.peek() == ("punct", text) or self.peek() == ("word", text):
            self.at += 1
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise self.error(f"expected '{text}' before '{self.peek()[1]}'")

    def error(self, message: str) -> CompileError:
        return CompileError(f"line {self.number} of the text form: {message}", line=self.line)

    def text(self) -> str:
        kind, token = self.next()
        if kind == "string":
            return str(json.loads(token))
        if kind != "word":
            raise self.error(f"expected a name before '{token}'")
        return token

    def name(self) -> str:
        """%name, or _ for an absent one."""
        if self.accept("_"):
            return ""
        self.expect("%")
        return self.text()

    def list(self, closing: str) -> Iterator[None]:
        """Yields before each element of a comma-separated list, and consumes the closing."""
        while not self.accept(closing):
            yield
            if not self.accept(","):
                self.expect(closing)
                return


def _tokenize(line: str, number: int) -> Iterator[tuple[str, str]]:
    end = len(line.rstrip())
    at = 0
    while at < end:
        match = _TOKEN.match(line, at)
        if match is None:
            raise CompileError(f"line {number} of the text form cannot be read", line=line)
        kind = str(match.lastgroup)
        token = match.group(kind)
        at = match.end()
        # a result is written '%name : type', so a colon alone is punctuation
        yield ("punct", ":") if token == ":" else (kind, token)
