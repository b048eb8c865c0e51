"""The chart, rendered by both Helms. No cluster is needed."""

import json
import os
import subprocess

import pytest

from service.settings import Settings
from tests.deploy.chart import CHART, EXAMPLES, ROOT, helm, pods, rendered, tool

SETTINGS = {f"SLUICEGATE_{name.upper()}" for name in Settings.model_fields}
PROVE = os.environ.get("SLUICEGATE_PROVE") == "1"
SECRETS = (
    "CLIENT_KEY",
    "ADMIN_KEY",
    "ENGINE_KEY",
    "MASTER_KEY",
    "DATABASE_URL",
    "HF_TOKEN",
    "VLLM_API_KEY",
    "PASSWORD",
)


def containers(documents):
    for name, pod in pods(documents):
        for container in pod["spec"]["containers"]:
            yield name, pod["spec"], container


@pytest.mark.parametrize("version", ["helm", "helm3"])
@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_linted_and_rendered(example, version):
    """Helm 4 and Helm 3 find no fault in any example, and render it."""
    values = str(CHART / "examples" / f"{example}.yaml")
    done = helm("lint", "--strict", str(CHART), "-f", values, version=version)
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = {document["kind"] for document in rendered(example, version=version)}
    assert {"StatefulSet", "Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy", "Job", "CronJob"} <= kinds


