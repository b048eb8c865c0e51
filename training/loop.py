"""From new decisions to a candidate in shadow, and then a person is asked: build, train, gate, register, shadow.

sluicegate-train loop --once --url http://127.0.0.1:8080        # one round, or what is left of one
sluicegate-train loop --watch                                   # looks every ten minutes

A round begins with enough new decisions or a drift alarm. It is kept in a state file: killed, it goes on where it
stood. A step that fails ends the round, and nothing is promoted.
"""

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from guards.classifier import read_manifest
from training import drift
from training.loop_plan import Plan, load
from training.loop_steps import Round, steps
from training.promote import shadow_figures, to_stage
from training.rows import DataError
from training.service_client import KEY, URL, Service, ServiceError

STATE: Final = "state.json"
LOG: Final = "loop.log"
WAITS: Final = "waits"  # a round stands in shadow and has not judged enough


class Loop:
    """One loop over one service. `work` holds state, log and what rounds make.

    Args:
        promote_after: exchanges in shadow after which the candidate is enforced without a person; None: never.
    """

    def __init__(self, plan: Plan, service: Service, work: Path, promote_after: int | None = None) -> None:
        self.plan, self.service, self.work, self.promote_after = plan, service, work, promote_after
        work.mkdir(parents=True, exist_ok=True)
        path = work / STATE
        self.state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"rounds": []}

    def once(self) -> str:
        """Begins a round if there is reason to, does what is left of it; how it stands. Raises DataError."""
        if self.state.get("round") is None:
            why = self._reason()
            if not why:
                return "idle"
            self.state["round"] = {"id": time.strftime("%Y%m%d-%H%M%S", time.gmtime()), "why": why, "done": {}}
            self._save()
            self._log(f"round {self.state['round']['id']} begins: {why}")
        try:
            for name, step in steps(self._round()):
                if name not in self.state["round"]["done"]:
                    self._did(name, step())
            return self._judge_shadow()
        except DataError as error:
            if not isinstance(error, ServiceError) or error.status:  # a service that is away is asked again
                self._end("failed", str(error))
            raise

    def _reason(self) -> str:
        lines = self.service.text("GET", "/v1/review/export", query={"what": "guards"})
        decided = sum(1 for line in lines.splitlines() if line)
        seen = int(self.state.get("decided", 0))
        if decided - seen >= self.plan.enough:
            self.state["decided"] = decided
            return f"{decided - seen} new reviewed rows"
        if self.plan.drift.reference and (alarms := self._drifted(self.plan.drift.reference)):
            if decided == seen:
                self._log(f"drift ({alarms}), but no new decision to learn from: review first")
                return ""
            self.state["decided"] = decided
            return f"drift: {alarms}"
        self._log(f"{decided - seen} new reviewed rows of {self.plan.enough} wanted, no drift alarm")
        return ""

    def _drifted(self, reference: Path) -> str:
        now = time.time()
        rows = drift.read_window(self.service, now - self.plan.drift.days * drift.DAY_S, now)
        if len(rows) < drift.FEWEST:
            return ""
        found = drift.shifts(drift.window(drift.load_rows(reference)), drift.window(rows))
        return ", ".join(f"{s.name} of {s.series}" for s in found if s.alarmed)

    def _round(self) -> Round:
        folder = self.work / str(self.state["round"]["id"])
        folder.mkdir(exist_ok=True)
        serving, parent = self._serving()
        return Round(self.plan, self.service, folder, serving, parent, self.state["round"]["done"])

    def _serving(self) -> tuple[Path, str]:
        """Folder and id of the guard in force: the one promoted last, else the one that the plan names."""
        known = self.service.get("/v1/learning/models")["data"]
        for model in known:
            if model["name"] == self.plan.name and model["stage"] == "enforced":
                return self.plan.registry / model["folder"], f"{model['name']}@{model['version']}"
        return self.plan.serving, f"{self.plan.name}@{read_manifest(self.plan.serving)[0].version}"

    def _judge_shadow(self) -> str:
        """Whether the candidate has judged enough beside the guard in force, and what follows."""
        model = str(self.state["round"]["done"]["register"]["id"])
        found = shadow_figures(self.service, model)
        wanted = self.promote_after or self.plan.shadow.exchanges
        if found["exchanges"] < wanted:
            self._log(f"{model} judged {found['exchanges']} of {wanted} exchanges in shadow")
            return WAITS
        if low := _disagrees(found, self.plan.shadow.least_agreement):
            self._end("stopped", f"in shadow {model} agrees too seldom with the guard in force: {low}")
            return "stopped"
        if self.promote_after is None:
            self._end("asks", f"{model} is ready. To promote it: sluicegate-train promote enforce {model}")
            return "asks"
        to_stage(self.service, model, "enforced", reason=f"loop: {found['exchanges']} exchanges in shadow")
        self._end("promoted", f"{model} is enforced; back: sluicegate-train promote rollback {self.plan.name}")
        return "promoted"

    def _did(self, name: str, result: Mapping[str, Any]) -> None:
        self.state["round"]["done"][name] = dict(result)
        self._save()
        self._log(f"{name}: {json.dumps(result)[:400]}")

    def _end(self, how: str, why: str) -> None:
        self.state["rounds"].append(self.state["round"] | {"ended": how, "because": why})
        self.state["round"] = None
        self._save()
        self._log(f"{how}: {why}")

    def _save(self) -> None:
        unfinished = self.work / f"{STATE}.part"
        unfinished.write_text(json.dumps(self.state, indent=1) + "\n", encoding="utf-8")
        unfinished.replace(self.work / STATE)

    def _log(self, said: str) -> None:
        line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} {said}"
        print(line, flush=True)
        with (self.work / LOG).open("a", encoding="utf-8") as log:
            log.write(line + "\n")


