"""The two files under `conf/`, validated whole before they take effect."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sandbox.crypto.parameters import SYMBOLS
from sandbox.errors import SandboxError

__all__ = ["ConfidenceThresholds", "ConfigurationRefused", "RiskParameters", "RouterRules", "load"]

PRISTINE = Path(__file__).parent / "conf"

Usd = Annotated[float, Field(gt=0, le=1e9)]
Percent = Annotated[float, Field(gt=0, le=100)]
Share = Annotated[float, Field(gt=0, le=1)]


class ConfigurationRefused(SandboxError):
    """A configuration file does not validate; the old values stay. Correct the keys that are named."""


class RiskParameters(BaseModel):
    """`conf/risk_params.yml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kelly_fraction: Share
    volatility_reference: Share
    var_warn_pct: Percent
    var_limit_pct: Percent
    var_breaker_pct: Percent
    position_limits_usd: dict[str, Usd]

    @model_validator(mode="after")
    def _every_symbol(self) -> RiskParameters:
        if set(self.position_limits_usd) != set(SYMBOLS):
            raise ValueError(f"position_limits_usd must name exactly {', '.join(SYMBOLS)}")
        return self


class ConfidenceThresholds(BaseModel):
    """The part of `conf/model_router_rules.yml` of that name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_confidence: float = Field(ge=0, le=1)
    switch_hysteresis: float = Field(ge=0, le=1)


class RouterRules(BaseModel):
    """`conf/model_router_rules.yml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    confidence_thresholds: ConfidenceThresholds
    min_dwell_steps: int = Field(ge=0, le=10_000)


_Model = TypeVar("_Model", RiskParameters, RouterRules)


def load(path: Path, kind: type[_Model]) -> _Model:
    """Read and validate one file.

    Raises
    ------
    ConfigurationRefused
        With every mistake, one a line.
    """
    try:
        return kind.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as problem:
        mistakes = "; ".join(
            f"{'.'.join(map(str, mistake['loc'])) or 'file'}: {mistake['msg']}" for mistake in problem.errors()
        )
        raise ConfigurationRefused(f"{path.name}: {mistakes}") from problem
    except (OSError, UnicodeError, yaml.YAMLError) as problem:
        raise ConfigurationRefused(f"{path.name}: {problem}") from problem
