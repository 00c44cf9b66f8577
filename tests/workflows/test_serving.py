"""A server as its clients meet it: answers are the classifier's, and what is wrong is said."""

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from grunlock import SeriesClassifier, TextClassifier
from grunlock.errors import ArtifactError, DataError, ServingError
from grunlock.serving import Limits, create_app
from tests.parity.exported_models import drawn_series, drawn_texts
from tests.workflows.live_server import LiveServer, Reply, live
from tests.workflows.served_models import COVERAGE, RATE, of_series, promising, put

TEXTS = [*drawn_texts([5, 1, 20, 3]), "北京 天安门", "naïve \U0001f680 Straße", 'say "x"\n\\']
SMALL = Limits(
    body_bytes=3000,
    text_chars=200,
    batch_texts=8,
    series_steps=50,
    batch=3,
    drain_seconds=0,
    grace_seconds=1,
)
TOLERANCE = 2e-6  # the batches of the server are others than those of the test


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("served")
    put(promising(), folder / "words.grunlock")
    put(of_series(), folder / "waves.grunlock")
    return {"words": folder / "words.grunlock", "waves": folder / "waves.grunlock"}


@pytest.fixture(scope="module")
def server(files: dict[str, Path]) -> Iterator[LiveServer]:
    with live(files, SMALL) as running:
        yield running


@pytest.fixture(scope="module")
def words() -> TextClassifier:
    found = promising().classifier()
    assert isinstance(found, TextClassifier)
    return found


@pytest.fixture(scope="module")
def waves() -> SeriesClassifier:
    found = of_series().classifier()
    assert isinstance(found, SeriesClassifier)
    return found


def check_row(row: dict[str, Any], labels: tuple[str, ...], probs: np.ndarray) -> None:
    assert list(row["probs"]) == list(labels)
    np.testing.assert_allclose(list(row["probs"].values()), probs, atol=TOLERANCE, rtol=0)
    assert row["label"] == labels[int(probs.argmax())]
    assert row["probability"] == max(row["probs"].values())


@pytest.mark.parametrize("text", TEXTS)
def test_one_text(text: str, server: LiveServer, words: TextClassifier) -> None:
    reply = server.post("/v1/predict", {"text": text})
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    check_row(reply.fields, words.labels, words.predict_proba([text])[0])
    assert reply.fields["model"] == "words"
    assert len(reply.fields["version"]) == 64


def test_a_batch_is_larger_than_a_pass(server: LiveServer, words: TextClassifier) -> None:
    reply = server.post("/v1/batch", {"texts": TEXTS})
    assert len(TEXTS) > SMALL.batch
    assert len(reply.fields["predictions"]) == len(TEXTS)
    for row, probs in zip(reply.fields["predictions"], words.predict_proba(TEXTS), strict=True):
        check_row(row, words.labels, probs)


def test_promises(server: LiveServer, words: TextClassifier) -> None:
    asked = {"texts": TEXTS, "coverage": COVERAGE, "max_error": RATE, "method": "raps"}
    rows = server.post("/v1/batch", asked).fields["predictions"]
    assert [tuple(row["label_set"]) for row in rows] == words.predict_set(TEXTS, COVERAGE, "raps")
    answers = words.predict_or_abstain(TEXTS, RATE)
    assert [row["answer"] for row in rows] == answers
    assert None in answers
    assert set(answers) != {None}
    one = server.post("/v1/predict", {"text": TEXTS[0], "coverage": COVERAGE}).fields
    assert tuple(one["label_set"]) == words.predict_set(TEXTS[:1], COVERAGE)[0]
    assert "answer" not in one


def test_series(server: LiveServer, waves: SeriesClassifier) -> None:
    several = drawn_series([40, 9, 1])
    given = [
        [[None if np.isnan(x) else float(x) for x in step] for step in series.tolist()] for series in several
    ]
    probs = waves.predict_proba(several)
    reply = server.post("/v1/batch", {"series": given, "model": "waves"})
    for row, expected in zip(reply.fields["predictions"], probs, strict=True):
        check_row(row, waves.labels, expected)
    one = server.post("/v1/predict", {"values": given[1], "model": "waves"})
    check_row(one.fields, waves.labels, probs[1])


