"""What a load run sends: requests, when each is due, and how many may be in flight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Ask:
    """One request to send: its body, and when. due_s: seconds after the start; None: as soon as a slot is free (closed loop)."""  # noqa: E501

    body: Mapping[str, Any]  # JSON body of the OpenAI route, without stream options
    input_tokens: int  # as asked; what the server reports is kept beside it
    output_tokens: int
    due_s: float | None = None


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """What a load run sends. concurrency: most requests in flight (None: no limit, open loop)."""

    asks: tuple[Ask, ...]
    concurrency: int | None
    warmup: int = 0  # first asks that are sent and not counted
