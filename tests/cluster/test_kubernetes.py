"""The manifests: built by kustomize, held against schemas, and against what KubeRay's operator refuses at run time."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from conftest import ROOT
from hydrahive.cli.hive.drain import parser as drain_parser
from hydrahive.cli.train import train_parser
from hydrahive.runtime.config.parsing import config_arguments, instantiate, parse
from hydrahive.runtime.config.shipped import find_config, shipped_sweeps
from hydrahive.tuning.config import SweepConfig, sweep_of, sweep_parser

K8S = ROOT / "k8s"
OVERLAYS = sorted(path.name for path in (K8S / "overlays").iterdir())
CRDS = Path(os.environ.get("KUBERAY_CRDS", ROOT.parent / "shared" / "crds"))
KUBERNETES = "1.33"
RAY_KINDS = ("RayCluster", "RayJob", "RayService")
UNPUBLISHED = ("PodMonitor", "PrometheusRule")
"""Kinds of the Prometheus operator, whose schemas no package carries."""


@cache
def kubectl() -> str:
    """A kubectl whose kustomize knows components and replacements."""
    path = shutil.which("kubectl")
    if path is None:
        pytest.skip("kubectl is not installed: the overlays were NOT built")
    said = subprocess.run([path, "version", "--client", "-o", "yaml"], capture_output=True, text=True, check=True)
    version = yaml.safe_load(said.stdout)["clientVersion"]
    if (int(version["major"]), int(re.match(r"\d+", version["minor"])[0])) < (1, 27):
        pytest.skip(f"kubectl is {version['gitVersion']}, older than 1.27: the overlays were NOT built")
    return path


@cache
def built(overlay: str) -> list[dict[str, Any]]:
    """The objects of an overlay."""
    done = subprocess.run([kubectl(), "kustomize", str(K8S / "overlays" / overlay)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(overlay: str, *kinds: str) -> list[dict[str, Any]]:
    return [found for found in built(overlay) if found["kind"] in kinds]


def cluster_specs(overlay: str) -> list[dict[str, Any]]:
    """The spec of each Ray cluster that an overlay makes, its own or a job's."""
    specs = [found["spec"] for found in of_kind(overlay, "RayCluster")]
    specs += [found["spec"]["rayClusterSpec"] for found in of_kind(overlay, "RayJob")]
    return specs + [found["spec"]["rayClusterConfig"] for found in of_kind(overlay, "RayService")]


