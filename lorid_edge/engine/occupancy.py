"""Many may use a thing at once, but nobody while it is changed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Occupancy:
    """Keeps users and changes of one thing apart, among threads. Changes go first."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._users = 0
        self._is_changing = False

    @contextmanager
    def use(self) -> Iterator[None]:
        """Wait until nobody changes it, and keep it from being changed."""
        with self._condition:
            self._condition.wait_for(lambda: not self._is_changing)
            self._users += 1
        try:
            yield
        finally:
            with self._condition:
                self._users -= 1
                if self._users == 0:
                    self._condition.notify_all()

    @contextmanager
    def change(self) -> Iterator[None]:
        """Wait until nobody uses it, and keep others from beginning to."""
        with self._condition:
            self._condition.wait_for(lambda: not self._is_changing)
            self._is_changing = True
        try:
            with self._condition:
                self._condition.wait_for(lambda: self._users == 0)
            yield
        finally:
            with self._condition:
                self._is_changing = False
                self._condition.notify_all()
