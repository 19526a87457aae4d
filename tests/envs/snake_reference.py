"""Snake told in lists and loops, from the rules alone: what the kernels are held against."""

from __future__ import annotations

HEADINGS = [(0, -1), (1, 0), (0, 1), (-1, 0)]  # up, right, down, left as (dx, dy)


class ReferenceSnake:
    """One board; the food's places are given, because only the kernels own a random stream."""

    def __init__(self, config, food):
        self.config = config
        middle = config.size // 2
        self.body = [(middle - i, middle) for i in range(3)]
        self.heading = 1
        self.food = food
        self.moves = self.since_food = 0

    def step(self, action):
        """(reward, how it ended or None); the new food must be set by the caller after eating."""
        rewards = self.config.rewards
        self.heading = (self.heading + action - 1) % 4
        dx, dy = HEADINGS[self.heading]
        old = self.body[0]
        head = (old[0] + dx, old[1] + dy)
        self.moves += 1
        self.since_food += 1
        eats = head == self.food
        blocked = self.body if self.config.tail_blocks or eats else self.body[:-1]
        inside = 0 <= head[0] < self.config.size and 0 <= head[1] < self.config.size
        if not inside or head in blocked:
            return rewards.collision, "collision"
        self.body = [head, *(self.body if eats else self.body[:-1])]
        if eats:
            self.since_food = 0
            self.food = None
            if len(self.body) == self.config.size**2:
                return rewards.food, "win"
            reward = rewards.food
        else:
            nearer = self._distance(head) < self._distance(old)
            reward = rewards.empty + (rewards.closer if nearer else rewards.further)
        counted = self.since_food if self.config.starvation_since == "food" else self.moves
        if counted > self.config.starvation * len(self.body):
            return rewards.starvation, "starvation"
        return reward, None

    def _distance(self, cell):
        return abs(cell[0] - self.food[0]) + abs(cell[1] - self.food[1])
