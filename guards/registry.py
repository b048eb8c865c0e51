"""Which guards there are: those that ship and those of a guards file, by name. Loads weights and JSON, never code."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from guards.cascade import Cascade, CascadeSpec
from guards.classifier import MANIFEST, Classifier, Manifest, read_manifest
from guards.document import DocumentError, Strict, validated
from guards.generative import GenerativeGuard, GenerativeSpec
from guards.guard import Guard, GuardError
from guards.huggingface import HuggingFaceGuard, HuggingFaceSpec, resolve
from guards.lists import KeywordGuard, KeywordsSpec, RegexGuard, RegexSpec
from guards.patterns import PatternGuard
from guards.remote import RemoteSpec, remote
from guards.runtime import Backend
from guards.taxonomy import CATEGORIES, NAME
from guards.transport import Connect
from guards.trigger import TRIGGERS, TriggerGuard

MODELS: Final = Path(__file__).with_name("models")
ALLOWED: Final = frozenset({".onnx", ".safetensors", ".json", ".md"})  # nothing that can carry code, as pickles do


class ClassifierSpec(Strict):
    """A classifier of ours: a folder with `guard.json`, as training writes it."""

    kind: Literal["classifier"] = "classifier"
    folder: Path = Field(description="the guard's folder; relative to the guards file")
    backend: Backend = Field("auto", description="openvino, onnxruntime, or auto: what is faster on this CPU")


class PatternsSpec(Strict):
    """Secrets and personal data by rule."""

    kind: Literal["patterns"] = "patterns"
    regions: tuple[Annotated[str, Field(pattern=r"^[A-Z]{2}$")], ...] = Field(
        ("US", "GB"), description="countries (ISO 3166) whose national telephone formats count without country code"
    )


class TriggersSpec(Strict):
    """Harmless texts that are always of their category: guards/trigger.py."""

    kind: Literal["triggers"] = "triggers"


Spec = Annotated[
    ClassifierSpec
    | HuggingFaceSpec
    | PatternsSpec
    | TriggersSpec
    | KeywordsSpec
    | RegexSpec
    | CascadeSpec
    | GenerativeSpec
    | RemoteSpec,
    Field(discriminator="kind"),
]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]

SHIPPED: Final[Mapping[str, Spec]] = MappingProxyType(
    {
        "default": ClassifierSpec(folder=MODELS / "default"),
        PatternGuard.name: PatternsSpec(),
        TRIGGERS: TriggersSpec(),
    }
)


class GuardsFile(Strict):
    """Guards by the names that policies use, beside those that ship or in their place."""

    guards: dict[Name, Spec] = Field({}, description="name: guard")
    categories: tuple[Annotated[str, Field(pattern=NAME)], ...] = Field(
        (), description="categories of your own that these guards judge; a policy says what they mean"
    )

    @model_validator(mode="after")
    def _cascades_end(self) -> "GuardsFile":
        for name, spec in self.guards.items():
            if isinstance(spec, CascadeSpec):
                for part in (spec.first, spec.then):
                    if part not in self.specs:
                        raise ValueError(f"{name} is over {part!r}, which is no guard; there are {sorted(self.specs)}")
                    if isinstance(self.specs[part], CascadeSpec):
                        raise ValueError(f"{name} is over {part!r}, a cascade itself: a cascade has two guards")
                if spec.first == spec.then:
                    raise ValueError(f"{name} is over {spec.first!r} twice")
        return self

    @property
    def specs(self) -> dict[str, Spec]:
        """All guards there will be."""
        return {**SHIPPED, **self.guards}


@dataclass(frozen=True, slots=True)
class Loading:
    """How guards are loaded: `folder` is where relative paths of the file begin, `connect` the wire to remote ones.

    `torch`: whether this process may load it. The gateway may not.
    """

    folder: Path = Path()
    threads: int = 1
    batch_tokens: int = 4096
    connect: Connect | None = None
    torch: bool = False


def read(path: Path) -> GuardsFile:
    """A guards file. Raises GuardError with every fault and its line."""
    try:
        return validated(GuardsFile, path.read_text(encoding="utf-8"), str(path))
    except DocumentError as error:
        raise GuardError(str(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise GuardError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def build(file: GuardsFile, loading: Loading, names: Iterable[str] | None = None) -> dict[str, Guard]:
    """Guards, loaded, by name: all of them unless `names` says which, since a policy that changes may use any.

    Raises:
        GuardError: one cannot be loaded or reached, or judges a category that nobody declared.
    """
    built: dict[str, Guard] = {}

    def guard(name: str) -> Guard:
        if name not in file.specs:
            raise GuardError(f"no guard {name!r}; there are {sorted(file.specs)}")
        if name not in built:
            try:
                built[name] = _built(name, file.specs[name], file, loading, guard)
            except GuardError as error:
                raise GuardError(f"guard {name!r}: {error}") from error
        return built[name]

    for name in file.specs if names is None else names:
        _declared(guard(name), file)
    return built


def _built(name: str, spec: Spec, file: GuardsFile, loading: Loading, others: Callable[[str], Guard]) -> Guard:
    match spec:
        case ClassifierSpec():
            folder = loading.folder / spec.folder
            classifier = load(name, folder, spec.backend, loading.threads, loading.batch_tokens)
            classifier.name = name  # a policy knows it by this one
            return classifier
        case HuggingFaceSpec():
            if spec.backend == "torch" and not loading.torch:
                raise GuardError("it needs torch, which gateways never load: use it with `sluicegate guards serve`")
            folder = resolve(spec, loading.folder)
            return HuggingFaceGuard(name, spec, folder, loading.threads, loading.batch_tokens)
        case PatternsSpec():
            patterns = PatternGuard(spec.regions)
            patterns.name = name
            return patterns
        case TriggersSpec():
            triggers = TriggerGuard((*CATEGORIES, *file.categories))
            triggers.name = name
            return triggers
        case KeywordsSpec():
            return KeywordGuard(name, spec, loading.folder)
        case RegexSpec():
            return RegexGuard(name, spec)
        case CascadeSpec():
            return Cascade(name, spec, others(spec.first), others(spec.then))
        case GenerativeSpec() | RemoteSpec():
            if loading.connect is None:
                raise GuardError("it runs elsewhere, and nothing here connects to it")
            transport = loading.connect(spec)
            return remote(name, spec, transport) if spec.kind == "remote" else GenerativeGuard(name, spec, transport)


def _declared(guard: Guard, file: GuardsFile) -> None:
    covered = guard.covers("input") | guard.covers("output")
    if unknown := sorted(covered - CATEGORIES.keys() - {*file.categories}):
        known = "docs/taxonomy.md has those that are known; your own are listed under `categories` of the guards file"
        raise GuardError(f"guard {guard.name!r} judges unknown categories {unknown}; {known}")


def shipped(folder: Path = MODELS) -> list[Manifest]:
    """The classifiers under `folder`, by name. Raises GuardError when one of them is broken."""
    return [read_manifest(path.parent)[0] for path in sorted(folder.glob(f"*/{MANIFEST}"))]


def load(
    name: str = "default",
    folder: Path | None = None,
    backend: Backend = "auto",
    threads: int = 1,
    batch_tokens: int = 4096,
) -> Classifier:
    """A classifier by name, from `folder` (a guard's own folder) or from those that ship.

    Raises:
        GuardError: there is none of that name, a digest differs, or the folder holds what is neither weights nor JSON.
    """
    at = folder or MODELS / name
    if not at.is_dir():
        raise GuardError(f"no guard {name!r} at {at}; shipped: {[m.name for m in shipped()]}")
    if strange := sorted(p.name for p in at.iterdir() if p.suffix not in ALLOWED):
        raise GuardError(f"{at}: {strange} refused: a guard holds only {sorted(ALLOWED)} files")
    return Classifier(at, backend, threads, batch_tokens)
