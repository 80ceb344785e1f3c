"""Plan documents: canonical, hashed over everything, and as the published schemas say."""

from __future__ import annotations

import json

import pytest
import rfc8785
from pydantic import ValidationError

from opslib import store
from opslib.actions.documents import Document, Target, parse
from opslib.actions.drift import changes
from opslib.actions.policy import Policy
from opslib.canonical import digest
from opslib.settings import PROJECT
from tests.actions.world import World


def test_the_hash_is_over_the_canonical_text_that_is_stored(world: World) -> None:
    plan = world.propose()
    with store.connect(world.settings) as connection:
        row = connection.execute("SELECT document FROM plans WHERE hash = %s", (plan.hash,)).fetchone()
    assert row is not None
    assert digest(row["document"].encode()) == plan.hash
    assert rfc8785.dumps(json.loads(row["document"])).decode() == row["document"]
    told = json.loads(row["document"])
    assert (told["incident"], told["run"], told["platform"]) == (world.incident, world.run, "crypto")
    assert len(told["nonce"]) == 32
    assert parse(row["document"]).hash == plan.hash


def test_two_plans_of_the_same_actions_have_two_hashes(world: World) -> None:
    assert world.propose().hash != world.propose().hash


@pytest.mark.parametrize(
    "part", ["incident", "run", "platform", "nonce", "reason", "initiator", "actions", "expires_at"]
)
def test_every_part_counts(world: World, part: str) -> None:
    document = world.propose().document
    other = {"run": 99, "actions": document.actions * 2, "expires_at": document.proposed_at}.get(part, "x")
    assert document.model_copy(update={part: other}).hash != document.hash


def test_the_preview_scales_var_with_kelly(world: World) -> None:
    action = world.propose().document.actions[0]
    assert (action.preview["before"], action.preview["after"]) == (2.3, 0.92)
    assert [row["symbol"] for row in action.preview["rows"]] == ["BTC-USD", "ETH-USD"]
    assert action.blast_radius == {"notional_usd": 1_200_000.0, "positions": 2}
    assert (action.undo.kind, action.undo.action) == ("inverse", "crypto.set-kelly")
    assert world.platform.posts == []


def test_an_unknown_part_is_refused(world: World) -> None:
    told = json.loads(world.propose().document.text)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        parse(json.dumps({**told, "more": 1}))


@pytest.mark.parametrize(("name", "model"), [("plan", Document), ("policy", Policy)])
def test_the_published_schema_is_that_of_the_code(name: str, model: type[Document] | type[Policy]) -> None:
    published = json.loads((PROJECT / "docs" / "schemas" / f"{name}.json").read_text("utf-8"))
    assert {key: value for key, value in published.items() if key != "$schema"} == model.model_json_schema()


def test_what_changes_with_a_target_is_locked_with_it(world: World) -> None:
    def locks(platform: str, kind: str, name: str, *also: str) -> set[str]:
        return {*Target(kind=kind, name=name, uid="1", also=also).locks(platform)}

    api = "deployment/desk/api"
    helm = locks("crypto", "helm-release", "desk/platform", api, "secret/desk/keys")
    scaler = locks("crypto", "horizontalpodautoscaler", "desk/api", api)
    drain, cordon = locks("crypto", "node", "node-1", api), locks("quant", "node", "node-2")
    for one, other in (
        *((helm, scaler), (helm, drain), (scaler, drain), (drain, cordon)),
        *((helm, locks("crypto", "deployment", "desk/api")), (helm, locks("crypto", "secret", "desk/keys"))),
        (drain, locks("quant", "deployment", "desk/api")),  # another platform of the same cluster
        (locks("crypto", "redis-setting", "maxmemory"), locks("crypto", "redis-instance", "the one that leads")),
    ):
        assert one & other
    for one, other in (
        *((helm, cordon), (scaler, locks("crypto", "deployment", "desk/web"))),
        *((helm, locks("crypto", "secret", "desk/other")), (helm, locks("crypto", "deployment", "quant/api"))),
        (locks("crypto", "redis-keys", "a*"), locks("quant", "redis-keys", "a*")),
        (locks("crypto", "file", "KILL_SWITCH"), locks("quant", "file", "KILL_SWITCH")),
    ):
        assert not one & other
    document = world.propose().document
    assert document.targets == ("crypto/risk-engine/crypto",)
    [planned] = document.actions
    more = planned.target.model_copy(update={"also": (api,)})
    told = document.model_copy(update={"actions": (planned.model_copy(update={"target": more}),)})
    assert told.targets == ("cluster/deployment/desk/api", "crypto/risk-engine/crypto")
    assert parse(told.text).targets == told.targets
    assert "also" not in json.loads(document.text)["actions"][0]["target"], "plans of before keep their hash"
    assert changes(planned.target, more) == [f"{api} would change with it now, and not when it was planned"]
    assert changes(more, planned.target) == [], "less than was previewed"
