"""What a job of its own process finds is told, whether it is good or bad."""

import json

import pytest

from domain.errors import Unavailable
from domain.schedule import Judged
from history.jobs import named
from processes import job_process
from processes.job_process import JobProcess


def answering(folder, body: str, code: int = 0) -> None:
    (folder / "manage.py").write_text(
        f"import sys\nprint({body!r})\nprint('why it is so', file=sys.stderr)\nsys.exit({code})\n"
    )


@pytest.mark.parametrize(("job", "alerts"), [("quality", ["binance BTC 1h: poor"]), ("quality", []), ("update", None)])
async def test_a_job_that_judges_tells_what_it_found_and_that_all_is_well(tmp_path, monkeypatch, job, alerts):
    monkeypatch.setattr(job_process, "ROOT", tmp_path)
    answering(tmp_path, json.dumps({"status": "COMPLETED", "said": "judged", "alerts": alerts or []}))
    told: list[tuple[str, object]] = []
    assert await JobProcess(lambda kind, what: told.append((kind, what)))(named(job)) == "COMPLETED: judged"
    assert told == ([] if alerts is None else [("judged", Judged(job, tuple(alerts)))])


@pytest.mark.parametrize("body", ["", "[]", "{}", "no JSON"])
async def test_a_job_without_an_outcome_says_the_last_line_of_its_process_and_tells_nothing(
    tmp_path, monkeypatch, body
):
    monkeypatch.setattr(job_process, "ROOT", tmp_path)
    answering(tmp_path, body, 3)
    told: list[object] = []
    with pytest.raises(Unavailable, match="quality: its process ended with 3: why it is so"):
        await JobProcess(lambda _, what: told.append(what))(named("quality"))
    assert told == []