WRONG: list[tuple[str, str, object, int, str]] = [
    ("predict", "no text", {}, 422, "A key is missing"),
    ("predict", "a key's name", {"txet": "a"}, 422, "did you mean text?"),
    ("predict", "a key too many", {"text": "a", "covrage": 0.9}, 422, "did you mean coverage?"),
    ("predict", "no string", {"text": 5}, 422, "a string: this model reads texts"),
    ("predict", "null", {"text": None}, 422, "got null"),
    ("predict", "a long text", {"text": "a" * 201}, 422, "201 characters"),
    ("predict", "nothing to read", {"text": " \n"}, 422, "where text"),
    ("predict", "half a character", {"text": "a\ud800"}, 422, "character 2"),
    ("predict", "a model's name", {"text": "a", "model": "word"}, 404, "did you mean words?"),
    ("predict", "the other kind", {"values": [[1, 2]]}, 422, "the model words reads text"),
    ("predict", "a text for series", {"text": "a", "model": "waves"}, 422, "the model waves reads series"),
    ("predict", "a coverage", {"text": "a", "coverage": 0.5}, 422, "not calibrated for this coverage"),
    ("predict", "no share", {"text": "a", "coverage": 1.5}, 422, "a number between 0 and 1"),
    ("predict", "true is no number", {"text": "a", "max_error": True}, 422, "a number between 0 and 1"),
    ("predict", "a rate", {"text": "a", "max_error": 0.01}, 422, "cannot promise an error rate of 0.01"),
    ("predict", "a method", {"text": "a", "coverage": 0.9, "method": "lap"}, 422, "lac or raps"),
    ("predict", "a method alone", {"text": "a", "method": "lac"}, 422, "coverage beside it"),
    ("predict", "a list", ["a"], 400, "not a JSON object"),
    ("predict", "channels", {"values": [[1]], "model": "waves"}, 422, "another number of channels"),
    ("predict", "a word", {"values": [[1, "2"]], "model": "waves"}, 422, "values[0][1]"),
    ("predict", "a large number", {"values": [[1, 1e39]], "model": "waves"}, 422, "within float32"),
    ("predict", "a huge one", {"values": [[1, 10**400]], "model": "waves"}, 422, "within float32"),
    ("predict", "steps", {"values": [[1, 2]] * 51, "model": "waves"}, 422, "51 steps"),
    ("predict", "no steps", {"values": [], "model": "waves"}, 422, "A series has no value"),
    ("predict", "all missing", {"values": [[None, None]], "model": "waves"}, 422, "every value is missing"),
    ("batch", "no list", {"texts": "a"}, 422, "a list of at least one"),
    ("batch", "none", {"texts": []}, 422, "a list of at least one"),
    ("batch", "too many", {"texts": ["a"] * 9}, 422, "at most 8"),
    ("batch", "one is empty", {"texts": ["a", "b", "c", "d", ""]}, 422, "where texts[4]"),
    ("batch", "one is null", {"texts": ["a", None]}, 422, "where texts[1]"),
    ("explain", "series", {"text": "a", "model": "waves"}, 422, "this model reads series"),
    ("explain", "empty", {"text": ""}, 422, "where text"),
]


@pytest.mark.parametrize(
    ("route", "body", "status", "complaint"),
    [(route, body, status, complaint) for route, _, body, status, complaint in WRONG],
    ids=[f"{route}: {name}" for route, name, *_ in WRONG],
)
def test_what_is_wrong_is_said(
    route: str, body: object, status: int, complaint: str, server: LiveServer
) -> None:
    reply = server.post(f"/v1/{route}", body)
    assert reply.status == status
    assert complaint in said(reply)


