"""Millions of live sequences by key.

`live` is the class; `keys` judges what users pass as keys, `served` what a model makes of events, `snapshot` writes and
reads files.
"""

from __future__ import annotations

from rgru.sessions._sessions import Sessions

__all__ = ["Sessions"]
