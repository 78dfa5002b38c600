"""What a Dockerfile says of the image's containers: variables, folder, account, command of its last stage.

Belongs here: ENV, WORKDIR, USER, ENTRYPOINT, CMD. Does not belong here: what is copied or installed.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

VARIABLE = re.compile(r"\$\{?(\w+)(?::-([^}]*))?\}?")


@dataclass(frozen=True)
class Stage:
    """What a stage has come to; the next one that is built on it begins with the same."""

    environment: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)
    folder: str = "/"
    entry: Sequence[str] = ()
    command: Sequence[str] = ()
    user: int = 0


def read(text: str) -> Stage:
    """The last stage of a Dockerfile.

    Raises:
        ValueError: its account is no number, or its command is no list: a pod cannot tell who it runs as, and a shell
            would keep signals from the program.
    """
    stages: dict[str, Stage] = {}
    stage = outside = Stage()
    joined = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    for line in joined.splitlines():
        word, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        match word.upper():
            case "FROM":
                name, _, alias = (part.strip() for part in re.sub(r"--\S+\s+", "", rest).partition(" "))
                stage = replace(stages.get(name, Stage()), arguments=outside.arguments)
                stages[alias.split()[-1] if alias else name] = stage
            case "ARG":
                name, _, value = rest.partition("=")
                stage = replace(stage, arguments={name: _filled(value, stage), **stage.arguments})
                outside = outside if stages else stage
            case "ENV":
                pairs = [part.partition("=") for part in shlex.split(rest)]
                stage = replace(
                    stage, environment={**stage.environment, **{key: _filled(value, stage) for key, _, value in pairs}}
                )
            case "WORKDIR":
                stage = replace(stage, folder=_filled(rest, stage))
            case "USER":
                stage = replace(stage, user=int(_filled(rest, stage).partition(":")[0]))
            case "ENTRYPOINT":
                stage = replace(stage, entry=json.loads(rest), command=())
            case "CMD":
                stage = replace(stage, command=json.loads(rest))
        if stages:
            stages[next(reversed(stages))] = stage
    return stage


def _filled(value: str, stage: Stage) -> str:
    known = {**stage.arguments, **stage.environment}
    return VARIABLE.sub(lambda found: known.get(found[1]) or found[2] or "", value.strip("\"'"))
