"""Actor and critic of deterministic policy gradients. Knows states, actions and rewards; nothing of plans.

Networks and rates as in AMC (He et al. 2018, section 3 and the authors' code): two hidden layers of 300, Adam at 1e-4
and 1e-3, batches of 64. The reward comes at the end of an episode and counts undiscounted for each of its steps, so the
critic is fitted to it directly, without bootstrapping from a target network.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune.surgery.random_state import forked_random
from autoprune.surrogate.observations import Floats

_HIDDEN: Final = 300
_BATCH: Final = 64
_ACTOR_RATE, _CRITIC_RATE = 1e-4, 1e-3
_CLONE_STEPS, _CLONE_RATE = 300, 1e-3


class ActorCritic:
    """Learns from episodes: states (steps, features), actions (steps,) in [0, 1], one reward.

    All that is random in it comes from the seed and the calls, in their order; the global generator is left alone.
    """

    def __init__(self, features: int, seed: int) -> None:
        with forked_random(seed):
            self._actor = nn.Sequential(*_layers(features), nn.Sigmoid())
            self._critic = nn.Sequential(*_layers(features + 1))
        self._actor_step = torch.optim.Adam(self._actor.parameters(), _ACTOR_RATE, fused=True)
        self._critic_step = torch.optim.Adam(self._critic.parameters(), _CRITIC_RATE, fused=True)
        self._states: list[Tensor] = []
        self._actions: list[Tensor] = []
        self._rewards: list[Tensor] = []
        self._shown: tuple[Tensor, Tensor] | None = None

    def act(self, state: Floats) -> float:
        """The action that the actor takes in a state (features,)."""
        with torch.no_grad():
            return float(self._actor(torch.tensor(state, dtype=torch.float32)[None])[0, 0])

    def clone(self, states: Floats, actions: Floats, rng: np.random.Generator) -> None:
        """Let the actor do what somebody showed, before it learns by itself."""
        self._shown = _tensor(states), _tensor(actions)[:, None]
        fast = torch.optim.Adam(self._actor.parameters(), _CLONE_RATE, fused=True)
        for _ in range(_CLONE_STEPS):
            fast.zero_grad()
            self._imitation(rng).backward()
            fast.step()

    def remember(self, states: Floats, actions: Floats, reward: float) -> None:
        """An episode more in the replay, as it was executed."""
        self._states.append(_tensor(states))
        self._actions.append(_tensor(actions)[:, None])
        self._rewards.append(torch.full((len(actions), 1), reward))

    def train(self, steps: int, faith: float, rng: np.random.Generator) -> None:
        """Gradient steps on both; faith: how much what was shown still counts for the actor."""
        states, actions = torch.cat(self._states), torch.cat(self._actions)
        rewards = torch.cat(self._rewards)
        rewards = (rewards - rewards.mean()) / (rewards.std(correction=0) + 1e-3)
        for _ in range(steps):
            few = torch.from_numpy(rng.integers(0, len(states), _BATCH))
            self._critic_step.zero_grad()
            valued = self._critic(torch.cat([states[few], actions[few]], 1))
            functional.mse_loss(valued, rewards[few]).backward()
            self._critic_step.step()
            self._actor_step.zero_grad()
            loss = -self._critic(torch.cat([states[few], self._actor(states[few])], 1)).mean()
            if self._shown is not None and faith > 0:
                loss = loss + faith * self._imitation(rng)
            loss.backward()
            self._actor_step.step()

    def _imitation(self, rng: np.random.Generator) -> Tensor:
        if self._shown is None:
            raise RuntimeError("nothing was shown")
        states, actions = self._shown
        few = torch.from_numpy(rng.integers(0, len(states), _BATCH))
        return functional.mse_loss(self._actor(states[few]), actions[few])


def _layers(features: int) -> list[nn.Module]:
    return [
        nn.Linear(features, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, 1),
    ]  # fmt: skip


def _tensor(values: Floats) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
