"""`grunlock audit` as a user types it, on generated files and on the shared sets with their known traps."""

import gzip
import json
from pathlib import Path

import pytest

from grunlock.audit import AuditOptions, AuditReport, Finding, audit
from tests.audit_sets import clean_rows
from tests.workflows.conftest import CommandLine

Rows = list[tuple[str, str]]


def write(path: Path, rows: Rows) -> Path:
    content = "".join(f"{label}\t{text}\n" for label, text in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """train, dev and test without a fault."""
    for seed, name in enumerate(("train.tsv", "dev.tsv.gz", "test.tsv")):
        write(tmp_path / name, clean_rows(300, seed))
    return tmp_path


def test_a_clean_folder(grunlock: CommandLine, folder: Path) -> None:
    done = grunlock("audit", folder)
    assert (done.code, done.err) == (0, "")
    assert "train.tsv → train, dev.tsv.gz → valid, test.tsv → test" in done.out
    assert "column2 → text, column1 → label" in done.out
    for cell in ("splits", "classes", "ALPHA", "25.0%", "300"):
        assert cell in done.out
    assert done.out.endswith("found     nothing to complain about\n")


def test_faults_with_their_rows_and_as_json(grunlock: CommandLine, folder: Path, tmp_path: Path) -> None:
    train, test = clean_rows(300, 0), clean_rows(300, 2)
    write(
        folder / "train.tsv", [*train, test[6], ("BETA", ""), ("BETA", "Caf\u00c3\u00a9 [red] <br /> open")]
    )
    result = tmp_path / "audit.json"
    done = grunlock("audit", folder, "--quick", "--json", result)
    assert (done.code, done.err) == (0, "")
    assert "error     1 row has no text; training refuses them (1 in train)" in done.out
    assert "duplicates_across_splits; cure: remove them from train" in done.out
    assert f"- test.tsv row 7  {test[6][0]}  {test[6][1][:20]}" in done.out
    assert "train.tsv row 301" in done.out
    assert "train.tsv row 303  BETA  ['\u00c3\u00a9']  Caf\u00c3\u00a9 [red] <br /> open" in done.out
    assert "found     1 error, 2 warnings, 1 note" in done.out
    report = json.loads(result.read_text(encoding="utf-8"))
    by_check = {found["check"]: found for found in report["findings"]}
    assert list(by_check) == ["empty_texts", "duplicates_across_splits", "mojibake", "html"]
    rows = by_check["duplicates_across_splits"]["examples"][0]["rows"]
    assert [(row["split"], row["number"]) for row in rows] == [("test", 7), ("train", 301)]
    assert rows[0]["place"] == str(folder / "test.tsv")
    assert report["sizes"] == {"train": 303, "valid": 300, "test": 300}
    assert report["counts"]["BETA"] == {"train": 77, "valid": 75, "test": 75}
    assert "label_errors" not in report["facts"]


def test_fail_on(grunlock: CommandLine, folder: Path) -> None:
    assert grunlock("audit", folder, "--quick", "--fail-on", "warning").code == 0
    write(folder / "train.tsv", [*clean_rows(300, 0), clean_rows(300, 2)[0]])
    assert grunlock("audit", folder, "--quick").code == 0
    assert grunlock("audit", folder, "--quick", "--fail-on", "error").code == 0
    assert grunlock("audit", folder, "--quick", "--fail-on", "warning").code == 1


def test_options_of_reading_and_files_apart(grunlock: CommandLine, tmp_path: Path) -> None:
    rows = clean_rows(300)
    data = tmp_path / "all.csv"
    data.write_text("x,y,z\n" + "".join(f"{i},{t},{label}\n" for i, (label, t) in enumerate(rows)), "utf-16")
    test = tmp_path / "new.csv"
    test.write_text("x,y,z\n" + f"0,{rows[4][1]},{rows[4][0]}\n" * 2, "utf-16")
    settings = ["data.text_column=y", "data.label_column=z", "data.encoding=utf-16"]
    done = grunlock("audit", data, "--test", test, "--quick", *(f"--set={s}" for s in settings))
    assert done.code == 0
    assert "2 of 2 test rows (100.00%; 1 distinct text) also stand in train" in done.out
    assert "- test new.csv row 1" in done.out
    assert "  train all.csv row 5" in done.out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "The file is empty."),
        ("text,label\n", "The file is empty."),
        ("text\nonly\ntexts\n", "The file has one column, so no label column."),
        ("text,label\na,A\nb,A\n", "All examples have the same label."),
        ("text,label\na,\nb,\n", "No row has both a text and a label."),
        ('text,label\n"a,A\n', "A row is not valid CSV."),
    ],
)
def test_bad_files(grunlock: CommandLine, tmp_path: Path, content: str, message: str) -> None:
    data = tmp_path / "bad.csv"
    data.write_text(content)
    done = grunlock("audit", data)
    assert done.code == 1
    assert done.err.startswith(message)
    assert "bad.csv" in done.err


