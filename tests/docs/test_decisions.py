"""Every decision record has its date, its status and its four sections, and stands in the index."""

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "decisions"
RECORDS = sorted(FOLDER.glob("0*.md"))
FORM = re.compile(
    r"# (?P<number>\d+)\. (?P<title>[^\n]+)\n\n\* Date: \d{4}-\d\d-\d\d\n\* Status: (accepted|superseded by .+)\n\n"
    r"## Context\n\n.+## Decision\n\n.+## Alternatives\n\n.+## Consequences\n\n.+",
    re.DOTALL,
)


def test_records_are_numbered_one_after_the_other() -> None:
    assert [int(path.name[:4]) for path in RECORDS] == list(range(1, len(RECORDS) + 1))


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_a_record_has_its_form_and_its_line_in_the_index(path: Path) -> None:
    found = FORM.fullmatch(path.read_text())
    assert found is not None, "date, status, context, decision, alternatives, consequences"
    assert int(found["number"]) == int(path.name[:4])
    assert f"{found['number']}. [{found['title']}]({path.name})\n" in (FOLDER / "index.md").read_text()
