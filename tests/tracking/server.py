"""A stand-in for wandb's server on this machine: takes what is sent and keeps it for the test to look at."""

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PROJECT = {"id": "p", "name": "xfeedback", "entity": {"id": "e", "name": "me"}}


@dataclass
class Received:
    """What the server was sent.

    Attributes:
        url: its address.
        runs: the variables of the requests that make or update a run, those that were sent, by the run's id.
        history: the lines of each run's curve; a line that is sent anew replaces the former, as at the real server.
        summaries: the last summary of each run.
        files: content by path.
        charts: what was asked to be made as a chart.
    """

    url: str = ""
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    history: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    summaries: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    charts: list[dict[str, Any]] = field(default_factory=list)

    def upsert(self, sent: dict[str, Any]) -> dict[str, Any]:
        """Make or update a run."""
        name = sent["name"]
        inserted = name not in self.runs
        known = self.runs.setdefault(name, {})
        known |= {key: value for key, value in sent.items() if value not in (None, "")}
        bucket = {"id": f"id-{name}", "name": name, "displayName": known.get("displayName"), "config": "{}"}
        bucket |= {"project": PROJECT, "historyLineCount": len(self.history.get(name, [])), "description": None}
        return {"upsertBucket": {"bucket": {**bucket, "sweepName": None}, "inserted": inserted}}

    def resume(self, sent: dict[str, Any]) -> dict[str, Any]:
        """Say how far a run is."""
        name = sent["name"]
        if name not in self.runs:
            return {"model": {**PROJECT, "bucket": None}}
        lines = self.history.get(name, [])
        bucket = {"id": f"id-{name}", "name": name, "displayName": self.runs[name].get("displayName")}
        bucket |= {"historyLineCount": len(lines), "logLineCount": 0, "eventsLineCount": 0, "eventsTail": "[]"}
        bucket |= {"historyTail": json.dumps([json.dumps(line) for line in lines[-1:]])}
        bucket |= {"summaryMetrics": json.dumps(self.summaries.get(name, {})), "tags": [], "notes": None}
        bucket |= {"config": self.runs[name].get("config", "{}"), "wandbConfig": "{}"}
        return {"model": {**PROJECT, "bucket": bucket}}

    def stream(self, name: str, sent: dict[str, Any]) -> None:
        """Take lines of a curve, which say from which line on they are."""
        found = sent.get("files", {})
        if (lines := found.get("wandb-history.jsonl")) is not None:
            known = self.history.setdefault(name, [])
            for number, line in enumerate(lines["content"], lines["offset"]):
                known[number : number + 1] = [json.loads(line)]
        for line in found.get("wandb-summary.json", {}).get("content", []):
            self.summaries[name] = json.loads(line)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    received: Received
    lock: threading.Lock

    def log_message(self, *_: Any) -> None:
        """Nothing to the terminal."""

    def _body(self) -> bytes:
        raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw

    def _answer(self, value: Any) -> None:
        content = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_PUT(self) -> None:
        self.received.files[self.path.removeprefix("/upload/")] = self._body()
        self._answer({})

    def do_POST(self) -> None:
        try:
            body = json.loads(self._body() or b"{}")
        except ValueError:  # wandb's own telemetry, which is no JSON
            return self._answer({})
        with self.lock:
            if not self.path.endswith("/graphql"):
                self.received.stream(self.path.split("/")[-2], body)
                return self._answer({})
            found = re.search(r"(?:query|mutation)\s+(\w+)", body["query"])
            return self._answer({"data": self._asked(found[1] if found else "", body.get("variables") or {})})

    def _asked(self, operation: str, sent: dict[str, Any]) -> dict[str, Any]:
        match operation:
            case "UpsertBucket":
                return self.received.upsert(sent)
            case "RunResumeStatus":
                return self.received.resume(sent)
            case "CreateRunFiles":
                files = [{"name": name, "uploadUrl": f"{self.received.url}/upload/{name}"} for name in sent["files"]]
                return {"createRunFiles": {"runID": sent["run"], "uploadHeaders": [], "files": files}}
            case "CreateArtifact":
                latest = {"latestArtifact": {"id": "a"}}
                return {"createArtifact": {"artifact": {"id": "a", "state": "COMMITTED", "artifactSequence": latest}}}
            case "CreateCustomChart":
                self.received.charts.append(sent)
                return {"createCustomChart": {"chart": {"id": f"{sent['entity']}/{sent['chartName']}"}}}
            case "Viewer":
                viewer = {"id": "v", "entity": "me", "username": "me", "email": "", "flags": "{}"}
                return {"viewer": {**viewer, "teams": {"edges": []}}}
            case "ServerFeaturesQuery":
                return {"serverInfo": {"features": []}}
        return {}


@contextmanager
def wandb_server() -> Iterator[Received]:
    """Serve on a free port of this machine until the block ends."""
    received = Received()
    handler = type("Handler", (_Handler,), {"received": received, "lock": threading.Lock()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    received.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