def test_missing_files_and_series(grunlock: CommandLine, tmp_path: Path) -> None:
    assert grunlock("audit", tmp_path / "none.csv").code == 1
    series = tmp_path / "x.ts"
    series.write_text("@data\n1,2:a\n")
    done = grunlock("audit", series)
    assert (done.code, done.err.splitlines()[0]) == (1, "Numeric series cannot be audited yet.")
    assert "grunlock train" in done.err


def test_a_result_that_cannot_be_written(grunlock: CommandLine, folder: Path) -> None:
    done = grunlock("audit", folder, "--quick", "--json", folder / "no" / "audit.json")
    assert done.code == 1
    assert done.err.startswith("A file could not be written")


def test_ctrl_c_is_clean(grunlock: CommandLine, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> AuditReport:
        raise KeyboardInterrupt

    monkeypatch.setattr("grunlock.audit.audit", stopped)
    done = grunlock("audit", folder)
    assert done.code == 130
    assert done.err.startswith("Stopped by the user. Nothing was written.")


# ---- the shared sets ------------------------------------------------------------------------------------


def finding(report: AuditReport, check: str) -> Finding:
    return next(found for found in report.findings if found.check == check)


def test_tnews_repeats_924_test_texts_in_train(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = finding(_without_slow_checks(shared_data / "tnews", monkeypatch), "duplicates_across_splits")
    assert found.message.startswith(
        "1,099 of 10,000 test rows (10.99%; 924 distinct texts) also stand in train"
    )
    assert found.severity == "error"


def test_20ng_has_empty_texts(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shared_data / "20ng_stripped"
    report = _without_slow_checks(folder, monkeypatch)
    found = finding(report, "empty_texts")
    expected = []
    for split in ("train", "test"):
        with gzip.open(folder / f"{split}.tsv.gz", "rt", encoding="utf-8", newline="\n") as file:
            expected += [(split, n) for n, line in enumerate(file, 1) if not line.partition("\t")[2].strip()]
    assert found.count == len(expected) > 0
    assert [(row.split, row.number) for e in found.examples for row in e.rows] == expected[
        : len(found.examples)
    ]


def test_trec6_has_few_faults(shared_data: Path) -> None:
    report = audit(shared_data / "trec6", options=AuditOptions(cross_validation=False))
    found = finding(report, "duplicates_across_splits")
    assert found.message.startswith(
        "11 of 500 test rows (2.20%; 11 distinct texts) also stand in train, 10 of them"
    )
    conflict = finding(report, "conflicting_labels")
    assert [(row.split, row.number, row.label) for row in conflict.examples[0].rows] == [
        ("train", 1194, "DESC"),
        ("test", 252, "LOC"),
    ]


def _without_slow_checks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AuditReport:
    """Read and compare equal texts only; near-duplicates, leaks and characters are tested on small sets."""
    from grunlock.audit import run
    from grunlock.audit.characters import Characters

    monkeypatch.setattr(run, "examine_characters", lambda texts: Characters({}, (None,) * len(texts)))
    monkeypatch.setattr(run._Audit, "_leakage", lambda self: [])
    return audit(folder, options=AuditOptions(cross_validation=False))
