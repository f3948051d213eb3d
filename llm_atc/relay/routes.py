"""Which requests may pass. Everything that is not written here is 404."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto


class Use(Enum):
    """What a request to a route means for the relay."""

    HEALTH = auto()  # answered by the relay itself, open to everybody
    OWN = auto()  # answered by the relay itself, with a key
    LOOK = auto()  # forwarded, and no sign that anybody uses the model
    WORK = auto()  # forwarded, and a real request


@dataclass(frozen=True, slots=True)
class Route:
    """A route that passes: its name in metrics, methods, and the field that limits what it generates."""

    label: str
    methods: tuple[bytes, ...]
    use: Use = Use.WORK
    limit_field: str | None = None


GET, POST, GET_DELETE = (b"GET",), (b"POST",), (b"GET", b"DELETE")

_ROUTES = (
    Route("/health", (b"GET", b"HEAD"), Use.HEALTH),
    Route("/relay/metrics", GET, Use.OWN),
    Route("/relay/status", GET, Use.OWN),
    Route("/metrics", GET, Use.LOOK),
    Route("/version", GET, Use.LOOK),
    Route("/v1/models", GET, Use.LOOK),
    Route("/v1/chat/completions", POST, limit_field="max_tokens"),
    Route("/v1/completions", POST, limit_field="max_tokens"),
    Route("/v1/responses", POST, limit_field="max_output_tokens"),
    Route("/v1/messages", POST, limit_field="max_tokens"),
    Route("/v1/messages/count_tokens", POST),
    Route("/v1/embeddings", POST),
    Route("/v1/rerank", POST),
    Route("/v2/rerank", POST),
    Route("/rerank", POST),
    Route("/v1/score", POST),
    Route("/score", POST),
    Route("/pooling", POST),
    Route("/classify", POST),
    Route("/tokenize", POST),
    Route("/detokenize", POST),
    Route("/v1/audio/transcriptions", POST),
    Route("/v1/audio/translations", POST),
    Route("/v1/audio/speech", POST),
)
_EXACT = {route.label.encode(): route for route in _ROUTES}
_NAME = rb"[A-Za-z0-9][A-Za-z0-9_.:-]{0,200}"
_PATTERNS = (
    (re.compile(rb"/v1/models/%b(?:/%b)?" % (_NAME, _NAME)), Route("/v1/models/{model}", GET, Use.LOOK)),
    (re.compile(rb"/v1/responses/%b" % _NAME), Route("/v1/responses/{id}", GET_DELETE)),
    (re.compile(rb"/v1/responses/%b/cancel" % _NAME), Route("/v1/responses/{id}/cancel", POST)),
    (re.compile(rb"/v1/responses/%b/input_items" % _NAME), Route("/v1/responses/{id}/input_items", GET)),
)
ROUTES = (*_ROUTES, *(route for _, route in _PATTERNS))

# Routes of the pinned engines that would undo the lock, change what is served, or tell of the machine. They
# are not on the list above; this one is for the reader, and for the test that keeps the two apart.
NEVER = (
    "/invocations",
    "/ping",
    "/sleep",
    "/wake_up",
    "/is_sleeping",
    "/pause",
    "/resume",
    "/is_paused",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/load_lora_adapter",
    "/lora-adapters",
    "/start_profile",
    "/stop_profile",
    "/server_info",
    "/reset_prefix_cache",
    "/reset_mm_cache",
    "/reset_encoder_cache",
    "/collective_rpc",
    "/update_weights",
    "/init_weight_transfer_engine",
    "/scale_elastic_ep",
    "/is_scaling_elastic_ep",
    "/abort_requests",
    "/tokenizer_info",
    "/load",
    "/models/load",
    "/models/unload",
    "/props",
    "/slots",
    "/docs",
    "/redoc",
    "/openapi.json",
)


def find(path: bytes) -> Route | None:
    """The route of this very path. Nothing is decoded or tidied: what would need it is not on the list."""
    route = _EXACT.get(path)
    if route is not None:
        return route
    for pattern, found in _PATTERNS:
        if pattern.fullmatch(path):
            return found
    return None