def groups(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def pod_specs(overlay: str) -> Iterator[dict[str, Any]]:
    """Every pod that an overlay leads to."""
    for spec in cluster_specs(overlay):
        yield from (group["template"]["spec"] for group in groups(spec))
    for job in of_kind(overlay, "RayJob"):
        yield job["spec"]["submitterPodTemplate"]["spec"]
    for found in of_kind(overlay, "StatefulSet", "Deployment", "Job"):
        yield found["spec"]["template"]["spec"]


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """A CRD's schema that refuses what it does not know, as the API server drops it in silence."""
    schema = dict(schema)
    if schema.pop("x-kubernetes-int-or-string", False):
        schema.pop("type", None)
        schema.pop("anyOf", None)
        return {"anyOf": [{"type": "integer"}, {"type": "string"}], **schema}
    if "properties" in schema:
        schema["properties"] = {name: strict(inner) for name, inner in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    if isinstance(schema.get("items"), dict):
        schema["items"] = strict(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        schema["additionalProperties"] = strict(schema["additionalProperties"])
    return schema


@cache
def schema_of(kind: str) -> dict[str, Any]:
    """What KubeRay's CRD says of ray.io/v1."""
    if not CRDS.is_dir():
        pytest.skip(f"{CRDS} is not there (KUBERAY_CRDS names another): Ray objects were NOT validated")
    crd = yaml.safe_load((CRDS / f"ray.io_{kind.lower()}s.yaml").read_text())
    version = next(version for version in crd["spec"]["versions"] if version["name"] == "v1")
    schema = version["schema"]["openAPIV3Schema"]
    schema["properties"]["metadata"] = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return strict(schema)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_ray_objects_follow_the_crds(overlay: str) -> None:
    found = of_kind(overlay, *RAY_KINDS)
    assert found, "an overlay runs something on Ray"
    for ray_object in found:
        assert ray_object["apiVersion"] == "ray.io/v1"
        jsonschema.Draft7Validator(schema_of(ray_object["kind"])).validate(ray_object)


def test_the_schemas_refuse_what_they_do_not_know() -> None:
    schema = schema_of("RayCluster")
    ray_object = next(iter(of_kind("dev", "RayCluster")))
    wrong = {**ray_object, "spec": {**ray_object["spec"], "headGroupSpecs": {}}}
    with pytest.raises(jsonschema.ValidationError, match="headGroupSpecs"):
        jsonschema.Draft7Validator(schema).validate(wrong)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_core_objects_follow_kubernetes_own_schemas(overlay: str) -> None:
    for found in built(overlay):
        if found["kind"] not in (*RAY_KINDS, *UNPUBLISHED):
            kubernetes_validate.validate(found, KUBERNETES, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_inside_ray_objects_follow_kubernetes_own_schemas(overlay: str) -> None:
    for spec in pod_specs(overlay):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_the_operator_refuses(overlay: str) -> None:
    for found in of_kind(overlay, "RayCluster"):
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,46}[a-z0-9])?", found["metadata"]["name"])
    for found in of_kind(overlay, "RayJob"):
        spec = found["spec"]
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,46}[a-z0-9])?", found["metadata"]["name"])
        if spec.get("suspend"):
            assert spec["shutdownAfterJobFinishes"]
        if "ttlSecondsAfterFinished" in spec:
            assert spec["shutdownAfterJobFinishes"]
            assert "deletionRules" not in spec.get("deletionStrategy", {})
        if "backoffLimit" in spec:
            assert "clusterSelector" not in spec
            assert spec.get("submissionMode", "K8sJobMode") != "InteractiveMode"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_traps_of_ray_clusters(overlay: str) -> None:
    for spec in cluster_specs(overlay):
        assert tuple(map(int, spec["rayVersion"].split("."))) >= (2, 52, 0), "token authentication"
        assert spec["authOptions"] == {"mode": "token"}
        assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
        if "gcsFaultToleranceOptions" in spec:
            assert "externalStorageNamespace" not in spec["gcsFaultToleranceOptions"]
            assert "secretKeyRef" in spec["gcsFaultToleranceOptions"]["redisPassword"]["valueFrom"]
        for group in spec["workerGroupSpecs"]:
            assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
        names = [group["groupName"] for group in spec["workerGroupSpecs"]]
        assert sorted(names) == ["env-workers", "learner"]
        for group in groups(spec):
            assert "labels" not in group["rayStartParams"]
            twice = {"num-cpus", "num-gpus", "memory", "resources"} & set(group["rayStartParams"])
            assert not (group.get("resources") and twice), "resources are said twice"
            pod = group["template"]["spec"]
            container = pod["containers"][0]
            assert container["resources"]["requests"] == container["resources"]["limits"]
            assert str(container["resources"]["requests"]["cpu"]).isdigit(), "whole CPUs"
            for port in container["ports"]:
                assert len(port["name"]) <= 15
            if spec.get("enableInTreeAutoscaling"):
                assert spec["autoscalerOptions"]["version"] == "v2"
                assert pod["restartPolicy"] == "Never"
                assert all(one["name"] != "RAY_enable_autoscaler_v2" for one in container.get("env", []))
        ports = {port["name"] for port in spec["headGroupSpec"]["template"]["spec"]["containers"][0]["ports"]}
        assert {"metrics", "as-metrics", "dash-metrics"} <= ports


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_workers_hand_over_before_they_go(overlay: str) -> None:
    for spec in cluster_specs(overlay):
        workers = next(group for group in spec["workerGroupSpecs"] if group["groupName"] == "env-workers")
        pod = workers["template"]["spec"]
        command = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert command[:2] == ["hydrahive", "drain"]
        seconds = drain_parser().parse_args(command[2:]).seconds
        assert seconds < pod["terminationGracePeriodSeconds"], (
            "Kubernetes would kill the node before it has handed over"
        )
        assert workers["labels"] == {"hydrahive.spot": "true"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_nobody_has_more_rights_than_needed(overlay: str) -> None:
    for pod in pod_specs(overlay):
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"] == container["resources"]["limits"]
            assert "ephemeral-storage" in container["resources"]["limits"]
            assert ":" in container["image"], "a pinned image"
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
            assert "redis" in container["image"] or {"/tmp", "/home/ray"} <= writable
        if "fsGroup" in pod["securityContext"]:
            assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
    accounts = {found["metadata"]["name"]: found for found in of_kind(overlay, "ServiceAccount")}
    assert accounts["hydrahive-worker"]["automountServiceAccountToken"] is False
    assert not of_kind(overlay, "ClusterRole", "ClusterRoleBinding")
    assert of_kind(overlay, "NetworkPolicy")
    assert not of_kind(overlay, "Secret"), "secrets are made by hand, never committed"


def in_force(overlay: str, labels: dict[str, str], kind: str) -> list[dict[str, Any]]:
    """The rules of the network policies of a kind that select a pod with these labels."""
    rules: list[dict[str, Any]] = []
    for policy in of_kind(overlay, "NetworkPolicy"):
        wanted = policy["spec"]["podSelector"].get("matchLabels", {})
        if wanted.items() <= labels.items() and kind.title() in policy["spec"]["policyTypes"]:
            rules += policy["spec"].get(kind, [])
    return rules


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_go_nowhere_but_where_they_must(overlay: str) -> None:
    """Names, and their own namespace; only the head, and only for its autoscaler, further."""
    (closed,) = [one for one in of_kind(overlay, "NetworkPolicy") if one["spec"]["podSelector"] == {}]
    assert sorted(closed["spec"]["policyTypes"]) == ["Egress", "Ingress"]
    assert "ingress" not in closed["spec"], "nobody comes in by default"
    scaled = any(spec.get("enableInTreeAutoscaling") for spec in cluster_specs(overlay))
    ray = {"ray.io/is-ray-node": "yes"}
    for labels, ways in (({**ray, "ray.io/node-type": "worker"}, 2), ({**ray, "ray.io/node-type": "head"}, 2 + scaled)):
        rules = in_force(overlay, labels, "egress")
        assert len(rules) == ways
        for rule in rules:
            for to in rule["to"]:
                block = to.get("ipBlock")
                assert block is None or any(one.startswith("169.254.") for one in block["except"]), "cloud metadata"
    if of_kind(overlay, "StatefulSet"):
        redis = {"app.kubernetes.io/name": "hydrahive-redis"}
        (rule,) = in_force(overlay, redis, "ingress")
        assert {"podSelector": {"matchLabels": {"ray.io/is-ray-node": "yes"}}} not in rule["from"], (
            "workers need it not"
        )
        assert {"podSelector": {"matchLabels": {"ray.io/node-type": "head"}}} in rule["from"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_driver_finds_no_token_of_kubernetes(overlay: str) -> None:
    """Whoever runs code in the head's pod could else patch RayClusters; the autoscaler's own container has its token."""
    for spec in cluster_specs(overlay):
        pod = spec["headGroupSpec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        tokens = [one["name"] for one in pod["volumes"] if "projected" in one]
        assert bool(tokens) == bool(spec.get("enableInTreeAutoscaling"))
        for container in pod["containers"]:
            assert not {mount["name"] for mount in container["volumeMounts"]} & set(tokens)
        for token in tokens:
            (mount,) = [one for one in spec["autoscalerOptions"]["volumeMounts"] if one["name"] == token]
            assert mount["readOnly"]
            assert mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"


def test_redis_tells_its_password_to_nobody() -> None:
    for found in of_kind("production", "StatefulSet"):
        (container,) = found["spec"]["template"]["spec"]["containers"]
        words = [*container["command"], *container.get("args", [])]
        assert not any("$(" in word or "requirepass $" in word.replace("'", "") for word in words), "on a command line"
        assert {"readinessProbe", "livenessProbe"} <= set(container)


def test_who_answers_reads_runs_and_changes_none() -> None:
    (spec,) = cluster_specs("serve")
    for group in groups(spec):
        pod = group["template"]["spec"]
        (mount,) = [one for one in pod["containers"][0]["volumeMounts"] if one["mountPath"] == "/runs"]
        assert mount["readOnly"] is True
        is_head = "groupName" not in group
        assert (pod["securityContext"]["runAsUser"] == 1000) == is_head, "others' files of mode 0600 stay unread"
    (service,) = of_kind("serve", "RayService")
    assert yaml.safe_load(service["spec"]["serveConfigV2"])["proxy_location"] == "HeadOnly"


def test_a_queue_of_kueue_admits_one_job_at_a_time() -> None:
    """A second one's head would wait for the ledger's claim until it fails."""
    queue = next(
        found
        for found in yaml.safe_load_all((K8S / "queues" / "one-at-a-time.yaml").read_text())
        if found["kind"] == "ClusterQueue"
    )
    quota = {one["name"]: one["nominalQuota"] for one in queue["spec"]["resourceGroups"][0]["flavors"][0]["resources"]}
    (spec,) = cluster_specs("kueue")
    cpus = sum(
        int(group["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"]) * group.get("replicas", 1)
        for group in groups(spec)
    )
    assert cpus + 1 <= int(quota["cpu"]) < 2 * cpus, "with the submitter's half; not with a second job"


def test_what_must_outlive_the_heads_container_lies_on_its_disk() -> None:
    for overlay in OVERLAYS:
        for spec in cluster_specs(overlay):
            head = spec["headGroupSpec"]["template"]["spec"]["containers"][0]
            environment = {one["name"]: one["value"] for one in head["env"]}
            assert environment["HYDRAHIVE_COORDINATOR"].startswith("/ledger/")
            writable = [one["mountPath"] for one in head["volumeMounts"] if not one.get("readOnly")]
            assert any(environment["HYDRAHIVE_BACKUPS"].startswith(place) for place in writable)
            start = head["lifecycle"]["postStart"]["exec"]["command"]
            assert "hydrahive.runtime.coordinator.start" in start[-1]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_budgets_select_pods_that_there_are(overlay: str) -> None:
    spec = cluster_specs(overlay)[0]
    labels = [{"ray.io/node-type": "head"}, *({"ray.io/group": one["groupName"]} for one in spec["workerGroupSpecs"])]
    labels += [found["spec"]["template"]["metadata"]["labels"] for found in of_kind(overlay, "StatefulSet")]
    budgets = of_kind(overlay, "PodDisruptionBudget")
    assert len(budgets) == 2 + len(of_kind(overlay, "StatefulSet"))
    for budget in budgets:
        assert budget["spec"]["selector"]["matchLabels"] in labels
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow", "else a broken pod holds up every drain"
        assert isinstance(budget["spec"]["minAvailable"], int), "there is no scale subresource to count by"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_everything_that_is_named_is_there(overlay: str) -> None:
    """Claims, ConfigMaps and accounts; secrets are the operator's and the user's."""
    objects = {(found["kind"], found["metadata"]["name"]) for found in built(overlay)}
    for pod in pod_specs(overlay):
        wanted = [
            ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"])
            for volume in pod.get("volumes", [])
            if "persistentVolumeClaim" in volume
        ]
        for container in pod["containers"]:
            wanted += [("ConfigMap", one["configMapRef"]["name"]) for one in container.get("envFrom", [])]
            mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
            claims = {"data"} if container["name"] == "redis" else set()
            assert mounted <= {volume["name"] for volume in pod.get("volumes", [])} | claims
        if "serviceAccountName" in pod:
            wanted += [("ServiceAccount", pod["serviceAccountName"])]
        assert set(wanted) <= objects


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_get_what_every_ray_process_of_a_cluster_gets(overlay: str) -> None:
    lines = (ROOT / "cluster" / "environment").read_text().splitlines()
    wanted = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    del wanted["RAY_AUTH_MODE"]  # authOptions
    (found,) = [one for one in of_kind(overlay, "ConfigMap") if one["metadata"]["name"] == "hydrahive-environment"]
    given = dict(found["data"])
    scaled = any(spec.get("enableInTreeAutoscaling") for spec in cluster_specs(overlay))
    assert given.pop("HYDRAHIVE_AUTOSCALED", None) == ("1" if scaled else None)
    assert given == wanted


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_jobs_call_what_the_command_line_accepts(overlay: str) -> None:
    for job in of_kind(overlay, "RayJob"):
        accept(shlex.split(job["spec"]["entrypoint"]))


def accept(words: list[str]) -> None:
    """Have the command line's own parsers read a command."""
    command, *rest = words
    assert command == "hydrahive"
    if rest[0] == "train":
        path, _ = find_config(rest[1])
        instantiate(parse(train_parser(), [*config_arguments(path), *rest[2:]]))
        return
    assert rest[:2] == ["tune", "run"], f"the tests do not know {words}"
    path, _ = find_config(rest[2], shipped_sweeps(), "SWEEP")
    parser = sweep_parser("hydrahive tune run")
    parser.add_argument("--name", type=str)
    given = parse(parser, [*config_arguments(path), *rest[3:]], SweepConfig).as_dict()
    given.pop("name")
    sweep_of(given)


def test_a_job_that_is_lost_is_tried_again_and_goes_on() -> None:
    for overlay in ("train", "gpu", "sweep", "kueue"):
        (job,) = of_kind(overlay, "RayJob")
        assert job["spec"]["backoffLimit"] > 0
        words = shlex.split(job["spec"]["entrypoint"])
        assert "--name" in words, "the next try must find the run"
        assert "--resume" not in words, "auto: begin, or go on"
        head = job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]
        environment = {one["name"]: one["value"] for one in head["env"]}
        mounts = {mount["mountPath"] for mount in head["volumeMounts"]}
        assert environment["HYDRAHIVE_RUNS"] in mounts
        assert str(Path(environment["HYDRAHIVE_LEDGER"]).parent) in mounts


def test_kueue_can_hold_the_job() -> None:
    (job,) = of_kind("kueue", "RayJob")
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"]
    assert "suspend" not in job["spec"], "Kueue's to set; applied again, it would end a job that runs"
    assert job["spec"]["shutdownAfterJobFinishes"]
    assert not job["spec"]["rayClusterSpec"].get("enableInTreeAutoscaling")
    assert len(job["spec"]["rayClusterSpec"]["workerGroupSpecs"]) <= 17


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_two_heads_cannot_have_one_ledger(overlay: str) -> None:
    modes = {
        found["metadata"]["name"]: found["spec"]["accessModes"] for found in of_kind(overlay, "PersistentVolumeClaim")
    }
    assert modes["hydrahive-ledger"] == (["ReadWriteOnce"] if overlay == "dev" else ["ReadWriteOncePod"])
    assert modes["hydrahive-runs"] == (["ReadWriteOnce"] if overlay == "dev" else ["ReadWriteMany"])


def test_the_gpu_is_the_learners() -> None:
    (spec,) = cluster_specs("gpu")
    gpus = {
        group.get("groupName", "head"): group["template"]["spec"]["containers"][0]["resources"]["limits"].get(
            "nvidia.com/gpu"
        )
        for group in groups(spec)
    }
    assert gpus == {"head": None, "learner": "1", "env-workers": None}
    assert all(
        pod["containers"][0]["image"].endswith("-gpu")
        for pod in pod_specs("gpu")
        if "redis" not in pod["containers"][0]["image"]
    )


def test_alert_rules_fire_when_they_should() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed: the alert rules were NOT tried")
    folder = ROOT / "cluster" / "monitoring"
    done = subprocess.run([promtool, "test", "rules", "alerts_test.yml"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    tried = yaml.safe_load((folder / "alerts_test.yml").read_text())["tests"]
    names = {one["alertname"] for test in tried for one in test["alert_rule_test"]}
    rules = yaml.safe_load((folder / "alerts.yml").read_text())["groups"]
    assert names == {rule["alert"] for group in rules for rule in group["rules"]}


def test_alert_rules_are_the_same_everywhere() -> None:
    rules = yaml.safe_load((ROOT / "cluster" / "monitoring" / "alerts.yml").read_text())
    on_kubernetes = yaml.safe_load((K8S / "components" / "monitoring" / "prometheus-rule.yaml").read_text())
    assert on_kubernetes["spec"]["groups"] == rules["groups"]
