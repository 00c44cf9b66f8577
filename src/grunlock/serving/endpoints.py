"""The answers to HTTP requests. Each takes a request and gives a response, or raises a GrunlockError."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any, Protocol

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from grunlock.errors import DataError, ServingError
from grunlock.runtime.classifier import TextClassifier
from grunlock.serving.answers import prediction, predictions
from grunlock.serving.batcher import Answered, Batcher, ExampleError
from grunlock.serving.bodies import BodyReader
from grunlock.serving.limits import Limits
from grunlock.serving.questions import Example, Question, many_examples, one_example, one_text
from grunlock.serving.refusals import BUSY, RequestError
from grunlock.serving.served import ServedModel
from grunlock.serving.slots import Slots

JSON = "application/json"


class Explanation(Protocol):
    """What an explainer finds."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        ...


class Explainer(Protocol):
    """grunlock.explanation.exact.explain_exactly, or another. Called in a thread."""

    def __call__(self, classifier: TextClassifier, text: str, /) -> Explanation: ...


class Endpoints:
    """What they share. on_reload: called after each look at the files."""

    def __init__(
        self,
        slots: Slots,
        batcher: Batcher,
        limits: Limits,
        explain: Explainer,
        aside: Executor,
        on_reload: Callable[[], None],
    ) -> None:
        self._slots = slots
        self._batcher = batcher
        self._limits = limits
        self._explain = explain
        self._aside = aside
        self._on_reload = on_reload
        self._bodies = BodyReader(limits)
        self._explaining = 0

    async def predict(self, request: Request) -> Response:
        """One text or series: its label and probabilities."""
        question = one_example(await self._bodies.read_json(request), self._slots, self._limits)
        try:
            found = await self._answered(question, question.examples, request)
        except ExampleError as fault:
            key = "text" if question.served.kind == "text" else "values"
            raise _placed(fault.error, key) from fault
        return Response(prediction(question.served, found, question.promises), media_type=JSON)

    async def batch(self, request: Request) -> Response:
        """Several at once. Others get their turn between its parts; one version answers all."""
        question = many_examples(await self._bodies.read_json(request), self._slots, self._limits)
        examples, found = question.examples, []
        expires = self._expires()
        for start in range(0, len(examples), self._limits.batch):
            part = examples[start : start + self._limits.batch]
            try:
                found.append(await self._answered(question, part, request, expires))
            except ExampleError as fault:
                key = "texts" if question.served.kind == "text" else "series"
                raise _placed(fault.error, f"{key}[{start + fault.place}]") from fault
        logits = np.concatenate([each.logits for each in found])
        joined = Answered(logits, [row for each in found for row in each.rows])
        return Response(predictions(question.served, joined, question.promises), media_type=JSON)

    async def explain(self, request: Request) -> Response:
        """Which tokens a text's label comes from."""
        question = one_text(await self._bodies.read_json(request), self._slots, self._limits)
        if self._explaining >= self._limits.batch:
            raise RequestError(
                503, "Too many texts wait to be explained.", cure="try again in a second", headers=BUSY
            )
        self._explaining += 1
        try:
            async with asyncio.timeout(self._limits.timeout_seconds):
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._aside, self._explained, question)
        except TimeoutError as error:
            raise RequestError(504, "There was no answer in time.", cure="explain a shorter text") from error
        finally:
            self._explaining -= 1

    def _explained(self, question: Question) -> Response:
        served, (example,) = question.served, question.examples
        assert isinstance(served.classifier, TextClassifier)
        assert isinstance(example.value, str)
        try:
            found = self._explain(served.classifier, example.value).to_dict()
        except DataError as error:
            raise _placed(error, "text") from error
        return JSONResponse({**found, "model": served.name, "version": served.version})

    async def models(self) -> Response:
        """Labels, versions and facts of the models."""
        return JSONResponse(self._slots.about())

    async def reload(self) -> Response:
        """Look at the files now. 409 where one cannot be taken; the old model goes on serving."""
        outcomes = await self._slots.reload(self._aside)
        self._on_reload()
        for name, outcome in outcomes.items():
            fault = self._slots.by_name[name].fault
            if outcome == "failed" and fault is not None:
                raise _kept_old(self._slots.by_name[name].current, fault)
        return JSONResponse({"outcomes": outcomes, **self._slots.about()})

    def _expires(self) -> float:
        return asyncio.get_running_loop().time() + self._limits.timeout_seconds

    async def _answered(
        self, question: Question, examples: Sequence[Example], request: Request, expires: float | None = None
    ) -> Answered:
        async def gone() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass

        return await self._batcher.answered(
            question.served,
            [example.value for example in examples],
            sum(example.size for example in examples),
            self._expires() if expires is None else expires,
            gone,
        )


def _placed(error: DataError, where: str) -> DataError:
    """The same, of the field that the client gave."""
    return DataError(error.what, where=where, got=error.got, expected=error.expected, cure=error.cure)


def _kept_old(served: ServedModel, fault: ServingError | Any) -> RequestError:
    return RequestError(
        409,
        f"The new file of {served.name} cannot be served; version {served.version[:12]} goes on.",
        where=fault.where,
        got=fault.what if fault.got is None else f"{fault.what} {fault.got}",
        expected=fault.expected,
        cure=fault.cure,
    )
