"""Files, folders and globs: which are read, which columns, and what malformed rows say."""

import gzip
import json
from pathlib import Path

import duckdb
import pytest

from grunlock.data import InMemory, open_source, read_texts
from grunlock.data.sources import find_files
from grunlock.errors import DataError
from grunlock.recipe.text_options import TextDataOptions

ROWS = [("a good film", "pos"), ("a bad film", "neg"), ("it is good, really", "pos"), ("not good", "neg")]


def write(folder, name, text):
    path = folder / name
    data = text.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def rows_of(source):
    return [row for chunk in source.chunks() for row in zip(chunk.texts, chunk.labels, strict=True)]


def read(path, **options):
    return rows_of(open_source(path, TextDataOptions(**options)).train)


def refusal(path, **options):
    with pytest.raises(DataError) as raised:
        read(path, **options)
    return str(raised.value)


def delimited(rows, delimiter="\t"):
    return "".join(delimiter.join(row) + "\n" for row in rows)


def test_csv_quoting_line_ends_and_blank_lines(tmp_path):
    text = 'Text,Label\r\n"one, ""two""\nthree",pos\r\n\r\nfour,neg\r\n'
    assert read(write(tmp_path, "a.csv", text)) == [('one, "two"\nthree', "pos"), ("four", "neg")]


def test_tsv_has_no_quoting(tmp_path):
    text = 'label\ttext\npos\t"open\r\nneg\tshut"\u2028 end'
    expected = [('"open', "pos"), ('shut"\u2028 end', "neg")]
    assert read(write(tmp_path, "a.tsv.gz", text)) == expected


def test_byte_order_mark_and_chinese_names(tmp_path):
    assert read(write(tmp_path, "a.csv", "\ufeff内容,标签\n很好,1\n")) == [("很好", "1")]


