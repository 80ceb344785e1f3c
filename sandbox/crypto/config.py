"""The two files under `conf/`, validated whole before they take effect."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from sandbox.crypto.parameters import SYMBOLS
from sandbox.errors import SandboxError

__all__ = ["ConfidenceThresholds", "ConfigurationRefused", "PairRule", "RiskParameters", "RouterRules", "load"]

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
    stress_scenarios: int = Field(default=2_000, ge=100, le=50_000_000)
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


class PairRule(BaseModel):
    """Which of two models serves a symbol that one of them has, by the strength of its trend (0 to 1)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,40}$")]
    above: str
    below: str
    threshold: float = Field(ge=0, le=1)
    band: float = Field(ge=0, le=1)


class RouterRules(BaseModel):
    """`conf/model_router_rules.yml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    confidence_thresholds: ConfidenceThresholds
    min_dwell_steps: int = Field(ge=0, le=10_000)
    answer_within_ms: float = Field(default=200.0, gt=0, le=60_000)
    market_hours_only: bool = False
    min_volume_share: float = Field(default=0.2, ge=0, le=1)
    pair_rules: tuple[PairRule, ...] = ()

    def changed(self, rule: str | None, values: Mapping[str, float]) -> RouterRules:
        """The rules with other values: `threshold` and `band` of one pair rule, the rest of the thresholds."""
        pair = {key: value for key, value in values.items() if key in ("threshold", "band")}
        whole = {key: value for key, value in values.items() if key not in pair}
        rules = [one.model_copy(update=pair) if one.name == rule else one for one in self.pair_rules]
        thresholds = self.confidence_thresholds.model_copy(update=whole)
        return self.model_copy(update={"pair_rules": tuple(rules), "confidence_thresholds": thresholds})

    def figures(self) -> dict[str, float | bool | str]:
        """Every value by its place in the file, such as `pair_rules.trend.threshold`."""
        found: dict[str, float | bool | str] = {
            f"confidence_thresholds.{key}": value for key, value in self.confidence_thresholds
        }
        found |= {key: value for key, value in self if key not in ("confidence_thresholds", "pair_rules")}
        for rule in self.pair_rules:
            found |= {f"pair_rules.{rule.name}.{key}": value for key, value in rule if key != "name"}
        return found


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