def as_deployment(leader_worker_set):
    """Both pods of one as one pod, so that they are held to the schema of pods."""
    (_, leader), (_, worker) = pods([leader_worker_set])
    other = [container | {"name": "worker"} for container in worker["spec"]["containers"]]
    spec = leader["spec"] | {"containers": leader["spec"]["containers"] + other}
    selector = {"matchLabels": leader["metadata"]["labels"]}
    made = {"selector": selector, "template": {"metadata": leader["metadata"], "spec": spec}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": leader_worker_set["metadata"], "spec": made}


@pytest.mark.parametrize("kubernetes", ["1.28", "1.31", "1.34", "1.37"] if PROVE else ["1.28", "1.37"])
def test_every_object_is_valid(kubernetes, tmp_path):
    """What is rendered holds to Kubernetes' own schema, strictly, in the oldest and the newest version we support."""
    different = set()  # much is the same in all examples
    for document in (d for example in EXAMPLES for d in rendered(example, "--kube-version", kubernetes)):
        if document["apiVersion"].startswith("leaderworkerset"):  # of no core schema; its pods are
            document = as_deployment(document)
        if not document["apiVersion"].startswith("monitoring.coreos.com"):
            different.add(json.dumps(document, sort_keys=True))
    for number, document in enumerate(different):
        (tmp_path / f"{number}.yaml").write_text(document)
    command = [tool("kubernetes-validate"), "--strict", "-k", kubernetes, *tmp_path.iterdir()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARN" not in done.stdout + done.stderr


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_chart_sets_only_what_the_service_reads(example):
    """Each SLUICEGATE_ variable in a pod is a setting of this version."""
    names = {e["name"] for _, _, c in containers(rendered(example)) for e in c.get("env", ())}
    assert {name for name in names if name.startswith("SLUICEGATE_")} <= SETTINGS | {"SLUICEGATE_DATA"}  # of training


def test_values_know_every_setting():
    """A setting is one that the chart decides, or one that values may give; a wrong name is refused by the schema."""
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
    may = {
        *schema["gateway"]["properties"]["settings"]["propertyNames"]["enum"],
        *schema["console"]["properties"]["settings"]["propertyNames"]["enum"],
    }
    text = "".join(path.read_text() for path in (CHART / "templates").iterdir())
    elsewhere = {"metrics_port", "engine_port", "engine_env", "engine_args", "engine_start_timeout_s"}  # of one beside
    missing = {
        name
        for name in set(Settings.model_fields) - may - elsewhere
        if f"SLUICEGATE_{name.upper()}," not in text and f'"SLUICEGATE_{name.upper()}"' not in text
    }
    assert missing == set(), "add them to gateway.settings or console.settings in values.schema.json"
    assert may <= set(Settings.model_fields)


def test_a_wrong_value_is_refused():
    """An unknown setting and an unknown value end the installation before anything is made."""
    for wrong in ("gateway.settings.max_exchange=5", "gatway.replicas=3", "engine.replicas=none"):
        done = helm("template", "s", str(CHART), "--set", "secrets.existingSecret=s", "--set", wrong)
        assert done.returncode != 0, wrong


def test_a_missing_secret_is_told():
    """Without the name of the secret nothing is rendered, and the message says where to read on."""
    done = helm("template", "s", str(CHART))
    assert done.returncode != 0
    assert "docs/deploy.md" in done.stderr


@pytest.mark.parametrize("example", EXAMPLES)
def test_secrets_are_named_and_never_held(example):
    """Every secret variable comes from a secret by reference; the chart makes no Secret."""
    documents = rendered(example)
    assert not [d for d in documents if d["kind"] == "Secret"]
    for name, _, container in containers(documents):
        for variable in container.get("env", ()):
            if variable["name"].endswith(SECRETS):
                assert "secretKeyRef" in variable.get("valueFrom", {}), (name, variable["name"])


@pytest.mark.parametrize("example", EXAMPLES)
def test_no_pod_may_more_than_it_must(example):
    """All pods run as nobody, on a read-only root, without capabilities, tokens or service links, within limits."""
    for name, pod, container in containers(rendered(example)):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["enableServiceLinks"] is False, (
            f"{name}: SLUICEGATE_PORT=tcp://... of a Service would end the gateway"
        )
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        assert "memory" in container["resources"]["limits"], name
        assert "cpu" in container["resources"]["requests"], name


@pytest.mark.parametrize("example", EXAMPLES)
def test_streams_have_time_to_end(example):
    """The gateway is killed only after its drain is over, and an engine not before the gateways' streams."""
    grace, drain = {}, 0
    for name, pod, container in containers(rendered(example)):
        grace[name.rpartition("-")[2]] = pod.get("terminationGracePeriodSeconds", 30)
        drain = max([drain, *(int(e["value"]) for e in container["env"] if e["name"] == "SLUICEGATE_DRAIN_S")])
    assert drain > 0
    assert grace["gateway"] > drain + 10
    assert grace["engine"] >= drain


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_spool_stays_with_its_replica(example):
    """The gateway's home is a claim of its own that outlives scaling down and deletion."""
    (gateway,) = (
        d for d in rendered(example) if d["kind"] == "StatefulSet" and d["metadata"]["name"].endswith("gateway")
    )
    assert gateway["spec"]["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    (claim,) = gateway["spec"]["volumeClaimTemplates"]
    (container,) = gateway["spec"]["template"]["spec"]["containers"]
    homes = [e["value"] for e in container["env"] if e["name"] == "SLUICEGATE_HOME"]
    assert [m["mountPath"] for m in container["volumeMounts"] if m["name"] == claim["metadata"]["name"]] == homes


@pytest.mark.parametrize("example", EXAMPLES)
def test_nobody_goes_round_the_gate(example):
    """Only gateways, and a Prometheus that is named, may reach the engine."""
    (policy,) = (
        d for d in rendered(example) if d["kind"] == "NetworkPolicy" and d["metadata"]["name"].endswith("engine")
    )
    (rule, *of_nodes) = policy["spec"]["ingress"]
    assert all("engine-worker" in json.dumps(one["from"]) for one in of_nodes)
    first, *others = rule["from"]
    assert first["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "gateway"
    assert all("monitoring" in json.dumps(peer) for peer in others)


@pytest.mark.parametrize("example", ["laptop", "many-nodes"])
def test_a_service_selects_the_pods_it_is_for(example):
    """Every Service and network policy selects the pods of its own component, and some pod at all."""
    documents = rendered(example)
    labels = [pod["metadata"]["labels"] for _, pod in pods(documents)]
    for document in documents:
        selector = {"Service": lambda s: s["selector"], "NetworkPolicy": lambda s: s["podSelector"]["matchLabels"]}.get(
            document["kind"]
        )
        if selector:
            wanted = selector(document["spec"]).items()
            assert sum(wanted <= given.items() for given in labels) == 1, document["metadata"]["name"]


def test_policies_and_guards_are_taken_from_values():
    """A policy given as text is what gateways are told to use; a change of it restarts nothing, one of guards does."""
    given = ("--set-string", "policy.inline=name: mine", "--set-string", "guards.inline=guards: {}")
    documents = rendered("laptop", *given)
    maps = {d["metadata"]["name"]: d["data"] for d in documents if d["kind"] == "ConfigMap"}
    assert maps["sluicegate-policy"]["policy.yaml"].strip() == "name: mine"
    (gateway,) = (pod for name, pod in pods(documents) if name.endswith("gateway"))
    env = {e["name"]: e.get("value") for e in gateway["spec"]["containers"][0]["env"]}
    assert env["SLUICEGATE_POLICY"] == "/etc/sluicegate/policy/policy.yaml"
    assert env["SLUICEGATE_GUARDS"] == "/etc/sluicegate/guards/guards.yaml"

    def template(*arguments):
        (found,) = (pod for name, pod in pods(rendered("laptop", *arguments)) if name.endswith("gateway"))
        return found

    assert template(*given) == template(*given, "--set-string", "policy.inline=name: other")
    assert template(*given) != template(*given, "--set-string", "guards.inline=guards: {a: 1}")


def test_tables_are_migrated_before_the_new_version():
    """The migration is a hook before installation and upgrade; beside the bundled database it is an ordinary job."""
    for example, hook in (("one-gpu", "pre-install,pre-upgrade"), ("laptop", None)):
        (job,) = (d for d in rendered(example) if d["kind"] == "Job")
        assert job["metadata"].get("annotations", {}).get("helm.sh/hook") == hook
        assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["ledger", "migrate"]


def test_numbers_stay_numbers():
    """A setting of a million is not written as 1e+06."""
    documents = rendered(
        "laptop", "--set", "gateway.settings.max_body_bytes=4000000", "--set", "gateway.settings.keepalive_s=2.5"
    )
    env = {
        e["name"]: e.get("value") for name, _, c in containers(documents) if name.endswith("gateway") for e in c["env"]
    }
    assert env["SLUICEGATE_MAX_BODY_BYTES"] == "4000000"
    assert env["SLUICEGATE_KEEPALIVE_S"] == "2.5"


def test_engines_share_a_cache_only_where_it_can_be_shared():
    """Several engines on a volume that one node may mount are refused with what to set instead."""
    done = helm("template", "s", str(CHART), "--set", "secrets.existingSecret=s", "--set", "engine.replicas=2")
    assert done.returncode != 0
    assert "ReadWriteMany" in done.stderr


def test_several_engines_are_chosen_by_the_gateway():
    """With several engines gateways learn the addresses of all that are ready; with one they ask its Service."""

    def engine_url(example):
        env = next(c["env"] for name, _, c in containers(rendered(example)) if name.endswith("gateway"))
        return next(e["value"] for e in env if e["name"] == "SLUICEGATE_ENGINE_URL")

    services = {d["metadata"]["name"]: d["spec"] for d in rendered("eight-gpus") if d["kind"] == "Service"}
    assert engine_url("eight-gpus") == "dns+http://sluicegate-engines:8000"
    assert services["sluicegate-engines"]["clusterIP"] == "None"
    assert services["sluicegate-engines"]["selector"] == services["sluicegate-engine"]["selector"]
    assert engine_url("one-gpu") == "http://sluicegate-engine:8000"


def test_an_engine_over_several_nodes_is_one_group():
    """With engine.nodes above 1 the pods of an engine start together, one listens, and each knows its place by LWS."""
    (group,) = (d for d in rendered("many-nodes") if d["kind"] == "LeaderWorkerSet")
    spec = group["spec"]["leaderWorkerTemplate"]
    assert (group["spec"]["replicas"], spec["size"], spec["restartPolicy"]) == (3, 2, "RecreateGroupOnPodRestart")
    (leader,), (worker,) = (spec[f"{who}Template"]["spec"]["containers"] for who in ("leader", "worker"))
    placed = {"--nnodes=2", "--pipeline-parallel-size=2", "--tensor-parallel-size=8"}
    placed |= {"--node-rank=$(LWS_WORKER_INDEX)", "--master-addr=$(LWS_LEADER_ADDRESS)"}
    assert placed <= set(leader["args"])
    assert [*leader["args"][:6], "--headless", *leader["args"][6:]] == worker["args"]
    assert "readinessProbe" in leader
    assert "ports" not in worker


def test_vllm_has_what_the_chart_tells_it():
    """Each option of the engines' command lines is one of the installed vLLM."""
    sources = list((ROOT / ".venv-engine/lib").glob("python3*/site-packages/vllm/engine/arg_utils.py"))
    if not sources:
        pytest.skip("vLLM is not here. Run: sluicegate engine install")
    served = sources[0].parents[1] / "entrypoints"
    known = sources[0].read_text() + "".join(path.read_text() for path in served.rglob("cli_args.py"))
    for example in EXAMPLES:
        for name, _, container in containers(rendered(example)):
            if container["name"] == "engine":
                words = [word.partition("=")[0] for word in container["args"] if word.startswith("--")]
                options = {word.replace("--no-", "--", 1) for word in words}
                fields = {option: f"    {option[2:].replace('-', '_')}: " for option in options}
                assert {o for o in options if f'"{o}"' not in known and fields[o] not in known} == set(), name


def test_the_loop_is_a_job_that_may_reach_the_gateway_only(tmp_path):
    """The loop's job has the registry to write to, no database, an operator's key, and a plan that the loop takes."""
    from training.loop_plan import load

    documents = rendered("many-nodes")
    (pod,) = (pod for name, pod in pods(documents) if name.endswith("-loop"))
    (container,) = pod["spec"]["containers"]
    names = {e["name"] for e in container["env"]}
    assert not names & {"SLUICEGATE_DATABASE_URL", "SLUICEGATE_MASTER_KEY"}
    assert "SLUICEGATE_ADMIN_KEY" in names
    assert not next(m for m in container["volumeMounts"] if m["name"] == "registry").get("readOnly")
    (plan,) = (d["data"]["loop.yaml"] for d in documents if d["kind"] == "ConfigMap" and "loop.yaml" in d["data"])
    (tmp_path / "plan.yaml").write_text(plan)
    assert load(tmp_path / "plan.yaml").name == "default"
    (policy,) = (d for d in documents if d["kind"] == "NetworkPolicy" and d["metadata"]["name"].endswith("-loop"))
    assert {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]} == {53, 8080, 443}


def test_rates_are_dealt_out_where_requests_are():
    """Behind an Ingress a gateway grants its share of a key's rate, by the least replicas; without one the whole."""
    found = {}
    for example in EXAMPLES:
        env = next(c["env"] for name, _, c in containers(rendered(example)) if name.endswith("gateway"))
        found[example] = {e["name"]: e.get("value") for e in env}.get("SLUICEGATE_RATE_REPLICAS")
    assert found == {"laptop": None, "one-gpu": "2", "eight-gpus": "3", "many-nodes": "4"}
