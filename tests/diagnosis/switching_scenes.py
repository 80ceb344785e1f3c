"""Platforms whose models switch: broken by a fault, by edited rules, or not at all."""

from __future__ import annotations

from typing import Any

from tests.diagnosis import simulation

CAUSES = sorted(simulation.FAULTS["model-switching"])


def broken(cause: str, seed: int, noise: int = 0) -> simulation.Scene:
    """A platform on which the alert of a fault has just become true."""
    scene = simulation.scene(3_000 + seed)
    simulation.break_(scene, f"model-switching/{cause}", seed=seed, noise=noise)
    assert simulation.until(scene, simulation.switching, 400)
    return scene


def given(arguments: dict[str, Any]) -> dict[str, Any]:
    """What an action sets."""
    return {key: value for key, value in arguments.items() if key not in ("reason", "rule")}


def perform(scene: simulation.Scene, action: str, arguments: dict[str, Any]) -> None:
    """Do what is proposed."""
    rules = scene.platform.router.rules
    if action == "crypto.set-router-rules":
        changed = rules.changed(arguments.get("rule"), given(arguments))
        scene.platform.apply_rules(changed, "test", scene.now_ms)
    elif action == "crypto.market-hours":
        scene.platform.apply_rules(rules.model_copy(update={"market_hours_only": True}), "test", scene.now_ms)
    else:
        scene.platform.scale_models(arguments["instances"], "test", scene.now_ms)


def healthy() -> simulation.Scene:
    """A platform on which nothing is wrong."""
    scene = simulation.scene(5)
    scene.advance(60)
    return scene


def edited(**values: float) -> simulation.Scene:
    """A platform whose router rules were edited: those of the pair rule, or the thresholds."""
    scene = simulation.scene(3)
    rules = scene.platform.router.rules.changed("trend", values)
    scene.platform.apply_rules(rules, "quant desk", scene.now_ms)
    scene.advance(200)
    return scene