def said(reply: Reply) -> str:
    """The error in one line, each field behind its name."""
    return " ".join(f"{name} {value}" for name, value in reply.error.items() if value is not None)


BROKEN: list[tuple[bytes, int, str]] = [
    (b"", 400, "not JSON"),
    (b'{"text": "a"', 400, "line 1, column 13"),
    (b'{"text": "a"} x', 400, "Extra data"),
    (b'{"text": "\xff"}', 400, "not UTF-8"),
    (b'{"text": "a", "text": "b"}', 400, "stands twice"),
    (b'{"values": [[NaN, 1]], "model": "waves"}', 400, "got NaN"),
    (b'{"values": [[-Infinity, 1]], "model": "waves"}', 400, "got -Infinity"),
    (b'{"values": [[1e999, 1]], "model": "waves"}', 422, "within float32"),
    (b"[" * 2500, 400, ""),
    (b'{"a": ' + b"1" * 2900 + b"}", 422, "There is no such key"),
    (b'{"text": "' + b"a" * 3000 + b'"}', 413, "at most 3,000 bytes"),
]


@pytest.mark.parametrize(("raw", "status", "complaint"), BROKEN, ids=[repr(raw[:25]) for raw, *_ in BROKEN])
def test_bodies_that_are_broken(raw: bytes, status: int, complaint: str, server: LiveServer) -> None:
    reply = server.post("/v1/predict", raw=raw)
    assert reply.status == status
    assert complaint in said(reply)


@pytest.mark.parametrize("kind", ["text/plain", "application/jsonp", "application/json; charset=latin-1", ""])
def test_another_content_type(kind: str, server: LiveServer) -> None:
    reply = server.post("/v1/predict", raw=b'{"text": "a"}', headers={"content-type": kind})
    assert reply.status == 415
    assert "application/json" in said(reply)


def test_utf_8_may_be_named(server: LiveServer) -> None:
    headers = {"content-type": "Application/JSON; charset=UTF-8"}
    assert server.post("/v1/predict", {"text": "a"}, headers=headers).status == 200


def test_paths_and_methods(server: LiveServer) -> None:
    wrong = server.ask("GET", "/v1/predict")
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST")
    assert "POST" in said(wrong)
    unknown = server.post("/v1/predcit", {"text": "a"})
    assert unknown.status == 404
    assert "did you mean /v1/predict?" in said(unknown)
    assert server.ask("DELETE", "/").status == 405


def test_facts_of_the_models(server: LiveServer) -> None:
    models = {each["name"]: each for each in server.ask("GET", "/v1/model").fields["models"]}
    assert list(models) == ["words", "waves"]
    assert models["words"]["kind"] == "text"
    assert models["words"]["streams"] is True
    assert models["words"]["coverages"] == [COVERAGE]
    assert models["words"]["error_rates"] == [RATE]  # 0.01 cannot be kept
    assert models["waves"]["channels"] == ["a", "b"]
    assert models["waves"]["refused_file"] is None


def test_explanations_add_up(server: LiveServer, words: TextClassifier) -> None:
    text = "the cat sat on the mat"
    found = server.post("/v1/explain", {"text": text}).fields
    shares = np.array([token["shares"] for token in found["tokens"]])
    np.testing.assert_allclose(shares.sum(axis=0) + found["bias"], words.logits([text])[0], atol=1e-4)
    assert [text[token["start"] : token["end"]] for token in found["tokens"]] == text.split()
    assert found["model"] == "words"


def test_an_explainer_of_ones_own(files: dict[str, Path]) -> None:
    class Found:
        def to_dict(self) -> dict[str, Any]:
            return {"tokens": [], "labels": ["x"]}

    def explain(classifier: TextClassifier, text: str) -> Found:
        if text == "no":
            raise DataError("Not this one.")
        return Found()

    with live(files["words"], explain=explain) as running:
        assert running.post("/v1/explain", {"text": "yes"}).fields["labels"] == ["x"]
        assert running.post("/v1/explain", {"text": "no"}).error["what"] == "Not this one."


