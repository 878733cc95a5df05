"""What deploys and watches the bot, checked without an engine to run it in."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from sqlalchemy.engine import make_url

from dashboard.metrics import MEASURES
from domain.errors import Rejected
from domain.finding import State
from persistence.checkup import check_database
from persistence.database import Database
from settings import ENVIRONMENT, load

ROOT = Path(__file__).parents[2]
OPS = ROOT / "ops"
KNOWN = {f"revenant_{one.name}{'_total' if one.counts else ''}" for one in MEASURES} | {
    "revenant_signal_score_bucket", "revenant_orders_ended_total", "revenant_process_resident_memory_bytes",
    "revenant_process_cpu_seconds_total", "revenant_history_alerts", "up",
}  # fmt: skip
SOURCES = {"bot": "${DATA_SOURCE:-synthetic}", "bot-alpaca": "alpaca", "bot-polygon": "polygon"}


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load((OPS / "alerts.yml").read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return json.loads((OPS / "grafana" / "revenant.json").read_text())["panels"]


def asked() -> list[str]:
    return [one["expr"] for one in rules()] + [one["expr"] for panel in panels() for one in panel["targets"]]


@pytest.mark.parametrize("text", asked())
def test_what_alerts_and_boards_ask_for_is_valid_and_exists(text):
    promql_parser.parse(text)
    names = set(re.findall(r"\b(?:revenant_\w+|up)\b", text))
    assert names
    assert names <= KNOWN


def test_every_alert_says_what_to_do_and_how_bad_it_is():
    for rule in rules():
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"].endswith((".", ")"))
    assert len({rule["alert"] for rule in rules()}) == len(rules())


def test_panels_do_not_lie_on_one_another():
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_image_runs_as_nobody_special_from_pinned_parts():
    lines = (OPS / "Dockerfile").read_text().splitlines()
    froms = [line.split()[1] for line in lines if line.startswith("FROM")]
    assert all(re.fullmatch(r"python:3\.1[123]\.\d+-slim-\w+", name) for name in froms)
    users = [line for line in lines if line.startswith("USER")]
    assert users
    assert users[-1] not in {"USER root", "USER 0"}
    text = "\n".join(lines)
    assert "--require-hashes" in text
    assert "/healthz" in text.partition("HEALTHCHECK")[2]
    assert "latest" not in text
    copied = [line.split()[-2] for line in lines if line.startswith("COPY") and "--from" not in line]
    assert all((ROOT / name).exists() for name in copied)


def test_the_image_holds_every_package_and_nothing_else():
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    needed = {name.split("/")[0] for name in listed.split() if not name.startswith(("tests/", "benchmarks/"))}
    assert needed <= kept
    assert not {"tests", "benchmarks", "data", ".env", "docs"} & kept
    assert all((ROOT / name).exists() for name in kept)


def composed() -> dict[str, Any]:
    return yaml.safe_load((OPS / "compose.yaml").read_text())


@pytest.mark.parametrize("name", SOURCES)
def test_a_profile_sets_the_source_of_every_service_in_it(name):
    services = composed()["services"]
    profile = services[name]["profiles"][0]
    inside = [one for one in services.values() if profile in one.get("profiles", [])]
    assert len(inside) == 2
    assert {one["environment"]["DATA_SOURCE"] for one in inside} == {SOURCES[name]}


def test_what_is_composed_is_pinned_guarded_and_known_to_the_settings():
    held = composed()
    for name, one in held["services"].items():
        assert "latest" not in one["image"], name
        assert one["image"] == "revenant" or re.search(r":v?\d", one["image"]), name
        assert all(port.startswith("127.0.0.1:") for port in one.get("ports", [])), name
        mounted = [volume.partition(":")[0] for volume in one.get("volumes", [])]
        assert all((OPS / path).exists() for path in mounted if path.startswith("./")), name
        assert {path for path in mounted if not path.startswith(".")} <= set(held["volumes"]), name
        if one["image"] == "revenant":
            given = {key: _filled(str(value)) for key, value in one["environment"].items()}
            assert all(key in ENVIRONMENT or key.startswith("REVENANT__") for key in given), name
            settings = load(
                ROOT / "config.yaml", {**given, "DASHBOARD_HOST": "0.0.0.0", "REVENANT__TRADING__SYMBOLS": '["AAPL"]'}
            )
            assert not settings.dashboard.local
    assert "noeviction" in held["services"]["redis"]["command"]


def test_a_second_machine_is_a_worker_without_a_beat_on_the_first_ones_database_and_redis():
    services = composed()["services"]
    inside = {name: one for name, one in services.items() if "cluster" in one.get("profiles", [])}
    assert list(inside) == ["worker-cluster"]
    worker = inside["worker-cluster"]
    assert "--beat" not in worker["command"]
    assert not worker["depends_on"], "what it needs runs elsewhere"
    for name in ("DATABASE_URL", "REDIS_URL", "OUTGOING_ADDRESS"):
        assert worker["environment"][name].startswith(f"${{{name}:-")
    beats = [one for one in services.values() if "--beat" in one.get("command", [])]
    assert len({one["profiles"][0] for one in beats}) == len(beats), "one in each profile"


def test_each_secret_has_one_purpose():
    """Found with one for all: whoever read Prometheus' or Grafana's could stop the bot."""
    held = composed()
    assert "DASHBOARD_VIEWER_PASSWORD" in held["configs"]["password"]["content"]
    grafana = held["services"]["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"]
    assert "GRAFANA_PASSWORD" in grafana
    acting = [
        name
        for name, one in held["services"].items()
        if "DASHBOARD_PASSWORD" in str(one.get("environment")) and one["image"] != "revenant"
    ]
    assert acting == []


def _filled(value: str) -> str:
    """Fill variables in as compose does, with something where one has to be given."""
    return re.sub(r"\$\{\w+(?::([-?])([^}]*))?\}", lambda m: m[2] if m[1] == "-" else "given-by-the-operator", value)


def test_railway_looks_at_the_health_and_drains_by_a_number():
    deploy = json.loads((ROOT / "railway.json").read_text())["deploy"]
    assert deploy["healthcheckPath"] == "/healthz"
    assert isinstance(deploy["drainingSeconds"], int)
    assert any("manage.py migrate" in one for one in deploy["preDeployCommand"])
    assert (ROOT / json.loads((ROOT / "railway.json").read_text())["build"]["dockerfilePath"]).exists()


def test_state_lies_on_the_volume_that_railway_mounts(tmp_path):
    assert load(ROOT / "config.yaml", {"RAILWAY_VOLUME_MOUNT_PATH": str(tmp_path)}).data_dir == tmp_path


def test_the_start_script_passes_its_command_on(tmp_path):
    assert os.access(OPS / "start", os.X_OK)
    subprocess.run(["sh", "-n", OPS / "start"], check=True)
    if os.getuid():
        done = subprocess.run([OPS / "start", "echo", "two words"], capture_output=True, text=True, check=True)
        assert done.stdout == "two words\n"


def test_processes_and_services_start_what_exists():
    started = (ROOT / "Procfile").read_text() + (OPS / "revenant.service").read_text()
    for name in re.findall(r"(\w+\.py)", started):
        assert (ROOT / name).exists()
    assert "RestartPreventExitStatus=2" in started.splitlines()


def test_the_unit_lets_the_bot_do_little_else_than_trade():
    unit = OPS / "revenant.service"
    assert "UMask=0077" in unit.read_text().splitlines()
    if (systemd := shutil.which("systemd-analyze")) is None:
        pytest.skip("no systemd-analyze here")
    done = subprocess.run([systemd, "security", "--offline=true", unit], capture_output=True, text=True, check=False)
    told = re.search(r"exposure level for revenant.service: ([\d.]+)", done.stdout)
    if told is None:
        pytest.skip(f"systemd-analyze: {done.stderr[:200]}")
    assert float(told[1]) < 4


def test_the_composed_database_role_is_no_superuser(own_postgres):
    """The script makes it; the role can do all that the bot needs, and can have the server run nothing."""
    if shutil.which("psql") is None:
        pytest.skip("no psql here")
    held = composed()["services"]["db"]
    assert "./database.sh:/docker-entrypoint-initdb.d/900_revenant.sh:ro" in held["volumes"]
    assert held["environment"]["POSTGRES_USER"] != "revenant"
    secret, admin = 'it\'s "secret"', make_url(own_postgres.dsn("postgres"))
    environment = {
        **os.environ, "POSTGRES_USER": "keeper", "POSTGRES_PASSWORD": secret, "PGHOST": str(admin.host),
        "PGPORT": str(admin.port),
    }  # fmt: skip
    # the superuser of the tests' server has the name that the role is to have
    own_postgres.sql("CREATE ROLE keeper SUPERUSER LOGIN")
    renamed = ["psql", "-U", "keeper", "-c", "ALTER ROLE revenant RENAME TO first", "postgres"]
    for one in (renamed, [str(OPS / "database.sh")]):
        subprocess.run(one, env=environment, check=True, capture_output=True)
    url = admin.set(username="revenant", password=secret, database="revenant")
    database = Database(url.render_as_string(hide_password=False))
    database.migrate()
    assert {one.state for one in check_database(database)} == {State.OK}
    with database.transaction() as connection:
        role = connection.exec_driver_sql(
            "SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = 'revenant'"
        )
        assert tuple(role.one()) == (False, False, False)
    with pytest.raises(Rejected, match="permission denied"), database.transaction() as connection:
        connection.exec_driver_sql("COPY trades FROM PROGRAM 'id'")
    database.close()
