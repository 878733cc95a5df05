"""Whatever people's code does, it ends in one line that says what and where."""

import signal
import threading

import pytest

from domain.errors import BadData
from engine.foreign_code import Failure, attempt, naming


def code(tmp_path, body: str):
    """A function made of a file, as a strategy's is."""
    path, held = tmp_path / "theirs.py", {}
    path.write_text(body)
    exec(compile(body, str(path), "exec"), held)
    return held["call"]


def test_what_a_call_returns_is_returned():
    assert attempt(lambda: 7, 5.0) == 7


@pytest.mark.parametrize(("body", "reason", "line"), [
    ("def call():\n    return 1 / 0\n", "ZeroDivisionError: division by zero", 2),
    ("def call():\n    raise SystemExit(3)\n", "SystemExit: 3", 2),
    ("def call():\n    import json\n    return json.loads('{')\n", "JSONDecodeError: Expecting property name", 3),
    ("def call():\n    def again(): return again()\n    return again()\n", "RecursionError: maximum recursion", 2),
])  # fmt: skip
def test_a_failure_names_the_reason_and_the_line_that_people_wrote(tmp_path, body, reason, line):
    found = attempt(code(tmp_path, body), 5.0)
    assert isinstance(found, Failure)
    assert found.reason.startswith(reason)
    assert found.file.endswith("theirs.py")
    assert found.line == line
    assert f"line {line}: " in str(found)


@pytest.mark.parametrize("body", [
    "def call():\n    while True: pass\n",
    "import time\ndef call():\n    while True:\n        try: time.sleep(60)\n        except Exception: pass\n",
])  # fmt: skip
def test_what_never_answers_is_interrupted_and_leaves_no_alarm(tmp_path, body):
    handler = signal.getsignal(signal.SIGALRM)
    found = attempt(code(tmp_path, body), 0.2)
    assert isinstance(found, Failure)
    assert "did not answer within 0.2 s" in found.reason
    assert signal.getsignal(signal.SIGALRM) is handler


def test_another_alarm_that_was_set_before_still_goes_off():
    rung = threading.Event()
    before = signal.signal(signal.SIGALRM, lambda *_: rung.set())
    timer = signal.setitimer(signal.ITIMER_REAL, 3600)
    try:
        assert attempt(lambda: 1, 5.0) == 1
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 3000
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, before)


def test_off_the_main_thread_calls_are_made_without_a_deadline():
    found = []
    thread = threading.Thread(target=lambda: found.append(attempt(lambda: 5, 0.1)))
    thread.start()
    thread.join()
    assert found == [5]


def test_where_nobody_trades_a_failure_is_bad_data_with_the_strategys_name(tmp_path):
    call = code(tmp_path, "def call():\n    return [][1]\n")
    with (
        pytest.raises(BadData, match=r"strategy mine: .*theirs.py, line 2: IndexError: list index out of range"),
        naming("mine"),
    ):
        call()
