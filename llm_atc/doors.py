"""What opens an endpoint: keys, certificates and the other secrets of a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from llm_atc.access import Secret, mint_key
from llm_atc.certificates import Certificate
from llm_atc.errors import SecretMissing
from llm_atc.plan.placement import TLS_VARIABLE
from llm_atc.plan.plan import Plan
from llm_atc.ports import Secrets, World


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What opens an endpoint: its key, and the certificate that it is known by; None where it wants none."""

    key: Secret | None = None
    certificate: Certificate | None = None


def door_of(decided: Plan, secrets: Secrets) -> Door:
    """The door of a deployment that has these secrets."""
    return Door(key=first_key(decided, secrets), certificate=certificate_of(secrets))


def first_key(decided: Plan, secrets: Secrets) -> Secret | None:
    """A key that the endpoint takes; None when it asks for none."""
    if not decided.auth or decided.key_variable not in secrets:
        return None
    return Secret(secrets[decided.key_variable].reveal().split(",")[0])


def certificate_of(secrets: Secrets) -> Certificate | None:
    """The certificate that the endpoint shows; None when it speaks plain HTTP."""
    packed = secrets.get(TLS_VARIABLE)
    return None if packed is None else Certificate.unpacked(packed)


def secrets_for(
    world: World,
    decided: Plan,
    given: Mapping[str, Secret],
    keys: tuple[Secret, ...] = (),
    certificate: Certificate | None = None,
) -> dict[str, Secret]:
    """A value for every secret of the plan: given, kept from before, from the environment, or made.

    Raises SecretMissing, naming the first that has none.
    """
    kept = world.vault.get(decided.name)
    found: dict[str, Secret] = {}
    for name in decided.secret_names:
        if name == decided.key_variable:
            joined = Secret(",".join(key.reveal() for key in keys)) if keys else None
            found[name] = joined or kept.get(name) or mint_key()
        elif name == TLS_VARIABLE:
            made = certificate.packed() if certificate else kept.get(name)
            found[name] = made or Certificate.make(decided.name, _today(world)).packed()
        elif name in given:
            found[name] = given[name]
        elif name in kept:
            found[name] = kept[name]
        elif world.environ.get(name):
            found[name] = Secret(world.environ[name])
        else:
            raise SecretMissing(
                f"{decided.name} needs the secret {name}, and neither llm-atc nor your environment has it.",
                hint=f"export {name}=…",
            )
    return found


def _today(world: World) -> datetime:
    return datetime.fromtimestamp(world.clock.now(), UTC)