def test_metrics(files: dict[str, Path]) -> None:
    with live(files) as running:
        running.post("/v1/predict", {"text": "a"})
        running.post("/v1/predict", {"text": ""})
        running.ask("GET", "/somewhere")
        told = running.ask("GET", "/metrics").body.decode()
        version = running.post("/v1/predict", {"text": "a"}).fields["version"]
    for line in (
        'grunlock_requests_total{route="/v1/predict",status="200"} 1.0',
        'grunlock_requests_total{route="/v1/predict",status="422"} 1.0',
        'grunlock_requests_total{route="other",status="404"} 1.0',
        'grunlock_request_seconds_count{route="/v1/predict"} 2.0',
        "grunlock_batch_examples_count 2.0",
    ):
        assert f"{line}\n" in told
    assert f'version="{version}",worker="' in told
    assert "grunlock_resident_memory_bytes{" in told
    assert "grunlock_queued_examples{" in told


def test_a_token(files: dict[str, Path]) -> None:
    with live(files, token=" séc ret\n") as running:
        right = {"authorization": "Bearer séc ret".encode().decode("latin-1")}
        for headers in ({}, {"authorization": "Bearer other"}, {"authorization": "Basic séc ret"}):
            for method, path in (("POST", "/v1/predict"), ("GET", "/v1/model"), ("GET", "/metrics")):
                body = {"text": "a"} if method == "POST" else None
                latin = {name: value.encode().decode("latin-1") for name, value in headers.items()}
                reply = running.ask(method, path, body, headers=latin)
                assert reply.status == 401
                assert reply.headers["www-authenticate"].startswith("Bearer")
        assert running.post("/v1/predict", {"text": "a"}, headers=right).status == 200
        assert running.ask("GET", "/metrics", headers=right).status == 200
        for path in ("/", "/health", "/ready", "/page.js"):
            assert running.ask("GET", path).status == 200
    with live(files, token="a", open_metrics=True) as running:
        assert running.ask("GET", "/metrics").status == 200
        assert running.ask("GET", "/v1/model").status == 401


def test_the_page_asks_no_other_server(server: LiveServer) -> None:
    page = server.ask("GET", "/")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for path in ("/", "/page.js", "/page.css", "/drawing.js", "/icon.svg"):
        found = server.ask("GET", path)
        assert found.status == 200
        assert found.headers["x-content-type-options"] == "nosniff"
        addresses = found.body.replace(b"http://www.w3.org/2000/svg", b"")  # the name of a format
        assert b"://" not in addresses


def test_no_model_and_no_token(tmp_path: Path, files: dict[str, Path]) -> None:
    with pytest.raises(ArtifactError, match="There is no model here"):
        create_app(tmp_path / "none")
    with pytest.raises(ServingError, match="no model to serve"):
        create_app({})
    with pytest.raises(ServingError, match="The token is empty"):
        create_app(files["words"], token=" ")
    with pytest.raises(ServingError, match=r"(?s)not one.*batch.*from 1 on"):
        Limits(batch=0)


def test_a_server_that_does_not_run_yet(files: dict[str, Path]) -> None:
    """Under an ASGI server that tells of no start, nothing would ever answer: it says so."""
    app = create_app(files["words"])
    told: list[dict[str, Any]] = []

    async def asked(method: str, path: str) -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b'{"text": "a"}', "more_body": False}

        async def send(message: Any) -> None:
            told.append(message)

        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b""}
        await app({**scope, "root_path": "", "http_version": "1.1", "scheme": "http"}, receive, send)

    async def both() -> None:
        await asked("POST", "/v1/predict")
        await asked("GET", "/ready")

    with ThreadPoolExecutor(1) as aside:  # Playwright's loop, if a test before has begun it, runs in this one
        aside.submit(asyncio.run, both()).result()
    assert [each["status"] for each in told if "status" in each] == [503, 503]
    bodies = [json.loads(each["body"]) for each in told if "body" in each]
    assert bodies[1] == {"status": "starting"}
