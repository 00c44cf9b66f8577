"""Explanations in a terminal: coloured text, gates and tables."""

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from grunlock.explanation.passages import passages

if TYPE_CHECKING:
    from grunlock.explanation import Attribution, CorpusExplanation, Explained, Faithfulness, TokenGates

FOR, AGAINST = (110, 180, 255), (255, 170, 90)  # both light, with black letters on them
FAINTEST = 0.1  # of the strongest, below which a token is not coloured
PALEST = 0.35  # of a colour: paler ones are nearly white, which stands out most on a dark terminal
LEVELS = "▁▂▃▄▅▆▇█"
UNITS = {"text": "tokens", "series": "steps"}
MAX_TEXT = 100  # characters of a text in a table


def show_explained(found: "Explained", console: Console, top: int) -> None:
    """One example by every method that was asked for."""
    probability = found.probs[found.labels.index(found.label)]
    console.print(f"label     {found.label}  {probability:.4f}", style="bold")
    explained = found.labels[found.place]
    if explained != found.label:
        console.print(f"explained {explained}  {found.probs[found.place]:.4f}")
    for attribution in found.attributions:
        _show_attribution(found, attribution, console)
    if found.exact is not None:
        console.print(_token_table(found, top))
        console.print(_sum_table(found))
        for note in found.exact.notes:
            console.print(note, style="dim")
    elif found.attributions:
        console.print(_score_table(found, found.attributions[0], top))
    console.print()


def _show_attribution(found: "Explained", attribution: "Attribution", console: Console) -> None:
    console.print()
    console.print(f"{attribution.method}: {attribution.how}", style="dim")
    with_gates = attribution.method == "exact" and found.exact is not None
    gates = [token.rewrote for token in found.exact.tokens] if with_gates and found.exact else []
    rewrote = [each for each in gates if each is not None]
    for line in _lines(found, attribution.scores, rewrote, console.width):
        console.print(line, soft_wrap=True)
    if attribution.completeness_error is not None:
        console.print(f"completeness error {attribution.completeness_error:.2g} of the logit", style="dim")
    legend = Text("legend    ")
    legend.append(" for ", _style(1.0))
    legend.append(" ")
    legend.append(" against ", _style(-1.0))
    legend.append(f"  {found.labels[found.place]}")
    if rewrote:
        least, most = min(rewrote), max(rewrote)
        legend.append(f"; {LEVELS[0]} to {LEVELS[-1]}: rewrote {least:.0%} to {most:.0%} of the state")
    console.print(legend, soft_wrap=True)


def _lines(found: "Explained", scores: Sequence[float], rewrote: Sequence[float], width: int) -> list[Text]:
    """The text, or the numbers of a series' steps, in lines, each above a line of gates if there are any."""
    if found.kind == "text":
        cut = [(each.text, each.tokens) for each in passages(found.text, found.spans)]
    else:
        cut = [part for step in range(len(scores)) for part in ((str(step), (step,)), (" ", ()))]
    strongest = max(map(abs, scores), default=0.0) or 1.0
    least, most = min(rewrote, default=0.0), max(rewrote, default=0.0)
    lines, upper, lower = [], Text(), Text()
    for text, tokens in cut:
        shown = _shown(text)
        cells = cell_len(shown)
        if upper.cell_len + cells > width and upper.cell_len:
            lines += [upper, lower] if rewrote else [upper]
            upper, lower = Text(), Text()
        score = sum(scores[token] for token in tokens) / strongest
        upper.append(shown, _style(score) if tokens else "")
        if rewrote:
            level = max((rewrote[token] for token in tokens), default=least) - least
            bar = LEVELS[min(7, int(8 * level / ((most - least) or 1.0)))]
            lower.append((bar if tokens else " ") * cells, "dim")
    return [*lines, upper, lower] if rewrote else [*lines, upper]


def _shown(text: str) -> str:
    """On one line, and without what would steer the terminal."""
    return "".join(
        " " if letter.isspace() else "\ufffd" if unicodedata.category(letter) == "Cc" else letter
        for letter in text
    )


def _style(score: float) -> str:
    """score: from -1 to 1"""
    if abs(score) < FAINTEST:
        return ""
    strength = PALEST + (1 - PALEST) * min(abs(score), 1.0)
    red, green, blue = (
        round(255 + (channel - 255) * strength) for channel in (FOR if score > 0 else AGAINST)
    )
    return f"black on rgb({red},{green},{blue})"


def _token_table(found: "Explained", top: int) -> Table:
    """The strongest tokens by their exact shares; words where tokens are smaller."""
    assert found.exact is not None
    units = found.exact.words or found.exact.tokens
    evidence = [each.shares[found.place] - sum(each.shares) / len(each.shares) for each in units]
    table = Table(title=f"strongest {'words' if found.exact.words else UNITS[found.kind]}")
    for heading in (
        "",
        f"for {found.labels[found.place]}",
        "share of its logit",
        "wrote anew",
        "left at end",
        "half-life",
    ):
        table.add_column(heading, justify="left" if not heading else "right")
    for i in sorted(range(len(units)), key=lambda i: -abs(evidence[i]))[:top]:
        table.add_row(
            Text(_shown(units[i].text)),
            f"{evidence[i]:+.3f}",
            f"{units[i].shares[found.place]:+.3f}",
            *_gate_cells(found, i),
        )
    return table


