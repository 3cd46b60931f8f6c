"""Keys and values of pictures and what leads to them, kept within a bound for the questions that follow."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable

from geochat.models.prefix_attention import Prefix


class PrefixStore:
    """The prefixes that are in use and, as far as memory is given, those that were used last.

    Args:
        max_bytes: Most memory that keys and values take. One prefix in use may take more.

    Attributes:
        num_bytes: What they take.
        computed: How often a prefix had to be computed.
        found: How often it was there.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self.num_bytes = self.computed = self.found = 0
        self._token_bytes = 0  # of one token, once a prefix has told
        self._kept: OrderedDict[Hashable, Prefix] = OrderedDict()
        self._users: Counter[Hashable] = Counter()

    def __len__(self) -> int:
        return len(self._kept)

    def has_room(self, key: Hashable, length: int) -> bool:
        """Tell whether a prefix of so many tokens is there, or may be computed; what is not in use makes room."""
        if key in self._kept or not self._users:
            return True
        used = sum(self._kept[user].num_bytes for user in self._users)
        return used + length * self._token_bytes <= self.max_bytes

    def acquire(self, key: Hashable, length: int, compute: Callable[[], Prefix]) -> Prefix:
        """Return the prefix of a key, computing it if it is not there, for use until it is released.

        Args:
            key: What tells it from others.
            length: How many tokens it has.
            compute: Computes it.
        """
        if key in self._kept:
            self.found += 1
        else:
            self.computed += 1
            self._evict(self.max_bytes - length * self._token_bytes)
            self._kept[key] = prefix = compute()
            self.num_bytes += prefix.num_bytes
            self._token_bytes = prefix.num_bytes // len(prefix)
        self._kept.move_to_end(key)
        self._users[key] += 1
        self._evict(self.max_bytes)
        return self._kept[key]

    def release(self, key: Hashable) -> None:
        """Tell that somebody who acquired a prefix needs it no longer."""
        self._users[key] -= 1
        if not self._users[key]:
            del self._users[key]
        self._evict(self.max_bytes)

    def release_all(self) -> None:
        """Tell that nobody needs any prefix longer."""
        self._users.clear()
        self._evict(self.max_bytes)

    def clear(self) -> None:
        """Forget what is not in use: before the model's weights change."""
        self._evict(0)

    def _evict(self, max_bytes: int) -> None:
        for key in [key for key in self._kept if key not in self._users]:
            if self.num_bytes <= max(0, max_bytes):
                return
            self.num_bytes -= self._kept.pop(key).num_bytes
