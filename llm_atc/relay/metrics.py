"""What the relay counts, and when it was last used."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator

_FIRST_BYTE = (0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_BETWEEN = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
MAX_MODELS = 64
OTHER = "other"


class Histogram:
    """Observations in buckets, in seconds."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def lines(self, name: str, labels: str) -> Iterator[str]:
        total = 0
        for bound, count in zip((*self._bounds, "+Inf"), self._counts, strict=True):
            total += count
            yield f'{name}_bucket{{{labels},le="{bound}"}} {total}'
        yield f"{name}_sum{{{labels}}} {self._sum:.6f}"
        yield f"{name}_count{{{labels}}} {total}"


class Metrics:
    """Counts of one relay. A model is named once the engine has answered for it; at most MAX_MODELS are."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.started = now()
        self.in_flight = 0
        self.working = 0
        self.connections = 0
        self.retries = 0
        self.ready = False
        self.last_use: float | None = None
        self._idle_before = 0.0  # when the engine went away
        self.requests: Counter[tuple[str, str, int]] = Counter()
        self.refusals: Counter[tuple[str, int]] = Counter()
        self.tokens: Counter[tuple[str, str]] = Counter()
        self._models: set[str] = set()
        self._first_byte: dict[str, Histogram] = {}
        self._between: dict[str, Histogram] = {}

    def became_ready(self) -> None:
        """The engine answers: from here on it can be idle. The time that it was away does not count."""
        self.ready = True
        if self.last_use is None:
            self.last_use = self._now()
        else:
            self.last_use = self._now() - self._idle_before

    def went_away(self) -> None:
        """The engine answers no longer: the clock stands."""
        self._idle_before = self.idle_seconds
        self.ready = False

    def begin(self, *, work: bool) -> None:
        self.in_flight += 1
        self.working += work

    def end(self, *, work: bool) -> None:
        self.in_flight -= 1
        if work:
            self.working -= 1
            self.last_use = self._now()
            self._idle_before = 0.0

    @property
    def idle_seconds(self) -> float:
        """Seconds since a real request ended; 0 while there is one, or before the engine was ready."""
        if self.working or self.last_use is None:
            return 0.0
        return self._now() - self.last_use if self.ready else self._idle_before

    def label(self, model: str | None, status: int) -> str:
        """The model's name for the labels; a name that the engine never answered for is `other`."""
        if model is None:
            return "none"
        if model not in self._models:
            if status >= 400 or len(self._models) >= MAX_MODELS:
                return OTHER
            self._models.add(model)
        return model

    def first_byte(self, model: str, seconds: float) -> None:
        self._first_byte.setdefault(model, Histogram(_FIRST_BYTE)).observe(seconds)

    def between(self, model: str, seconds: float) -> None:
        self._between.setdefault(model, Histogram(_BETWEEN)).observe(seconds)

    def used(self, model: str, read: int, written: int) -> None:
        if read or written:
            self.tokens["in", model] += read
            self.tokens["out", model] += written

    def text(self) -> str:
        """Everything, in Prometheus' text format."""
        return "\n".join([*self._gauges(), *self._counters(), *self._histograms(), ""])

    def _gauges(self) -> Iterator[str]:
        for name, value in (
            ("in_flight", self.in_flight),
            ("idle_seconds", round(self.idle_seconds, 3)),
            ("uptime_seconds", round(self._now() - self.started, 3)),
            ("ready", int(self.ready)),
            ("client_connections", self.connections),
        ):
            yield f"# TYPE llm_atc_relay_{name} gauge"
            yield f"llm_atc_relay_{name} {value}"

    def _counters(self) -> Iterator[str]:
        yield "# TYPE llm_atc_relay_requests_total counter"
        for (route, model, status), count in self.requests.items():
            labels = f'route="{route}",model="{_escape(model)}",status="{status}"'
            yield f"llm_atc_relay_requests_total{{{labels}}} {count}"
        yield "# TYPE llm_atc_relay_refusals_total counter"
        for (route, status), count in self.refusals.items():
            yield f'llm_atc_relay_refusals_total{{route="{route}",status="{status}"}} {count}'
        yield "# TYPE llm_atc_relay_tokens_total counter"
        for (direction, model), count in self.tokens.items():
            labels = f'direction="{direction}",model="{_escape(model)}"'
            yield f"llm_atc_relay_tokens_total{{{labels}}} {count}"
        yield "# TYPE llm_atc_relay_retries_total counter"
        yield f"llm_atc_relay_retries_total {self.retries}"

    def _histograms(self) -> Iterator[str]:
        for name, kept in (
            ("time_to_first_byte_seconds", self._first_byte),
            ("time_between_chunks_seconds", self._between),
        ):
            yield f"# TYPE llm_atc_relay_{name} histogram"
            for model, histogram in kept.items():
                yield from histogram.lines(f"llm_atc_relay_{name}", f'model="{_escape(model)}"')


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
