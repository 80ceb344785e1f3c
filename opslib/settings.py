"""Where things are: RUNBOOK_* variables, then `params/settings.yaml`, then defaults."""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource
from yaml import YAMLError

from opslib.errors import ConfigurationError, RecordError

PROJECT = Path(__file__).resolve().parent.parent


def _found(name: str) -> Path:
    """The folder `name` of the current directory, else the one beside the package."""
    here = Path.cwd() / name
    return here if here.is_dir() else PROJECT / name


class Settings(BaseSettings):
    """The settings of one process.

    Raises
    ------
    ConfigurationError
        When they do not validate: every mistake, by its variable.

    Attributes
    ----------
    home : Path
        `RUNBOOK_HOME`: records, the log, and (in `.state`) what the servers keep.
    database_url : SecretStr or None
        `RUNBOOK_DATABASE_URL`: a PostgreSQL (from 14) to use instead of the embedded one.
    intake_token : SecretStr or None
        `RUNBOOK_INTAKE_TOKEN`: the bearer token of the webhook.
    token : SecretStr or None
        `RUNBOOK_TOKEN`: who one is.
    params, notebooks : Path
        `RUNBOOK_PARAMS`, `RUNBOOK_NOTEBOOKS`: the folders of those names.
    host, port : str, int
        Where `runbook serve` listens.
    cell_timeout_s, run_timeout_s : float
        Upper bounds [s] of a cell and of a whole run where the runbook declares none.
    probe_budget_s : float
        How long one call of a probe may take altogether [s]; then the notebook goes on without its answer.
    queue_timeout_s : float
        How long a run may wait [s] where the runbook declares nothing; then it ends as `timed-out`.
    cooldown_s : float
        How long after a run that succeeded another alert of its runbook and target starts none [s], where neither route
        nor runbook says; 0: never so.
    runs_per_hour : int
        How many runs of a runbook alerts may start in an hour on one platform, where neither route nor runbook says.
    storm_depth, storm_age_s : int, float
        More waiting runs on a platform than this, or one that has waited longer [s], is a storm.
    warm_kernels : int
        How many kernels a machine's workers keep ready; 0: every run waits for its own to start.
    archive : str or None
        `RUNBOOK_ARCHIVE`: where finished records go for all hosts, `file:///folder` or `s3://bucket/prefix`.
    archive_lock_days : float
        For how long an object of the archive is locked against removal [days]; 0: not at all. For `s3://` alone.
    drain_s : float
        How long runs may go on once their worker was told to end [s]; then they are handed back to the queue.
    """

    model_config = SettingsConfigDict(env_prefix="RUNBOOK_", extra="ignore", yaml_file_encoding="utf-8")

    home: Path = Path("outputs")
    database_url: SecretStr | None = None
    intake_token: SecretStr | None = None
    token: SecretStr | None = None
    params: Path = Field(default_factory=lambda: _found("params"))
    notebooks: Path = Field(default_factory=lambda: _found("notebooks"))
    host: str = "127.0.0.1"
    port: int = 8600
    cell_timeout_s: float = Field(default=60.0, gt=0)
    run_timeout_s: float = Field(default=300.0, gt=0)
    probe_budget_s: float = Field(default=30.0, gt=0, le=45)
    queue_timeout_s: float = Field(default=21_600.0, gt=0)
    cooldown_s: float = Field(default=60.0, ge=0)
    runs_per_hour: int = Field(default=1200, ge=1)
    storm_depth: int = Field(default=100, ge=1)
    storm_age_s: float = Field(default=300.0, gt=0)
    warm_kernels: int = Field(default=4, ge=0, le=64)
    archive: str | None = Field(default=None, pattern=r"^(file:///|s3://[^/]).*")
    archive_lock_days: float = Field(default=0.0, ge=0)
    drain_s: float = Field(default=18.0, ge=0, le=20)

    def __init__(self, **given: Any) -> None:
        try:
            super().__init__(**given)
        except ValidationError as error:
            told = "; ".join(
                f"RUNBOOK_{'.'.join(map(str, one['loc'])).upper()}: {one['msg']}" for one in error.errors()
            )
            raise ConfigurationError(
                f"the settings do not validate (environment, params/settings.yaml): {told}"
            ) from error
        except (YAMLError, OSError, ValueError) as error:
            raise ConfigurationError(f"params/settings.yaml cannot be read: {error}") from error

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - pydantic's signature
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then `params/settings.yaml`."""
        folder = Path(os.environ.get("RUNBOOK_PARAMS") or _found("params"))
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls, folder / "settings.yaml")

    def model_post_init(self, _context: object) -> None:
        """Make every path absolute, so that a change of folder changes nothing."""
        self.home = self.home.expanduser().absolute()
        self.params = self.params.expanduser().absolute()
        self.notebooks = self.notebooks.expanduser().absolute()

    @property
    def state(self) -> Path:
        """`HOME/.state`: database, keys, tokens and server files; readable by the owner alone."""
        return self.home / ".state"

    @cached_property
    def runtime(self) -> Path:
        """A short folder of the owner's for Unix sockets, whose paths may have at most 107 bytes."""
        tag = hashlib.sha256(str(self.home).encode()).hexdigest()[:12]
        folder = Path(tempfile.gettempdir()) / f"runbook-{os.getuid()}-{tag}"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.lstat()
        if status.st_uid != os.getuid() or status.st_mode & 0o077:
            raise PermissionError(f"{folder} belongs to someone else or is open to others; remove it")
        return folder

    def make_home(self) -> None:
        """Create the home, and its state folder for the owner alone.

        Raises
        ------
        RecordError
            When it cannot be created or written.
        """
        try:
            self.home.mkdir(parents=True, exist_ok=True)
            self.state.mkdir(mode=0o700, exist_ok=True)
            self.state.chmod(0o700)
        except OSError as error:
            why = f"RUNBOOK_HOME={self.home} cannot be used: {error.strerror}: {error.filename}"
            raise RecordError(f"{why}; set it to a folder that you may write, on a disk with room") from error
