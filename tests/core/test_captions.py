"""`metadata.jsonl`: every line is a caption or a finding."""

import json

from hypothesis import given
from hypothesis import strategies as st

from lora_ci.core.captions import RULE, parse_metadata


def texts(files: dict[str, bytes]) -> dict[str, str]:
    listed = parse_metadata(files)
    assert listed.findings == ()
    return {image: caption.text for image, caption in listed.captions.items()}


def test_names_count_from_the_folder_of_the_file_and_the_nearest_file_wins():
    rows = (
        '\ufeff{"file_name": "a.png", "text": " mei "}\r\n\n{"file_name": "x/b.png", "text": "b"}'
    )
    near = b'{"text": "nearer", "file_name": "./b.png", "label": [1]}\n'
    assert texts({"x/metadata.jsonl": near, "metadata.jsonl": rows.encode()}) == {
        "a.png": "mei",
        "x/b.png": "nearer",
    }


def test_each_bad_line_is_named_and_the_others_count():
    lines = [
        b'{"file_name": "a.png", "text": "a"}', b"not json", b'{"file_name": "b.png"}',
        b'{"file_name": "c.png", "text": 3}', b'["d.png", "d"]',
        b'{"file_name": "a.png", "text": "again"}', b'{"file_name": "../e.png", "text": "e"}',
        b'{"file_name": "/f.png", "text": "f"}', b'{"file_name": "\xff.png", "text": "g"}',
        b"[" * 100_000, b'{"file_name": "h.png", "text": "h"}',
    ]  # fmt: skip
    listed = parse_metadata({"x/metadata.jsonl": b"\n".join(lines)})
    assert {n: (c.text, c.line) for n, c in listed.captions.items()} == {
        "x/a.png": ("a", 1),
        "x/h.png": ("h", 11),
    }
    assert [(f.file, f.line, f.rule) for f in listed.findings] == [
        ("x/metadata.jsonl", line, RULE) for line in range(2, 11)
    ]
    assert "line 1 already" in listed.findings[4].message


@given(
    st.lists(
        st.binary() | st.text().map(lambda t: json.dumps({"file_name": t, "text": t}).encode())
    )
)
def test_any_bytes_give_captions_or_findings(lines):
    listed = parse_metadata({"metadata.jsonl": b"\n".join(lines)})
    assert all(f.line for f in listed.findings)
    assert all(".." not in name.split("/") for name in listed.captions)
