"""Explanations as one page without scripts that loads nothing: text with its shares, gates, tables."""

from collections.abc import Sequence
from html import escape

from grunlock.explanation.corpus import CorpusExplanation, TokenGates
from grunlock.explanation.drawings import curves_drawing, gates_drawing
from grunlock.explanation.faithfulness import Faithfulness
from grunlock.explanation.methods import Attribution, Explained
from grunlock.explanation.page_style import STYLE
from grunlock.explanation.passages import passages
from grunlock.explanation.results import evidence

POLICY = "default-src 'none'; style-src 'unsafe-inline'"
MAX_LABELS = 10  # rows of the table of logits


def page(
    explained: Sequence[Explained],
    corpus: CorpusExplanation | None = None,
    methods: Faithfulness | None = None,
    top: int = 10,
) -> str:
    """One HTML document. top: rows of tables of tokens"""
    parts = [_explained(each, i, top) for i, each in enumerate(explained)]
    parts += [] if methods is None else [_faithfulness(methods)]
    parts += [] if corpus is None else [_corpus(corpus)]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            f"<title>grunlock explain</title><style>{STYLE}</style></head><body><main>",
            "<h1>Why the model answers so</h1>",
            *parts,
            "</main></body></html>",
            "",
        ]
    )


def _explained(found: Explained, number: int, top: int) -> str:
    probability = found.probs[found.labels.index(found.label)]
    parts = [
        f'<section aria-labelledby="e{number}">',
        f'<h2 id="e{number}"><bdi>{escape(found.label)}</bdi>, probability {probability:.3f}</h2>',
        f'<p class="faint">Explained: what speaks for <bdi>{escape(found.labels[found.place])}</bdi> against '
        f"the mean of all {len(found.labels)} classes. "
        '<span class="key for" style="--s:100%"></span> for (underlined) '
        '<span class="key against" style="--s:100%"></span> against (dotted). '
        "Point at a token, touch it or reach it with Tab for its numbers.</p>",
    ]
    parts += [_attribution(found, each) for each in found.attributions]
    if found.exact is not None:
        parts += [gates_drawing(found.exact), _strongest(found, top), _sums(found)]
        parts += [f'<p class="faint">{escape(note)}</p>' for note in found.exact.notes]
    return "\n".join([*parts, "</section>"])


def _attribution(found: Explained, attribution: Attribution) -> str:
    strongest = max(map(abs, attribution.scores), default=0.0) or 1.0
    cut: list[tuple[str, tuple[int, ...]]]
    if found.kind == "text":
        cut = [(each.text, each.tokens) for each in passages(found.text, found.spans)]
    else:
        cut = [part for step in range(len(found.spans)) for part in ((str(step), (step,)), (" ", ()))]
    marked = "".join(_marked(found, attribution, text, tokens, strongest) for text, tokens in cut)
    error = attribution.completeness_error
    gap = "" if error is None else f" Completeness error: {error:.2g} of the logit."
    name = attribution.method.replace("_", " ")
    return (
        f"<figure><figcaption>{escape(name)}: {escape(attribution.how)}{gap}</figcaption>"
        f'<div class="text" dir="auto">{marked}</div></figure>'
    )


def _marked(
    found: Explained, attribution: Attribution, text: str, tokens: tuple[int, ...], strongest: float
) -> str:
    if not tokens:
        return escape(text)
    score = sum(attribution.scores[token] for token in tokens)
    tip = escape(_tip(found, attribution, text, tokens, score), quote=True)
    side = "for" if score >= 0 else "against"
    return (
        f'<span class="t {side}" style="--s:{min(abs(score) / strongest, 1):.0%}" tabindex="0" role="note" '
        f'aria-label="{tip}" data-tip="{tip}">{escape(text)}</span>'
    )


def _tip(found: Explained, attribution: Attribution, text: str, tokens: tuple[int, ...], score: float) -> str:
    said = f"{text}: {score:+.3f} for {found.labels[found.place]}"
    if attribution.channels is not None:
        values = zip(found.channels, attribution.channels[tokens[0]], strict=True)
        named = ", ".join(f"{name} {value:+.3f}" for name, value in values)
        said += f"; {named}"
    if attribution.method != "exact" or found.exact is None:
        return said
    token = found.exact.tokens[tokens[0]]
    if any(token.wide):
        of_wide = sum(evidence(found.exact.tokens[i].wide, found.place) for i in tokens)
        said += f", of it {of_wide:+.3f} from n-grams"
    if token.rewrote is None or token.survived is None:
        return said
    half = "never lost" if token.half_life_steps is None else f"lost after {token.half_life_steps:g} steps"
    return (
        f"{said}; rewrote {token.rewrote:.0%} of the state, {token.survived:.0%} left at the end, half {half}"
    )


