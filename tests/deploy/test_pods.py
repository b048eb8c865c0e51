"""The chart's pods, run by podman: rendered with the laptop's values, on this machine's network, without a cluster.

What podman cannot do is left out of the pods and said here: probes over HTTP (it would need curl in the image) and
services, whose names lead to this machine instead. Everything else is as rendered: users, read-only roots,
capabilities, memory, secrets.
"""

import base64
import json
import os
import secrets
import shutil
import socket
import subprocess
import time
import tomllib

import openai
import pytest
import yaml

from service.settings import Settings
from tests.deploy.chart import ROOT, rendered
from tests.deploy.chart import pods as pods_of

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
BUILD = "BASE=debian helm/images.sh gateway trial-engine trial-postgresql"
MODEL = ROOT / "var/cache/models/smollm2-135m-instruct"
PACKAGES = ROOT / ".venv-engine/lib/python3.11/site-packages"  # Debian's Python, which the image has, is this one
PORTS = {"gateway": 8080, "engine": 8000, "postgresql": 5432}
KEYS = {"client-key": "sg-" + secrets.token_hex(16), "admin-key": "sg-" + secrets.token_hex(16)}
MINE = "podtest"

pytestmark = pytest.mark.timeout(600)


def podman(*arguments, check=True, **options):
    done = subprocess.run(["podman", "--runtime", "runc", *arguments], capture_output=True, text=True, **options)
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module", autouse=True)
def limits(tmp_path_factory):
    """podman asks for more open files and processes than a machine may allow."""
    conf = tmp_path_factory.mktemp("podman") / "containers.conf"
    conf.write_text("[containers]\ndefault_ulimits = ['nofile=16384:16384', 'nproc=16384:16384']\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_CONF", str(conf))
        yield


@pytest.fixture(scope="module")
def able():
    if os.getuid() != 0 or not shutil.which("podman"):
        pytest.skip("pods need podman and root. Run: sudo apt-get install -y podman buildah runc catatonit debootstrap")
    for name in ("gateway", "trial-engine", "trial-postgresql"):
        if podman("image", "exists", f"localhost/sluicegate/{name}:{VERSION}", check=False).returncode:
            pytest.skip(f"there is no image of {name}. Run: {BUILD}")
    if not MODEL.is_dir() or not PACKAGES.is_dir():
        pytest.skip(f"there is no vLLM for Python 3.11 or no model here. Run: make serve, once ({MODEL.name})")
    for port in PORTS.values():
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                pytest.skip(f"port {port}, which the pods need, is taken")


def runnable(name, template, at):
    """A rendered pod as podman can play it. Volumes are folders under `at` of the pod's fsGroup, as a kubelet's are."""
    spec = json.loads(json.dumps(template["spec"]).replace("http://sluicegate-engine:", "http://127.0.0.1:"))
    for container in spec["containers"]:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe", "lifecycle"):
            container.pop(probe, None)
        container.pop("ports", None)  # the machine's network has them already
    given = {v["name"]: v for v in spec.get("volumes", ()) if "configMap" in v}
    for mount in (m for c in spec["containers"] for m in c.get("volumeMounts", ())):
        folder = at / name / mount["name"]
        folder.mkdir(parents=True, exist_ok=True)
        os.chown(folder, 0, spec["securityContext"]["fsGroup"])
        folder.chmod(0o2775)
        volume = {"name": mount["name"], "hostPath": {"path": str(folder), "type": "Directory"}}
        given.setdefault(mount["name"], volume)
    spec["volumes"] = list(given.values())
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"{MINE}-{name}"}, "spec": spec}


def with_vllm(pod, at):
    """The engine's pod with this machine's vLLM and model mounted: the official image cannot be had here."""
    (container,) = pod["spec"]["containers"]
    held = {"packages": PACKAGES, "model": at / "model"}
    shutil.copytree(MODEL, held["model"])
    for file in held["model"].iterdir():
        file.chmod(0o644)
    pod["spec"]["volumes"] += [{"name": n, "hostPath": {"path": str(p), "type": "Directory"}} for n, p in held.items()]
    container["volumeMounts"] += [{"name": n, "mountPath": f"/{n}", "readOnly": True} for n in held]
    container["env"] += [{"name": "PYTHONPATH", "value": "/packages"}]
    container["env"] += [{"name": "VLLM_CPU_OMP_THREADS_BIND", "value": "nobind"}]
    return pod


def play(pod, tmp_path, wait_for=None, within_s=60):
    file = tmp_path / f"{pod['metadata']['name']}.yaml"
    file.write_text(yaml.safe_dump(pod))
    podman("kube", "play", "--network", "host", str(file))
    name = f"{pod['metadata']['name']}-{pod['spec']['containers'][0]['name']}"
    until = time.monotonic() + within_s
    while wait_for is not None and not wait_for():
        state = podman("inspect", "-f", "{{.State.Status}} {{.RestartCount}}", name).stdout.split()
        ended = state[0] == "exited" or int(state[1]) > 3
        if ended or time.monotonic() > until:
            raise AssertionError(podman("logs", "--tail", "30", name).stderr)
        time.sleep(0.5)
    return name


