"""Everything that can be set, read once at start. `SLUICEGATE_<NAME>` in the environment; secrets cannot be printed."""

from ipaddress import ip_network
from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from guards.policy import DEFAULT_POLICY

SMALL_MODEL = "smollm2-135m-instruct"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SLUICEGATE_", frozen=True, extra="ignore")

    home: Path = Field(Path("var"), description="database, spool, keys, caches")
    host: str = Field("127.0.0.1", description="address the gateway listens on")
    port: int = Field(8080, ge=0, le=65535, description="port of the gateway; 0 takes a free one")
    metrics_port: int | None = Field(
        None, description="serve /metrics without a key on this port of loopback; else it needs an operator key"
    )
    client_key: SecretStr | None = Field(None, description="a client key to accept; made and shown once if not given")
    admin_key: SecretStr | None = Field(None, description="an admin key to accept; made and shown once if not given")
    policy: Path = Field(DEFAULT_POLICY, description="the policy file in force")
    policy_watch_s: float = Field(1.0, gt=0, le=60, description="how often the policy file is looked at for changes")
    guards: Path | None = Field(None, description="file of further guards, by the names that policies use")

    model: str = Field(SMALL_MODEL, description="hub id or folder of the model; the default comes from a package")
    engine_url: str | None = Field(
        None, description="engines elsewhere: http://host:port, several with commas, or dns+http://name:port"
    )
    engine_key: SecretStr | None = Field(None, description="bearer key of that engine")
    engine_port: int = Field(0, ge=0, le=65535, description="port of the engine started here; 0 takes a free one")
    engine_env: Path = Field(Path(".venv-engine"), description="the environment that holds vLLM")
    engine_args: str = Field("", description="further arguments for vLLM, as on a command line")
    engine_lora: bool = Field(False, description="the engine started here takes adapters at run time")
    engine_start_timeout_s: float = Field(900, gt=0, description="how long the engine may take to be ready")
    engine_idle_timeout_s: float = Field(120, gt=0, description="longest silence within one generation")

    database_url: str | None = Field(None, description="SQLAlchemy URL; by default SQLite under home")
    master_key: SecretStr | None = Field(
        None, description="base64 of 32 bytes that wrap the ledger's keys; by default a file under home"
    )
    spool_limit_mb: int = Field(1024, gt=0, description="the spool refuses further events beyond this size")
    spool_reserve_mb: int = Field(
        64, ge=0, description="room, on the disk and up to the limit, that clean samples leave to what is flagged"
    )

    console: bool = Field(True, description="serve starts the review console too")
    console_host: str = Field("127.0.0.1", description="address the review console listens on")
    console_port: int = Field(8081, ge=0, le=65535, description="port of the review console; 0 takes a free one")
    console_https: bool = Field(False, description="reviewers reach the console over https: its cookie is Secure")
    oidc_issuer: str | None = Field(None, description="identity provider to log in with; its discovery is below it")
    oidc_client_id: str | None = Field(None, description="what the console is called at that provider")
    oidc_client_secret: SecretStr | None = Field(None, description="its secret there; without one PKCE stands alone")
    oidc_roles_claim: str = Field("groups", description="claim of the ID token that tells roles")
    oidc_roles: dict[str, str] = Field({}, description='roles by values of that claim: {"staff": "moderator"}')
    console_blind_share: float = Field(
        0.3, ge=0, le=1, description="share of items whose guard scores a reviewer sees only after deciding"
    )
    console_daily_chars: int = Field(100_000, gt=0, description="text a reviewer's day is planned for; then a break")

    registry: Path | None = Field(None, description="datasets and models by version; by default registry under home")
    registry_watch_s: float = Field(2.0, gt=0, le=60, description="how often gateways look which versions are in force")
    four_eyes: bool = Field(False, description="who registered a version may not make it a canary or enforce it")

    max_exchanges: int = Field(256, gt=0, description="exchanges at once; more are answered 429")
    early_exchanges: int = Field(64, ge=0, description="above so many at once the engine waits for the input's verdict")
    max_prompt_chars: int = Field(200_000, gt=0, description="longest prompt, all its texts together; longer is a 400")
    max_body_bytes: int = Field(4_000_000, gt=0, description="longest request body")
    requests_per_minute: int = Field(600, gt=0, description="rate limit of a key that has none of its own")
    rate_replicas: int = Field(1, gt=0, description="gateways that share a key's rate evenly: each grants its part")
    wrong_keys_per_minute: int = Field(60, gt=0, description="wrong keys of one address; then it has to wait")
    trusted_proxies: str = Field(
        "127.0.0.1", description="proxies whose X-Forwarded-For is believed: addresses or networks, with commas"
    )
    drain_s: float = Field(30, ge=0, description="how long open streams may go on after SIGTERM")
    keepalive_s: float = Field(10, gt=0, description="an SSE comment is sent after this long without text")
    guard_threads: int = Field(1, gt=0, description="CPU threads of a guard's inference")
    guard_batch_tokens: int = Field(4096, gt=0, description="most tokens in one batch of the guard")
    tracing: bool = Field(False, description="spans to the OTLP collector of OTEL_EXPORTER_OTLP_ENDPOINT")
    log_level: str = Field("info", description="debug, info, warning or error")

    @field_validator("home", "policy", "guards", "engine_env", "registry", mode="after")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return path.expanduser().absolute() if path else None

    @field_validator("trusted_proxies", mode="after")
    @classmethod
    def _addresses(cls, named: str) -> str:
        for one in filter(None, (part.strip() for part in named.split(","))):
            ip_network(one, strict=False)  # "*" would believe anybody, and is no network
        return named

    @property
    def database(self) -> str:
        return self.database_url or f"sqlite+aiosqlite:///{self.home / 'sluicegate.db'}"

    @property
    def registry_folder(self) -> Path:
        return self.registry or self.home / "registry"

    @property
    def spool(self) -> Path:
        return self.home / "spool"
