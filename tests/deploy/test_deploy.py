"""The files in deploy/: no linter finds fault, each field exists, and what the manifest asks for fits what its command needs.

Nothing here builds an image or talks to Kubernetes: deploy/README.md says what was run by hand, and where.
"""

import copy
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from clipsieve import __version__
from clipsieve.cli.scan import command as scan
from clipsieve.engines.ray.cluster import Node
from clipsieve.engines.ray.layout import Layout, Wanted, lay_out
from clipsieve.errors import UsageError

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
TOOLS = ("hadolint", "shellcheck", "yamllint")
GIB = 2**30

# The fields of `ray.io/v1` in KubeRay 1.7, from `docs/reference/api.md` of github.com/ray-project/kuberay. What pod templates
# hold, Kubernetes' own schemas say.
FIELDS = {
    "RayJob": "apiVersion kind metadata spec",
    "RayJobSpec": "activeDeadlineSeconds backoffLimit rayClusterSpec submitterPodTemplate metadata clusterSelector"
    " submitterConfig managedBy deletionStrategy entrypoint runtimeEnvYAML jobId submissionMode entrypointResources"
    " entrypointNumCpus entrypointNumGpus ttlSecondsAfterFinished preRunningDeadlineSeconds shutdownAfterJobFinishes suspend",
    "RayClusterSpec": "upgradeStrategy authOptions suspend managedBy autoscalerOptions headServiceAnnotations"
    " enableInTreeAutoscaling gcsFaultToleranceOptions historyServerOptions networkPolicy tlsOptions headGroupSpec rayVersion"
    " workerGroupSpecs",
    "AuthOptions": "mode secretName enableK8sTokenAuth",
    "HeadGroupSpec": "template headService enableIngress ingressOptions resources labels rayStartParams serviceType",
    "WorkerGroupSpec": "suspend groupName replicas minReplicas maxReplicas idleTimeoutSeconds priority resources labels"
    " rayStartParams template scaleStrategy numOfHosts",
}
UNITS = {"m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def quantity(told: str | float) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(m|k|M|G|T|Ki|Mi|Gi|Ti|)", str(told))
    assert found, f"`{told}` is no quantity of Kubernetes'"
    return float(found[1]) * UNITS[found[2]]


@pytest.fixture(scope="module")
def job() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "rayjob.yaml").read_text(encoding="utf-8"))
    return loaded


