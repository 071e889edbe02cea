"""The model agent with room for as many tasks as a row of the bench hands out at once.

The agent as it ships puts off what is more than it can bear, so a row with 1,500 sessions would
measure how it says "later".
"""

from chaoslab.reference import ReferenceAgent, Settings


class Agent(ReferenceAgent):
    settings = Settings(tasks_in_hand_max=1_000_000)


def make_agent() -> ReferenceAgent:
    return Agent()
