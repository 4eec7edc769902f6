"""The files of docs/deploy, each read by what will read it, or by its schema."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import jsonschema
import pytest
import yaml
from botocore.validate import ParamValidator
from croniter import croniter

from conftest import ROOT

if TYPE_CHECKING:
    from support.command import Command

DEPLOY = ROOT / "docs/deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())
COMMAND = "/usr/local/bin/s2ice"
KINDS = {"CronJob": "batch.v1", "Job": "batch.v1", "PersistentVolumeClaim": "core.v1"}
KUBERNETES = json.loads((ROOT / "tests/python/support/kubernetes.schema.json").read_text())


def documents() -> list[dict[str, Any]]:
    return [doc for file in sorted((DEPLOY / "kubernetes").iterdir()) for doc in yaml.safe_load_all(file.read_text())]


def one(kind: str) -> dict[str, Any]:
    (found,) = [document for document in documents() if document["kind"] == kind]
    return found


def workflow() -> tuple[Path, dict[Any, Any]]:
    (file,) = (DEPLOY / "github-actions").iterdir()
    return file, yaml.safe_load(file.read_text())


# --- What the files themselves are.


@pytest.mark.parametrize("file", sorted(DEPLOY.glob("**/*.toml")), ids=lambda file: file.name)
def test_configurations(file: Path, s2ice: Command) -> None:
    placeholders = dict.fromkeys(re.findall(r"\$\{(\w+)\}", file.read_text()), "x")
    report = s2ice("run", "--check", file, "--json", **placeholders).json
    assert len(report["tiles"]) > 1


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not here")
def test_systemd_units(tmp_path: Path) -> None:
    for unit in UNITS:
        # The command need not be installed where this is tested.
        (tmp_path / unit.name).write_text(unit.read_text().replace(COMMAND, "/bin/true"))
    units = sorted(path for path in tmp_path.iterdir() if "@" not in path.name)
    line = ("systemd-analyze", "verify", "--man=no", *units)
    environment = os.environ | {"SYSTEMD_UNIT_PATH": f"{tmp_path}:"}
    done = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    for unit in UNITS:
        for times in re.findall(r"^OnCalendar=(.*)$", unit.read_text(), flags=re.MULTILINE):
            subprocess.run(("systemd-analyze", "calendar", times), capture_output=True, check=True)


def test_systemd_units_name_each_other() -> None:
    names = {unit.name for unit in UNITS}
    for unit in UNITS:
        for named in re.findall(r"^(?:OnFailure|Unit)=(.*)$", unit.read_text(), flags=re.MULTILINE):
            assert re.sub(r"@.*\.", "@.", named) in names
    assert {"s2ice.service", "s2ice.timer"} <= names


@pytest.mark.parametrize("document", documents(), ids=lambda document: document["kind"])
def test_kubernetes_documents(document: dict[str, Any]) -> None:
    name = f"io.k8s.api.{KINDS[document['kind']]}.{document['kind']}"
    jsonschema.validate(document, {"$ref": f"#/$defs/{name}", **KUBERNETES})
    with pytest.raises(jsonschema.ValidationError, match="'specs' was unexpected"):
        jsonschema.validate(document | {"specs": {}}, {"$ref": f"#/$defs/{name}", **KUBERNETES})


def test_kubernetes_names_lead_somewhere() -> None:
    job = one("CronJob")["spec"]
    pod = job["jobTemplate"]["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for container in pod["containers"]:
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        configuration = container["args"][-1]
        assert any(Path(configuration).is_relative_to(mount["mountPath"]) for mount in container["volumeMounts"])
    claimed = {
        volume["persistentVolumeClaim"]["claimName"] for volume in volumes.values() if "persistentVolumeClaim" in volume
    }
    assert claimed == {one("PersistentVolumeClaim")["metadata"]["name"]}
    assert croniter.is_valid(job["schedule"])


def test_what_becomes_of_a_stale_run(s2ice: Command, tmp_path: Path) -> None:
    """It has an exit code of its own, prints also with -q, is no failure to systemd, and no reason for another pod."""
    config = tmp_path / "s2ice.toml"
    config.write_text(
        f'tiles = ["33TVN"]\nindex = "http://127.0.0.1:1/{{tile}}.parquet"\nsource = "{tmp_path}"\n'
        f'store = "{tmp_path}/{{tile}}"\n'
    )
    stale = s2ice("run", "-q", config, code=3)
    assert len(stale.stderr.splitlines()) == 2, stale.stderr
    assert "33TVN L2A] stale: " in stale.stderr
    config.write_text(config.read_text().replace("http://127.0.0.1:1", str(tmp_path)))
    s2ice("run", "-q", config, code=1)
    config.write_text("tiles = 7\n")
    s2ice("run", "-q", config, code=2)

    unit = (DEPLOY / "systemd/s2ice.service").read_text()
    assert re.findall(r"^SuccessExitStatus=(.*)$", unit, flags=re.MULTILINE) == ["3"]
    job = one("CronJob")["spec"]["jobTemplate"]["spec"]
    (rule,) = job["podFailurePolicy"]["rules"]
    assert (rule["action"], rule["onExitCodes"]["operator"]) == ("FailJob", "In")
    assert set(rule["onExitCodes"]["values"]) == {2, 3}
    # Kubernetes takes such rules of pods that are never restarted, and of containers that there are.
    pod = job["template"]["spec"]
    assert pod["restartPolicy"] == "Never"
    assert rule["onExitCodes"]["containerName"] in {container["name"] for container in pod["containers"]}
    assert job["backoffLimit"] > 0


def test_shares_of_a_fleet_are_all_of_it(s2ice: Command, tmp_path: Path) -> None:
    """Each array of jobs has as many shares as it says, and none is left out."""
    job = one("Job")["spec"]
    (container,) = job["template"]["spec"]["containers"]
    index, of = container["args"][2].split("/")
    assert (job["completionMode"], index, int(of)) == ("Indexed", "$(JOB_COMPLETION_INDEX)", job["completions"])
    assert job["podFailurePolicy"]["rules"][0]["onExitCodes"]["containerName"] == container["name"]
    batch = json.loads((DEPLOY / "aws-batch/job.json").read_text())
    submit = json.loads((DEPLOY / "aws-batch/submit.json").read_text())
    assert submit["jobDefinition"] == batch["jobDefinitionName"]
    *_, script = batch["containerProperties"]["command"]
    subprocess.run(("sh", "-n", "-c", script), check=True)
    assert f"--shard $AWS_BATCH_JOB_ARRAY_INDEX/{submit['arrayProperties']['size']} " in script
    # What the service itself takes for right.
    client = boto3.client("batch", region_name="eu-central-1", aws_access_key_id="x", aws_secret_access_key="x")
    for operation, document in (("RegisterJobDefinition", batch), ("SubmitJob", submit)):
        shape = client.meta.service_model.operation_model(operation).input_shape
        told = ParamValidator().validate(document, shape)
        assert not told.has_errors(), told.generate_report()
        assert set(document) <= set(shape.members)
    slurm = (DEPLOY / "slurm/s2ice.sbatch").read_text()
    subprocess.run(("bash", "-n", DEPLOY / "slurm/s2ice.sbatch"), check=True)
    first, last = re.findall(r"^#SBATCH --array=(\d+)-(\d+)%\d+$", slurm, flags=re.MULTILINE)[0]
    found = {"SLURM_ARRAY_TASK_MAX": last, "SLURM_ARRAY_TASK_ID": last}
    (line,) = re.findall(r"^SHARES=.*$", slurm, flags=re.MULTILINE)
    (words,) = re.findall(r"^exec s2ice run --shard (\S+) ", slurm, flags=re.MULTILINE)
    shard = subprocess.run(
        ("bash", "-c", f"{line}\necho {words}"), capture_output=True, text=True, env=found, check=True
    )
    assert (first, shard.stdout.strip()) == ("0", f"{last}/{int(last) + 1}")
    config = tmp_path / "s2ice.toml"
    tiles = [f"33T{column}{row}" for column in "UVWXY" for row in "MN"]
    config.write_text(
        f'tiles = {json.dumps(tiles)}\nindex = "i"\nsource = "{tmp_path}"\nstore = "{tmp_path}/{{tile}}"\n'
    )
    chosen: list[str] = []
    for share in range(4):
        report = s2ice("run", "--check", config, "--shard", f"{share}/4", "--json").json
        chosen += [tile["tile"] for tile in report["tiles"]]
    assert sorted(chosen) == sorted(tiles)
    assert "counted from 0" in s2ice("run", config, "--shard", "4/4", code=2).stderr
    config.write_text(config.read_text() + f'[run]\nreport = "{tmp_path}/runs.jsonl"\n')
    told = s2ice("run", config, "--shard", "0/4", code=2).stderr
    assert f"put {{shard}} in `report`, such as {tmp_path}/runs-{{shard}}.jsonl" in told


def test_cron_table() -> None:
    (file,) = (DEPLOY / "cron").iterdir()
    lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
    variables = [line for line in lines if re.match(r"\w+=", line)]
    (entry,) = [line for line in lines if line not in variables]
    *times, user, command = entry.split(maxsplit=6)
    assert croniter.is_valid(" ".join(times))
    assert user == "s2ice"
    # To cron, a per cent sign ends the command.
    assert "%" not in command
    for line in (command, shlex.split(command)[-1]):
        subprocess.run(("sh", "-n", "-c", line), check=True)


def test_github_workflow() -> None:
    file, document = workflow()
    line = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", file)
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    # `on` is true in YAML 1.1.
    for entry in document[True]["schedule"]:
        assert croniter.is_valid(entry["cron"])
    for job in document["jobs"].values():
        for step in job["steps"]:
            subprocess.run(("bash", "-n", "-c", re.sub(r"\$\{\{.*?\}\}", "x", step.get("run", ""))), check=True)


# --- The command lines in them.


def command_lines() -> dict[str, list[str]]:
    """Every call of s2ice in these files, as words; what a shell does with it left out."""
    found: dict[str, list[str]] = {}
    for file in sorted(DEPLOY.glob("**/*")):
        if file.is_dir() or file.suffix == ".dockerignore":
            continue
        text = "\n".join(
            line
            for line in file.read_text().splitlines()
            if not line.lstrip().startswith(("#", "name:", "- name:", "description:"))
        )
        # The number of a share is filled in by the engine.
        text = re.sub(r"\$\w+/\$?\w+", "3/16", text)
        for call in re.findall(r"(?:^|[ =/;:])s2ice ((?:run|status|build|gc|index|info)\b[^\n'\"|>;]*)", text):
            found[f"{file.name}: {call.strip()}"] = call.split()
    args = one("CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["args"]
    share = [
        word.replace("$(JOB_COMPLETION_INDEX)", "3")
        for word in one("Job")["spec"]["template"]["spec"]["containers"][0]["args"]
    ]
    return found | {"cronjob.yaml": args, "shards.yaml": share}


@pytest.mark.parametrize("words", command_lines().values(), ids=command_lines())
def test_command_lines_are_understood(words: list[str], s2ice: Command, tmp_path: Path) -> None:
    """With their configuration exchanged for one that is not there, they fail for that alone."""
    absent = tmp_path / "absent.toml"
    words = [str(absent) if word.endswith(".toml") else word for word in words if not word.startswith("$")]
    assert str(absent) in words
    done = s2ice(*words, code=2)
    assert str(absent) in done.stderr
    assert "Usage" not in done.stderr


def test_all_files_call_the_command() -> None:
    files = {name.partition(":")[0] for name in command_lines()}
    assert files >= {
        "s2ice.cron",
        "refresh.yml",
        "s2ice.service",
        "cronjob.yaml",
        "shards.yaml",
        "s2ice.sbatch",
        "job.json",
    }


# --- The container.

CONTAINER = DEPLOY / "container/Dockerfile"


def instructions() -> list[list[str]]:
    text = re.sub(r"^#.*\n", "", CONTAINER.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [line.split() for line in text.splitlines() if line]


def context(folder: Path) -> None:
    """What a build sees: the clone without what the ignore file leaves out, as far as it is copied."""
    kept = [
        line[1:] for line in CONTAINER.with_suffix(".dockerignore").read_text().splitlines() if line.startswith("!")
    ]
    sources = [
        path for name, *words in instructions() if name == "COPY" and "--from=build" not in words for path in words[:-1]
    ]
    for source in sources:
        assert any(Path(source).match(pattern) for pattern in kept), f"{source} is left out by the ignore file"
        assert (ROOT / source).exists()
        if (ROOT / source).is_dir():
            shutil.copytree(
                ROOT / source, folder / source, ignore=shutil.ignore_patterns("target", "__pycache__", "*.so")
            )
        else:
            shutil.copy(ROOT / source, folder / source)


def test_container_is_minimal_and_pinned() -> None:
    words = instructions()
    images = [line[1] for line in words if line[0] == "FROM"]
    assert len(images) == 2
    for image in images:
        assert re.fullmatch(r"[a-z.]+/[a-z0-9./-]+:(?!latest)[a-z0-9.-]+", image)
    rust = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
    assert f"/rust:{rust}-" in images[0]
    last = words[max(i for i, line in enumerate(words) if line[0] == "FROM") :]
    assert [line for line in last if line[0] in ("RUN", "ADD")] == []
    (user,) = [line[1] for line in last if line[0] == "USER"]
    assert all(int(number) > 0 for number in user.split(":"))
    (entry,) = [json.loads(" ".join(line[1:])) for line in last if line[0] == "ENTRYPOINT"]
    (copied,) = [line for line in last if line[:2] == ["COPY", "--from=build"]]
    assert [copied[-1]] == entry == [COMMAND]


def test_container_builds_what_it_copies(tmp_path: Path) -> None:
    """Cargo plans the very build of the recipe in what the recipe copies; nothing is compiled."""
    context(tmp_path)
    (build,) = [line[1:] for line in instructions() if line[0] == "RUN"]
    plan = [*build, "--offline", "-Z", "unstable-options", "--unit-graph"]
    environment = os.environ | {"RUSTC_BOOTSTRAP": "1", "CARGO_TARGET_DIR": str(tmp_path / "target")}
    done = subprocess.run(plan, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    graph = json.loads(done.stdout)
    (root,) = [graph["units"][number] for number in graph["roots"]]
    assert (root["target"]["name"], root["target"]["kind"], root["profile"]["name"]) == ("s2ice", ["bin"], "dist")
    # The command has all of its features: those of the tests' build.
    assert root["features"] == []
    (copied,) = [line for line in instructions() if line[:2] == ["COPY", "--from=build"]]
    assert copied[2] == "/src/target/dist/s2ice"


def test_container_is_built_as_its_head_says() -> None:
    (line,) = re.findall(r"^#\s+(docker build .*)$", CONTAINER.read_text(), flags=re.MULTILINE)
    words = shlex.split(line)
    assert (ROOT / words[words.index("-f") + 1]) == CONTAINER
    image = one("CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert words[words.index("-t") + 1] == image
    assert words[-1] == "."
