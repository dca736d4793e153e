"""Every setting of the program, read from ``HUTONG_*`` environment variables.

Defaults are safe for production; ``make run`` and the tests switch the development conveniences on explicitly.
``docs/configuration.md`` is generated from this class.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class DocumentPolicy(StrEnum):
    """What the callers of a view may send besides registered documents."""

    OFF = "off"
    LOG = "log"
    SAFELIST = "safelist"
    REQUIRE_ID = "require-id"


class Settings(BaseSettings):
    """One field per variable; the description is what an operator reads."""

    model_config = SettingsConfigDict(env_prefix="HUTONG_", frozen=True, extra="forbid")

    # engines
    database_url: str | None = Field(
        None, description="PostgreSQL to use (postgres://user:password@host:port/name). Unset: start an embedded one."
    )
    database_pool_size: int = Field(
        16,
        ge=4,
        description="Most connections this process opens to PostgreSQL; half of them are for transactions.",
    )
    redis_url: str | None = Field(
        None, description="Redis for signals between processes. Unset: signals stay inside this process."
    )
    data_dir: Path = Field(Path(".hutong"), description="Folder for the embedded database, keys and uploads.")

    # serving
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, description="Port to listen on; 0 takes a free one.")
    public_url: str | None = Field(
        None, description="Base URL under which others reach this server. Default: http://host:port."
    )
    allowed_origins: Annotated[list[str], NoDecode] = Field(
        default_factory=list[str],
        description="Comma-separated browser origins allowed to call the API besides its own.",
    )
    trusted_proxies: Annotated[list[str], NoDecode] = Field(
        default_factory=list[str],
        description="Comma-separated addresses or networks of the proxies in front: theirs is not the caller's "
        "address, and their X-Forwarded-For and X-Forwarded-Proto are believed. Others' are not.",
    )
    http_profile: Literal["audited", "draft"] = Field(
        "audited",
        description="Status codes of GraphQL over HTTP: audited, as the test suite of the npm package graphql-http "
        "wants them; draft, as the current draft of the specification does (422, 294).",
    )
    public_max_age: timedelta = Field(
        timedelta(0),
        description="For how long caches in between may keep the answer to a registered query that a caller who is "
        "not signed in sent by GET.",
    )
    compression: bool = Field(True, description="Compress answers of 1 kB and more for clients that accept gzip.")
    introspection: bool = Field(False, description="Answer introspection queries.")
    graphiql: bool = Field(
        False, description="Serve GraphiQL at /graphiql, a page per view, for development. Never in production."
    )
    mask_errors: bool = Field(True, description="Replace the text of internal errors by an error id.")
    compiler: bool = Field(
        True, description="Execute operations as compiled Python. Off: graphql-core interprets every one of them."
    )
    operation_timeout: timedelta = Field(timedelta(seconds=15), description="Time an operation may run.")
    max_body: int = Field(1_000_000, ge=1_000, description="Longest body of a request, in bytes.")
    max_tokens: int = Field(2_000, ge=1, description="Most tokens of a document.")
    max_depth: int = Field(15, ge=1, description="Most levels of selections in an operation.")
    max_aliases: int = Field(50, ge=0, description="Most aliases in an operation, fragments expanded.")
    max_directives: int = Field(50, ge=0, description="Most directives in an operation, fragments expanded.")
    max_root_fields: int = Field(20, ge=1, description="Most fields of the root type in an operation.")
    max_mutations: int = Field(5, ge=1, description="Most mutations in one operation.")
    max_nodes: int = Field(
        10_000, ge=1, description="Most objects that an answer may have, by the sizes of lists that are asked for."
    )
    cost_available: Annotated[dict[str, int], NoDecode] = Field(
        default_factory=dict[str, int],
        description="Points of cost that a caller may spend at once, as KIND=points, comma-separated; also the highest "
        "cost of one operation. Defaults: ANONYMOUS=40000 (by address), CONSUMER=20000, MERCHANT=40000, RIDER=20000, "
        "ADMIN=60000, PARTNER=40000, DEVICE=20000.",
    )
    cost_restore_rate: Annotated[dict[str, int], NoDecode] = Field(
        default_factory=dict[str, int],
        description="Points that a caller gets back per second, in the same form. Defaults: ANONYMOUS=4000, "
        "CONSUMER=1000, MERCHANT=2000, RIDER=1000, ADMIN=3000, PARTNER=2000, DEVICE=1000.",
    )
    workers: int = Field(
        1, ge=1, le=128, description="Processes that `serve` serves the port with; more than one needs Redis."
    )
    worker_timeout: timedelta = Field(
        timedelta(seconds=30), description="A worker that shows no sign of life for this long is killed and replaced."
    )
    drain_pause: timedelta = Field(
        timedelta(seconds=5),
        description="After SIGTERM: /readyz says no and all else works, for load balancers to notice.",
    )
    drain_window: timedelta = Field(
        timedelta(seconds=15),
        description="After that pause: streams and sockets are closed in random order over at most this time.",
    )
    shutdown_grace: timedelta = Field(
        timedelta(seconds=10), description="After that window: time for running requests and jobs to finish."
    )
    slow_operation: timedelta = Field(
        timedelta(seconds=2), description="An operation that takes longer is logged with its SQL statements."
    )
    otlp_endpoint: str | None = Field(
        None, description="Base URL of an OpenTelemetry collector (OTLP over HTTP) to send spans to. Unset: no spans."
    )
    log_level: str = Field("info", description="debug, info, warning or error.")
    log_json: bool = Field(True, description="Log JSON lines; false for coloured lines on a terminal.")

    # outside world
    sandbox: bool = Field(
        False,
        description="Serve the sandbox payment provider and print SMS instead of sending them. Never in production.",
    )
    sandbox_payment_faults: float = Field(
        0.0, ge=0, le=1, description="Share of sandbox payment notifications that are delayed, repeated or lost once."
    )
    payment_notify_secret: str | None = Field(
        None, description="Secret of the sandbox payment provider, equal in all processes. Unset: from the keys file."
    )

    # identity
    jwt_keys_file: Path | None = Field(
        None, description="JSON file with the ES256 signing keys. Default: keys.json in data_dir, made on first start."
    )
    access_token_ttl: timedelta = Field(timedelta(minutes=15), description="Life of an access token.")
    refresh_token_ttl: timedelta = Field(timedelta(days=30), description="Life of an unused refresh token.")
    refresh_grace: timedelta = Field(
        timedelta(seconds=30),
        description="For how long a refresh token that was just used gives the same answer again, for a client that "
        "lost it; later, it ends the session.",
    )
    otp_ttl: timedelta = Field(timedelta(minutes=5), description="Life of a one-time code.")
    otp_resend_after: timedelta = Field(timedelta(seconds=60), description="Pause between two codes to one phone.")
    otp_max_attempts: int = Field(5, ge=1, description="Wrong guesses before a one-time code is void.")
    otp_codes_per_phone: int = Field(10, ge=0, description="Codes that a phone is sent in a day; 0 for no limit.")
    otp_codes_per_address: int = Field(
        300,
        ge=0,
        description="Codes asked for in a day from one public address (IPv6: /64), however many people share it.",
    )
    otp_codes_per_device: int = Field(20, ge=0, description="Codes asked for in a day by one installation of an app.")
    otp_guesses_per_phone: int = Field(20, ge=0, description="Wrong codes for one phone in a day.")
    otp_guesses_per_address: int = Field(300, ge=0, description="Wrong codes in a day from one public address.")
    otp_guesses_per_device: int = Field(40, ge=0, description="Wrong codes in a day by one installation of an app.")
    account_deletion_grace: timedelta = Field(
        timedelta(days=7),
        ge=timedelta(0),
        description="An account that its person deletes ends after this; signing in again before calls it off.",
    )
    wechat_app_id: str | None = Field(None, description="WeChat mini-program that people sign in with. Unset: none.")
    wechat_app_secret: str | None = Field(None, description="Its AppSecret.")
    wechat_url: str = Field("https://api.weixin.qq.com", description="WeChat's server API.")
    pairing_ttl: timedelta = Field(timedelta(minutes=10), description="Life of a pairing code of a device.")
    pairing_failures_per_address: int = Field(
        100, ge=0, description="Wrong pairing codes in a day from one public address; 0 for no limit."
    )

    # files
    max_upload: int = Field(5_000_000, ge=1_000, description="Longest picture that may be uploaded, in bytes.")
    upload_ttl: timedelta = Field(
        timedelta(minutes=15), description="An upload has to begin this soon after it was asked for."
    )
    files_bucket_url: str | None = Field(
        None,
        description="S3-compatible bucket for files: the address before the keys of its objects, with the bucket in "
        "the host name or in the path. Unset: the folder files in data_dir, served by this program.",
    )
    files_region: str = Field("us-east-1", description="Its region, as requests are signed for.")
    files_access_key: str | None = Field(None, description="Access key of a user who may read and write the bucket.")
    files_secret_key: str | None = Field(None, description="Its secret.")
    files_public_url: str | None = Field(
        None,
        description="Address under which everybody reads what is below public/ in the bucket, a CDN's for example. "
        "Default: files_bucket_url/public.",
    )

    # local-commerce rules
    quote_ttl: timedelta = Field(timedelta(minutes=10), description="How long a quote holds its prices.")
    payment_ttl: timedelta = Field(timedelta(minutes=15), description="An unpaid order expires after this.")
    accept_ttl: timedelta = Field(
        timedelta(minutes=10), description="A paid order nobody accepts is refunded after this."
    )
    offer_ttl: timedelta = Field(timedelta(seconds=45), description="A rider may take this long to answer an offer.")
    complete_after: timedelta = Field(
        timedelta(hours=3), description="A delivered order completes by itself after this."
    )
    device_print_ttl: timedelta = Field(timedelta(hours=2), description="A ticket not printed by then expires.")
    device_gate_ttl: timedelta = Field(
        timedelta(seconds=60), description="A gate not opened by then stays closed: nobody waits there any more."
    )
    device_board_ttl: timedelta = Field(
        timedelta(hours=24), description="A board that is away for longer is not switched any more."
    )
    commission_permille: int = Field(50, ge=0, le=1000, description="Platform's share of the goods, in thousandths.")
    rider_speed_m_per_min: float = Field(320, gt=0, description="Riding speed that ETAs assume, metres per minute.")
    handling_minutes: float = Field(2, ge=0, description="Minutes a rider spends at each door.")

    # riders' positions
    location_write_interval: timedelta = Field(
        timedelta(seconds=5),
        gt=timedelta(0),
        description="How often, in domain time, riders' last positions and tracks are written to the database: "
        "the most that a killed process loses of them.",
    )
    location_stale_after: timedelta = Field(
        timedelta(seconds=60), description="A position older than this is marked as stale."
    )
    track_interval: timedelta = Field(
        timedelta(seconds=10),
        ge=timedelta(seconds=1),
        description="The track of a delivery keeps one point per interval.",
    )
    track_retention: timedelta = Field(timedelta(days=30), description="How long tracks of deliveries are kept.")
    idempotency_retention: timedelta = Field(
        timedelta(hours=24),
        ge=timedelta(hours=1),
        description="For how long at least a repeated idempotency key gets the first answer again.",
    )
    device_command_retention: timedelta = Field(
        timedelta(days=30), ge=timedelta(days=1), description="How long commands to devices are kept once they ended."
    )
    session_retention: timedelta = Field(
        timedelta(days=30), description="How long sign-ins are kept after their end, to recognise stolen tokens."
    )

    # clock and work
    clock_speed: float = Field(1.0, gt=0, description="Domain seconds per real second; 1 outside demos.")
    clock_origin: datetime | None = Field(
        None, description="Domain instant at clock_real_origin (RFC 3339). Only with clock_speed other than 1."
    )
    clock_real_origin: float | None = Field(
        None, description="Unix time at which the domain clock was at clock_origin. Default: process start."
    )
    jobs_in_process: bool = Field(True, description="Run deadlines and retries in the web process.")
    feed_head_check: timedelta = Field(
        timedelta(seconds=2), description="How often watched feeds are compared with the log, for lost signals."
    )
    feed_retention: timedelta = Field(timedelta(days=3), description="How long the event log is kept.")
    webhook_timeout: timedelta = Field(
        timedelta(seconds=15), gt=timedelta(0), description="Time that a partner's server has to answer a webhook."
    )
    webhook_interval: timedelta = Field(
        timedelta(seconds=1), gt=timedelta(0), description="How often the event log is looked at for new webhooks."
    )
    webhook_retention: timedelta = Field(
        timedelta(days=30), description="How long webhooks that were sent are kept, for a look and to replay them."
    )
    document_policy: Annotated[dict[str, DocumentPolicy], NoDecode] = Field(
        default_factory=dict[str, DocumentPolicy],
        description="Which documents the callers of a view may send, as VIEW=policy, comma-separated: off (all), log "
        "(all; unregistered ones are counted and logged), safelist (only the text or id of a registered one), "
        "require-id (only its id). PARTNER is always require-id, the others off.",
    )
    operations_manifest: Path | None = Field(
        None, description="Persisted operations to register at start, an Apollo manifest. Default: the bundled one."
    )

    @field_validator("cost_available", "cost_restore_rate")
    @classmethod
    def _of_callers(cls, value: dict[str, int]) -> dict[str, int]:
        kinds = ("ANONYMOUS", "CONSUMER", "MERCHANT", "RIDER", "ADMIN", "PARTNER", "DEVICE")
        for kind, points in value.items():
            if kind not in kinds or points < 1:
                raise ValueError(f"{kind}={points}: must be one of {', '.join(kinds)} and at least 1")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Settings:
        if self.files_bucket_url is not None and not (self.files_access_key and self.files_secret_key):
            raise ValueError("HUTONG_FILES_BUCKET_URL needs HUTONG_FILES_ACCESS_KEY and HUTONG_FILES_SECRET_KEY")
        return self

    @field_validator("*", mode="before")
    @classmethod
    def _read(cls, value: Any, info: ValidationInfo) -> Any:
        """Lists are separated by commas; durations may be plain seconds besides ISO 8601."""
        if not isinstance(value, str):
            return value
        if info.field_name in ("allowed_origins", "trusted_proxies"):
            return [part.strip() for part in value.split(",") if part.strip()]
        if info.field_name in ("document_policy", "cost_available", "cost_restore_rate"):
            pairs = [part.split("=", 1) for part in value.split(",") if part.strip()]
            return {pair[0].strip().upper(): pair[-1].strip().lower() for pair in pairs}
        if cls.model_fields[info.field_name or ""].annotation is timedelta:
            try:
                return float(value)
            except ValueError:
                return value
        return value
