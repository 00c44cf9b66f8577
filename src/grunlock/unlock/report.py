"""The road as a page of Markdown beside the model: what each station brought, and by what verdict."""

from grunlock.files import write_atomically
from grunlock.unlock.results import Station, UnlockResult
from grunlock.unlock.settings import UnlockSettings

MAX_SHOWN_FINDINGS = 10


def write_report(result: UnlockResult, settings: UnlockSettings) -> None:
    """Into report.md of the folder. All numbers are those of the result."""
    stages = {stage.stage: stage for stage in result.stages}
    final, searched = stages["final"].facts, stages["search"].facts
    lines = [
        f"# {settings.source}",
        "",
        *(f"- {sentence}" for sentence in result.verdicts),
        "",
        "| station | validation, % | test, % | size | one prediction | training |",
        "|---|---:|---:|---:|---:|---:|",
        *(_row(station) for station in result.stations),
        "",
        "Test accuracies are of one look at the end, the best recipe's of the model that is kept; nothing",
        "was chosen by them.",
        "",
        "## What was found on the way",
        "",
        *(f"- {name}: {stage.sentence} ({stage.seconds:.0f} s)" for name, stage in stages.items()),
        *(f"- {sentence}" for sentence in searched.get("at_edge", [])),
        f"- int8: {_int8(final['int8'])}",
        "",
        "## What the model promises",
        "",
        *(
            f"- {sentence}"
            for sentence in final["promises"] or ("nothing: too few examples to calibrate on",)
        ),
        "",
        "## The best recipe",
        "",
        *(f"- {key} = {value}" for key, value in searched.get("values", {}).items()),
        "",
        "## The data",
        "",
        *(f"- {message}" for message in stages["audit"].facts.get("findings", [])[:MAX_SHOWN_FINDINGS]),
        "",
    ]
    write_atomically(result.folder / "report.md", "\n".join(lines))


def _row(station: Station) -> str:
    cells = [
        station.name + (f" ({station.note})" if station.note else ""),
        f"{100 * station.valid_accuracy:.2f}",
        "" if station.test_accuracy is None else f"{100 * station.test_accuracy:.2f}",
        "" if station.size is None else f"{station.size / 1000:,.0f} KB",
        "" if station.latency is None else f"{1e3 * station.latency:.3g} ms",
        f"{station.seconds:.0f} s",
    ]
    return f"| {' | '.join(cells)} |"


def _int8(gate: dict[str, object]) -> str:
    if "lost" not in gate:
        return f"not available: {gate['why']}"
    verdict = "may be used" if gate["recommended"] else "loses too much"
    return f"{verdict}: {100 * float(str(gate['lost'])):+.2f} points lost on validation"
