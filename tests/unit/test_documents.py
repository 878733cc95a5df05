"""Nothing that can be set, called or measured is left out of the documents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dashboard import metrics
from settings import ENVIRONMENT
from tests import documents

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", documents.WRITTEN)
def test_what_is_made_of_the_program_is_up_to_date(name):
    assert (documents.DOCS / name).read_text() == documents.WRITTEN[name](), "make docs"


def test_every_metric_is_documented_as_it_is():
    text = (ROOT / "docs" / "dashboard.md").read_text()
    for measure in metrics.MEASURES:
        labels = f" ({', '.join(f'`{label}`' for label in measure.labels)})" if measure.labels else ""
        assert f"| `revenant_{measure.name}` | {measure.about}{labels} |" in text


def test_every_variable_of_the_environment_is_named_for_readers():
    text = (ROOT / "README.md").read_text() + (ROOT / "docs" / "operating.md").read_text()
    assert [name for name in ENVIRONMENT if name not in text] == []


@pytest.mark.parametrize("name", ["donchian", "chandelier", "leader"])
def test_the_example_in_the_documents_is_the_file_that_runs(name):
    text = (ROOT / "docs" / "strategies.md").read_text()
    assert f"```python\n{(ROOT / 'strategies' / 'examples' / f'{name}.py').read_text()}```" in text


def test_links_between_documents_lead_somewhere():
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_test_that_the_threat_model_names_is_there():
    text = (ROOT / "docs" / "security.md").read_text()
    defined = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", path.read_text())
    }
    named = set(re.findall(r"`(test_\w+)`", text))
    assert len(named) > 10
    assert named <= defined
    assert [file for file in re.findall(r"`(\w+/test_\w+\.py)`", text) if not (ROOT / "tests" / file).exists()] == []