def cluster(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["rayClusterSpec"]
    return found


def groups(job: dict[str, Any]) -> list[dict[str, Any]]:
    return [cluster(job)["headGroupSpec"], *cluster(job)["workerGroupSpecs"]]


def templates(job: dict[str, Any]) -> dict[str, dict[str, Any]]:
    names = ["head", *(group["groupName"] for group in cluster(job)["workerGroupSpecs"])]
    found = dict(zip(names, [group["template"] for group in groups(job)], strict=True))
    return {"submitter": job["spec"]["submitterPodTemplate"], **found}


def ray_container(group: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = group["template"]["spec"]["containers"][0]
    return found


def ray_nodes(group: dict[str, Any]) -> list[Node]:
    """Return the nodes that a group becomes, as KubeRay starts them: what the parameters do not say, the limits do."""
    params, limits = group["rayStartParams"], ray_container(group)["resources"]["limits"]
    cpus = float(params.get("num-cpus", quantity(limits["cpu"])))
    node = Node(cpus, quantity(limits.get("nvidia.com/gpu", 0)), int(params["object-store-memory"]))
    return [node] * group.get("replicas", 1)


def all_nodes(job: dict[str, Any]) -> list[Node]:
    return [node for group in groups(job) for node in ray_nodes(group)]


def scan_options(line: str) -> dict[str, Any]:
    words = shlex.split(line)
    assert words[:2] == ["clipsieve", "scan"]
    return scan.make_context("scan", words[2:]).params


def wanted(told: dict[str, Any]) -> Wanted:
    shares = [told[name] for name in ("encoders", "gpus_per_encoder", "cpus_per_encoder", "cpus_per_decoder")]
    return Wanted(*shares, told["object_store_memory"])


def layout(job: dict[str, Any]) -> Layout:
    told = scan_options(job["spec"]["entrypoint"])
    return lay_out(all_nodes(job), wanted(told), on_gpu=told["device"] == "cuda")


# ---- the linters


def lint_lines() -> list[list[str]]:
    """Return what `make lint` runs of the three tools, so that they are called in one way."""
    recipe = (ROOT / "Makefile").read_text(encoding="utf-8").split("\nlint:")[1].split("\n\n")[0]
    lines = [shlex.split(line.strip()) for line in recipe.splitlines()[1:]]
    return [[line[0].removeprefix("$(BIN)/"), *line[1:]] for line in lines if line[0].removeprefix("$(BIN)/") in TOOLS]


@pytest.mark.parametrize("line", lint_lines(), ids=" ".join)
def test_no_linter_finds_fault(line: list[str]) -> None:
    done = subprocess.run([BIN / line[0], *line[1:]], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_is_linted() -> None:
    named = {(line[0], word) for line in lint_lines() for word in line[1:]}
    shells = [
        path
        for path in (ROOT / "scripts").iterdir()
        if "python" not in path.read_text(encoding="utf-8").splitlines()[0]
    ]
    assert {("shellcheck", f"scripts/{path.name}") for path in shells} <= named
    assert {("shellcheck", ".ci/run"), ("shellcheck", "deploy/slurm.sh")} <= named
    assert {("hadolint", "deploy/Dockerfile"), ("yamllint", "deploy/rayjob.yaml")} <= named


@pytest.mark.parametrize(
    ("tool", "name", "fault"),
    [
        ("hadolint", "Dockerfile", "FROM python\nRUN cd /tmp && sudo ls\n"),
        ("shellcheck", "x.sh", "#!/bin/sh\nrm -rf $1/*\n"),
        ("yamllint", "x.yaml", "---\na: 1\na: 2\n"),
    ],
)
def test_each_linter_does_find_faults(tmp_path: Path, tool: str, name: str, fault: str) -> None:
    (tmp_path / name).write_text(fault)
    assert subprocess.run([BIN / tool, tmp_path / name], capture_output=True).returncode != 0


# ---- the image


def instructions(word: str) -> list[str]:
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.removeprefix(word).strip() for line in text.splitlines() if line.startswith(f"{word} ")]


def test_the_image_runs_clipsieve_and_not_as_root() -> None:
    assert instructions("USER") == ["1000:1000"]
    assert instructions("ENTRYPOINT") == ['["clipsieve"]']
    assert instructions("HEALTHCHECK") == ["NONE"]
    assert "RAY_USAGE_STATS_ENABLED=0" in " ".join(instructions("ENV")).split()


def test_the_base_is_a_python_that_clipsieve_supports() -> None:
    (base,) = [told.removeprefix("PYTHON_IMAGE=") for told in instructions("ARG") if told.startswith("PYTHON_IMAGE=")]
    found = re.fullmatch(r"python:3\.(\d+)-slim-\w+", base)
    assert found, base
    assert int(found[1]) in (11, 12, 13)  # requires-python, as the classifiers of pyproject.toml name them
    assert all(line.split()[0] == "${PYTHON_IMAGE}" for line in instructions("FROM"))


def test_the_extras_exist_and_those_for_a_cluster_are_in_by_default() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (extras,) = [told.removeprefix("EXTRAS=") for told in instructions("ARG") if told.startswith("EXTRAS=")]
    assert {"ray", "s3"} <= set(extras.split(",")) <= project["optional-dependencies"].keys()


def test_what_is_copied_is_there_and_reaches_the_builder() -> None:
    ignored, *sent = [
        line
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert ignored == "*"
    copied = [word for line in instructions("COPY") if not line.startswith("--from") for word in line.split()[:-1]]
    assert copied
    for name in copied:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in sent, name
    assert {line for line in sent if line.startswith("!")} == {f"!{name}" for name in copied}


def test_the_constraints_are_the_tested_versions_without_their_hashes(tmp_path: Path) -> None:
    (run,) = [line for line in instructions("RUN") if line.startswith("sed")]
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/test.txt").write_text((ROOT / "requirements/test.txt").read_text(encoding="utf-8"))
    subprocess.run(["sh", "-euc", run.split("&&")[0]], cwd=tmp_path, check=True)
    lines = (tmp_path / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert f"ray=={pinned('ray')}" in pins
    assert all(re.fullmatch(r"[a-z0-9._-]+==\S+( ; .+)?", line) for line in pins)


def pinned(name: str) -> str:
    found = re.search(rf"^{name}==(\S+)", (ROOT / "requirements/test.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    return found[1]


# ---- the manifest


def test_every_field_is_one_of_kuberays(job: dict[str, Any]) -> None:
    spec = job["spec"]
    places = [("RayJob", job), ("RayJobSpec", spec), ("RayClusterSpec", cluster(job))]
    places += [("AuthOptions", cluster(job)["authOptions"]), ("HeadGroupSpec", cluster(job)["headGroupSpec"])]
    places += [("WorkerGroupSpec", group) for group in cluster(job)["workerGroupSpecs"]]
    for kind, fields in places:
        assert fields.keys() <= set(FIELDS[kind].split()), kind
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert all(isinstance(value, str) for group in groups(job) for value in group["rayStartParams"].values())


@pytest.mark.parametrize("name", ["submitter", "head", "gpu"])
@pytest.mark.parametrize("version", ["1.30.0", kubernetes_validate.latest_version()])
def test_the_pods_are_pods_of_kubernetes(job: dict[str, Any], name: str, version: str) -> None:
    template = templates(job)[name]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **template.get("metadata", {})}}
    kubernetes_validate.validate({**pod, "spec": template["spec"]}, version, strict=True)
    wrong = copy.deepcopy(template["spec"])
    wrong["containers"][0]["resource"] = wrong["containers"][0].pop("resources")
    with pytest.raises(kubernetes_validate.ValidationError, match="resource"):
        kubernetes_validate.validate({**pod, "spec": wrong}, version, strict=True)


def test_every_pod_asks_for_all_that_it_may_take(job: dict[str, Any]) -> None:
    for template in templates(job).values():
        for container in template["spec"]["containers"]:
            resources = container["resources"]
            assert resources["requests"] == resources["limits"]
            assert {"cpu", "memory"} <= resources["limits"].keys()
            assert all(quantity(value) > 0 for value in resources["limits"].values())
        for volume in template["spec"]["volumes"]:
            if "emptyDir" in volume:
                assert quantity(volume["emptyDir"]["sizeLimit"]) > 0


def test_no_pod_runs_as_root_or_writes_where_it_need_not(job: dict[str, Any]) -> None:
    for template in templates(job).values():
        spec = template["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 1000  # the image's
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
            assert "emptyDir" in mounts["/tmp"]  # noqa: S108
            for told in container.get("env", []):
                assert told["value"].startswith("/tmp/"), told  # noqa: S108


def test_the_image_has_a_version_and_it_is_the_same_everywhere(job: dict[str, Any]) -> None:
    images = {
        container["image"] for template in templates(job).values() for container in template["spec"]["containers"]
    }
    assert images == {f"registry.example.com/clipsieve:{__version__}-gpu"}
    assert cluster(job)["rayVersion"] == pinned("ray")


def test_no_secret_stands_in_the_file_and_the_cluster_takes_commands_from_the_job_alone(job: dict[str, Any]) -> None:
    text = (DEPLOY / "rayjob.yaml").read_text(encoding="utf-8")
    assert not re.search(r"AKIA|aws_secret|password|BEGIN [A-Z ]*PRIVATE KEY", text, re.IGNORECASE)
    for group in groups(job):
        assert ray_container(group)["envFrom"] == [{"secretRef": {"name": "clipsieve-s3", "optional": True}}]
        assert group["template"]["spec"]["serviceAccountName"] == "clipsieve-scan"
    assert cluster(job)["authOptions"] == {"mode": "token"}


def test_the_job_ends_what_it_started_and_tries_again(job: dict[str, Any]) -> None:
    spec = job["spec"]
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["backoffLimit"] > 0
    assert spec["ttlSecondsAfterFinished"] >= 0
    assert spec["activeDeadlineSeconds"] >= 24 * 3600


def test_the_command_is_one_of_clipsieves_and_of_this_cluster(job: dict[str, Any]) -> None:
    told = scan_options(job["spec"]["entrypoint"])
    assert (told["engine"], told["ray_address"]) == ("ray", "auto")
    assert str(told["source"]).startswith("s3://")
    assert str(told["run"]).startswith("s3:/")
    models = [volume for volume in ray_container(groups(job)[0])["volumeMounts"] if volume["name"] == "models"]
    assert told["model"].startswith(models[0]["mountPath"] + "/")
    assert models[0]["readOnly"] is True


def test_the_command_comes_through_both_shells_as_it_is(job: dict[str, Any]) -> None:
    line = job["spec"]["entrypoint"]
    words = shlex.split(line)
    # The submitter's shell reads it, Ray joins the words again, and the shell of the job reads that.
    for _ in range(2):
        script = f"printf '%s\\n' {line}"
        found = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()
        assert found == words
        line = subprocess.list2cmdline(found)


def test_the_scan_fits_the_machines_to_the_last_gpu(job: dict[str, Any]) -> None:
    found = layout(job)
    nodes = all_nodes(job)
    workers = [node for node in nodes if node.gpus]
    assert found.encoders * found.gpus_per_encoder == sum(node.gpus for node in nodes)
    assert found.encoders * found.cpus_per_encoder + found.n_decoders * found.cpus_per_decoder == sum(
        n.cpus for n in nodes
    )
    assert found.object_store_bytes is not None
    assert found.object_store_bytes <= sum(node.object_store_bytes for node in workers)
    head = ray_nodes(groups(job)[0])[0]
    assert (head.cpus, head.gpus) == (0, 0)  # no work lands there


def test_one_encoder_more_would_not_fit(job: dict[str, Any]) -> None:
    told = scan_options(job["spec"]["entrypoint"])
    more = {**told, "encoders": told["encoders"] + 1}
    with pytest.raises(UsageError, match="less than was asked for"):
        lay_out(all_nodes(job), wanted(more), on_gpu=True)


def test_memory_holds_the_object_store_and_every_decoder_at_its_largest_image(job: dict[str, Any]) -> None:
    told, found = scan_options(job["spec"]["entrypoint"]), layout(job)
    largest = 2 * 3 * told["max_pixels"]  # as it is, and once more while it is turned or scaled
    for group in groups(job):
        (node, *_), spec = ray_nodes(group), group["template"]["spec"]
        shm = next(volume["emptyDir"] for volume in spec["volumes"] if volume["name"] == "shared-mem")
        memory = quantity(ray_container(group)["resources"]["limits"]["memory"])
        assert shm["medium"] == "Memory"
        assert quantity(shm["sizeLimit"]) > node.object_store_bytes
        decoders = int((node.cpus - node.gpus * found.cpus_per_encoder) / found.cpus_per_decoder) if node.cpus else 0
        assert memory >= quantity(shm["sizeLimit"]) + decoders * (largest + GIB // 2) + 4 * GIB
        assert any(mount["mountPath"] == "/dev/shm" for mount in ray_container(group)["volumeMounts"])  # noqa: S108


def test_on_cpus_alone_what_the_comment_says_fits(job: dict[str, Any]) -> None:
    changed = copy.deepcopy(job)
    for group in cluster(changed)["workerGroupSpecs"]:
        for what in ray_container(group)["resources"].values():
            del what["nvidia.com/gpu"]
        del group["template"]["spec"]["tolerations"]
    gone = r"--precision \S+|--encoders \S+|--gpus-per-encoder \S+|--cpus-per-encoder \S+"
    line = re.sub(gone, "", job["spec"]["entrypoint"].replace("--device cuda", "--device cpu"))
    changed["spec"]["entrypoint"] = line
    found = layout(changed)
    assert found.encoders == 4  # one on each machine
    assert found.gpus_per_encoder == 0
    assert found.n_decoders > 0


@pytest.mark.ray
def test_ray_knows_every_option_that_it_is_started_with(job: dict[str, Any]) -> None:
    listed = subprocess.run([BIN / "ray", "start", "--help"], capture_output=True, text=True, check=True).stdout
    known = set(re.findall(r"--[a-z-]+", listed))
    told = {f"--{name}" for group in groups(job) for name in group["rayStartParams"]}
    script = (DEPLOY / "slurm.sh").read_text(encoding="utf-8")
    told |= set(
        re.findall(r"--(?:head|block|[a-z-]+=)(?=\S)", "\n".join(re.findall(r"(?:begin_ray|options=).*", script)))
    )
    told = {word.rstrip("=") for word in told}
    assert {"--object-store-memory", "--num-cpus", "--temp-dir", "--include-dashboard"} <= told
    assert told <= known


# ---- the page


def test_the_commands_on_the_page_are_well_formed() -> None:
    text = (DEPLOY / "README.md").read_text(encoding="utf-8")
    blocks = "".join(re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    scans = [found[1] for line in blocks.splitlines() if (found := re.search(r"\s(scan .+)", line))]
    assert len(scans) == 3  # in Docker, and twice under Slurm
    for line in scans:
        scan_options(f"clipsieve {line}")
    for name in re.findall(r"deploy/[\w.]+", blocks):
        assert (ROOT / name).exists(), name