def test_other_encoding(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes("text,label\n很好,好评\n".encode("gb18030"))
    assert read(path, encoding="gb18030") == [("很好", "好评")]


def test_jsonl(tmp_path):
    lines = [{"text": "a", "label": 1}, {"label": True, "text": "2020-01-01", "id": 3}, {"text": None}]
    text = "\n\n".join(json.dumps(line) for line in lines)
    assert read(write(tmp_path, "a.jsonl", text)) == [("a", "1"), ("2020-01-01", "true"), (None, None)]


def test_parquet_keeps_order(tmp_path):
    path = tmp_path / "odd[1] name.parquet"
    query = 'SELECT \'text \' || i AS "the ""text", i % 2 AS label FROM range(9000) t(i)'
    duckdb.connect().execute(f"COPY ({query}) TO '{tmp_path}/x.parquet' (FORMAT parquet)")
    (tmp_path / "x.parquet").rename(path)
    assert read(path) == [(f"text {i}", str(i % 2)) for i in range(9000)]


def test_damaged_parquet(tmp_path):
    assert "Parquet file cannot be read" in refusal(write(tmp_path, "a.parquet", "PAR1 nothing"))


def test_headerless_columns_are_guessed_by_content(tmp_path):
    path = write(tmp_path, "a.tsv", delimited([(str(i % 2), f"this is text {i}") for i in range(10)]))
    source = open_source(path, TextDataOptions()).train
    assert source.columns.text == "column2"
    assert "column2 → text, column1 → label, guessed because column1 has 2 distinct" in source.columns.note
    assert len(rows_of(source)) == 10
    assert read(path, text_column="column1", label_column="column2")[0] == ("0", "this is text 0")


def test_first_row_whose_cell_recurs_is_data(tmp_path):
    rows = [("question", "what is it"), ("text", "some words"), ("question", "why is that"), ("text", "x y")]
    assert len(read(write(tmp_path, "a.tsv", delimited(rows)))) == 4


def test_a_named_column_makes_a_header(tmp_path):
    path = write(tmp_path, "a.csv", "words,kind\na b c,x\nd e f,y\n")
    assert read(path, text_column="words", label_column="kind") == [("a b c", "x"), ("d e f", "y")]
    source = open_source(path, TextDataOptions(text_column="words", label_column="kind")).train
    assert source.columns.note is None


def test_missing_column_names_the_nearest(tmp_path):
    message = refusal(write(tmp_path, "a.csv", "text,label\na,b\n"), text_column="texd", label_column="label")
    assert "no such text column" in message
    assert "--set data.text_column=text" in message
    assert "one of: text, label" in message


def test_ambiguous_columns(tmp_path):
    message = refusal(write(tmp_path, "a.csv", "title,content,label\na,b,c\n"))
    assert "not clear which column holds the texts" in message
    assert "candidates: title, content" in message
    assert "--set data.text_column=... --set data.label_column=..." in message
    message = refusal(write(tmp_path, "b.csv", "text,topic,sentiment\na,b,c\n"))
    assert "not clear which column holds the labels" in message
    assert "candidates: topic, sentiment" in message


def test_one_column_has_no_label(tmp_path):
    assert "no label column" in refusal(write(tmp_path, "a.csv", "text\na\nb\n"))


def test_longest_column_is_the_text(tmp_path):
    rows = [(f"id{i}", f"{i} this is a rather long text", "ab"[i % 2]) for i in range(20)]
    assert read(write(tmp_path, "a.csv", delimited(rows, ",")))[1] == ("1 this is a rather long text", "b")


@pytest.mark.parametrize("rows", [2, 3000])
def test_malformed_rows_say_their_line(tmp_path, rows):
    good = "pos\tgood\nneg\tbad\n" * rows
    message = refusal(write(tmp_path, "a.tsv", "label\ttext\n" + good + "neg\n" + good))
    assert "A row has too few columns." in message
    assert f"a.tsv, line {2 * rows + 2}" in message
    assert "expected: 2: label, text" in message
    message = refusal(write(tmp_path, "b.csv", "label,text\n" + good.replace("\t", ",") + "neg,a,b\n"))
    assert "too many columns" in message
    assert 'put texts that hold a comma in "quotes"' in message


def test_broken_quotes_and_json(tmp_path):
    message = refusal(write(tmp_path, "a.csv", 'text,label\na,b\n"c" d,e\n'))
    assert "not valid CSV" in message
    assert "starts in line 3" in message
    message = refusal(write(tmp_path, "b.csv", 'text,label\na,b\n"c,e\nf,g\n'))
    assert "starts in line 3" in message
    message = refusal(write(tmp_path, "a.jsonl", '{"text": "a", "label": "b"}\n{"text": \n'))
    assert "not valid JSON" in message
    assert "line 2" in message
    assert "no JSON object" in refusal(write(tmp_path, "b.jsonl", "[1]\n"))
    message = refusal(write(tmp_path, "c.jsonl", '{"text": ["a"], "label": "b"}\n'))
    assert "neither a text nor a number" in message


def test_empty_and_unknown_files(tmp_path):
    assert "The file is empty." in refusal(write(tmp_path, "a.csv", ""))
    assert "a header (text, label) and no row" in refusal(write(tmp_path, "b.csv", "text,label\n"))
    assert "There is no such file." in refusal(tmp_path / "none.csv")
    message = refusal(write(tmp_path, "a.xlsx", "x"))
    assert "not supported" in message
    assert ".parquet" in message
    assert "same name" in refusal(write(tmp_path, "c.csv", "text,label,text\na,b,c\nd,b,e\n"))


def test_folder_by_stem(tmp_path):
    for name in ("train", "train_phrases", "dev", "test"):
        write(tmp_path, f"{name}.tsv.gz", "label\ttext\n" + f"x\t{name} text\n" * 3)
    write(tmp_path, "README.md", "x")
    for source in (tmp_path, str(tmp_path / "*.gz")):
        opened = open_source(source, TextDataOptions())
        found = [rows_of(s)[0][0] for s in (opened.train, opened.valid, opened.test)]
        assert found == ["train text", "dev text", "test text"]
        assert "not read: train_phrases.tsv.gz" in opened.notes[0]


def test_folder_without_split_names_is_one_source(tmp_path):
    write(tmp_path, "b.csv", "label,text\n1,second\n")
    write(tmp_path, "a.csv", "text,label\nfirst,0\n")
    assert read(tmp_path) == [("first", "0"), ("second", "1")]
    assert read([tmp_path / "b.csv", tmp_path / "a.csv"]) == [("second", "1"), ("first", "0")]
    write(tmp_path, "c.csv", "body,label\nx,0\n")
    message = refusal(tmp_path)
    assert "different columns" in message
    assert "expected: text, as in" in message


def test_unclear_folders(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "No data file is there." in refusal(tmp_path / "empty")
    assert "No data file is there." in refusal(str(tmp_path / "*.csv"))
    write(tmp_path, "test.csv", "text,label\na,b\n")
    write(tmp_path, "dev.csv", "text,label\na,b\n")
    assert "no train file" in refusal(tmp_path)
    write(tmp_path, "valid.csv", "text,label\na,b\n")
    assert "Two files could be the valid split." in refusal(tmp_path)


def test_read_texts_without_labels(tmp_path):
    path = write(tmp_path, "a.csv", "text\none\ntwo\n")
    chunks = list(read_texts(path, TextDataOptions()).chunks())
    assert (chunks[0].texts, chunks[0].labels) == (["one", "two"], None)
    path = write(tmp_path, "b.csv", "text,label\none,x\n")
    assert rows_of(read_texts(path, TextDataOptions())) == [("one", "x")]
    assert next(read_texts(path, TextDataOptions(), labels="ignored").chunks()).labels is None


def test_in_memory():
    source = InMemory([text for text, _ in ROWS], [label for _, label in ROWS])
    assert rows_of(source) == ROWS
    with pytest.raises(DataError, match=r"not as many labels(.|\n)*2 texts, 1 labels"):
        InMemory(["a", "b"], ["x"])
    with pytest.raises(DataError, match="no texts"):
        InMemory([])


@pytest.mark.parametrize("name", ["texts.txt", "texts.txt.gz"])
def test_plain_text_is_a_text_a_line(name: str, tmp_path: Path) -> None:
    path, content = tmp_path / name, b'first, "quoted"\tand a tab\r\n\nthird\n'
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    source = read_texts(path, TextDataOptions(), labels="ignored")
    assert [text for chunk in source.chunks() for text in chunk.texts] == [
        'first, "quoted"\tand a tab',
        "",
        "third",
    ]


def test_plain_text_in_a_folder_is_no_data(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("About these data.\n")
    (tmp_path / "data.csv").write_text("text,label\na,b\n")
    assert [path.name for path in find_files(tmp_path)] == ["data.csv"]
