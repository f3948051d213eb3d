"""One request and its answer, on the way between a client and the engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llm_atc.relay import body, head, replies
from llm_atc.relay.replies import Reply
from llm_atc.relay.routes import Route, Use

if TYPE_CHECKING:
    from llm_atc.relay.client import ClientConnection
    from llm_atc.relay.engine import EngineConnection
    from llm_atc.relay.server import Relay

# A body up to this size is gathered before the engine hears of it: a slow client holds no place there, and it
# can be sent again. A larger one is streamed.
GATHER_BYTES = 256 * 1024
CLIENT_GONE = 499


class Exchange:
    """The client side calls feed, finish, start and cancel; the engine side everything below `connected`.

    `reply` is the relay's own answer, when it gives one; `closing` ends the client's connection afterwards;
    `over` means that nothing more will come of it.
    """

    def __init__(self, relay: Relay, client: ClientConnection, request: head.Request) -> None:
        self._relay = relay
        self.client = client
        self.request = request
        self.route: Route | None = None
        self.since = relay.now()
        self.reply: Reply | None = None
        self.closing = not request.keep_alive
        self.engine: EngineConnection | None = None
        self.received = 0
        self.raw = 0
        self.complete = self.begun = self.over = self.counted = False
        self._retried = self._head_sent = self._frames = self._open_ended = False
        self._whole: bytes | None = None
        self._answer: head.Answer | None = None
        self._defaults: dict[str, object] = {}
        self._gather = GATHER_BYTES
        self._tail = b""
        self._last_piece = 0.0
        self._model: str | None = None
        self.pieces: list[bytes] = []  # of the request until it is sent, then of the answer

    def admit(self, route: Route) -> None:
        """It may pass: from here on it counts as being worked on."""
        self.counted = True
        self._relay.metrics.begin(work=route.use is Use.WORK)
        if self._relay.config.defaults:
            self._defaults = body.defaults_for(route, self._relay.config.defaults)
            self._gather = body.READ_BYTES if self._defaults else GATHER_BYTES

    # The client's side

    def feed(self, data: bytes) -> None:
        """Some of the request's body."""
        self.received += len(data)
        if self.reply is not None or self.over:
            return
        if self.received > self._relay.config.limits.body_bytes:
            self.fail(replies.TOO_LARGE)
        elif self.engine is None:
            self.pieces.append(data)
        elif self._sized:
            self.engine.write(data, len(data))
        else:
            self.engine.write(head.chunk(data), 0)

    def finish(self) -> None:
        """The request is whole, and so is what was streamed of it: a chunked one may be ended."""
        self.complete = True
        if self.engine is not None and not self.over and not self._sized:
            self.engine.write(head.LAST_CHUNK, 1)

    @property
    def startable(self) -> bool:
        """Whether the engine may hear of it now."""
        return not self.begun and (self.complete or self.received > self._gather)

    @property
    def _sized(self) -> bool:
        return self.request.length is not None

    def start(self) -> None:
        """Send it to the engine, over a connection that is open already or over a new one."""
        self.begun = True
        start = self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)
        self._model = body.model_of(start)
        if not self.complete:  # over a new connection, because it cannot be sent twice
            self._relay.pool.connect(self)
            self.client.hold(True)
            return
        if self._defaults:
            start = body.with_defaults(start, self._defaults)
        self.pieces = []
        self._whole = self._head(len(start)) + start
        spare = self._relay.pool.spare()
        if spare is None:
            self._relay.pool.connect(self)
        else:
            self.connected(spare)

    def connected(self, engine: EngineConnection) -> None:
        """There is a connection: send what there is."""
        self.engine = engine
        if self._whole is not None:
            engine.begin(self, self._whole, owed=0)
            return
        kept, self.pieces = b"".join(self.pieces), []
        length = self.request.length
        if length is not None:
            owed = length - len(kept)
        else:
            owed = 0 if self.complete else 1  # the last chunk
            kept = head.chunk(kept) + (head.LAST_CHUNK if self.complete else b"")
        self.client.hold(False)
        engine.begin(self, self._head(length) + kept, owed=owed)

    def _head(self, length: int | None) -> bytes:
        return head.write_request(self.request, self._relay.host, self._relay.authorization, length)

    def cancel(self) -> None:
        """The client is gone, and its request with it. Some leave right after a stream's last event."""
        answer = self._answer
        whole = answer is not None and self._tail.rstrip().endswith(b"data: [DONE]")
        self._end(answer.status if answer is not None and whole else CLIENT_GONE)
        self._leave_engine()

    def fail(self, reply: Reply) -> None:
        """Answer with this; once the answer has begun, nothing is left but to break it off."""
        if self.over:
            return
        self._leave_engine()
        if self._head_sent:
            self._end(reply.status)
            self.client.abort(reset=self._open_ended)
        else:
            self.pieces, self._whole, self.reply = [], None, reply
            self.client.attend()

    def replied(self, status: int) -> None:
        """The relay's own reply was sent."""
        if not self.counted and status >= 400:
            self._relay.metrics.refusals[self.route.label if self.route else "none", status] += 1
        self._end(status)

    def _leave_engine(self) -> None:
        engine, self.engine = self.engine, None
        if engine is not None:
            engine.abandon()

    # The engine's side

    def answered(self, answer: head.Answer) -> None:
        """The head of the answer."""
        self._answer = answer
        self._whole = None
        self.pieces = []
        self._last_piece = self._relay.now()
        self._model = self._relay.metrics.label(self._model, answer.status)
        self._relay.metrics.first_byte(self._model, self._last_piece - self.since)

    def flush(self, *, finished: bool) -> None:
        """Hand on what has come since the last time, in one piece."""
        answer = self._answer
        if answer is None or self.over:
            return
        data = self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)
        self.pieces = []
        out = b"" if self._head_sent else self._begin_answer(answer, len(data) if finished else None)
        if data:
            self._note(data)
            out += head.chunk(data) if self._frames else data
        if finished and self._frames:
            out += head.LAST_CHUNK
        if finished:
            self.engine = None  # it serves others already: what this client does is nothing to it
        if out:
            self.client.write(out)
        if finished:
            self._end(answer.status)
            self.client.done(self)

    def _begin_answer(self, answer: head.Answer, whole: int | None) -> bytes:
        """The head for the client: with a length, or chunked, or ended by the connection's end."""
        self._head_sent = True
        length = whole if answer.length is None else answer.length
        if answer.bodiless:
            length = None
        elif length is None:
            self._frames = self.request.http11
            self._open_ended = not self._frames
            self.closing = self.closing or self._open_ended
        self.closing = self.closing or self._relay.draining or not self.complete
        return head.write_answer(answer, length=length, chunked=self._frames, close=self.closing)

    def _note(self, data: bytes) -> None:
        """Keep the end of the answer, and the time since the last piece of a stream."""
        if len(data) >= body.TAIL_BYTES:
            self._tail = data[-body.TAIL_BYTES :]
        else:
            self._tail = (self._tail + data)[-body.TAIL_BYTES :]
        if self._frames:
            now = self._relay.now()
            self._relay.metrics.between(self._model or "none", now - self._last_piece)
            self._last_piece = now

    def engine_gone(self, *, stale: bool, broken: bool) -> None:
        """The connection closed; `broken`: not in good order, so that no answer is whole by it.

        `stale` is one that served others before and said no byte to this request: the engine had only grown
        tired of it, and another one is tried, once.
        """
        self.engine = None
        if self.over:
            return
        if self._answer is not None and self._answer.until_close and not broken:
            self.flush(finished=True)
        elif self._whole is not None and stale and not self._retried:
            self._retried = True
            self._relay.metrics.retries += 1
            self._relay.pool.connect(self)
        else:
            self.fail(replies.BROKEN)

    def engine_garbled(self) -> None:
        """What came is no HTTP."""
        self.engine = None
        self.fail(replies.GARBLED)

    def engine_unreachable(self) -> None:
        """No connection could be opened."""
        self.fail(replies.UNREACHABLE if self._relay.metrics.ready else replies.STARTING)

    def _end(self, status: int) -> None:
        if self.over:
            return
        self.over = True
        self.pieces = []
        self._whole = None
        if not self.counted or self.route is None:
            return
        metrics = self._relay.metrics
        metrics.end(work=self.route.use is Use.WORK)
        model = (self._model or "none") if self._answer else metrics.label(self._model, status)
        metrics.requests[self.route.label, model, status] += 1
        if self._tail and status < 400:
            metrics.used(model, *body.usage_of(self._tail))