def _strongest(found: Explained, top: int) -> str:
    assert found.exact is not None
    units = found.exact.words or found.exact.tokens
    order = sorted(range(len(units)), key=lambda i: -abs(evidence(units[i].shares, found.place)))[:top]
    rows = [
        (
            f"<bdi>{escape(units[i].text)}</bdi>",
            f"{evidence(units[i].shares, found.place):+.3f}",
            f"{units[i].shares[found.place]:+.3f}",
        )
        for i in order
    ]
    kind = "words" if found.exact.words else "tokens" if found.kind == "text" else "steps"
    return table(f"Strongest {kind}", ("", "evidence", "share of the logit"), rows)


def _sums(found: Explained) -> str:
    exact = found.exact
    assert exact is not None
    order = sorted(range(len(found.labels)), key=lambda k: -found.probs[k])[:MAX_LABELS]
    rows = []
    for k in order:
        shares = sum(token.shares[k] for token in exact.tokens)
        numbers = (exact.bias[k], shares, exact.logits[k])
        rows.append(
            (
                f"<bdi>{escape(found.labels[k])}</bdi>",
                *(f"{n:+.4f}" for n in numbers),
                f"{found.probs[k]:.4f}",
            )
        )
    caption = f"Bias + shares = logit, within {exact.difference:.0e}; temperature {exact.temperature:.3f}"
    return table(caption, ("label", "bias", "shares", "logit", "probability"), rows)


def table(caption: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """cells are HTML; the caption and headings are text."""
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in headings)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption, quote=True)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _faithfulness(found: Faithfulness) -> str:
    behind = {each.method: each for each in found.differences}
    rows = []
    for each in found.methods:
        gap = behind.get(each.method)
        shown = "" if gap is None else f"{gap.mean:.4f} [{gap.low:.4f}, {gap.high:.4f}]"
        name = escape(each.method.replace("_", " "))
        rows.append(
            (
                name,
                f"{each.score:.4f}",
                f"{each.deletion_area:.4f}",
                f"{each.insertion_area:.4f}",
                shown,
            )
        )
    caption = found.source
    return "\n".join(
        [
            f"<section><h2>Most faithful: {escape(found.best.replace('_', ' '))}</h2>",
            table(caption, ("method", "score", "deletion", "insertion", "behind the best"), rows),
            curves_drawing(found),
            '<p class="faint">Probability of the predicted class as the tokens that a method ranks highest '
            "are hidden (deletion, lower is better) or shown (insertion, higher is better). "
            f"{escape(found.how)} Score: area under insertion minus area under deletion. "
            f"Intervals: {found.confidence:.0%}, examples drawn anew.</p></section>",
        ]
    )


def _corpus(found: CorpusExplanation) -> str:
    parts = [
        "<section><h2>What speaks for each class</h2>",
        f'<p class="faint">{escape(found.source)}</p><div class="grid">',
    ]
    for each in found.classes:
        rows = [
            (f"<bdi>{escape(ngram.text)}</bdi>", f"{ngram.count:,}", f"{ngram.evidence:+.3f}")
            for ngram in each.ngrams
        ]
        parts.append(table(f"For {each.label}", ("words", "times", "mean evidence"), rows))
    parts.append("</div>")
    if found.rewrite_most:
        parts.append('<div class="grid">')
        parts.append(_gates("Rewrite most of the state", found.rewrite_most))
        parts.append(_gates("Remembered longest", found.remembered_longest))
        parts.append("</div>")
    if found.num_labelled:
        parts.append(f"<h3>Wrong: {found.num_wrong:,} of {found.num_labelled:,} answers</h3>")
    for wrong in found.wrong:
        because = ", ".join(f"<bdi>{escape(word)}</bdi> {amount:+.2f}" for word, amount in wrong.strongest)
        parts.append(
            f'<div class="text" dir="auto">{escape(wrong.text)}</div><p class="faint">Row {wrong.row}: '
            f"<bdi>{escape(wrong.predicted)}</bdi> {wrong.probability:.3f}, should be "
            f"<bdi>{escape(wrong.label)}</bdi>; because of {because}</p>"
        )
    parts.append(
        f'<p class="faint">Means of exact shares over at least {found.min_count} occurrences.</p></section>'
    )
    return "\n".join(parts)


def _gates(caption: str, tokens: Sequence[TokenGates]) -> str:
    rows = [
        (
            f"<bdi>{escape(each.text)}</bdi>",
            f"{each.count:,}",
            f"{each.rewrote:.0%}",
            f"{each.survived:.0%}",
            "never" if each.half_life_steps is None else f"{each.half_life_steps:g} steps",
        )
        for each in tokens
    ]
    return table(caption, ("token", "times", "rewrote", "left at the end", "half-life"), rows)
