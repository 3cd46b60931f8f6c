"""Keys and values of pictures and what leads to them, kept within a bound for the questions that follow."""

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable

from geochat.models.prefix_attention import Prefix


class PrefixStore:
    """The prefixes used last, as many as memory is given for, and those that are in use.

    Args:
        max_bytes: Most memory that the kept keys and values take. The prefix used last is kept in any case.

    Attributes:
        num_bytes: What they take.
        computed: How often a prefix had to be computed.
        found: How often it was there.
    """

    def __init__(self, max_bytes: int):
        self.max_bytes = max_bytes
        self.num_bytes = self.computed = self.found = 0
        self._kept: OrderedDict[Hashable, Prefix] = OrderedDict()
        self._in_use: weakref.WeakValueDictionary[Hashable, Prefix] = weakref.WeakValueDictionary()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, compute: Callable[[], Prefix]) -> Prefix:
        """Return the prefix of a key, computing it if it is neither kept nor in use by somebody."""
        prefix = self._in_use.get(key)
        if prefix is None:
            self.computed += 1
            self._in_use[key] = prefix = compute()
        else:
            self.found += 1
        if self._kept.pop(key, None) is None:
            self.num_bytes += prefix.num_bytes
        self._kept[key] = prefix
        while self.num_bytes > self.max_bytes and len(self._kept) > 1:
            _, evicted = self._kept.popitem(last=False)
            self.num_bytes -= evicted.num_bytes
        return prefix

    def clear(self) -> None:
        """Forget all: after the model's weights have changed."""
        self._kept.clear()
        self._in_use.clear()
        self.num_bytes = 0
