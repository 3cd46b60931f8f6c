"""Constrained decoding: a box, once opened, can only be continued to a well-formed one.

The codec's pattern becomes an automaton over the bytes of the text: outside boxes everything goes, and how much of a
box's fixed beginning (``{<`` of ``{<1><2><3><4>|<5>}``) has just been written is counted; with the last character of it
the box is open, and only what the pattern allows goes until it is closed. A token may go if all its bytes may, so it
does not matter whether tokens end where the parts of a box do.
"""

import functools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

try:
    from re import _parser as regex_parser
except ImportError:  # Python 3.10
    import sre_parse as regex_parser

NO_BYTE = 256
"""What stands in a token's row behind its last byte."""

ANY_BYTE = frozenset(range(256))


class BoxAutomaton:
    """Which bytes may follow which in a text whose boxes are well-formed.

    Args:
        pattern: Regular expression of a box (``BoxCodec.pattern``); it begins with fixed characters.

    Attributes:
        table: int32 array (states + 1, 257): the state after each byte, that of no byte being the same; the last state
            is the one of what is not allowed. State 0 is that of a text that has just begun.
        inside: bool array (states + 1,): whether a box is open, so that the text may not end.

    Raises:
        ValueError: If the pattern begins with no fixed character, or has what no automaton can follow.
    """

    def __init__(self, pattern: str):
        rows, accepting = _determine(pattern)
        beginning, opened = _fixed_beginning(rows, accepting)
        if not beginning:
            raise ValueError(f'boxes of the pattern {pattern!r} have no fixed beginning by which an open one is known')
        free = len(beginning)
        dead = free + len(rows)
        self.table = np.full((dead + 1, 257), dead, dtype=np.int32)
        self.table[:, NO_BYTE] = np.arange(dead + 1)
        for matched in range(free):
            for byte in range(256):
                length = _matched(beginning[:matched] + bytes([byte]), beginning)
                self.table[matched, byte] = free + opened if length == free else length
        for state, row in enumerate(rows):
            if state in accepting:
                self.table[free + state, :256] = self.table[0, :256]
            for byte, following in row.items():
                self.table[free + state, byte] = free + following
        # Of "[[", the second may be the one that begins a box, where boxes begin with "[".
        for byte in set(range(256)) - set(rows[opened]):
            if _matched(beginning + bytes([byte]), beginning) == free:
                self.table[free + opened, byte] = free + opened
        self.inside = np.arange(dead + 1) >= free
        self.inside[[free + state for state in accepting]] = False


class BoxGrammar:
    """Which tokens may follow in an answer whose boxes are well-formed.

    Args:
        pattern: Regular expression of a box.
        tokenizer: The tokenizer whose tokens are written.
        vocabulary: How many tokens the model has; it may have more than the tokenizer.
        stop_ids: The tokens that end an answer.
    """

    start = 0
    """The state of an answer that has just begun."""

    def __init__(self, pattern: str, tokenizer: Any, vocabulary: int, stop_ids: Sequence[int]):
        self._automaton = BoxAutomaton(pattern)
        self._bytes = [*token_bytes(tokenizer), *([b''] * vocabulary)][:vocabulary]
        self._stop_ids = list(stop_ids)
        # The longest first, so that those with an n-th byte are the first so many.
        self._order = np.array(sorted(range(vocabulary), key=lambda token: -len(self._bytes[token])))
        lengths = np.array([len(self._bytes[token]) for token in self._order])
        self._counts = [int((lengths > place).sum()) for place in range(lengths.max(initial=0))]
        self._columns = [
            np.array([self._bytes[token][place] for token in self._order[:count]])
            for place, count in enumerate(self._counts)
        ]
        self._allowed: dict[int, np.ndarray] = {}

    def advance(self, state: int, token: int) -> int:
        """Return the state after a token that is allowed."""
        for byte in self._bytes[token]:
            state = int(self._automaton.table[state, byte])
        return state

    def is_inside(self, state: int) -> bool:
        """Tell whether a box is open."""
        return bool(self._automaton.inside[state])

    def allowed(self, state: int) -> np.ndarray:
        """Return which tokens may follow: (vocabulary,) bool.

        Raises:
            ValueError: If none may, since the tokenizer cannot write what the box needs.
        """
        if state not in self._allowed:
            self._allowed[state] = self._find_allowed(state)
        return self._allowed[state]

    def _find_allowed(self, state: int) -> np.ndarray:
        table = self._automaton.table
        states = np.full(len(self._order), state)
        for count, column in zip(self._counts, self._columns, strict=True):
            states[:count] = table[states[:count], column]
        allowed = np.empty(len(self._order), dtype=bool)
        allowed[self._order] = states != len(table) - 1
        if self._automaton.inside[state]:
            allowed[[token for token, text in enumerate(self._bytes) if not text]] = False
        allowed[self._stop_ids] = not self._automaton.inside[state]
        if not allowed.any():
            raise ValueError('the tokenizer has no token with which an open box could go on')
        return allowed


@functools.lru_cache(maxsize=8)
def box_grammar(pattern: str, tokenizer: Any, vocabulary: int, stop_ids: tuple[int, ...]) -> BoxGrammar:
    """Return the grammar of a box language for a tokenizer; it is made once."""
    return BoxGrammar(pattern, tokenizer, vocabulary, stop_ids)


def token_bytes(tokenizer: Any) -> list[bytes]:
    """Return what each token of a fast tokenizer adds to a text; nothing for special ones, which no text shows.

    The space that a SentencePiece model's first token loses when it is decoded is not taken off.
    """
    decoder = json.dumps(json.loads(tokenizer.backend_tokenizer.to_str())['decoder'])
    read = _byte_level_token if '"ByteLevel"' in decoder else _sentencepiece_token
    added = tokenizer.added_tokens_decoder
    texts = []
    for index, token in enumerate(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))):
        if index in added:
            texts.append(b'' if added[index].special else added[index].content.encode())
        else:
            texts.append(b'' if token is None else read(token))
    return texts