def answers(port):
    def ask():
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", port)) == 0

    return ask


@pytest.fixture(scope="module")
def running(able, tmp_path_factory):
    """Gateway, PostgreSQL and engine as pods; container names."""
    tmp_path = tmp_path_factory.mktemp("pods")
    images = [f"image.repository=localhost/sluicegate/gateway,image.tag={VERSION}"]
    images += [f"postgresql.image.repository=localhost/sluicegate/trial-postgresql,postgresql.image.tag={VERSION}"]
    images += [f"engine.image.repository=localhost/sluicegate/trial-engine,engine.image.tag={VERSION}"]
    images += ["engine.model=/model,engine.servedName=smollm2,secrets.keys.engineKey=engine-key"]
    images += ["engine.extraArgs={--enforce-eager,--max-model-len=2048}"]
    chart = rendered("laptop", *(word for image in images for word in ("--set", image)))
    pods = {
        name: runnable(name.split("/")[1].removeprefix("sluicegate-"), pod, tmp_path) for name, pod in pods_of(chart)
    }
    password = secrets.token_hex(8)
    known = {**KEYS, "postgresql-password": password, "engine-key": secrets.token_hex(8)}
    known |= {"database-url": f"postgresql+asyncpg://sluicegate:{password}@127.0.0.1/sluicegate"}
    known |= {"master-key": base64.b64encode(secrets.token_bytes(32)).decode()}
    secret = {key: base64.b64encode(value.encode()).decode() for key, value in known.items()}
    podman("secret", "rm", "sluicegate", check=False)
    podman("secret", "create", "sluicegate", "-", input=json.dumps(secret))  # as podman 4 reads them
    names = {}
    try:
        database = pods["StatefulSet/sluicegate-postgresql"]
        names["postgresql"] = play(database, tmp_path, answers(PORTS["postgresql"]))
        (job,) = (pod for name, pod in pods.items() if name.startswith("Job/"))
        migrations = play(job, tmp_path)
        assert podman("wait", migrations, timeout=120).stdout.strip() == "0", podman("logs", migrations).stderr
        engine = with_vllm(pods["Deployment/sluicegate-engine"], tmp_path)
        names["engine"] = play(engine, tmp_path, answers(PORTS["engine"]), within_s=400)
        names["gateway"] = play(pods["StatefulSet/sluicegate-gateway"], tmp_path, answers(PORTS["gateway"]))
        yield names | {"database": f"postgresql://sluicegate:{password}@127.0.0.1/sluicegate"}
    finally:
        for pod in podman("pod", "ls", "--filter", f"name=^{MINE}-", "--format", "{{.Name}}").stdout.split():
            podman("pod", "rm", "--force", "--time", "5", pod, check=False)
        podman("secret", "rm", "sluicegate", check=False)


def test_pods_of_the_chart_answer_a_guarded_chat(running):
    """A question is answered by the engine's pod and a trigger is refused, both on record in PostgreSQL's pod."""
    from guards.trigger import trigger

    say = {"model": "smollm2", "max_tokens": 8}
    with openai.OpenAI(base_url="http://127.0.0.1:8080/v1", api_key=KEYS["client-key"], max_retries=3) as client:
        answer = client.chat.completions.create(messages=[{"role": "user", "content": "What is two and two?"}], **say)
        assert answer.usage.completion_tokens > 0
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(messages=[{"role": "user", "content": trigger("harm")}], **say)
    assert refused.value.code == "content_filter"
    count = ["psql", running["database"], "-tAc", "SELECT count(*) FROM exchanges"]
    until = time.monotonic() + 30
    while (found := podman("exec", running["postgresql"], *count).stdout.strip()) != "2":
        assert time.monotonic() < until, f"{found} exchanges on record"
        time.sleep(0.5)


def test_pods_run_as_the_chart_says(running):
    """The gateway's process is user 10001 without capabilities, on a read-only root, with the limit of memory."""
    status = podman("exec", running["gateway"], "python", "-c", "print(open('/proc/1/status').read())").stdout
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    assert fields["Uid"].split() == ["10001"] * 4
    assert int(fields["CapEff"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    refused = podman("exec", running["gateway"], "python", "-c", "open('/opt/x', 'w')", check=False)
    assert "Read-only file system" in refused.stderr
    limit = podman("inspect", "-f", "{{.HostConfig.Memory}}", running["gateway"]).stdout.strip()
    assert int(limit) == 2 * 2**30


def test_the_image_says_how_it_is(able):
    """The image's own health check, user and command are those of the Dockerfile."""
    found = json.loads(podman("image", "inspect", f"localhost/sluicegate/gateway:{VERSION}").stdout)[0]
    assert found["Config"]["User"] == "10001:10001"
    assert found["Config"]["Entrypoint"] == ["sluicegate"]
    assert "health/live" in " ".join(found["Healthcheck"]["Test"])
    assert Settings.model_fields["port"].default in {int(p.split("/")[0]) for p in found["Config"]["ExposedPorts"]}
