"""Requests and answers as the OpenAPI description shows them.

Requests are read by questions.py, not by these: its messages name the cure.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Coverage = Annotated[
    float | None,
    Field(None, gt=0, lt=1, description="Also the labels that hold the true one so often, such as 0.9."),
]
MaxError = Annotated[
    float | None,
    Field(None, gt=0, lt=1, description="Also an answer that is null where the model might err more often."),
]
ModelName = Annotated[str | None, Field(None, description="Which model answers; the first if none is named.")]
Number = Annotated[float, Field(gt=-3.4e38, lt=3.4e38)]
Values = list[list[Number | None] | Number | None]


class _Exact(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Promises(_Exact):
    model: ModelName
    coverage: Coverage
    method: Annotated[Literal["lac", "raps"] | None, Field(None, description="Of the set; with coverage.")]
    max_error: MaxError


class PredictText(_Promises):
    """One text."""

    text: str


class PredictSeries(_Promises):
    """One series: steps of one number per channel, null where one is missing."""

    values: Annotated[Values, Field(min_length=1)]


class BatchTexts(_Promises):
    """Several texts."""

    texts: Annotated[list[str], Field(min_length=1)]


class BatchSeries(_Promises):
    """Several series."""

    series: Annotated[list[Values], Field(min_length=1)]


class ExplainText(_Exact):
    """One text."""

    text: str
    model: ModelName


class Row(BaseModel):
    """probability: that of the label. label_set and answer: where they were asked for."""

    label: str
    probability: float
    probs: dict[str, float]
    label_set: list[str] | None = None
    answer: str | None = None


class Prediction(Row):
    """version: sha256 of the model file."""

    model: str
    version: str


class Predictions(BaseModel):
    """All of one version."""

    predictions: list[Row]
    model: str
    version: str


class TokenShares(BaseModel):
    """start, end: characters of the text. shares: what the token gives to each label's logit."""

    model_config = ConfigDict(extra="allow")
    text: str
    start: int
    end: int
    shares: list[float]


class Explained(BaseModel):
    """The shares of all tokens and the bias add up to the logits."""

    model_config = ConfigDict(extra="allow")
    tokens: list[TokenShares]
    labels: list[str]
    model: str
    version: str


class ModelFacts(BaseModel):
    """refused_file: why the newest file of this model is not the one that is served."""

    model_config = ConfigDict(extra="allow")
    name: str
    version: str
    kind: Literal["text", "series"]
    labels: list[str]
    streams: bool
    coverages: list[float]
    error_rates: list[float]
    early_error_rates: list[float]
    reloads: dict[str, int]
    refused_file: str | None


class Models(BaseModel):
    """The first answers where a request names none."""

    models: list[ModelFacts]


class Reloaded(Models):
    """outcomes: same, or changed."""

    outcomes: dict[str, str]


class State(BaseModel):
    """Of the server."""

    status: str


class Problem(BaseModel):
    """what is wrong, where, what was got, what was expected, and how to cure it."""

    what: str
    where: str | None
    got: str | None
    expected: str | None
    cure: str | None


class Refusal(BaseModel):
    """The body of every error."""

    error: Problem


MEANINGS = {
    400: "The body is not a JSON object in UTF-8.",
    401: "There is no token, or another one.",
    404: "There is no such model.",
    408: "The body did not come in time.",
    409: "The new file cannot be served; the old model goes on.",
    413: "The body is too large.",
    415: "The body is not application/json.",
    422: "The request cannot be answered as it is.",
    500: "The model or the server is at fault.",
    503: "Too much to do, starting or stopping.",
    504: "There was no answer in time.",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What FastAPI is told of the errors of a route."""
    headers = {"Retry-After": {"description": "seconds", "schema": {"type": "string"}}}
    challenge = {"WWW-Authenticate": {"description": "Bearer", "schema": {"type": "string"}}}
    special = {503: {"headers": headers}, 401: {"headers": challenge}}
    return {
        status: {"model": Refusal, "description": MEANINGS[status], **special.get(status, {})}
        for status in statuses
    }


def body_of(*models: type[BaseModel]) -> dict[str, Any]:
    """What FastAPI is told of a body: one of these."""
    schemas = [model.model_json_schema() for model in models]
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