def _sentencepiece_token(token: str) -> bytes:
    if len(token) == 6 and token.startswith('<0x') and token.endswith('>'):
        return bytes([int(token[3:5], 16)])
    return token.replace('\u2581', ' ').encode()


def _byte_level_token(token: str) -> bytes:
    return bytes(_byte_level_alphabet()[character] for character in token)


@functools.cache
def _byte_level_alphabet() -> dict[str, int]:
    """The characters that byte-level tokenizers write for bytes: printable ones for themselves, others from 256 on."""
    printable = [*range(ord('!'), ord('~') + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {
        **{chr(byte): byte for byte in printable},
        **{chr(256 + number): byte for number, byte in enumerate(others)},
    }


def _matched(text: bytes, beginning: bytes) -> int:
    """How many of the last bytes of a text are the first of a beginning."""
    sizes = range(min(len(text), len(beginning)), 0, -1)
    return next((size for size in sizes if text.endswith(beginning[:size])), 0)


def _fixed_beginning(rows: Sequence[dict[int, int]], accepting: set[int]) -> tuple[bytes, int]:
    """Return the bytes that every match begins with, and the state after them."""
    beginning, state = b'', 0
    while len(rows[state]) == 1 and state not in accepting:
        ((byte, state),) = rows[state].items()
        beginning += bytes([byte])
    return beginning, state


def _determine(pattern: str) -> tuple[list[dict[int, int]], set[int]]:
    """Return the deterministic automaton of a regular expression: of each state what follows it, and the last ones."""
    machine = _Machine()
    first, last = machine.state(), machine.state()
    machine.add(regex_parser.parse(pattern), first, last)
    begin = machine.closure({first})
    numbers, rows = {begin: 0}, [{}]
    open_sets = [begin]
    while open_sets:
        current = open_sets.pop()
        targets: dict[int, set[int]] = {}
        for state in current:
            for read, following in machine.steps[state]:
                for byte in read:
                    targets.setdefault(byte, set()).add(following)
        for byte, states in targets.items():
            closed = machine.closure(states)
            if closed not in numbers:
                numbers[closed] = len(rows)
                rows.append({})
                open_sets.append(closed)
            rows[numbers[current]][byte] = numbers[closed]
    return rows, {number for states, number in numbers.items() if last in states}


class _Machine:
    """A non-deterministic automaton over bytes, built from a parsed regular expression."""

    def __init__(self):
        self.steps: list[list[tuple[frozenset[int], int]]] = []
        self.jumps: list[set[int]] = []

    def state(self) -> int:
        self.steps.append([])
        self.jumps.append(set())
        return len(self.steps) - 1

    def closure(self, states: set[int]) -> frozenset[int]:
        """Return the states that are reached without reading."""
        found, new = set(states), list(states)
        while new:
            for following in self.jumps[new.pop()] - found:
                found.add(following)
                new.append(following)
        return frozenset(found)

    def add(self, items: Any, first: int, last: int) -> None:
        """Add what matches one item after the other, from one state to another."""
        for operation, argument in items:
            following = self.state()
            self._add_item(str(operation), argument, first, following)
            first = following
        self.jumps[first].add(last)

    def _add_item(self, operation: str, argument: Any, first: int, last: int) -> None:
        if operation == 'SUBPATTERN':
            self.add(argument[-1], first, last)
        elif operation == 'BRANCH':
            for way in argument[1]:
                self.add(way, first, last)
        elif operation in ('MAX_REPEAT', 'MIN_REPEAT'):
            self._add_repeat(*argument, first, last)
        elif operation == 'LITERAL':
            self._add_text(chr(argument).encode(), first, last)
        else:
            self.steps[first].append((_bytes_of_class(operation, argument), last))

    def _add_text(self, text: bytes, first: int, last: int) -> None:
        for byte in text[:-1]:
            following = self.state()
            self.steps[first].append((frozenset([byte]), following))
            first = following
        self.steps[first].append((frozenset(text[-1:]), last))

    def _add_repeat(self, least: int, most: Any, items: Any, first: int, last: int) -> None:
        for _ in range(least):
            following = self.state()
            self.add(items, first, following)
            first = following
        if most is regex_parser.MAXREPEAT:
            again = self.state()
            self.jumps[first].add(again)
            self.add(items, again, again)
            first = again
        else:
            for _ in range(most - least):
                self.jumps[first].add(last)
                following = self.state()
                self.add(items, first, following)
                first = following
        self.jumps[first].add(last)


def _bytes_of_class(operation: str, argument: Any) -> frozenset[int]:
    """Return the bytes that a class of characters reads.

    Of characters beyond ASCII, each byte counts as one; a class has all of them or none.
    """
    if operation == 'ANY':
        return ANY_BYTE - {ord('\n')}
    if operation == 'NOT_LITERAL':
        return ANY_BYTE - {argument}
    if operation != 'IN':
        raise ValueError(f'the pattern of a box has {operation}: no automaton can follow it')
    negated = argument[0][0] is regex_parser.NEGATE
    read = frozenset(_class_members(argument[1:] if negated else argument))
    return ANY_BYTE - read if negated else read


def _class_members(items: Any) -> Iterator[int]:
    for operation, argument in items:
        low, high = argument if str(operation) == 'RANGE' else (argument, argument)
        if str(operation) not in ('RANGE', 'LITERAL') or high > 127:
            raise ValueError(f'a class in the pattern of a box has {operation} {argument}: no automaton can follow it')
        yield from range(low, high + 1)
