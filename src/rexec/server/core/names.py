"""Names for containers that were given none: `swift-lion-742`."""

from __future__ import annotations

import secrets

_QUALITIES = """
amber bold brave bright brisk calm clear clever cosmic crisp daring eager early fancy fleet fresh gentle glad golden
grand happy honest humble jolly keen kind lively lucky lunar mellow merry mild misty modest neat nimble noble placid
polite proud quick quiet rapid ready royal rustic serene sharp shiny silent silver simple sleek smart smooth snowy
solar solid sonic spry steady still stout sunny swift tidy tranquil true vivid warm wild wise witty young zesty
"""
_ANIMALS = """
badger bear beaver bison bobcat camel condor coyote crane deer dingo dolphin eagle egret elk falcon ferret finch fox
gazelle gecko goose hare hawk heron hornet ibex ibis jackal jaguar kestrel kiwi koala lark lemur leopard lion llama
lynx magpie marmot marten mole moose newt ocelot orca osprey otter owl panda panther pelican penguin puffin puma
quail rabbit raven robin salmon seal shark sparrow stork swan tapir tiger toucan trout turtle viper walrus weasel
whale wolf
"""


def generate() -> str:
    return f"{secrets.choice(_QUALITIES.split())}-{secrets.choice(_ANIMALS.split())}-{secrets.randbelow(1000)}"
