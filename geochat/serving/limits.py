"""How much a server takes: of one request, and of all together."""

import math
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Limits:
    """How much a server takes; more is refused with a status that says so.

    Attributes:
        max_body_mb: Most of a request's body, in 2**20 bytes.
        max_pictures: Most pictures of a request.
        max_tokens: Most tokens of an answer, and how many it may have if the request does not say.
        max_choices: Most answers to one request (``n``).
        max_queue: Most answers that wait while the batch is full.
        read_seconds: Most time for a request's body to arrive.
        answer_seconds: Most time from a request's arrival to the end of its answers.
    """

    max_body_mb: float = 32
    max_pictures: int = 8
    max_tokens: int = 1024
    max_choices: int = 16
    max_queue: int = 256
    read_seconds: float = 30
    answer_seconds: float = 300

    def __post_init__(self):
        for limit in fields(self):
            value = getattr(self, limit.name)
            if not 0 <= value < math.inf or (value == 0 and limit.name != 'max_queue'):
                raise ValueError(f'{limit.name} is a positive number, not {value!r}')