def _gate_cells(found: "Explained", unit: int) -> tuple[str, str, str]:
    """Of a token; none of words, whose tokens have gates of their own."""
    assert found.exact is not None
    if found.exact.words is not None:
        word = found.exact.words[unit]
        if word.first_token != word.last_token:
            return "", "", ""
        unit = word.first_token
    token = found.exact.tokens[unit]
    if token.rewrote is None or token.survived is None:
        return "", "", ""
    return f"{token.rewrote:.0%}", f"{token.survived:.0%}", half_life(token.half_life_steps)


def half_life(steps: float | None) -> str:
    return "never" if steps is None else f"{steps:g} steps"


def _sum_table(found: "Explained") -> Table:
    """How each logit comes about."""
    assert found.exact is not None
    table = Table(title="bias + shares = logit")
    for heading in ("label", "bias", "shares", "logit", "probability"):
        table.add_column(heading, justify="left" if heading == "label" else "right")
    order = sorted(range(len(found.labels)), key=lambda k: -found.probs[k])
    for k in order[:10]:
        shares = sum(token.shares[k] for token in found.exact.tokens)
        numbers = (found.exact.bias[k], shares, found.exact.logits[k])
        table.add_row(Text(found.labels[k]), *(f"{n:+.4f}" for n in numbers), f"{found.probs[k]:.4f}")
    return table


def _score_table(found: "Explained", attribution: "Attribution", top: int) -> Table:
    table = Table(title=f"strongest by {attribution.method}")
    table.add_column("")
    table.add_column(f"for {found.labels[found.place]}", justify="right")
    scores = attribution.scores
    for i in sorted(range(len(scores)), key=lambda i: -abs(scores[i]))[:top]:
        start, end = found.spans[i]
        table.add_row(
            Text(_shown(found.text[start:end]) if found.kind == "text" else str(i)), f"{scores[i]:+.3f}"
        )
    return table


def show_faithfulness(found: "Faithfulness", console: Console) -> None:
    """Methods by how faithful their ranks are."""
    table = Table(title=f"faithfulness on {found.source}")
    for heading in ("method", "score", "deletion", "insertion", "behind the best"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    behind = {each.method: each for each in found.differences}
    for each in found.methods:
        gap = behind.get(each.method)
        cells = "" if gap is None else f"{gap.mean:.4f} [{gap.low:.4f}, {gap.high:.4f}]"
        table.add_row(
            each.method, f"{each.score:.4f}", f"{each.deletion_area:.4f}", f"{each.insertion_area:.4f}", cells
        )
    console.print(table)
    alike = [each.method for each in found.differences if not each.clear]
    console.print(
        f"most faithful: {found.best}" + (f"; not told apart from it: {', '.join(alike)}" if alike else ""),
        style="bold",
        soft_wrap=True,
    )
    console.print(
        "Areas under the probability of the predicted class as the tokens ranked highest are hidden (lower "
        f"is better) or shown (higher is better). {found.how} Intervals: {found.confidence:.0%}, examples "
        "drawn anew.",
        style="dim",
    )


def show_corpus(found: "CorpusExplanation", console: Console) -> None:
    """What speaks for each class, the gates, the surest errors."""
    table = Table(title=f"what speaks for each class in {found.source}")
    for heading in ("label", "words", "times", "mean evidence"):
        table.add_column(heading, justify="left" if heading in ("label", "words") else "right")
    for each in found.classes:
        for i, ngram in enumerate(each.ngrams):
            name = Text(each.label if i == 0 else "")
            table.add_row(name, Text(_shown(ngram.text)), f"{ngram.count:,}", f"{ngram.evidence:+.3f}")
        table.add_section()
    console.print(table)
    if found.rewrite_most:
        console.print(_gate_table("tokens that rewrite most of the state", found.rewrite_most))
        console.print(_gate_table("tokens remembered longest", found.remembered_longest))
    if found.num_labelled:
        console.print(f"wrong     {found.num_wrong:,} of {found.num_labelled:,} answers", style="bold")
    for wrong in found.wrong:
        console.print(
            f"row {wrong.row}: {wrong.predicted} {wrong.probability:.4f}, should be {wrong.label}",
            style="yellow",
        )
        text = " ".join(_shown(wrong.text).split())
        console.print(f"  {text[:MAX_TEXT]}{'...' if len(text) > MAX_TEXT else ''}", soft_wrap=True)
        because = ", ".join(f"{_shown(word)} {amount:+.2f}" for word, amount in wrong.strongest)
        console.print(f"  because of {because}", style="dim", soft_wrap=True)
    console.print(
        f"Means of exact shares over at least {found.min_count} occurrences; shares and logits differ by "
        f"{found.largest_difference:.1g} at most.",
        style="dim",
    )


def _gate_table(title: str, tokens: "Sequence[TokenGates]") -> Table:
    table = Table(title=title)
    for heading in ("token", "times", "wrote anew", "left at end", "half-life"):
        table.add_column(heading, justify="left" if heading == "token" else "right")
    for each in tokens:
        numbers = (f"{each.rewrote:.0%}", f"{each.survived:.0%}", half_life(each.half_life_steps))
        table.add_row(Text(_shown(each.text)), f"{each.count:,}", *numbers)
    return table