def _disagrees(found: Mapping[str, Any], least: float) -> str:
    """The categories in which the agreement surely lies under `least`, with it."""
    low = [c for c in found["categories"] if c["agreement"] and c["agreement"]["high"] < least]
    return ", ".join(f"{c['stage']} {c['category']} {c['agreement']['value']:.2f}" for c in low)


def main(argv: Sequence[str] | None = None) -> None:
    """Raises DataError when a round cannot be begun or a step fails."""
    options = _options().parse_args(argv)
    loop = Loop(load(options.plan), Service(options.url, options.key), options.work, options.promote_after_shadow)
    if options.once:
        print(SAYS.get(how := loop.once(), how))
        return
    _watch(loop.once, options.every)


def _watch(once: Callable[[], str], every_s: float) -> None:
    """For ever: a service that is away, or a round that failed, is no reason to stop looking."""
    while True:
        try:
            once()
        except DataError as error:
            print(error, flush=True)
        time.sleep(every_s)


SAYS: Final[Mapping[str, str]] = {
    "idle": "nothing to do yet",
    WAITS: "the candidate judges in shadow; run this again when there was more traffic",
    "asks": "a person decides now: see `sluicegate-train promote status`, or the console's page on models",
}


def _options() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="sluicegate-train loop", description=__doc__, formatter_class=plain)
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--once", action="store_true", help="one round, or what is left of one")
    how.add_argument("--watch", action="store_true", help="look again and again")
    parser.add_argument("--plan", type=Path, default=Path(__file__).with_name("recipes") / "loop.yaml")
    parser.add_argument("--work", type=Path, default=Path("var/loop"), help="folder of state, log and candidates")
    parser.add_argument("--every", type=float, default=600.0, metavar="SECONDS", help="between two looks")
    parser.add_argument(
        "--promote-after-shadow", type=int, metavar="N", help="enforce after N exchanges in shadow, asking nobody"
    )
    parser.add_argument("--url", default=URL, help=f"of the service; {URL} if not given")
    parser.add_argument("--key", help=f"operator or admin key; else from {KEY}")
    return parser


if __name__ == "__main__":
    main()
