"""Bodies that are too large, or not what was agreed on."""

from __future__ import annotations

from hostguard.rehearse.faults import sample
from hostguard.rehearse.faults.application import Application
from hostguard.rehearse.faults.fault import (
    LARGEST,
    Fault,
    Key,
    Numbers,
    first_unrefused,
    is_well,
    requests,
    said,
    size,
    times,
)
from hostguard.rehearse.faults.result import Way
from hostguard.rehearse.faults.site import Asked

MIB = 2**20


class LargeRequest(Fault):
    id = "large-request"
    title = "a request that is too large"

    def unfit(self, n: Numbers) -> str:
        return f"a payload.request_max over {size(LARGEST)}" if n.up.payload.request_max > LARGEST else ""

    def named(self, n: Numbers) -> str:
        return f"a request of {size(n.up.payload.request_max)} and a byte"

    def calls(self, app: Application) -> None:
        app.call(app.n.unsafe, size=app.n.up.payload.request_max + 1)

    def decides(self, n: Numbers) -> Key:
        return Key("payload.request_max", size(n.up.payload.request_max))

    def expected(self, n: Numbers) -> str:
        return "413, and nothing is sent"

    def shows(self, direct: Way) -> bool:
        return any(each["size"] for each in direct["reached"])

    def wrong(self, n: Numbers, way: Way) -> str:
        (call,) = way["calls"]
        if requests(way):
            return f"it was sent {times(len(requests(way)))}"
        return "" if call["status"] == 413 else f"{said(call)}, and not 413"


class LargeAnswer(Fault):
    id = "large-answer"
    title = "an answer that is too large"

    def unfit(self, n: Numbers) -> str:
        if n.up.payload.stream:
            return "payload.stream, which hands on what comes"
        return f"a payload.response_max over {size(LARGEST)}" if n.up.payload.response_max > LARGEST else ""

    def named(self, n: Numbers) -> str:
        return f"an answer of {size(n.up.payload.response_max + MIB)}, in chunks"

    def answers(self, asked: Asked) -> None:
        asked.chunks(asked.n.up.payload.response_max + MIB)

    def decides(self, n: Numbers) -> Key:
        return Key("payload.response_max", size(n.up.payload.response_max))

    def expected(self, n: Numbers) -> str:
        return "an answer of 5xx, and nothing of the body"

    def shows(self, direct: Way) -> bool:
        return all(map(is_well, direct["calls"]))

    def wrong(self, n: Numbers, way: Way) -> str:
        return first_unrefused(way, n.longest)


class Misfit(Fault):
    id = "wrong-schema"
    title = "200 with a body that the schema refuses"

    def unfit(self, n: Numbers) -> str:
        if n.up.payload.schema is None:
            return "no payload.schema"
        return "" if sample.misfit(n.up.payload.schema) else "a payload.schema that no plain body misses"

    def answers(self, asked: Asked) -> None:
        asked.reply(200, body=sample.misfit(asked.n.up.payload.schema or {}) or b"")

    def decides(self, n: Numbers) -> Key:
        title = (n.up.payload.schema or {}).get("title", "")
        return Key("payload.schema", str(title) or "a schema")

    def expected(self, n: Numbers) -> str:
        return "502, and nothing of the body"

    def shows(self, direct: Way) -> bool:
        return all(map(is_well, direct["calls"]))

    def wrong(self, n: Numbers, way: Way) -> str:
        return first_unrefused(way, n.longest)
