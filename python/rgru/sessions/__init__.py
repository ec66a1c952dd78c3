"""Millions of live sequences by key.

`_sessions` is the class. `_keys` and `_times` validate arguments, `_model_adapter` connects models, `_snapshot` writes
and reads files.
"""

from __future__ import annotations

from rgru.sessions._sessions import Sessions

__all__ = ["Sessions"]
